"""Noise by counter, as on a GPU: a model among many is its lone twin, and runs resume bit for bit."""

from dataclasses import replace

import pytest
import torch
from checks import D, L
from training import QUIET, equal

import pyro_vae as pv
from pyro_vae.compile.counter import COUNTED
from pyro_vae.data import as_split
from pyro_vae.train import group, steps

DATA = replace(
    as_split(torch.rand(50, D, generator=torch.Generator().manual_seed(1))), binarize="dynamic"
)
OPTIONS = {"epochs": 3, "batch_size": 8, "lr": 1e-2, "clip_norm": 5.0, **QUIET}


@pytest.fixture(autouse=True)
def counted():
    """Trainings on this CPU draw by counter, as those on a GPU do."""
    COUNTED.add("cpu")
    yield
    COUNTED.discard("cpu")


@pytest.fixture
def uncompiled(monkeypatch):
    monkeypatch.setattr("pyro_vae.compile.backend.has_compiler", lambda: False)
    monkeypatch.setattr("pyro_vae.compile.many.has_compiler", lambda: False)


def make(prior=None, **options):
    encoder, decoder = pv.nn.MLP(D, [16], 2 * L), pv.nn.MLP(L, [16], D)
    likelihood = pv.likelihoods.Bernoulli(decoder)
    prior = prior or pv.priors.StandardNormal(L)
    return pv.VAE(prior, likelihood, pv.posteriors.MeanFieldNormal(encoder), **options)


def alone(seed, build=make, data=DATA, **options):
    torch.manual_seed(seed)
    model = build()
    return model, pv.fit(model, data, seed=seed, **{**OPTIONS, **options})


def losses(history):
    return [row[name] for row in history.rows for name in ("loss", "kl") if "loss" in row]


def is_twin(a, b):
    return all((p - q).norm() <= 2e-6 * q.norm() for p, q in zip(a.parameters(), b.parameters()))


# --- Each model is its lone twin ------------------------------------------------------------------


@pytest.mark.parametrize("compiles", ["no", pytest.param("yes", marks=pytest.mark.slow)])
def test_a_model_among_many_is_its_lone_twin(compiles, uncompiled):
    """21 steps: minibatches, bits that each visit draws, z; 50 rows leave a smaller last batch.

    Draws are the same to the bit (`test_mapped_over_seeds_and_steps`); products of many small
    matrices round as that of one does not, as do the optimizers of PyTorch and of a graph.
    """
    found = pv.fit_many(make, DATA, seeds=[0, 5], compile=compiles, **OPTIONS)
    for trained in found:
        model, history = alone(trained.seed, compile=compiles)
        assert is_twin(trained.vae, model)
        assert losses(trained.history) == pytest.approx(losses(history), rel=2e-6)
    assert not is_twin(found[0].vae, found[1].vae)


@pytest.mark.slow
def test_steps_in_pytorch_and_recorded_ones_draw_the_same(uncompiled, monkeypatch):
    """Those before the swap, too; and not as PyTorch's generators do."""
    model, history = alone(3)
    monkeypatch.setattr(steps, "STEPS_TO_COMPILE", 1)
    monkeypatch.setattr(steps, "STEPS_MEANWHILE", 5)
    swapped, later = alone(3)
    assert is_twin(swapped, model) and losses(later) == pytest.approx(losses(history), rel=2e-6)
    COUNTED.discard("cpu")
    assert not is_twin(alone(3, compile="no")[0], model)


@pytest.mark.slow
def test_data_that_are_read_outside_of_the_step():
    """Rows of a mapped array, whose bits are drawn before the step."""
    mapped = replace(DATA, stored=DATA.stored.numpy())
    for trained in pv.fit_many(make, mapped, seeds=[0, 5], **OPTIONS):
        assert is_twin(trained.vae, alone(trained.seed, data=DATA)[0])


@pytest.mark.slow
def test_compiled_to_2e_6_after_20_steps():
    options = {**OPTIONS, "compile": "yes", "batch_size": 10, "epochs": 4}  # 20 steps
    for trained in pv.fit_many(make, DATA, seeds=[0, 5], **options):
        assert is_twin(trained.vae, alone(trained.seed, **options)[0])
        assert is_twin(trained.vae, alone(trained.seed, **{**options, "compile": "no"})[0])


# --- Interruptions --------------------------------------------------------------------------------


@pytest.mark.parametrize("compiles", ["no", pytest.param("yes", marks=pytest.mark.slow)])
def test_a_lone_run_resumes_bit_for_bit_with_the_noise_it_began_with(
    compiles, tmp_path, uncompiled, monkeypatch
):
    from pyro_vae.train.run import Run

    options = {"compile": compiles, "checkpoint_steps": 5}
    whole, history = alone(1, **options)
    step = Run.step

    def dying(self, *batch):
        if self.position.step == 13:
            raise MemoryError("the plug is pulled")
        step(self, *batch)

    with monkeypatch.context() as patch, pytest.raises(MemoryError):
        patch.setattr(Run, "step", dying)
        alone(1, out=tmp_path, **options)
    COUNTED.discard("cpu")
    torch.manual_seed(9)
    resumed, again = alone(1, out=tmp_path, resume=True, **options)
    assert equal(resumed, whole) and losses(again) == losses(history)


def test_a_run_that_began_with_generators_keeps_them(tmp_path):
    COUNTED.discard("cpu")
    whole, _ = alone(1)
    alone(1, epochs=1, out=tmp_path)
    COUNTED.add("cpu")
    resumed, _ = alone(1, out=tmp_path, resume=True)
    assert equal(resumed, whole)


@pytest.mark.slow
def test_a_group_resumes_bit_for_bit(tmp_path, monkeypatch):
    options = {**OPTIONS, "checkpoint_steps": 5}
    whole = pv.fit_many(make, DATA, seeds=[0, 1], out=tmp_path / "whole", **options)
    leave, count = group.Group.leave_if_told, []

    def dying(self):
        count.append(1)
        if len(count) == 13:
            raise MemoryError("the plug is pulled")
        leave(self)

    with monkeypatch.context() as patch, pytest.raises(MemoryError):
        patch.setattr(group.Group, "leave_if_told", dying)
        pv.fit_many(make, DATA, seeds=[0, 1], out=tmp_path / "cut", **options)
    torch.manual_seed(9)
    again = pv.fit_many(make, DATA, seeds=[0, 1], out=tmp_path / "cut", **options)
    for a, b in zip(whole, again):
        assert equal(a.vae, b.vae) and losses(a.history) == losses(b.history)


@pytest.mark.slow
def test_a_model_that_diverges_stops_alone():
    grid, options = {"train.lr": [1e-2, 1e29]}, {**OPTIONS, "epochs": 4}
    good, bad = pv.fit_many(make, DATA, seeds=[0], grid=grid, **options)
    assert good.error is None and isinstance(bad.error, ArithmeticError)
    assert is_twin(good.vae, alone(0, epochs=4)[0])


# --- What has no form by counter ------------------------------------------------------------------


class Noisy(pv.likelihoods.Bernoulli):
    """Draws as no counter does."""

    def forward(self, z, **known):
        return super().forward(z + torch.poisson(torch.ones_like(z)).detach(), **known)


def noisy():
    model = make()
    model.likelihood.__class__ = Noisy
    return model


def test_another_random_operation_leaves_all_draws_to_the_generators(capsys):
    found = pv.fit_many(noisy, DATA, seeds=[0, 5], **OPTIONS)
    assert capsys.readouterr().err.count("aten.poisson.default has no form by counter") == 2
    lone, _ = alone(5, build=noisy)
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("Random numbers are those of PyTorch's generator. aten.poisson")
    COUNTED.discard("cpu")
    for trained in found:
        model, _ = alone(trained.seed, build=noisy)
        assert is_twin(trained.vae, model)
    assert equal(lone, model)


# --- What shares a step on a GPU ------------------------------------------------------------------


@pytest.fixture
def on_a_gpu(monkeypatch):
    monkeypatch.setattr(group, "device_of", lambda vae: torch.device("cuda"))


def run_of(build=make):
    from pyro_vae.config import Train
    from pyro_vae.train.fit import make_run

    return make_run(build(), DATA, None, Train(batch_size=8), 0, None)


def test_models_on_a_gpu_share_a_step_where_they_draw_by_counter(on_a_gpu):
    run = run_of()
    assert group.group_size(run) == group.ON_A_GPU and group.can_share([run, run_of()])
    run.loss.noise = None
    assert group.group_size(run) == 1 and not group.can_share([run, run_of()])


def test_models_on_a_gpu_take_turns_where_one_draws_from_generators(monkeypatch, capsys):
    monkeypatch.setattr(group, "can_share", lambda runs: False)
    runs = [run_of() for _ in range(2)]
    models = group.Group(runs, ["a", "b"], progress=False, together=True)
    monkeypatch.setattr(models, "step_in_one", lambda: pytest.fail("together"))
    monkeypatch.setattr(models, "take_turns", lambda: None)
    models.train([False, False])
    assert "trained one by one. Models draw from generators" in capsys.readouterr().err
