"""A mean is a number with a standard error; old names of evaluation work and name the new ones."""

import copy
import importlib
import json
import math
import pickle
import sys
import warnings

import pytest
import torch
from checks import exact_vae

import pyro_vae as pv
from pyro_vae.evaluate import evaluate, verdict
from pyro_vae.statistics import Mean, describe


def test_the_standard_error_is_the_spread_of_means():
    draws = 3 + 2 * torch.randn(4000, 25)
    means = [Mean.of(row) for row in draws]
    assert torch.tensor(means).std() == pytest.approx(2 / 5, rel=0.05)
    assert sum(mean.se**2 for mean in means) / len(means) == pytest.approx(0.16, rel=0.05)
    assert means[0].se == pytest.approx(float(draws[0].std()) / 5)


def test_a_mean_is_a_number():
    mean = Mean.of(torch.tensor([-3.0, -5.0], dtype=torch.float64))
    assert mean == -4 and mean + 1 == -3 and abs(mean) == 4 and f"{mean:+.1f}" == "-4.0"
    assert mean.value == -4 and type(mean.value) is float and [*mean] == [-4, 1]
    assert str(mean) == f"{mean}" == "-4.000 +- 1.000 nats per datum"
    assert json.dumps(mean.record("elbo")) == '{"elbo": -4.0, "elbo_se": 1.0}'
    bits = Mean.of(torch.tensor([1.0, 3.0]), "bits")
    for again in (copy.deepcopy(bits), pickle.loads(pickle.dumps(bits)), eval(repr(bits))):
        assert (again, again.se, again.unit) == (2.0, bits.se, "bits")


@pytest.mark.parametrize("values", [[1.0], [1.0, -math.inf], [1.0, math.nan]])
def test_an_error_may_be_unknown(values):
    mean = Mean.of(torch.tensor(values))
    assert math.isnan(mean.se) and "+- unknown" in str(mean)
    assert "+- unknown nats" in describe("ELBO", torch.tensor(values))
    assert not mean.exceeds(0.0, 3.0)  # the error is unknown


def test_a_mean_exceeds_a_limit_only_beyond_its_error():
    assert Mean(1.0, 0.2).exceeds(0.5, 3.0) and not Mean(1.0, 0.4).exceeds(0.5, 3.0)
    assert not Mean(0.4, 0.01).exceeds(0.5, 3.0) and not Mean(-1.0, 0.01).exceeds(0.0, 3.0)
    assert not Mean(1.0, math.inf).exceeds(0.0, 3.0)


MODULES = [old for old in pv.deprecation.MOVED if old.startswith("pyro_vae.evaluate.")]


@pytest.mark.parametrize("old", MODULES)
def test_modules_are_found_under_their_old_names(old):
    new = importlib.import_module(pv.deprecation.MOVED[old])
    package, name = old.rsplit(".", 1)
    before = vars(pv.evaluate).get(name)
    try:
        with pytest.warns(DeprecationWarning, match=f"{old} is now {new.__name__}"):
            module = importlib.import_module(old)
        if before is not None:  # a function has the same name
            assert callable(getattr(pv.evaluate, name)) and callable(before)
        names = [n for n, value in vars(new).items() if callable(value) and n[0] != "_"]
        assert names and all(getattr(module, n) is getattr(new, n) for n in names)
    finally:
        sys.modules.pop(old, None)
        vars(pv.evaluate).pop(name, None)
        if before is not None:
            setattr(pv.evaluate, name, before)
    if before is None:
        with pytest.warns(DeprecationWarning):
            getattr(pv.evaluate, name)


@pytest.mark.parametrize(
    "home,old,new",
    [
        ("evaluate", "trust", "verdict"),
        ("evaluate", "Trust", "Verdict"),
        ("evaluate", "gold_posterior", "nuts_posterior"),
        ("evaluate", "Gold", "NUTSPosterior"),
        ("evaluate.reliability", "trust", "verdict"),
        ("evaluate.nuts", "Gold", "NUTSPosterior"),
        ("evaluate.calibration", "predictive_check", "predictive_check"),
        ("evaluate.calibration", "interval_coverage", "interval_coverage"),
    ],
)
def test_functions_are_found_under_their_old_names(home, old, new):
    module = importlib.import_module(f"pyro_vae.{home}")
    with pytest.warns(DeprecationWarning, match=f"{old} is now"):
        found = getattr(module, old)
    assert found is getattr(pv.evaluate, new)


def test_results_have_their_old_names(tmp_path):
    vae, _, x = exact_vae(count=30)
    with pytest.warns(DeprecationWarning, match="kept= of log_marginal is now cache="):
        estimate = pv.log_marginal(vae, x, 20, kept=tmp_path / "cache.npz")
    found = verdict(estimate)
    metrics = evaluate(vae, pv.data.as_split(x), 20)
    compared = pv.evaluate.compare(estimate.log_marginal, estimate.log_marginal + x[:, 0])
    for read, value in (
        (lambda: found.light, found.colour),
        (lambda: found.sentence, found.reason),
        (lambda: found.rise_se, found.rise.se),
        (lambda: metrics["light"], metrics["verdict"]),
        (lambda: metrics["trust"], metrics["reason"]),
        (lambda: compared.se, compared.difference.se),
    ):
        with pytest.warns(DeprecationWarning, match="is now"):
            assert read() == value
    with warnings.catch_warnings(), pytest.raises(KeyError):
        warnings.simplefilter("error")
        metrics["nothing"]
