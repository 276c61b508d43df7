"""Whatever changes between steps, and whatever a program asks: the step is that of pyro.infer.SVI."""

import copy
import gc
import math
import random
import warnings
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import SVI, JitTrace_ELBO, Trace_ELBO, TraceGraph_ELBO
from torch import nn

import pyro_vae as pv
from pyro_vae.compile import NotStatic

pytestmark = pytest.mark.param_store

STEPS, CHANGE = 8, 4
X = torch.randn(6, 3, generator=torch.Generator().manual_seed(1))
factor = 1.0  # a global that a test changes


def some(cases, *usual):
    """All of the cases; those that are not usual wait for make test-all."""
    return [c if c in usual else pytest.param(c, marks=pytest.mark.slow) for c in cases]


class Case:
    """A small VAE, and what its user does between steps."""

    width = 1.0  # an attribute of the class

    def __init__(self):
        self.encoder = self.make_encoder()
        self.decoder = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 3))
        self.optim = self.make_optim()
        self.loss = Trace_ELBO()

    def make_encoder(self):
        return nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.3), nn.Tanh(), nn.Linear(4, 4))

    def make_optim(self):
        return pyro.optim.Adam({"lr": 0.01})

    def encode(self, x):
        return self.encoder(x)

    def model(self, x, *rest):
        pyro.module("decoder", self.decoder)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(self.decoder(z), 1.0).to_event(1), obs=x)

    def guide(self, x, *rest):
        pyro.module("encoder", self.encoder)
        with pyro.plate("data", len(x)):
            loc, log_scale = self.encode(x).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))

    def args(self, i):
        return (X + 0.01 * i,)

    def between(self, i, svi):
        if i == CHANGE:
            self.change(svi)

    def change(self, svi):
        """What happens before the sixth step."""


def train(make, svi_class, **options):
    """Losses, parameters, buffers and the generator's state after a training."""
    global factor
    factor = 1.0
    pyro.clear_param_store()
    random.seed(0), np.random.seed(0), torch.manual_seed(0)
    case = make()
    svi = svi_class(case.model, case.guide, case.optim, case.loss, **options)
    losses = []
    for i in range(STEPS):
        case.between(i, svi)
        losses.append(float(svi.step(*case.args(i))))
    values = {n: p.detach().clone() for n, p in pyro.get_param_store().named_parameters()}
    for module in (case.encoder, case.decoder):
        values |= {f"{id(module) and n}": b.clone() for n, b in module.state_dict().items()}
    draws = random.random(), float(np.random.rand()), float(torch.rand(()))
    return losses, values, draws, svi


def same_as_stock(make, **options):
    """Trains with both; returns ours."""
    losses, values, draws, _ = train(make, SVI)
    got, moved, ours, svi = train(make, pv.CompiledSVI, **{"backend": "graph", **options})
    assert got == pytest.approx(losses, rel=1e-5)
    assert moved.keys() == values.keys()
    for name, value in values.items():
        torch.testing.assert_close(moved[name], value, rtol=1e-3, atol=1e-5)
    assert ours == pytest.approx(draws)
    return svi


# --- What changes between steps ---------------------------------------------------------------------


class Evaluation(Case):
    def change(self, svi):
        self.encoder.eval()


class DropoutRate(Case):
    def change(self, svi):
        self.encoder[1].p = 0.9


class Frozen(Case):
    def change(self, svi):
        self.decoder.requires_grad_(False)


class OtherLayer(Case):
    def change(self, svi):
        self.encoder[3] = nn.Linear(4, 4)


class OtherData(Case):
    def change(self, svi):
        self.decoder[0].weight.data = torch.ones(4, 2)


class Attribute(Case):
    options = SimpleNamespace(scale=1.0)

    def encode(self, x):
        return self.encoder(x) * self.options.scale * self.width * factor

    def change(self, svi):
        self.options = SimpleNamespace(scale=0.5)


class ClassAttribute(Attribute):
    def change(self, svi):
        type(self).width = 0.25

    def __init__(self):
        super().__init__()
        type(self).width = 1.0


class Global(Attribute):
    def change(self, svi):
        global factor
        factor = 0.25


class GlobalBack(Global):
    def between(self, i, svi):
        global factor
        factor = 0.25 if i % 4 > 1 else 1.0


class Reassigned(Case):
    def __init__(self):
        super().__init__()
        self.weight = torch.tensor(1.0)

    def encode(self, x):
        return self.encoder(x) * self.weight

    def change(self, svi):
        self.weight = torch.tensor(0.5)


class Hook(Case):
    def change(self, svi):
        self.decoder[0].weight.register_hook(lambda gradient: 0 * gradient)
        self.encoder[0].register_forward_hook(lambda module, args, out: 2 * out)


class Store(Case):
    def change(self, svi):
        store = pyro.get_param_store()
        state = copy.deepcopy(store.get_state())
        for value in state["params"].values():
            value.data += 0.1
        store.set_state(state)


class Cleared(Case):
    def change(self, svi):
        pyro.clear_param_store()


class WeightDecay(Case):
    def change(self, svi):
        for optimizer in self.optim.optim_objs.values():
            optimizer.param_groups[0]["weight_decay"] = 1.0


class OneCycle(Case):
    def make_optim(self):
        options = {"lr": 0.01, "betas": (0.9, 0.99)}
        return pyro.optim.OneCycleLR(
            {
                "optimizer": torch.optim.Adam,
                "optim_args": options,
                "max_lr": 0.1,
                "total_steps": 20,
            }
        )

    def between(self, i, svi):
        if i:
            self.optim.step()


class OwnDecay(Case):
    def make_optim(self):
        return pyro.optim.DCTAdam({"lr": 0.01, "lrd": 0.8})


class Clipped(Case):
    def make_optim(self):
        return pyro.optim.ClippedAdam({"lr": 0.01, "lrd": 0.8, "clip_norm": 0.1})


class OtherGuide(Case):
    def change(self, svi):
        svi.guide = partial(self.guide)


class Particles(Case):
    def change(self, svi):
        self.loss.num_particles = 3


class Surrounded(Case):
    def between(self, i, svi):
        if i == CHANGE:
            self.around = poutine.scale(scale=0.5)
            self.around.__enter__()
        if i == CHANGE + 2:
            self.around.__exit__(None, None, None)


class Spectral(Case):
    def make_encoder(self):
        return nn.Sequential(nn.utils.spectral_norm(nn.Linear(3, 4)), nn.Linear(4, 4))


CHANGES = [
    Evaluation, DropoutRate, Frozen, OtherLayer, OtherData, Attribute, ClassAttribute, Global,
    GlobalBack, Reassigned, Hook, Store, Cleared, WeightDecay, OneCycle, OwnDecay, Clipped,
    OtherGuide, Particles, Surrounded, Spectral,
]  # fmt: skip


@pytest.mark.parametrize("make", some(CHANGES, Evaluation, Attribute, Hook, Store, OneCycle))
@pytest.mark.filterwarnings("ignore:.*requires_grad=False")
def test_what_changes_between_steps_has_its_effect(make):
    same_as_stock(make)


@pytest.mark.slow
def test_a_graph_that_fits_again_is_used_again():
    assert len(same_as_stock(GlobalBack).fused.cache.entries) == 2


def test_steps_under_a_default_device_are_recorded():
    with torch.device("cpu"):
        assert len(same_as_stock(Case).fused.cache.entries) == 1


def test_what_the_garbage_collector_calls_is_no_part_of_the_program():
    """Hypothesis has such a callback, which writes to a global; here it comes at every allocation."""
    heard, thresholds = SimpleNamespace(count=0), gc.get_threshold()

    def callback(phase, info):
        heard.count += 1

    gc.callbacks.append(callback)
    gc.set_threshold(1)
    try:
        assert len(same_as_stock(Case).fused.cache.entries) == 1
    finally:
        gc.set_threshold(*thresholds)
        gc.callbacks.remove(callback)
    assert heard.count > 0 and gc.isenabled()


# --- What a program asks ------------------------------------------------------------------------------


class Asks(Case):
    def make_encoder(self):
        return nn.Linear(3, 4)

    def args(self, i):
        return (X, torch.tensor([i % 3 + 1, 2, 1]))


class Loop(Asks):
    def model(self, x, lengths):
        for _ in range(int(lengths.max())):
            x = x + 0.1
        super().model(x)


class Rows(Asks):
    def args(self, i):
        return (torch.where(torch.arange(6)[:, None] < 3 + i % 2, X, torch.nan),)

    def rows(self, x):
        return x[~x.isnan().any(-1)]

    def model(self, x):
        super().model(self.rows(x))

    def guide(self, x):
        super().guide(self.rows(x))


class Branch(Rows):
    def rows(self, x):
        if torch.isnan(x).any():
            x = torch.nan_to_num(x)
        return x


class Rounded(Asks):
    def encode(self, x):
        return self.encoder(x) * round(x.mean().item(), 2)


class OneDraw(Asks):
    def encode(self, x):
        return self.encoder(x) * x[torch.randint(6, ())].mean()


class PickedByDraw(Asks):
    def encode(self, x):
        rows = torch.randperm(6)[:3]
        return self.encoder(x) * (1.0 + int(rows.max()))


class PutBack(Asks):
    def encode(self, x):
        h = self.encoder(x)
        out, inside = torch.zeros_like(h), h.abs() < 0.3
        out[inside] = h[inside]
        return out


class Packed(Asks):
    def make_encoder(self):
        return nn.GRU(1, 4, batch_first=True)

    def guide(self, x, lengths):
        pyro.module("encoder", self.encoder)
        lengths = lengths.repeat(2).clamp(max=3)
        rows = nn.utils.rnn.pack_padded_sequence(
            x[..., None], lengths, batch_first=True, enforce_sorted=False
        )
        with pyro.plate("data", len(x)):
            loc, log_scale = self.encoder(rows)[1][0].chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))


class Checkpointed(Case):
    def encode(self, x):
        return torch.utils.checkpoint.checkpoint(self.encoder, x, use_reentrant=False)


class Generator(Asks):
    def __init__(self):
        super().__init__()
        self.generator = torch.Generator().manual_seed(1)

    def encode(self, x):
        return self.encoder(x + torch.randn(x.shape, generator=self.generator))


class Recurrent(Asks):
    def make_encoder(self):
        return nn.LSTM(1, 4, batch_first=True)

    def encode(self, x):
        return self.encoder(x[..., None])[0][:, -1]


class Infinite(Asks):
    def model(self, x, *rest):
        super().model(x)
        pyro.factor("impossible", torch.tensor(-math.inf))


ASKED = [
    Loop,
    Rows,
    Branch,
    Rounded,
    OneDraw,
    PickedByDraw,
    PutBack,
    Packed,
    Checkpointed,
    Generator,
]
ASKED += [Recurrent, Infinite]


@pytest.mark.parametrize("make", some(ASKED, Loop, Rows, PutBack, Checkpointed, Recurrent))
def test_what_a_program_asks_is_answered_or_guarded(make):
    svi = same_as_stock(make)
    assert svi.fused.cache.entries


@pytest.mark.parametrize(
    "draw",
    [lambda: random.random(), lambda: float(np.random.rand()), lambda: torch.manual_seed(3)],
)
def test_draws_that_no_graph_has_are_refused_with_their_line(draw):
    class Draws(Asks):
        def encode(self, x):
            return self.encoder(x) * (1 + (draw() is None))

    with pytest.raises(NotStatic, match=r"test_promise.py:\d+") as error:
        train(Draws, pv.CompiledSVI, backend="graph")
    assert "draw" in str(error.value) or "random generator" in str(error.value)
    with pytest.warns(UserWarning, match="goes on eagerly"):
        same_as_stock(Draws, not_static="eager")


class Counts(Asks):
    count = 0

    def encode(self, x):
        self.count += 1
        return self.encoder(x) * self.count


class Sampled(Asks):
    def encode(self, x):
        h = self.encoder(x)
        return h * 2 if h.sum() > 0 else h


class SparseRows(Asks):
    def make_encoder(self):
        return nn.Embedding(6, 4, sparse=True)

    def make_optim(self):
        return pyro.optim.SGD({"lr": 0.001})

    def encode(self, x):
        return self.encoder(torch.arange(6))


FAILS = [(Counts, "count"), (Sampled, "parameters decide"), (SparseRows, "sparse")]


@pytest.mark.parametrize("case", some(FAILS, FAILS[0]))
def test_the_rest_is_refused_before_anything_moves_or_goes_on_as_svi(case):
    make, word = case
    with pytest.raises(NotStatic, match=word):
        train(make, pv.CompiledSVI, backend="graph")
    with pytest.warns(UserWarning, match="goes on eagerly"):
        same_as_stock(make, not_static="eager")


# --- Arguments ----------------------------------------------------------------------------------------


@dataclass
class Batch:
    x: torch.Tensor
    weight: float


class Numpy(Asks):
    def args(self, i):
        return ((X + 0.1 * i).numpy(),)

    def model(self, x):
        super().model(torch.as_tensor(x))

    def guide(self, x):
        super().guide(torch.from_numpy(x.copy()))


class Data(Asks):
    def args(self, i):
        return (Batch(X + 0.1 * i, 0.1 * i),)

    def model(self, batch):
        with poutine.scale(scale=1 + batch.weight):
            super().model(batch.x)

    def guide(self, batch):
        with poutine.scale(scale=1 + batch.weight):
            super().guide(batch.x)


class Epochs(Asks):
    def args(self, i):
        return X, i

    def model(self, x, epoch):
        with poutine.scale(scale=min(1.0, (epoch + 1) / 100)):
            super().model(x)


class Floats(Asks):
    def args(self, i):
        return X, 1.0 + 0.5 * (i % 2)

    def encode(self, x):
        return self.encoder(x)

    def model(self, x, weight):
        super().model(x * math.sqrt(weight))


@pytest.mark.parametrize("make", some([Numpy, Data, Epochs, Floats], Numpy, Epochs))
def test_arguments_of_many_kinds_need_few_graphs(make):
    assert len(same_as_stock(make).fused.cache.entries) == (2 if make is Floats else 1)


# --- SVI's interface ----------------------------------------------------------------------------------


def test_svi_takes_the_place_of_pyros():
    case = Case()
    svi = pv.SVI(case.model, case.guide, optim=case.optim, loss=case.loss, backend="graph")
    losses = [svi.step(X) for _ in range(3)]
    assert all(type(loss) is float for loss in losses)
    assert type(svi.evaluate_loss(X)) is float
    assert svi.optim is case.optim
    assert type(svi.loss(svi.model, svi.guide, X)) is float
    assert type(svi.loss_and_grads(svi.model, svi.guide, X)) is float


def test_run_draws_traces_as_pyros():
    case = Asks()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        svi = pv.SVI(
            case.model,
            case.guide,
            case.optim,
            case.loss,
            num_steps=2,
            num_samples=3,
            backend="graph",
        )
        posterior = svi.run(X)
    assert len(posterior.exec_traces) == 3


def test_a_loss_of_ones_own_computes_its_gradients():
    def loss_and_grads(model, guide, *args):
        loss = Trace_ELBO().differentiable_loss(model, guide, *args) + 1
        loss.backward()
        return loss.item()

    def losses(make):
        pyro.clear_param_store()
        torch.manual_seed(0)
        case = Case()
        svi = make(case.model, case.guide, case.optim, Trace_ELBO().loss, loss_and_grads)
        return [float(svi.step(X)) for _ in range(6)]

    assert losses(partial(pv.SVI, backend="graph")) == pytest.approx(losses(SVI), rel=1e-5)


def test_a_jit_elbo_is_taken_as_its_plain_one():
    case = Case()
    with pytest.warns(UserWarning, match="taken as Trace_ELBO"):
        svi = pv.CompiledSVI(case.model, case.guide, case.optim, JitTrace_ELBO(), backend="graph")
    assert type(svi.plain) is Trace_ELBO


@pytest.mark.slow
def test_programs_without_parameters_step():
    class Fixed(Case):
        def model(self, x):
            pyro.sample("x", dist.Normal(0.0, 1.0).expand([6, 3]).to_event(2), obs=x)

        def guide(self, x):
            pass

    same_as_stock(Fixed)


@pytest.mark.slow
def test_both_baselines_step():
    baseline = nn.Linear(3, 1)

    class Scored(Asks):
        def model(self, x, *rest):
            z = pyro.sample("z", dist.Bernoulli(0.5))
            pyro.sample("x", dist.Normal(z, 1.0).expand([6, 3]).to_event(2), obs=x)

        def guide(self, x, *rest):
            pyro.module("baseline", baseline)
            p = pyro.param("p", torch.tensor(0.4), constraint=dist.constraints.unit_interval)
            options = {
                "nn_baseline": lambda x: baseline(x).mean(),
                "nn_baseline_input": x,
                "use_decaying_avg_baseline": True,
            }
            pyro.sample("z", dist.Bernoulli(p), infer={"baseline": options})

        def __init__(self):
            super().__init__()
            torch.manual_seed(3)
            baseline.reset_parameters()
            self.loss = TraceGraph_ELBO()

    same_as_stock(Scored)


@pytest.mark.slow
def test_evaluate_loss_sees_what_changes_and_is_compared():
    def losses(make):
        pyro.clear_param_store()
        torch.manual_seed(0)
        case = Case()
        svi = make(case.model, case.guide, case.optim, case.loss)
        out = []
        for i in range(12):
            case.encoder.train(i % 4 < 2)
            out += [float(svi.step(X)), float(svi.evaluate_loss(X))]
        return out

    assert losses(partial(pv.CompiledSVI, backend="graph")) == pytest.approx(losses(SVI), rel=1e-5)
