"""Models that are trained together become what each becomes alone."""

import gc
import math

import pytest
import torch
from checks import D, L
from training import QUIET, equal

import pyro_vae as pv
from pyro_vae.cli import main
from pyro_vae.compile import FusedStep, ManySteps, optimized_parameters
from pyro_vae.config import to_toml, validate

OPTIONS = {"epochs": 4, "batch_size": 8, "lr": 1e-2, "clip_norm": 5.0}
DATA = torch.randn(50, D, generator=torch.Generator().manual_seed(1))
VALID = torch.randn(20, D, generator=torch.Generator().manual_seed(2))
TINY = {
    "prior": {"kind": "standard-normal"},
    "likelihood": {"kind": "bernoulli", "decoder": {"kind": "mlp", "hidden_features": [6]}},
    "posterior": {"kind": "mean-field-normal", "encoder": {"kind": "mlp", "hidden_features": [6]}},
    "data": {"kind": "digits", "binarize": "dynamic"},
    "latent_dim": 3,
    "train": {"epochs": 1},
}


def make(width=16):
    posterior = pv.posteriors.MeanFieldNormal(pv.nn.MLP(D, [width], 2 * L))
    likelihood = pv.likelihoods.Gaussian(pv.nn.MLP(L, [width], D))
    return pv.VAE(pv.priors.Vamp(posterior, torch.randn(4, D)), likelihood, posterior)


def alone(trained, data=DATA, build=make, **options):
    torch.manual_seed(trained.seed)
    model = build()
    free = {name.removeprefix("train."): value for name, value in trained.values.items()}
    history = pv.fit(model, data, seed=trained.seed, **{**options, **free}, **QUIET)
    return model, history


def figures(history, *names):
    return [row[name] for row in history.rows for name in names if name in row]


# --- One step -------------------------------------------------------------------------------------


def steps_of(seeds):
    """A model for each seed with its step, which draws rows by number."""
    made = []
    for seed in seeds:
        torch.manual_seed(seed)
        model, objective = make(), pv.objectives.ELBO()
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)

        def program(rows, model=model, objective=objective):
            terms = objective(model.model, model.guide, DATA[rows] + torch.randn(len(rows), D))
            terms.loss.backward()
            return [term.detach() for term in terms]

        made.append((model, FusedStep(program, optimized_parameters(optimizer), backend="graph")))
    return made


@pytest.mark.parametrize("backend", ["graph", pytest.param("inductor", marks=pytest.mark.slow)])
def test_many_steps_are_those_of_each_alone(backend):
    """To 2e-6 after 20 steps: a product of many small matrices may round as none of them does."""
    rows = torch.stack([torch.randperm(50)[:8] for _ in range(20 * 2)]).view(20, 2, 8)
    together, lone = steps_of(range(2)), steps_of(range(2))
    generators = [torch.Generator().manual_seed(seed) for seed in range(2)]
    steps, buffers = [step for _, step in together], [[*m.buffers()] for m, _ in together]
    many = ManySteps(steps, buffers, (rows[0, 0],), generators, backend)
    outputs = [many(batch) for batch in rows]
    for i, (model, step) in enumerate(lone):
        torch.manual_seed(i)
        for batch, losses in zip(rows, outputs):
            for got, want in zip(losses, step(batch[i])):
                torch.testing.assert_close(got[i], want, rtol=2e-6, atol=1e-6)
        for p, q in zip(together[i][0].parameters(), model.parameters()):
            assert (p - q).norm() <= 2e-6 * q.norm()


@pytest.mark.slow
def test_a_model_that_is_held_or_released_stays():
    rows = torch.arange(8).repeat(3, 1)
    made = steps_of(range(3))
    generators = [torch.Generator().manual_seed(seed) for seed in range(3)]
    buffers = [[*model.buffers()] for model, _ in made]
    many = ManySteps([step for _, step in made], buffers, (rows[0],), generators, "graph")
    before = [[p.detach().clone() for p in model.parameters()] for model, _ in made]
    many(rows, held=[1])
    many.release(2)
    released = [p.detach().clone() for p in made[2][0].parameters()]
    state = generators[1].get_state()
    many(rows)
    assert all(map(torch.equal, released, made[2][0].parameters()))
    assert not all(map(torch.equal, before[0], made[0][0].parameters()))
    assert not torch.equal(state, generators[1].get_state())


# --- Training -------------------------------------------------------------------------------------


def test_models_are_what_fit_makes_of_each_alone():
    """Losses, validation and parameters; 50 rows in batches of 8 leave a smaller last one."""
    grid = {"train.lr": [1e-2, 3e-2]}
    torch.manual_seed(4)
    found = pv.fit_many(make, DATA, valid=VALID, seeds=[0, 5], grid=grid, **OPTIONS, **QUIET)
    after = torch.rand(3)
    torch.manual_seed(4)
    assert torch.equal(after, torch.rand(3))  # global randomness is left alone
    assert [trained.seed for trained in found] == [0, 5, 0, 5]
    for trained in found:
        model, history = alone(trained, valid=VALID, **OPTIONS)
        for name in ("loss", "kl", "grad_norm", "elbo", "lr"):
            got, want = figures(trained.history, name), figures(history, name)
            assert got == pytest.approx(want, rel=2e-5)
        for p, q in zip(trained.vae.parameters(), model.parameters()):
            torch.testing.assert_close(p, q, rtol=2e-4, atol=2e-5)
    assert not equal(found[0].vae, found[1].vae)


FREE = {
    "kl_weight": [0.5, 2.0],
    "kl_warmup_epochs": [0.0, 2.0],
    "schedule": ["constant", "cosine"],
    "warmup_epochs": [0.0, 2.0],
    "epochs": [2, 4],
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FREE)
def test_free_settings_are_each_models_own(name):
    grid = {f"train.{name}": FREE[name]}
    found = pv.fit_many(make, DATA, seeds=[3], grid=grid, **OPTIONS, **QUIET)
    for trained in found:
        model, history = alone(trained, **OPTIONS)
        got, want = figures(trained.history, "loss"), figures(history, "loss")
        assert got == pytest.approx(want, rel=2e-5)


def test_early_stopping_is_each_models_own():
    options = {**OPTIONS, "epochs": 12, "lr": 0.1, "patience": 1}
    found = pv.fit_many(make, DATA, valid=VALID, seeds=range(3), **options, **QUIET)
    ends = [len(trained.history["loss"]) for trained in found]
    for trained, end in zip(found, ends):
        model, history = alone(trained, valid=VALID, **options)
        assert len(history["loss"]) == end
        for p, q in zip(trained.vae.parameters(), model.parameters()):
            torch.testing.assert_close(p, q, rtol=1e-3, atol=1e-4)
    assert len({*ends}) > 1


def test_a_model_that_diverges_stops_alone_and_is_named(capsys):
    grid, options = {"train.lr": [1e-2, 1e29]}, {**OPTIONS, "schedule": "cosine"}
    found = pv.fit_many(make, DATA, seeds=[0], grid=grid, **options, **QUIET)
    good, bad = found
    assert good.error is None and isinstance(bad.error, ArithmeticError)
    assert "lr=1e+29,seed=0 stopped: Expected finite losses" in capsys.readouterr().err
    model, _ = alone(good, **options)
    for p, q in zip(good.vae.parameters(), model.parameters()):
        torch.testing.assert_close(p, q, rtol=2e-4, atol=2e-5)


@pytest.mark.slow
def test_other_shapes_form_other_groups():
    grid = {"width": [4, 6]}
    found = pv.fit_many(make, DATA, seeds=[0, 1], grid=grid, **{**OPTIONS, "epochs": 1}, **QUIET)
    sizes = [sum(p.numel() for p in trained.vae.parameters()) for trained in found]
    assert sizes[0] == sizes[1] < sizes[2] == sizes[3]


def test_what_cannot_be_one_graph_is_trained_one_by_one(capsys):
    class Branching(pv.likelihoods.Gaussian):
        def forward(self, z, **known):
            if float(z.detach().mean()) > 100:
                raise ArithmeticError("far away")
            return super().forward(z, **known)

    def branching():
        model = make()
        model.likelihood.__class__ = Branching
        return model

    options = {**OPTIONS, "epochs": 2, "schedule": "cosine"}
    found = pv.fit_many(branching, DATA, seeds=[0, 1], **options, **QUIET)
    assert "one by one" in capsys.readouterr().err
    for trained in found:
        assert equal(trained.vae, alone(trained, **options)[0])


def test_a_later_group_that_is_wrong_is_said_before_training(capsys):
    with pytest.raises(ValueError, match="prior"):
        pv.fit_many(TINY, seeds=[0], grid={"prior.kind": ["standard-normal", "bernoulli"]})
    assert "epoch" not in capsys.readouterr().out


def test_a_group_resumes_bit_for_bit(tmp_path, monkeypatch):
    options = {**OPTIONS, "epochs": 3, "checkpoint_steps": 5, **QUIET}
    whole = pv.fit_many(make, DATA, seeds=[0, 1], out=tmp_path / "whole", **options)
    from pyro_vae.train.group import Group

    leave, count = Group.leave_if_told, []

    def dying(self):
        count.append(1)
        if len(count) == 13:
            raise MemoryError("the plug is pulled")
        leave(self)

    with monkeypatch.context() as patch, pytest.raises(MemoryError):
        patch.setattr(Group, "leave_if_told", dying)
        pv.fit_many(make, DATA, seeds=[0, 1], out=tmp_path / "cut", **options)
    torch.manual_seed(9)
    again = pv.fit_many(make, DATA, seeds=[0, 1], out=tmp_path / "cut", **options)
    for a, b in zip(whole, again):
        assert equal(a.vae, b.vae)
        assert figures(a.history, "loss") == figures(b.history, "loss")
    third = pv.fit_many(make, DATA, seeds=[0, 1], out=tmp_path / "cut", **options)
    assert all(equal(a.vae, b.vae) for a, b in zip(whole, third))  # nothing was left to do


@pytest.mark.slow
def test_a_recipe_and_its_grid(tmp_path):
    grid = {"prior.kind": ["standard-normal", "normal"]}
    found = pv.fit_many(TINY, seeds=[0, 1], grid=grid, out=tmp_path, **QUIET)
    names = [f"prior={kind},seed={seed}" for kind in grid["prior.kind"] for seed in (0, 1)]
    assert [trained.name for trained in found] == names
    for trained in found:
        assert equal(pv.load(trained.folder), trained.vae)
        assert math.isfinite(trained.history["elbo"][-1])


def test_a_model_of_a_recipe_is_what_the_command_trains(tmp_path):
    """Also the bits of its validation data, which are drawn once, by its seed."""
    [trained] = pv.fit_many(TINY, seeds=[3], out=tmp_path / "many", **QUIET)
    path = tmp_path / "tiny.toml"
    path.write_text(to_toml(validate(TINY)))
    assert main(["train", str(path), "--seed", "3", "--out", str(tmp_path / "one")]) == 0
    one = pv.runs.RunFolder.open(tmp_path / "one")
    assert equal(trained.vae, one.model())
    assert trained.history["elbo"] == [row["elbo"] for row in one.metrics() if "elbo" in row]
    in_memory = one.dataset().valid.rows(slice(None))
    [same] = pv.fit_many(TINY, valid=in_memory, seeds=[3], **QUIET)
    assert same.history["elbo"] == trained.history["elbo"]


@pytest.mark.slow
@pytest.mark.parametrize("posterior", ["per-datum", "delta"])
def test_posteriors_without_validation_are_trained(posterior, tmp_path):
    values = {**TINY, "posterior": {"kind": posterior}, "train": {"epochs": 1, "patience": 3}}
    if posterior == "delta":
        values["posterior"]["encoder"] = TINY["posterior"]["encoder"]
    found = pv.fit_many(values, seeds=[0, 1], **QUIET)
    assert all(t.error is None and t.valid_elbo is None and t.history["loss"] for t in found)


class Skipping(torch.nn.Module):
    """A network with weights of its own that are not trained."""

    def __init__(self):
        super().__init__()
        self.net, self.skip = pv.nn.MLP(L, [8], D), torch.nn.Linear(L, D).requires_grad_(False)

    def forward(self, z):
        return self.net(z) + self.skip(z)


class Tied(torch.nn.Module):
    """A network two of whose parameters share memory."""

    def __init__(self):
        super().__init__()
        self.a, self.b = torch.nn.Linear(L, D), torch.nn.Linear(D, L)
        self.b.weight = torch.nn.Parameter(self.a.weight.data.T)

    def forward(self, z):
        return self.a(self.b(self.a(z)))


def gaussian(decoder=None, posterior=None, **options):
    likelihood = pv.likelihoods.Gaussian(decoder or pv.nn.MLP(L, [8], D), **options)
    posterior = posterior or pv.posteriors.MeanFieldNormal(pv.nn.MLP(D, [8], 2 * L))
    return pv.VAE(pv.priors.StandardNormal(L), likelihood, posterior)


def full_covariance():
    encoder = pv.nn.MLP(D, [8], pv.posteriors.FullCovarianceNormal.num_outputs(L))
    return gaussian(posterior=pv.posteriors.FullCovarianceNormal(encoder, L))


MODELS = {
    "frozen": (lambda: gaussian(Skipping()), {}, True),
    "tied": (lambda: gaussian(Tied()), {}, False),
    "optimal sigma": (lambda: gaussian(sigma="optimal"), {}, True),
    "full covariance": (full_covariance, {}, True),
    "spectral": (lambda: gaussian(torch.nn.utils.spectral_norm(torch.nn.Linear(L, D))), {}, False),
    "Adagrad": (gaussian, {"optimizer": "Adagrad"}, False),
    "SGD": (gaussian, {"optimizer": "SGD", "optimizer_options": {"momentum": 0.9}}, True),
    "free bits": (gaussian, {"free_bits": 0.5}, True),
    "IWAE": (gaussian, {"estimator": "iwae", "num_particles": 3}, True),
}


@pytest.mark.parametrize("name", [n if n in ("frozen", "tied", "full covariance") else pytest.param(n, marks=pytest.mark.slow) for n in MODELS])  # fmt: skip
def test_models_of_many_kinds(name, capsys):
    """Those that cannot share a step take turns, from the same step of every schedule on."""
    build, options, shares = MODELS[name]
    options = {**OPTIONS, "epochs": 2, "schedule": "cosine", **options}
    found = pv.fit_many(build, DATA, seeds=[0, 3], **options, **QUIET)
    assert ("one by one" in capsys.readouterr().err) is not shares
    for trained in found:
        model, _ = alone(trained, build=build, **options)
        for p, q in zip(trained.vae.parameters(), model.parameters()):
            torch.testing.assert_close(p, q, rtol=2e-4, atol=2e-5)


def test_models_that_share_parameters_are_refused():
    shared = pv.nn.MLP(D, [8], 2 * L)
    build = lambda: gaussian(posterior=pv.posteriors.MeanFieldNormal(shared))  # noqa: E731
    with pytest.raises(ValueError, match="makes all of a model anew"):
        pv.fit_many(build, DATA, seeds=[0, 1], **OPTIONS, **QUIET)


@pytest.mark.slow
def test_memory_stays_flat_over_many_groups():
    resource = pytest.importorskip("resource")

    def peak():
        gc.collect()
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    options = {**OPTIONS, "epochs": 1, **QUIET}
    for _ in range(4):
        pv.fit_many(make, DATA, seeds=[0, 1], **options)
    before = peak()
    for _ in range(8):
        pv.fit_many(make, DATA, seeds=[0, 1], **options)
    assert peak() - before < 30  # MiB


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"seeds": []}, "one or more seeds"),
        ({"seeds": [0, 0]}, "each once"),
        ({"seeds": 3}, r"seeds=range\(3\)"),
        ({"together": -1}, "at least 1"),
        ({"grid": {"lr": [0.1]}}, "train.lr"),
        ({"grid": {"train.lr": 0.1}}, "list of values for train.lr"),
        ({"grid": {"train.lr": []}}, "list of values"),
        ({"grid": {"seed": [1, 2]}}, "Use seeds"),
        ({"grid": {"train.lr": [-1.0]}}, "lr"),
        ({"grid": {"train.rate": [0.1]}}, "rate"),
    ],
)
def test_wrong_grids_get_a_sentence(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        pv.fit_many(make, DATA, **options, **OPTIONS, **QUIET)
