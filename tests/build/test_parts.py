"""Networks start at the statistics of the data."""

import pytest
import torch
from checks import WHOLE, D, L, data_for, name_of, recipe_for, variants

import pyro_vae as pv
from pyro_vae.data import as_split

ELEMENTWISE = [kind for kind in variants("likelihood") if kind["kind"] not in WHOLE]
AT_MEAN = ["bernoulli", "binomial", "gaussian", "poisson", "negative-binomial", "log-normal"]
AT_MEAN += ["gamma", "ordinal"]
LINKED = [kind for kind in ELEMENTWISE if kind["kind"] not in ("categorical", "beta")]


@pytest.mark.parametrize("likelihood", LINKED, ids=lambda k: name_of((k,)))
def test_output_bias_starts_at_the_data_mean(likelihood):
    x = data_for(likelihood["kind"], 4000)
    recipe = recipe_for({"kind": "standard-normal"}, likelihood, {"kind": "mean-field-normal"})
    vae = pv.build_vae(recipe, (D,), 1.0, as_split(x))
    with torch.no_grad():
        vae.likelihood.decoder.layers[-1].weight.zero_()
        law = vae.likelihood(torch.zeros(L))
    first = torch.as_tensor(vae.likelihood.decoder.output_bias[:D])
    match likelihood["kind"]:
        case "discretized-logistic":
            expected = 2 * x.mean(0) / (vae.likelihood.num_levels - 1) - 1
        case "bernoulli" | "continuous-bernoulli" | "binomial":
            expected = (x.mean(0) / getattr(vae.likelihood.support, "upper_bound", 1)).logit()
        case "poisson" | "negative-binomial" | "zero-inflated-negative-binomial":
            expected = x.mean(0).log()
        case "log-normal":
            expected = x.mean(0).log() - 0.5
        case "gamma":
            expected = x.mean(0).log()
        case "hurdle":
            expected = (2 * x.mean(0)).log() - 0.5 * (likelihood["family"]["kind"] == "log-normal")
        case "ordinal":
            expected = first.detach()
        case _:
            expected = x.mean(0)
    torch.testing.assert_close(first.detach(), expected, rtol=1e-3, atol=1e-4)
    if likelihood["kind"] in AT_MEAN:
        torch.testing.assert_close(law.mean, x.mean(0), rtol=1e-3, atol=1e-3)


def test_recipes_start_at_the_data():
    x = torch.tensor([1.0, 100.0, 5.0]) * torch.randn(500, 3) + 7.0
    x[:, 2] = 5.0  # constant
    from checks import recipe_for

    for sigma, expected in (("per-column", [1.0, 100.0, None]), ("shared", None)):
        recipe = recipe_for(
            {"kind": "standard-normal"},
            {"kind": "gaussian", "sigma": sigma},
            {"kind": "mean-field-normal"},
        )
        vae = pv.build_vae(recipe, (3,), 1.0, as_split(x))
        found = vae.likelihood.log_scale.detach().exp()
        assert found.isfinite().all()
        if expected is not None:
            assert (found[:2] / torch.tensor(expected[:2]) - 1).abs().max() < 0.2
        else:
            assert float(found) == pytest.approx(
                float(x[:, :2].std(0).square().mean().sqrt()), rel=0.01
            )
    recipe = recipe_for(
        {"kind": "standard-normal"},
        {"kind": "gaussian", "scale": 0.3},
        {"kind": "mean-field-normal"},
    )
    vae = pv.build_vae(recipe, (3,), 1.0, as_split(x))
    assert float(vae.likelihood.log_scale.detach().exp()) == pytest.approx(0.3)
