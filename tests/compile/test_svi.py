"""The compiled step does what Pyro does, or refuses in a sentence."""

import gc
import resource
from pathlib import Path

import pyro
import pytest
import torch
from checks import same
from programs import PROGRAMS, REFUSED
from pyro.infer import SVI, Trace_ELBO

import pyro_vae as pv
from pyro_vae.compile import Mismatch, NotStatic

pytestmark = pytest.mark.param_store


def state():
    return {n: p.detach().clone() for n, p in pyro.get_param_store().named_parameters()}


def trained(svi_class, make, optimizer, steps=None, **options):
    """Losses of a training, and the parameters after it."""
    pyro.clear_param_store()
    torch.manual_seed(1)
    model, guide, loss, calls = make()
    svi = svi_class(model, guide, optimizer(), loss, **options)
    torch.manual_seed(2)
    losses = [torch.as_tensor(svi.step(*args)).double() for args in calls[:steps]]
    parameters = {
        name: p.detach().clone() for name, p in pyro.get_param_store().named_parameters()
    }
    for owner in {
        id(f.__self__): f.__self__ for f in (model, guide) if hasattr(f, "__self__")
    }.values():
        parameters |= {f"own {n}": p.detach().clone() for n, p in owner.named_parameters()}
        parameters |= {f"own {n}": p.detach().clone() for n, p in owner.named_buffers()}
    return torch.stack(losses), parameters, torch.get_rng_state()


def stock(model, guide, optimizer, loss):
    """SVI as Pyro has it; our objectives are functions to it."""
    if isinstance(loss, pv.objectives.Objective):
        return SVI(model, guide, optimizer, lambda *args: loss(*args).loss)
    return SVI(model, guide, optimizer, loss)


def compiled(model, guide, optimizer, loss, **options):
    return pv.CompiledSVI(model, guide, optimizer, loss, **{"backend": "graph", **options})


LONG = (
    *("time_series", "hidden_markov", "semi_supervised", "three_particles_in_turn"),
    *("correlated_normals", "wake_sleep", "our_stl", "our_vimco", "eight_schools", "our_dreg"),
    *("score_function_average_baseline", "gaussian_process", "auto_low_rank", "auto_iaf"),
    *("constrained_parameters", "changing_kl_weight", "factors_and_deterministics", "renyi"),
    *("one_hot_score_function", "auto_multivariate_normal", "auto_structured", "nested_plates"),
)


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(make, id=name, marks=pytest.mark.slow if name in LONG else ())
        for name, make in PROGRAMS.items()
    ],
)
def test_programs_train_as_in_pyro(make):
    """Losses, gradients (as SGD shows them), buffers and random draws are those of SVI."""
    sgd = lambda: pyro.optim.SGD({"lr": 1e-3})  # noqa: E731
    losses, parameters, rng = trained(stock, make, sgd)
    got, moved, at = trained(compiled, make, sgd)
    torch.testing.assert_close(got, losses, rtol=1e-5, atol=1e-6)
    same(moved, parameters)
    assert torch.equal(at, rng)


@pytest.mark.parametrize("make,word", REFUSED.values(), ids=REFUSED.keys())
def test_other_programs_are_refused(make, word):
    model, guide, loss, calls = make()
    svi = compiled(model, guide, pyro.optim.Adam({"lr": 1e-2}), loss)
    svi.step(*calls[0])
    before = state()
    with pytest.raises(NotStatic, match="Expected") as error:
        svi.step(*calls[1])
    assert word in str(error.value)
    same({name: p for name, p in state().items() if name in before}, before, 0, 0)

    svi.not_static = "eager"
    with pytest.warns(UserWarning, match="goes on eagerly"):
        svi.step(*calls[1])
    assert torch.isfinite(torch.as_tensor(svi.step(*calls[-1])))


# --- Optimizers ---------------------------------------------------------------------------------------


def make_vae():
    return PROGRAMS["masked_pixels"]()


def many(make, steps=12):
    def repeated():
        model, guide, loss, calls = make()
        return model, guide, loss, (calls * steps)[:steps]

    return repeated


OPTIMIZERS = {
    "adam": lambda: pyro.optim.Adam({"lr": 1e-2, "betas": (0.8, 0.99), "weight_decay": 0.01}),
    "amsgrad": lambda: pyro.optim.Adam({"lr": 1e-2, "amsgrad": True}),
    "adamw": lambda: pyro.optim.AdamW({"lr": 1e-2, "weight_decay": 0.1}),
    "maximize": lambda: pyro.optim.AdamW({"lr": 1e-3, "maximize": True}),
    "clipped": lambda: pyro.optim.ClippedAdam({"lr": 1e-2, "lrd": 0.97, "clip_norm": 0.5}),
    "centered": lambda: pyro.optim.ClippedAdam({"lr": 1e-2, "centered_variance": True}),
    "sgd": lambda: pyro.optim.SGD({"lr": 1e-3, "momentum": 0.9, "nesterov": True}),
    "dampened": lambda: pyro.optim.SGD({"lr": 1e-3, "momentum": 0.9, "dampening": 0.1}),
    "rmsprop": lambda: pyro.optim.RMSprop({"lr": 1e-3, "momentum": 0.5, "centered": True}),
    "adagrad": lambda: pyro.optim.Adagrad({"lr": 1e-2}),
    "clip_norm": lambda: pyro.optim.Adam({"lr": 1e-2}, {"clip_norm": 0.1}),
    "clip_value": lambda: pyro.optim.Adam({"lr": 1e-2}, {"clip_value": 0.05}),
    "by_name": lambda: pyro.optim.Adam(lambda name: {"lr": 1e-2 if "bias" in name else 1e-3}),
}


USUAL = ("adam", "sgd", "clipped", "clip_norm", "by_name")


@pytest.mark.parametrize(
    "optimizer",
    [
        pytest.param(make, id=name, marks=() if name in USUAL else pytest.mark.slow)
        for name, make in OPTIMIZERS.items()
    ],
)
def test_optimizers_move_as_in_torch(optimizer):
    losses, parameters, _ = trained(stock, many(make_vae), optimizer)
    got, moved, _ = trained(compiled, many(make_vae), optimizer)
    torch.testing.assert_close(got, losses, rtol=1e-5, atol=1e-5)
    same(moved, parameters, rtol=1e-4, atol=2e-6)


def test_a_planted_error_in_an_update_would_show(monkeypatch):
    from pyro_vae.compile import optimizers

    monkeypatch.setattr(optimizers, "_rise", lambda step, beta: torch.ones_like(step))
    with pytest.raises(Mismatch, match="from where the optimizer puts it"):
        trained(compiled, many(make_vae), OPTIMIZERS["adam"])


def test_schedules_reach_the_graph_and_record_nothing_anew():
    def scheduled(cls, **options):
        pyro.clear_param_store()
        model, guide, loss, calls = make_vae()
        schedule = pyro.optim.ExponentialLR(
            {"optimizer": torch.optim.Adam, "optim_args": {"lr": 1e-2}, "gamma": 0.7}
        )
        svi = cls(model, guide, schedule, loss, **options)
        torch.manual_seed(2)
        for _ in range(6):
            svi.step(*calls[0])
            schedule.step()
        return state(), svi

    expected, _ = scheduled(SVI)
    got, svi = scheduled(pv.CompiledSVI, backend="graph")
    same(got, expected, rtol=1e-4, atol=2e-6)
    assert len(svi.fused.cache.entries) == 1


@pytest.mark.parametrize("instance", [False, True])
def test_optimizers_of_torch_are_taken_too(instance):
    model, guide, loss, calls = make_vae()
    vae = model.__self__
    optimizer = torch.optim.AdamW(vae.parameters(), lr=1e-2) if instance else torch.optim.AdamW
    svi = compiled(model, guide, optimizer, loss)
    for args in calls:
        svi.step(*args)
    assert all(float(s["step"]) == 3 for s in svi.optimizer.state.values())


@pytest.mark.slow
def test_parameters_with_gradients_at_times_only_move_as_in_torch():
    make = PROGRAMS["semi_supervised"]
    losses, parameters, _ = trained(stock, make, OPTIMIZERS["adam"])
    got, moved, _ = trained(compiled, make, OPTIMIZERS["adam"])
    torch.testing.assert_close(got, losses, rtol=1e-5, atol=1e-5)
    same(moved, parameters, rtol=1e-4, atol=2e-6)


def test_a_loaded_optimizer_state_is_taken_up():
    model, guide, loss, calls = make_vae()
    adam = torch.optim.Adam(model.__self__.parameters(), lr=1e-2)
    svi = compiled(model, guide, adam, loss)
    for args in calls:
        svi.step(*args)
    saved = {k: v.clone() for k, v in model.__self__.state_dict().items()}
    moments = {
        "state": {
            i: {k: v.clone() for k, v in s.items()} for i, s in adam.state_dict()["state"].items()
        }
    }
    moments["param_groups"] = adam.state_dict()["param_groups"]

    def go_on():
        torch.manual_seed(9)
        for args in calls:
            svi.step(*args)
        return {k: v.clone() for k, v in model.__self__.state_dict().items()}

    first = go_on()
    model.__self__.load_state_dict(saved)
    adam.load_state_dict(moments)
    same(go_on(), first, 0, 0)


# --- What the graph holds fixed -----------------------------------------------------------------------


class Hidden:
    """A value where no list of attributes shows it."""

    __slots__ = ("value",)

    def __init__(self, value):
        self.value = value


def test_what_python_hides_is_found_at_a_compared_step_and_moves_nothing():
    model, guide, loss, calls = make_vae()
    scale = Hidden(1.0)

    def scaled(program):
        def run(*args):
            with pyro.poutine.scale(scale=scale.value):
                return program(*args)

        return run

    svi = compiled(scaled(model), scaled(guide), OPTIMIZERS["adam"](), loss)
    for args in calls[:2]:
        svi.step(*args)
    scale.value = 0.5
    before = state()
    with pytest.raises(Mismatch, match="Python attribute"):
        svi.step(*calls[0])
    same(state(), before, 0, 0)


def test_a_loss_that_is_not_finite_moves_nothing():
    model, guide, loss, calls = make_vae()
    svi = compiled(model, guide, OPTIMIZERS["adam"](), loss)
    for args in calls:
        svi.step(*args)
    before = state()
    assert not torch.isfinite(svi.step(torch.full_like(calls[0][0], torch.nan), calls[0][1]))
    same(state(), before, 0, 0)
    assert svi.bad_steps == 1
    svi.step(*calls[0])
    assert not torch.equal(next(iter(state().values())), next(iter(before.values())))


def test_evaluate_loss_is_that_of_svi():
    model, guide, loss, calls = make_vae()
    svi = compiled(model, guide, OPTIMIZERS["adam"](), loss)
    svi.step(*calls[0])
    before = state()
    torch.manual_seed(4)
    got = svi.evaluate_loss(*calls[0])
    torch.manual_seed(4)
    expected = SVI(model, guide, OPTIMIZERS["adam"](), loss).evaluate_loss(*calls[0])
    assert float(got) == pytest.approx(expected, rel=1e-5)
    same(state(), before, 0, 0)


def test_run_visits_every_row_once_an_epoch():
    seen = []

    def model(x):
        seen.append(x.clone())
        loc = pyro.param("loc", torch.tensor(0.0))
        with pyro.plate("data", len(x)):
            pyro.sample("x", pyro.distributions.Normal(loc, 1.0), obs=x)

    x = torch.arange(12.0)
    rate = pyro.optim.SGD({"lr": 0.0})
    svi = compiled(model, lambda x: None, rate, Trace_ELBO(), not_static="eager")
    with pytest.warns(UserWarning, match="list or dictionary that it keeps"):
        losses = svi.run(6, x, batch_size=4)
    assert losses.shape == (6,)
    norm = 0.5 * torch.log(torch.tensor(2 * torch.pi)) * 4
    squares = 2 * (losses - norm)
    for epoch in squares.view(2, 3):
        assert float(epoch.sum()) == pytest.approx(float(x.square().sum()), rel=1e-5)
    with pytest.raises(ValueError, match="batch size from 1 to 12"):
        svi.run(3, x, batch_size=13)


@pytest.mark.slow
def test_a_run_takes_the_same_steps():
    x = PROGRAMS["our_elbo"]()[3][0][0]

    def run(one_by_one):
        model, guide, loss, _ = PROGRAMS["our_elbo"]()
        svi = compiled(model, guide, OPTIMIZERS["adam"](), loss)
        torch.manual_seed(3)
        if one_by_one:
            losses = torch.stack([svi.step(x) for _ in range(40)])
        else:
            losses = svi.run(40, x)
        return losses, {k: v.detach().clone() for k, v in model.__self__.state_dict().items()}

    (a, p), (b, q) = run(True), run(False)
    torch.testing.assert_close(a, b)
    same(p, q)


def test_wrong_arguments_are_answered_by_sentences():
    model, guide, loss, _ = make_vae()
    with pytest.raises(ValueError, match=r"Expected an optimizer of pyro\.optim"):
        pv.CompiledSVI(model, guide, 1e-3, loss)
    with pytest.raises(ValueError, match="Expected an ELBO"):
        pv.CompiledSVI(model, guide, OPTIMIZERS["adam"](), "elbo")


@pytest.mark.slow
def test_many_recordings_are_warned_of():
    def model(x, name):
        loc = pyro.param("loc", torch.tensor(0.0))
        pyro.sample("x", pyro.distributions.Normal(loc, 1.0), obs=x)

    svi = compiled(model, lambda x, name: None, OPTIMIZERS["adam"](), Trace_ELBO())
    with pytest.warns(UserWarning, match="recorded for 8 kinds of arguments"):
        for name in "aabbccddeeffgghhii":
            svi.step(torch.ones(()), name)
    assert len(svi.fused.cache.entries) == 8


def test_the_uncompiled_graph_has_the_bits_of_eager():
    """Draws and gradients, by one step of SGD whose learning rate is a power of two."""
    sgd = lambda: pyro.optim.SGD({"lr": 2.0**-10})  # noqa: E731
    _, parameters, rng = trained(stock, make_vae, sgd, steps=2)
    _, moved, at = trained(compiled, make_vae, sgd, steps=2)
    assert torch.equal(rng, at)
    same(moved, parameters, 0, 0)


# --- Compiled -----------------------------------------------------------------------------------------


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "name",
    ["auto_normal"]  # compilers take long
    + [
        pytest.param(n, marks=pytest.mark.slow)
        for n in ("our_elbo", "score_function_neural_baseline")
    ],
)
def test_inductor_trains_as_pyro(name):
    losses, parameters, rng = trained(stock, many(PROGRAMS[name], 5), OPTIMIZERS["adam"])
    got, moved, at = trained(
        compiled, many(PROGRAMS[name], 5), OPTIMIZERS["adam"], backend="inductor"
    )
    torch.testing.assert_close(got, losses, rtol=1e-4, atol=1e-4)
    same(moved, parameters, rtol=1e-3, atol=1e-4)
    assert torch.equal(at, rng)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("make", PROGRAMS.values(), ids=PROGRAMS.keys())
def test_inductor_trains_all_programs(make):
    sgd = lambda: pyro.optim.SGD({"lr": 1e-3})  # noqa: E731
    losses, parameters, _ = trained(stock, make, sgd)
    got, moved, _ = trained(compiled, make, sgd, backend="inductor")
    torch.testing.assert_close(got, losses, rtol=1e-4, atol=1e-4)
    same(moved, parameters, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_nothing_leaks_over_ten_thousand_steps():
    model, guide, loss, calls = PROGRAMS["our_elbo"]()
    svi = compiled(model, guide, OPTIMIZERS["adam"](), loss, backend="inductor")
    for _ in range(2000):
        svi.step(*calls[0])
    gc.collect()
    addresses = [p.data_ptr() for p in model.__self__.parameters()]
    before = resident_bytes()
    for _ in range(10_000):
        svi.step(*calls[0])
    gc.collect()
    assert resident_bytes() - before < 4_000_000
    assert [p.data_ptr() for p in model.__self__.parameters()] == addresses


def resident_bytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def test_a_machine_without_a_compiler_says_so_once(monkeypatch, capsys):
    from pyro_vae.compile.backend import has_compiler

    has_compiler.cache_clear()
    monkeypatch.setattr("shutil.which", lambda name: None)
    model, guide, loss, calls = make_vae()
    svi = compiled(model, guide, OPTIMIZERS["adam"](), loss, backend="inductor")
    for args in calls:
        svi.step(*args)
    assert capsys.readouterr().err.count("No C++ compiler was found") == 1
    has_compiler.cache_clear()


# --- What a CUDA graph needs, as far as a CPU can tell ------------------------------------------------
WAITS = ("_local_scalar_dense", "item", "nonzero", "masked_select", "is_nonzero")


@pytest.mark.parametrize(
    "name",
    [
        "our_elbo",
        *(pytest.param(n, marks=pytest.mark.slow) for n in ("our_iwae", "our_dreg", "our_vimco")),
    ],
)
def test_a_step_of_ours_waits_for_nothing_and_stays_where_it_is(name):
    """No number leaves the device, nothing moves between devices, addresses do not change."""
    model, guide, loss, calls = PROGRAMS[name]()
    svi = compiled(model, guide, OPTIMIZERS["adam"](), loss)
    svi.step(*calls[0])
    svi.step(*calls[0])
    [entry] = svi.fused.cache.entries.values()
    for node in entry.graph.module.graph.nodes:
        assert not any(word in str(node.target).split(".") for word in WAITS), node
        assert "device" not in node.kwargs or node.kwargs["device"] in (None, torch.device("cpu"))
    addresses = [t.data_ptr() for t in entry.graph.externals]
    svi.step(*calls[0])
    assert addresses == [t.data_ptr() for t in entry.graph.externals]


class Tape:
    """Stands for a CUDA graph: what ran under capture runs again at replay, into the same tensors."""

    run = None

    def replay(self):
        self.run()


def test_a_replayed_step_starts_where_training_stands(monkeypatch):
    from contextlib import contextmanager, nullcontext

    from pyro_vae.compile import backend

    class Stream:
        def wait_stream(self, other):
            pass

    @contextmanager
    def capture(tape):
        with backend.undisturbed_randomness():
            yield

    for name, value in {
        "CUDAGraph": Tape,
        "Stream": Stream,
        "stream": lambda stream: nullcontext(),
        "current_stream": Stream,
        "current_device": lambda: 0,
        "default_generators": [torch.default_generator],
        "graph": capture,
    }.items():
        monkeypatch.setattr(torch.cuda, name, value)

    def replayed(graph, args, *_):
        function = backend.Replay(graph.module, graph, args)
        inputs = function.args

        def run():
            for fixed, new in zip(function.outputs, graph.module(*graph.externals, *inputs)):
                fixed.copy_(new)

        function.captured.run = run
        backend.restore(zip(graph.changed, at_capture))  # a true capture runs nothing
        return function

    at_capture = []
    record = pv.compile.cache.record

    def remembering(*args):
        graph = record(*args)
        at_capture[:] = [t.detach().clone() for t in graph.changed]
        return graph

    monkeypatch.setattr(pv.compile.cache, "record", remembering)
    losses, parameters, _ = trained(stock, many(make_vae, 6), OPTIMIZERS["adam"])
    monkeypatch.setattr(pv.compile.cache, "compile_graph", replayed)
    got, moved, _ = trained(compiled, many(make_vae, 6), OPTIMIZERS["adam"])
    torch.testing.assert_close(got, losses, rtol=1e-5, atol=1e-5)
    same(moved, parameters, rtol=1e-4, atol=2e-6)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_the_step_is_one_cuda_graph():
    from pyro_vae.compile.backend import Replay

    def train(svi_class, **options):
        model, guide, loss, calls = PROGRAMS["our_elbo"]()
        model.__self__.to("cuda")
        svi = svi_class(model, guide, OPTIMIZERS["adam"](), loss, **options)
        torch.manual_seed(2)
        losses = [float(svi.step(calls[0][0].cuda())) for _ in range(20)]
        return losses, svi

    expected, _ = train(stock)
    losses, svi = train(pv.CompiledSVI)
    [entry] = svi.fused.cache.entries.values()
    assert isinstance(entry.function, Replay) and entry.function.captured is not None
    assert losses == pytest.approx(expected, rel=1e-3)
