"""Compiled training is the same as eager training, but faster."""

import json
import os
import subprocess
import sys

import pytest
import torch
from checks import build, needs_data, recipe_for, same

import pyro_vae as pv

pytestmark = pytest.mark.param_store


@pytest.fixture
def uncompiled(monkeypatch):
    """Steps are recorded and not compiled, as on a machine without a compiler, which is fast."""
    monkeypatch.setattr("pyro_vae.compile.backend.has_compiler", lambda: False)


MEAN_FIELD = ({"kind": "standard-normal"}, {"kind": "gaussian"}, {"kind": "mean-field-normal"})
BERNOULLI = ({"kind": "bernoulli"}, {"kind": "gaussian"}, {"kind": "bernoulli"})
VIEWS = {"kind": "product-of-experts", "views": [[0, 3], [1, 2, 4, 5]]}
TRAININGS = {
    "plain": (MEAN_FIELD, {}),
    "warm_up": (MEAN_FIELD, {"kl_warmup_epochs": 2, "schedule": "cosine", "warmup_epochs": 1}),
    "clip": (MEAN_FIELD, {"clip_norm": 0.5, "optimizer": "RMSprop"}),
    "free_bits": (MEAN_FIELD, {"free_bits": 0.2, "kl_weight": 0.5}),
    "capacity": (MEAN_FIELD, {"capacity": 2.0, "capacity_epochs": 2, "kl_weight": 5.0}),
    "optimal": ((MEAN_FIELD[0], {"kind": "gaussian", "sigma": "optimal"}, MEAN_FIELD[2]), {}),
    "iwae": (MEAN_FIELD, {"estimator": "iwae", "num_particles": 3}),
    "views": ((*MEAN_FIELD[:2], VIEWS), {"drop_views": 0.4}),
    "adagrad": (MEAN_FIELD, {"optimizer": "Adagrad"}),
    "score": (BERNOULLI, {"kl_weight": 0.5}),
    "neural": (BERNOULLI, {"baseline": "neural", "estimator": "score-function"}),
    "temperature": (
        ({"kind": "relaxed-bernoulli"}, {"kind": "gaussian"}, {"kind": "relaxed-bernoulli"}),
        {"final_temperature": 0.3, "temperature_epochs": 3},
    ),
    "factor_vae": (MEAN_FIELD, {"estimator": "factor-vae"}),
    "beta_tcvae": (MEAN_FIELD, {"estimator": "beta-tcvae", "mi_weight": 0.5}),
    "mmd_vae": (MEAN_FIELD, {"estimator": "info-vae", "kl_weight": 0.0}),
}


@pytest.mark.parametrize(
    "triple,options",
    [
        pytest.param(*training, id=name, marks=pytest.mark.slow if i % 2 else ())
        for i, (name, training) in enumerate(TRAININGS.items())
    ],
)
def test_fit_compiles_every_training(triple, options, uncompiled):
    settings = {"epochs": 3, "batch_size": 12, "progress": False, **options}

    def train(compile_steps):
        torch.manual_seed(0)
        vae, x = build(triple)
        return pv.fit(vae, x, compile=compile_steps, **settings), vae

    (history, vae), (expected, eager) = train("yes"), train("no")
    for name in ("loss", "reconstruction", "kl", "grad_norm", "kl_weight", "lr"):
        assert history[name] == pytest.approx(expected[name], rel=1e-4, abs=1e-5), name
    same(vae.state_dict(), eager.state_dict(), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    "family,options",
    [
        pytest.param(MEAN_FIELD, {}, id="plain"),
        pytest.param(BERNOULLI, {"estimator": "enumeration"}, id="enumeration"),
        pytest.param(
            BERNOULLI, {"estimator": "score-function"}, id="score", marks=pytest.mark.slow
        ),
    ],
)
def test_resume_is_bit_for_bit_when_compiled(tmp_path, uncompiled, family, options):
    _, x = build(family)
    settings = {"batch_size": 12, "progress": False, "compile": "yes", "kl_warmup_epochs": 2}
    settings |= options

    def train(epochs, out, resume=False):
        torch.manual_seed(0)
        vae, _ = build(family)
        history = pv.fit(vae, x, epochs=epochs, out=tmp_path / out, resume=resume, **settings)
        return vae.state_dict(), history["loss"]

    whole, losses = train(6, "whole")
    train(3, "parts")
    parts, again = train(6, "parts", resume=True)
    same(parts, whole, 0, 0)
    assert again == losses


@pytest.fixture
def swapped_at_five(monkeypatch):
    """A training is compiled from its sixth step on, however short it is."""
    monkeypatch.setattr("pyro_vae.train.steps.STEPS_TO_COMPILE", 1)
    monkeypatch.setattr("pyro_vae.train.steps.STEPS_MEANWHILE", 5)


@pytest.mark.parametrize(
    "epochs,options",
    [
        pytest.param(1, {}, id="before-the-swap", marks=pytest.mark.slow),
        pytest.param(4, {}, id="after-it", marks=pytest.mark.slow),
        pytest.param(1, {"optimizer": "SGD"}, id="SGD", marks=pytest.mark.slow),
    ],
)
def test_a_training_that_is_compiled_meanwhile_resumes_bit_for_bit(
    tmp_path, uncompiled, swapped_at_five, epochs, options
):
    settings = {"batch_size": 12, "progress": False, "kl_warmup_epochs": 2, **options}
    if options:
        settings["optimizer_options"] = {"momentum": 0.9}

    def train(epochs, out, resume=False):
        torch.manual_seed(0)
        vae, x = build(MEAN_FIELD)
        pv.fit(vae, x, epochs=epochs, out=tmp_path / out, resume=resume, **settings)
        return vae.state_dict()

    whole = train(6, "whole")
    same(train(6, "again"), whole, 0, 0)
    train(epochs, "parts")
    same(train(6, "parts", resume=True), whole, 0, 0)


def test_the_swap_is_where_the_settings_put_it(uncompiled, swapped_at_five, monkeypatch):
    from pyro_vae.compile import FusedStep

    vae, x = build(MEAN_FIELD)
    taken, begun = [], []
    whole, ahead = FusedStep.take_step, FusedStep.compile_ahead
    monkeypatch.setattr(FusedStep, "take_step", lambda s, *a: taken.append(1) or whole(s, *a))
    monkeypatch.setattr(FusedStep, "compile_ahead", lambda s, *a: begun.append(1) or ahead(s, *a))
    pv.fit(vae, x, batch_size=len(x), epochs=8, progress=False)
    assert (len(begun), len(taken)) == (1, 3)


def test_a_long_step_stays_eager_and_says_so(uncompiled, swapped_at_five, monkeypatch, capsys):
    monkeypatch.setattr("pyro_vae.train.steps.OPERATIONS_TO_COMPILE", 20)

    def train(**options):
        torch.manual_seed(0)
        vae, x = build(MEAN_FIELD)
        return pv.fit(vae, x, batch_size=12, epochs=4, progress=False, **options)["loss"]

    losses = train()
    said = capsys.readouterr().err
    assert said.startswith("Training continues without compiling. Expected a step of at most 20 ")
    assert said.count("\n") == 1
    assert losses == train(compile="no")
    train(compile="yes")  # who wants it gets it
    assert "without compiling" not in capsys.readouterr().err


AHEAD = """
import json, sys, torch, pyro_vae as pv
from pyro_vae.compile import ahead
from pyro_vae.train import steps
from torch._dynamo.utils import counters
steps.STEPS_TO_COMPILE, steps.STEPS_MEANWHILE = 1, 5
if sys.argv[1] == "broken":
    ahead.main.__globals__["__name__"] = "nothing"
x = torch.randn(60, 6, generator=torch.Generator().manual_seed(0))
torch.manual_seed(0)
encoder, decoder = pv.nn.MLP(6, [8], 4), pv.nn.MLP(2, [8], 6)
prior, likelihood = pv.priors.StandardNormal(2), pv.likelihoods.Gaussian(decoder)
vae = pv.VAE(prior, likelihood, pv.posteriors.MeanFieldNormal(encoder))
with pv.ranks.joined():
    history = pv.fit(vae, x, epochs=8, batch_size=60, progress=False)
found = counters["inductor"]
print(json.dumps([found["fxgraph_cache_hit"], found["fxgraph_cache_miss"], history["loss"]]))
"""
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


@pytest.mark.slow
@pytest.mark.timeout(3600)  # of compilers on a busy machine
def test_what_is_compiled_ahead_is_found_on_disk(tmp_path):
    """Among ranks, too. And where the other process fails, a step is compiled when it is wanted."""
    script = tmp_path / "script.py"
    script.write_text(AHEAD)
    said = {}
    for how in ("well", "broken", "ranks"):
        environment = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / how)}
        command = [sys.executable, *TORCHRUN * (how == "ranks"), str(script), how]
        found = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert found.returncode == 0, found.stderr
        said[how] = [json.loads(line) for line in found.stdout.splitlines()]
    ((hits, misses, losses),), first, second = said["well"], *said["ranks"]
    assert hits > 0 and misses == 0
    assert said["broken"][0][0] == 0 and said["broken"][0][1] > 0
    assert said["broken"][0][2] == losses
    assert first == second and first[0] > 0 and first[1] == 0


def test_the_recipe_decides_what_is_compiled():
    from pyro_vae.config import Train
    from pyro_vae.train.steps import compiles

    assert [compiles(Train(epochs=e), 100) for e in (99, 100)] == [False, True]
    assert compiles(Train(compile="yes"), 1) and not compiles(Train(compile="no"), 10**6)


@needs_data
@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_compiled_and_eager_trainings_reach_the_same_elbo():
    """Five seeds each of the MNIST recipe, ten epochs; the means differ by under 0.3 nats."""
    recipe = pv.config.validate(pv.config.read_recipe("mnist-mean-field"))
    data = pv.data.load(recipe.data)
    means = {}
    for compile_steps in ("no", "yes"):
        settings = {**recipe.train.model_dump(), "epochs": 10, "compile": compile_steps}
        elbos = []
        for seed in range(5):
            seeded = recipe.model_copy(update={"seed": seed})
            vae = pv.build_vae(seeded, data.train.x_shape, data.train.scale, data.train)
            pv.fit(vae, data.train, seed=seed, progress=False, **settings)
            elbos.append(float(pv.elbo(vae, data.test).mean()))
        means[compile_steps] = sum(elbos) / 5
        print(f"compile={compile_steps}: test ELBO {elbos}, mean {means[compile_steps]:.3f}")
    assert abs(means["yes"] - means["no"]) < 0.3


@pytest.mark.parametrize("compile_steps", ["no", pytest.param("yes", marks=pytest.mark.slow)])
def test_bfloat16_trains_to_about_the_same(compile_steps, uncompiled):
    def train(precision):
        torch.manual_seed(0)
        vae, x = build(MEAN_FIELD)
        settings = {"epochs": 20, "batch_size": 12, "precision": precision, "progress": False}
        return pv.fit(vae, x, compile=compile_steps, **settings)["loss"]

    full, low = train("float32"), train("bfloat16")
    assert full != low
    assert low[-1] == pytest.approx(full[-1], abs=3.0)  # different random draws
    assert low[-1] < low[0] - 0.3


@pytest.mark.parametrize("holes", [0.3, {"rate": 0.3, "when": "visit"}])
def test_holes_are_made_inside_of_a_compiled_step(holes, uncompiled):
    split = pv.data.load("digits", holes=holes).train.take(slice(0, 36))
    kind = {"kind": "binomial", "total_count": 16, "missing": "at-random"}

    def train(compile_steps):
        recipe = recipe_for(MEAN_FIELD[0], kind, MEAN_FIELD[2])
        vae = pv.build_vae(recipe, split.x_shape, split.scale, split)
        settings = {"epochs": 3, "batch_size": 12, "progress": False}
        return pv.fit(vae, split, compile=compile_steps, **settings)["loss"]

    assert train("yes") == pytest.approx(train("no"), rel=1e-5)
