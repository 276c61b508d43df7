"""Several models of one Pyro program are each what they are alone."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from checks import same
from pyro.infer import SVI, Trace_ELBO, TraceGraph_ELBO
from pyro.infer.autoguide import AutoNormal
from pyro.nn import PyroModule, PyroParam
from torch import nn

import pyro_vae as pv
from pyro_vae.compile.counter import COUNTED

pytestmark = pytest.mark.param_store
close = torch.testing.assert_close
X = torch.randn(20, 3, generator=torch.Generator().manual_seed(0)) + 1


def by_names():
    """Parameters of the store, whose initial values are drawn."""

    def model(x):
        loc = pyro.sample("loc", dist.Normal(torch.zeros(3), 1.0).to_event(1))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(loc, 1.0).to_event(1), obs=x)

    def guide(x):
        loc = pyro.param("q_loc", lambda: torch.randn(3))
        scale = pyro.param("q_scale", lambda: torch.rand(3), constraint=dist.constraints.positive)
        pyro.sample("loc", dist.Normal(loc, scale).to_event(1))

    return model, guide


def by_modules():
    """A VAE with batch normalization, whose running means are each model's own."""
    torch.manual_seed(3)
    encoder = nn.Sequential(
        nn.Linear(3, 8, bias=False), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 4)
    )
    prior, likelihood = pv.priors.StandardNormal(2), pv.likelihoods.Gaussian(nn.Linear(2, 3))
    vae = pv.VAE(prior, likelihood, pv.posteriors.MeanFieldNormal(encoder))
    return vae.model, vae.guide


def by_pyro_module():
    class Guide(PyroModule):
        def __init__(self):
            super().__init__()
            self.mean = PyroParam(torch.zeros(3))
            self.scale = PyroParam(torch.ones(3), constraint=dist.constraints.positive)

        def forward(self, x):
            pyro.sample("loc", dist.Normal(self.mean, self.scale).to_event(1))

    return by_names()[0], Guide()


def by_autoguide():
    """A guide that makes its parameters at its first call, which all models share."""
    model, _ = by_names()
    guide = AutoNormal(model)
    pyro.set_rng_seed(2)
    guide(X)
    return model, guide


def discrete():
    """A score function with a decaying average, which the parameter store keeps."""

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Bernoulli(0.3))
            pyro.sample("x", dist.Normal(z[:, None] * 2.0, 1.0).to_event(1), obs=x)

    def guide(x):
        logit = pyro.param("logit", torch.zeros(()))
        with pyro.plate("data", len(x)):
            baseline = {"use_decaying_avg_baseline": True}
            pyro.sample("z", dist.Bernoulli(logits=logit), infer={"baseline": baseline})

    return model, guide


def unused():
    """A parameter that has no gradient, between others."""
    model, guide = by_names()

    def with_more(x):
        pyro.param("a_more", torch.zeros(2))
        guide(x)

    return model, with_more


def branching():
    """A branch on a draw, which no graph has."""

    def model(x):
        loc = pyro.sample("loc", dist.Normal(torch.zeros(3), 1.0).to_event(1))
        scale = 1.0 if loc.sum() > 0 else 2.0
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(loc, scale).to_event(1), obs=x)

    return model, by_names()[1]


PROGRAMS = {
    "names": (by_names, lambda: pyro.optim.Adam({"lr": 0.05}), Trace_ELBO),
    "autoguide": (
        by_autoguide,
        lambda: pyro.optim.ClippedAdam({"lr": 0.05, "lrd": 0.9}),
        Trace_ELBO,
    ),
    "modules": (by_modules, lambda: pyro.optim.Adam({"lr": 0.01}), Trace_ELBO),
    "pyro_module": (by_pyro_module, lambda: torch.optim.Adam, Trace_ELBO),
    "unused": (unused, lambda: pyro.optim.Adam({"lr": 0.05}), Trace_ELBO),
    "branching": (branching, lambda: pyro.optim.Adam({"lr": 0.05}), Trace_ELBO),
    "importance_weighted": (
        by_modules,
        lambda: pyro.optim.Adam({"lr": 0.01}),
        lambda: pv.objectives.IWAE(3),
    ),
    "discrete": (discrete, lambda: pyro.optim.Adam({"lr": 0.05}), TraceGraph_ELBO),
}


def state(program):
    store = {name: p.detach().clone() for name, p in pyro.get_param_store()._params.items()}
    owner = getattr(program[1], "__self__", program[1])
    if isinstance(owner, nn.Module):
        store |= {name: t.detach().clone() for name, t in owner.state_dict().items()}
    return store


def alone(name, seed, steps):
    """What a model is that SVI trains by itself."""
    make, optim, loss = PROGRAMS[name]
    pyro.clear_param_store()
    program, optim = make(), optim()
    pyro.set_rng_seed(seed)
    if isinstance(optim, type) or name == "importance_weighted":  # not for Pyro's SVI
        svi = pv.CompiledSVI(*program, optim, loss(), backend="graph")
    else:
        svi = SVI(*program, optim, loss())
    losses = torch.tensor([float(svi.step(X)) for _ in range(steps)])
    return losses, state(program)


LONG = ("importance_weighted", "pyro_module", "autoguide", "unused")


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow if n in LONG else ()) for n in PROGRAMS]
)
@pytest.mark.filterwarnings("ignore:SVI goes on eagerly")
def test_each_model_is_what_it_is_alone(name):
    expected = [alone(name, seed, 12) for seed in (4, 7, 9)]
    make, optim, loss = PROGRAMS[name]
    pyro.clear_param_store()
    program = make()
    options = {"backend": "graph", "seeds": [4, 7, 9], "not_static": "eager"}
    svi = pv.CompiledSVI(*program, optim(), loss(), **options)
    losses = svi.run(12, X)
    assert losses.shape == (12, 3)
    together = 0 if svi.several.many is None else svi.several.many.calls
    assert together == (0 if name == "branching" else 11)
    assert len({*losses[-1].tolist()}) == 3
    for i, (alone_losses, values) in enumerate(expected):
        close(losses[:, i], alone_losses, rtol=1e-5, atol=1e-5)
        with svi.using(i):
            same(state(program), values, 1e-5, 1e-6)
    same(state(program), expected[0][1], 1e-5, 1e-6)


@pytest.mark.slow
def test_other_batches_and_the_loss_between_steps():
    """A smaller batch is stepped model by model, and all go on together after it."""
    program = by_modules()
    sizes = [20, 20, 13, 20, 13, 20]

    def trained(**options):
        pyro.clear_param_store()
        torch.manual_seed(1)
        program = by_modules()
        pyro.set_rng_seed(5)
        optim = pyro.optim.Adam({"lr": 0.01})
        svi = pv.CompiledSVI(*program, optim, Trace_ELBO(), backend="graph", **options)
        return program, svi, torch.stack([svi.step(X[:n]) for n in sizes])

    _, _, expected = trained()
    program, svi, losses = trained(seeds=[5, 6])
    close(losses[:, 0], expected, rtol=1e-5, atol=1e-5)
    found = svi.evaluate_loss(X)
    assert found.shape == (2,) and svi.bad_steps == 0
    with svi.using(1):
        encoder = program[0].__self__.posterior.encoder
        assert int(encoder[1].num_batches_tracked) > 6


def test_a_bad_step_of_one_model_moves_it_alone():
    model, guide = by_names()
    optim = pyro.optim.Adam({"lr": 0.05})
    svi = pv.CompiledSVI(model, guide, optim, Trace_ELBO(), backend="graph", num_models=2)
    svi.run(3, X)
    with svi.using(1), torch.no_grad():
        pyro.get_param_store()._params["q_loc"].fill_(torch.inf)
    losses = svi.step(X)
    assert losses[0].isfinite() and not losses[1].isfinite()
    assert svi.several.bad_steps() == [0, 1] and svi.bad_steps == 1


def test_what_is_refused():
    model, guide = by_names()
    adam = pyro.optim.Adam({"lr": 0.05})
    with pytest.raises(ValueError, match="seeds, as many as num_models"):
        pv.CompiledSVI(model, guide, adam, Trace_ELBO(), num_models=2, seeds=[1])
    instance = torch.optim.Adam([nn.Parameter(torch.zeros(1))])
    with pytest.raises(ValueError, match="an instance"):
        pv.CompiledSVI(model, guide, instance, Trace_ELBO(), num_models=2)
    svi = pv.CompiledSVI(model, guide, adam, Trace_ELBO(), num_models=2, backend="graph")
    svi.run(3, X)
    with pytest.raises(ValueError, match="below 2; got 2"), svi.using(2):
        pass

    pyro.clear_param_store()
    program = branching()
    svi = pv.CompiledSVI(*program, adam, Trace_ELBO(), num_models=2, backend="graph")
    for early in (lambda: svi.evaluate_loss(X), lambda: svi.using(1).__enter__()):
        with pytest.raises(ValueError, match="Expected a first step"):
            early()
    svi.step(X)
    with pytest.raises(pv.compile.NotStatic):
        svi.step(X)

    def growing(x):
        if len(x) < 20:
            pyro.param("late", torch.zeros(3))
        guide(x)

    pyro.clear_param_store()
    svi = pv.CompiledSVI(model, growing, adam, Trace_ELBO(), num_models=2, backend="graph")
    svi.run(3, X)
    with pytest.raises(pv.compile.NotStatic, match="parameters of the first step"):
        svi.step(X[:5])


@pytest.mark.slow
def test_a_first_step_that_fails_leaves_all_as_it_was():
    """And can be taken again."""
    model, guide = by_modules()
    start = {k: v.clone() for k, v in model.__self__.state_dict().items()}
    adam = pyro.optim.Adam({"lr": 0.05})
    svi = pv.CompiledSVI(model, guide, adam, Trace_ELBO(), num_models=2, backend="graph")
    calls = []

    def failing(x):
        calls.append(1)
        if len(calls) == 2:
            raise RuntimeError("once")
        guide(x)

    for several in svi.several.models:
        several.guide = failing
    with pytest.raises(RuntimeError, match="once"):
        svi.step(X)
    same(model.__self__.state_dict(), start, 0, 0)
    losses = svi.run(4, X)
    pyro.clear_param_store()
    model.__self__.load_state_dict(start)
    again = pv.CompiledSVI(model, guide, adam, Trace_ELBO(), num_models=2, backend="graph")
    close(losses, again.run(4, X), rtol=0, atol=0)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in PROGRAMS if name != "branching"])
def test_compiled(name):
    make, optim, loss = PROGRAMS[name]
    svi = pv.CompiledSVI(*make(), optim(), loss(), seeds=[4, 7])
    losses = svi.run(30, X)
    for i, seed in enumerate((4, 7)):
        close(losses[:, i], alone(name, seed, 30)[0], rtol=1e-4, atol=1e-4)


# --- Draws by counter, as on a GPU ----------------------------------------------------------------


@pytest.fixture
def counted():
    COUNTED.add("cpu")
    yield
    COUNTED.discard("cpu")


def by_counter(name, steps, seeds):
    make, optim, loss = PROGRAMS[name]
    pyro.clear_param_store()
    program = make()
    svi = pv.CompiledSVI(*program, optim(), loss(), backend="graph", seeds=seeds)
    return program, svi, svi.run(steps, X)


@pytest.mark.parametrize("name", [n if n == "names" else pytest.param(n, marks=pytest.mark.slow) for n in ("names", "modules", "discrete")])  # fmt: skip
def test_a_model_among_many_is_what_it_is_as_the_only_one(name, counted):
    program, svi, losses = by_counter(name, 12, [4, 7])
    assert svi.several.many.calls == 11 and losses[-1, 0] != losses[-1, 1]
    assert not svi.several.many.run.func.draws  # nothing draws from a generator
    with svi.using(1):
        among = state(program)
    program, _, expected = by_counter(name, 12, [7])
    close(losses[:, [1]], expected, rtol=2e-6, atol=0)
    same(among, state(program), 2e-6, 1e-7)


def test_eager_steps_and_shared_ones_draw_the_same(counted):
    _, _, shared = by_counter("names", 6, [4, 7])
    pyro.clear_param_store()
    model, guide = by_names()
    adam = pyro.optim.Adam({"lr": 0.05})
    svi = pv.CompiledSVI(model, guide, adam, Trace_ELBO(), backend="graph", seeds=[4, 7])
    svi.several.refused = True
    close(svi.run(6, X), shared, rtol=1e-5, atol=0)


def test_on_a_gpu_the_step_of_all_is_one_cuda_graph(counted, monkeypatch):
    """It replays on the stacked tensors, whose addresses stay."""
    from pyro_vae.compile import many

    made = []

    class Replay:
        def __init__(self, run, graph, args):
            made.append(self)
            self.run, self.graph, self.args = run, graph, args

        def __call__(self, *args):
            return self.run(*self.graph.externals, *args)

    monkeypatch.setattr(many, "inductor", lambda module, inputs: module.forward)
    monkeypatch.setattr(many, "has_compiler", lambda: True)
    monkeypatch.setattr(many, "why_not_captured", lambda graph, inputs: None)
    monkeypatch.setattr(many, "Replay", Replay)
    svi = pv.CompiledSVI(*by_names(), pyro.optim.Adam({"lr": 0.05}), Trace_ELBO(), seeds=[4, 7])
    losses = svi.run(4, X)
    [replay] = made
    assert replay is svi.several.many.run and [x.shape for x in replay.args] == [(2, *X.shape)]
    wholes = {*map(id, svi.several.many.wholes)}
    assert {*map(id, replay.graph.changed)} <= wholes & {*map(id, replay.graph.externals)}
    same({"losses": losses}, {"losses": by_counter("names", 4, [4, 7])[2]}, 0, 0)


def test_a_draw_without_a_form_by_counter_leaves_all_to_generators(counted):
    def model(x):
        loc = pyro.sample("loc", dist.Normal(torch.zeros(3), 1.0).to_event(1))
        with pyro.plate("data", len(x)):
            scale = 1 + torch.poisson(torch.ones(len(x), 1)) / 10
            pyro.sample("x", dist.Normal(loc, scale).to_event(1), obs=x)

    def run(**options):
        pyro.clear_param_store()
        adam = pyro.optim.Adam({"lr": 0.05})
        svi = pv.CompiledSVI(model, by_names()[1], adam, Trace_ELBO(), backend="graph", **options)
        return svi.run(5, X)

    with pytest.warns(UserWarning, match="take turns, with PyTorch's generators: aten.poisson"):
        losses = run(seeds=[4, 7])
    pyro.set_rng_seed(7)
    close(losses[:, 1], run(), rtol=1e-5, atol=1e-5)
