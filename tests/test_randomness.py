"""Streams of random numbers are independent, and evaluations leave every generator unchanged."""

import copy

import pyro
import pytest
import torch
from checks import bound, build, exact_vae
from torch import nn

import pyro_vae as pv
from pyro_vae import randomness
from pyro_vae.data import Split
from pyro_vae.evaluate import (
    active_units,
    information,
    interval_coverage,
    nuts_posterior,
    predictive_check,
    rate_distortion,
    sbc,
)
from pyro_vae.randomness import apart, stream


@pytest.mark.usefixtures("float64")
def test_evaluation_changes_nothing():
    vae, _, x = exact_vae("mean-field", count=20)
    vae.train()
    vae.likelihood.eval()
    before = copy.deepcopy(vae.state_dict())
    rng, gradients = torch.get_rng_state(), [p.requires_grad for p in vae.parameters()]
    flags = [m.training for m in vae.modules()]
    for evaluation in (
        lambda: pv.log_marginal(vae, x, 10),
        lambda: pv.ais(vae, x, num_temperatures=3),
        lambda: pv.bdmc(vae, 5, num_temperatures=3),
        lambda: pv.gap_ledger(vae, x, num_steps=3, num_samples=3),
        lambda: active_units(vae, x),
        lambda: rate_distortion(vae, x),
        lambda: information(vae, x),
        lambda: sbc(vae, 100, 9),
        lambda: nuts_posterior(vae, x[:1], 20, num_warmup=5),
        lambda: predictive_check(vae, x, num_replications=2),
        lambda: interval_coverage(vae, x, num_draws=2),
    ):
        evaluation()
        assert all(torch.equal(a, b) for a, b in zip(before.values(), vae.state_dict().values()))
        assert torch.equal(rng, torch.get_rng_state())
        assert flags == [m.training for m in vae.modules()]
        assert gradients == [p.requires_grad for p in vae.parameters()]
        assert all(p.grad is None for p in vae.parameters())
        assert pyro.settings.get("validate_distributions_pyro") is True


def test_streams_have_names():
    names = [(), ("bits",), ("evaluation",), ("evaluation", 1), ("evaluation", 2), ("test",)]
    seeds = [stream(seed, *name) for seed in (0, 1, -1, 2**63) for name in names]
    assert len(set(seeds)) == len(seeds) and all(0 <= seed < 2**63 for seed in seeds)
    draws = torch.stack(
        [torch.randn(10_000, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    )
    correlations = (draws @ draws.T / 100).fill_diagonal_(0)
    assert correlations.abs().max() < bound(len(seeds) ** 2)


def copying_vae(size=16):
    """Each pixel has its own latent variable, so that bits and noise may be correlated."""
    decoder, encoder = nn.Linear(size, size), nn.Linear(size, 2 * size)
    with torch.no_grad():
        for parameter in (*decoder.parameters(), *encoder.parameters()):
            parameter.zero_()
        decoder.weight.copy_(6 * torch.eye(size))
    return pv.VAE(
        pv.priors.StandardNormal(size),
        pv.likelihoods.Bernoulli(decoder),
        pv.posteriors.MeanFieldNormal(encoder),
    )


def correlation(vae):
    """The ELBO of bits drawn at each visit minus that of the same bits with noise of another seed,
    in standard errors."""
    grey = Split(torch.full((1000, 16), 128, dtype=torch.uint8), binarize="dynamic", levels=255)
    bits = grey.freeze(0)
    one, other = (pv.elbo(vae, bits, seed=seed) for seed in (0, 101))
    metrics = pv.evaluate.evaluate(vae, grey, 1, seed=0)
    assert metrics["elbo"] == pytest.approx(float(one.mean()), abs=1e-4)
    difference = one - other
    return float(difference.mean() / (difference.std() / 1000**0.5))


def test_bits_and_noise_are_independent(monkeypatch):
    vae = copying_vae()
    assert abs(correlation(vae)) < bound(1)
    for module in (pv.evaluate.importance, pv.programs.state, pv.data.split):
        monkeypatch.setattr(module, "stream", lambda seed, *purpose: seed)
    assert correlation(vae) > 5 * bound(1)  # the counterpart: one stream for both


def test_validation_and_test_bits_are_independent():
    from pyro_vae.data.dataset import Dataset

    half = Split(torch.full((2000, 16), 128, dtype=torch.uint8), levels=255)
    config = pv.config.REGISTRY["data"]["mnist"](binarize="dynamic")
    made = Dataset.make(config, {"train": half, "valid": half, "test": half})
    valid, test = (split.rows(slice(None)) for split in (made.valid, made.test))
    agree = float((valid == test).double().mean())
    assert abs(agree - 0.5) / (0.25 / 32_000) ** 0.5 < bound(1)


def test_training_noise_follows_the_seed():
    """The noise in training is that of torch.manual_seed, so that training is reproducible."""
    vae, _, x = exact_vae(count=20)
    vae = vae.float()
    seen = []
    original = vae.guide

    def guide(*args, **kwargs):
        seen.append(torch.random.get_rng_state())
        return original(*args, **kwargs)

    vae.guide = guide
    pv.fit(vae, x.float(), epochs=1, batch_size=20, seed=7, progress=False)
    with apart(torch.device("cpu")):
        torch.manual_seed(7)
        assert any(torch.equal(state, torch.random.get_rng_state()) for state in seen)


CALLS = {
    "elbo": lambda vae, x: pv.elbo(vae, x),
    "log_marginal": lambda vae, x: pv.log_marginal(vae, x, 5),
    "encode": lambda vae, x: pv.encode(vae, x),
    "sample": lambda vae, x: pv.sample(vae, 2),
    "plan": lambda vae, x: pv.plan(vae, x),
    "explain": lambda vae, x: pv.explain(vae, x).evaluate(x),
    "fit": lambda vae, x: pv.fit(vae, x, epochs=1, progress=False),
    "inspect": lambda vae, x: pv.inspect_step(vae, x),
    "explain_error": lambda vae, x: pv.explain_error(vae, x),
    "build": lambda vae, x: build(
        (
            {"kind": "vamp", "num_components": 2},
            {"kind": "gaussian"},
            {"kind": "mean-field-normal"},
        )
    ),
    "ais": lambda vae, x: pv.ais(vae, x, num_temperatures=2),
    "gap_ledger": lambda vae, x: pv.gap_ledger(vae, x, num_steps=2, num_samples=10),
    "gradients": lambda vae, x: pv.evaluate.gradients(vae, pv.objectives.ELBO(), x, 2),
    "sbc": lambda vae, x: pv.evaluate.sbc(vae, 50, 9),
    "freeze": lambda vae, x: Split(x.abs().clamp(max=1), binarize="dynamic").freeze(0),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_model_on_the_cpu_leaves_gpus_alone(call, monkeypatch):
    """torch.manual_seed seeds every GPU, now or at its first use, so it is never called."""
    vae, _, x = exact_vae(count=12)
    vae, x = vae.float(), x.float()
    reached = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", lambda seed: reached.append(seed))
    before = torch.random.get_rng_state()
    CALLS[call](vae, x)
    if call != "build":  # which draws its data in the test
        assert torch.equal(before, torch.random.get_rng_state())
    assert reached == []
    torch.manual_seed(0)
    assert reached == [0]  # the counterpart


def test_only_generators_of_the_models_device_are_restored(monkeypatch):
    """With a stand-in for a GPU's generator."""
    here, there = torch.Generator().manual_seed(1), torch.Generator().manual_seed(2)
    monkeypatch.setattr(torch.cuda, "init", lambda: None)
    monkeypatch.setattr(torch.cuda, "default_generators", (here, there), raising=False)
    states = [g.get_state() for g in (here, there)]
    with apart(torch.device("cuda", 1), seed=5):
        assert there.initial_seed() == 5 and here.initial_seed() == 1
        torch.rand(3, generator=there)
    assert all(torch.equal(g.get_state(), s) for g, s in zip((here, there), states))
    assert randomness.stream(3, "x") == stream(3, "x")
