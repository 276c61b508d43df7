"""The printed formula is the loss."""

import pytest
import torch
from checks import ALLOWED, B, build, few_of, gaussian_vae

import pyro_vae as pv

pytestmark = pytest.mark.usefixtures("float64")


@few_of(ALLOWED, 2)
def test_the_printed_formula_is_the_loss(triple):
    vae, x = build(triple)
    rows = torch.arange(B)
    derivation = pv.explain(vae, x)
    assert derivation.plan.why in derivation.text and r"\log p(x" in derivation.latex
    if derivation.plan.estimator == "enumeration":
        return
    torch.manual_seed(3)
    objective = derivation.plan.objective.eval()
    loss = float(objective(vae.model, vae.guide, x, index=rows).loss.detach())
    value = derivation.evaluate(x, seed=3, index=rows)
    assert value == pytest.approx(loss, rel=1e-6, abs=1e-8)


def test_the_printed_bound_of_many_samples_is_the_loss():
    vae, x = gaussian_vae()
    for estimator, alpha in (("iwae", 0.0), ("renyi", 0.5), ("stl", 0.0)):
        derivation = pv.explain(vae, x, estimator=estimator, num_particles=5, alpha=alpha)
        torch.manual_seed(3)
        loss = float(derivation.plan.objective(vae.model, vae.guide, x).loss.detach())
        assert derivation.evaluate(x, seed=3) == pytest.approx(loss, rel=1e-6)


def test_derivations_say_where_squared_error_comes_from():
    vae, x = gaussian_vae()
    text = pv.explain(vae, x).text
    assert "sigma^2 = 1/2" in text and "sigma^2 = D/2" in text
    assert "standard deviation, never a variance" in text
