"""Advice can be followed and does not contradict itself."""

import re

import pytest
import torch
from checks import ALLOWED, build, few_of

import pyro_vae as pv
from pyro_vae.config import REGISTRY
from pyro_vae.evaluate import Diagnosis, Ledger
from pyro_vae.evaluate.advice import advise, posteriors_for, priors_for
from pyro_vae.evaluate.gaps import Rise
from pyro_vae.statistics import Mean


def ledger_of(amortization, approximation, richer=None, count=100, spread=0.1):
    noise = spread * torch.linspace(-1, 1, count)
    own = torch.full((count,), -100.0)
    optima = {"own": own}
    if richer is not None:
        optima["full-covariance"] = own + richer + noise
    return Ledger(
        own + approximation + noise,
        own - amortization + noise,
        optima,
        {"own": Rise(Mean(0.0, 0.0))},
    )


def advice_for(vae, **changes):
    class Told:
        holes, saturated, marginal_kl = 0.3, False, 2.0

    nothing = Diagnosis(*[None] * len(Diagnosis._fields))
    found = nothing._replace(
        gains={}, train_gap=Mean(0.0, 0.1), activity=torch.ones(4), information=Told()
    )
    return advise(vae, found._replace(**changes))


REAL = ({"kind": "standard-normal"}, {"kind": "gaussian"}, {"kind": "mean-field-normal"})


def test_advice_does_not_contradict_itself():
    vae, _ = build(REAL)
    same = advice_for(vae, ledger=ledger_of(3.0, 0.0), train_ledger=ledger_of(3.0, 0.0))
    assert any("take a larger encoder" in told for told in same)
    assert not any("overfits" in told for told in same)
    over = advice_for(vae, ledger=ledger_of(3.0, 0.0), train_ledger=ledger_of(0.2, 0.0))
    assert any("it overfits. Use a smaller encoder" in told for told in over)
    assert not any("larger encoder" in told for told in over)
    noisy = ledger_of(3.0, 0.0, spread=100.0)
    unsure = advice_for(vae, ledger=noisy, train_ledger=ledger_of(0.2, 0.0))
    assert not any("encoder" in told for told in unsure)


def test_overfitting_and_a_lagging_encoder_do_not_contradict_each_other():
    """Smaller networks, but not a larger encoder in the next sentence."""
    vae, _ = build(REAL)
    gap = {"train_gap": Mean(5.0, 0.1)}
    lags = {"ledger": ledger_of(3.0, 0.0), "train_ledger": ledger_of(3.0, 0.0)}
    both = " ".join(advice_for(vae, **gap, **lags))
    assert "take a smaller decoder" in both and "it is not the encoder that overfits" in both
    assert "larger encoder" not in both and "smaller networks" not in both
    assert "larger encoder" in " ".join(advice_for(vae, **lags))  # the twin
    assert "smaller networks" in " ".join(advice_for(vae, **gap))


@pytest.mark.parametrize(
    "gain,spread,told", [(1.0, 1.0, True), (1.0, 50.0, False), (-1.0, 1.0, 0)]
)
def test_references_are_better_beyond_the_error_of_the_difference(gain, spread, told):
    ours = -100 + 25 * torch.randn(200, generator=torch.Generator().manual_seed(0))
    noise = spread * torch.linspace(-1, 1, 200)
    vae, _ = build(REAL)
    better = Mean.of(ours + gain + noise - ours)
    advice = advice_for(vae, gains={"independent elements": better})
    assert any("model without a network" in sentence for sentence in advice) == bool(told)


def test_a_prior_that_differs_by_nothing_stays():
    vae, _ = build(REAL)

    class Told:
        holes, saturated, marginal_kl = 0.3, False, -0.2

    assert not any("learned prior" in told for told in advice_for(vae, information=Told()))
    assert any("learned prior" in told for told in advice_for(vae))


def test_flows_are_not_told_to_become_normals():
    flow = (*REAL[:2], {"kind": "iaf", "hidden_features": [8], "context_features": 4})
    vae, _ = build(flow)
    told = " ".join(advice_for(vae, ledger=ledger_of(0.0, 3.0)))
    assert "posterior.kind sylvester" in told and "full-covariance" not in told


def test_no_advice_for_what_gains_nothing():
    vae, _ = build(REAL)
    worse = advice_for(vae, ledger=ledger_of(0.0, 3.0, richer=-0.75))
    assert any("approximation gap" in told for told in worse)
    assert not any("win back" in told for told in worse)
    better = advice_for(vae, ledger=ledger_of(0.0, 3.0, richer=2.0))
    assert any("full-covariance would win back 2.00 +-" in told for told in better)
    assert any("full-covariance-normal, iaf or sylvester" in told for told in better)
    named = " ".join(worse)  # what the ledger has tried in vain is not recommended
    assert "posterior.kind iaf or sylvester" in named and "full-covariance" not in named
    none = advice_for(vae, ledger=ledger_of(0.0, 0.1))
    assert not any("gap" in told for told in none)


@few_of(ALLOWED, 1)
def test_families_that_are_named_go_with_the_model(triple):
    vae, x = build(triple)
    told = " ".join(advice_for(vae, ledger=ledger_of(0.0, 3.0)))
    for role, kinds in (("posterior", posteriors_for(vae)), ("prior", priors_for(vae))):
        named = re.findall(rf"{role}\.kind ([\w-]+(?:, [\w-]+)*(?: or [\w-]+)?)", told)
        named = [kind for part in named for kind in re.split(r", | or ", part)]
        assert set(named) == set(kinds)
        for kind in named:
            assert kind in REGISTRY[role] and kind != triple[0 if role == "prior" else 2]["kind"]
            options = {"num_components": 5} if kind == "vamp" else {}
            changed = {"kind": kind, **options}
            other = (changed, *triple[1:]) if role == "prior" else (*triple[:2], changed)
            pv.plan(*build(other))
