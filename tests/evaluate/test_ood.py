"""Scores of strange data, against counted pairs and exact linear-Gaussian answers."""

from itertools import product

import pytest
import torch
from checks import exact_vae

from pyro_vae.evaluate import auroc, ood_detection, ood_scores


@pytest.mark.parametrize("sizes", [(1, 3), (4, 5), (7, 2)])
def test_the_area_is_the_share_of_pairs(sizes):
    inside, outside = (torch.randint(0, 6, (size,)).float() for size in sizes)
    pairs = [float(s > t) + 0.5 * float(s == t) for s, t in product(outside, inside)]
    assert float(auroc(inside, outside)) == pytest.approx(sum(pairs) / len(pairs), abs=1e-12)
    assert float(auroc(outside, inside)) == pytest.approx(1 - sum(pairs) / len(pairs), abs=1e-12)


def test_its_error_is_the_spread_over_data_sets():
    found = [auroc(torch.randn(60), 0.8 + torch.randn(40)) for _ in range(400)]
    spread = float(torch.tensor([float(f) for f in found]).std())
    errors = torch.tensor([f.se for f in found])
    assert abs(float(errors.mean()) / spread - 1) < 0.15  # 400 spreads are known to 3.5 %
    exact = float(torch.distributions.Normal(0.0, 1.0).cdf(torch.tensor(0.8 / 2**0.5)))
    assert abs(sum(map(float, found)) / 400 - exact) < 4.3 * spread / 20


def test_scores_that_are_no_numbers_are_refused():
    with pytest.raises(ValueError, match="all of them numbers"):
        auroc(torch.tensor([1.0, torch.nan]), torch.zeros(2))
    with pytest.raises(ValueError, match="one datum of each kind"):
        auroc(torch.zeros(0), torch.zeros(2))
    vae, _, x = exact_vae("full", count=3)
    for reference in (torch.nan, torch.tensor(torch.inf)):
        with pytest.raises(ValueError, match="^Expected reference data, or the mean of their log"):
            ood_scores(vae, x, reference, num_samples=2)


def test_scores_may_be_columns_and_lists():
    column = torch.tensor([[2.5], [4.0]])
    assert auroc([1.0, 2.0, 3.0], column) == auroc(torch.tensor([1.0, 2, 3]), column[:, 0]) < 1


@pytest.mark.usefixtures("float64")
def test_scores_of_an_exact_posterior():
    """log p(x) is known; an encoder that is right regrets nothing, anywhere."""
    vae, exact, x = exact_vae("full", count=10)
    far = x + 20
    found = ood_detection(vae, x, far, x, num_samples=30, num_steps=5)
    torch.testing.assert_close(found.inside.likelihood, -exact.log_marginal(x))
    typical = (exact.log_marginal(far) - exact.log_marginal(x).mean()).abs()
    torch.testing.assert_close(found.outside.typicality, typical)
    assert all(float(s.regret.abs().max()) < 0.15 for s in found)  # luck in 30 samples
    assert float(found.auroc["likelihood"]) == float(found.auroc["typicality"]) == 1
    assert found.record()["auroc_likelihood"] == 1 and "AUROC" in str(found)


@pytest.mark.usefixtures("float64")
def test_data_that_are_too_likely_are_strange_by_typicality_alone():
    """The trap: the mean of a Gaussian is its likeliest datum, and no datum is like it."""
    vae, exact, x = exact_vae("full", dim=40, count=30)
    likeliest = exact.marginal.mean + 0.01 * torch.randn(20, 40)
    area = ood_detection(vae, x, likeliest, x, num_samples=5, num_steps=5).auroc
    assert float(area["likelihood"]) == 0 and float(area["typicality"]) > 0.95


@pytest.mark.usefixtures("float64")
def test_an_encoder_that_is_wrong_regrets_it():
    """Its mean is off by some deviations: the regret is a KL divergence in closed form."""
    vae, exact, x = exact_vae("full", count=10)
    vae.posterior.encoder.layers[0].bias.data[0] += 0.7
    off = torch.tensor([0.7, 0.0])
    regret = float(off @ torch.linalg.solve(exact.posterior(x[:1]).covariance_matrix[0], off)) / 2
    scores = ood_scores(vae, x, 0.0, num_samples=400, num_steps=150)
    assert float((scores.regret - regret).abs().max()) < 0.25 * regret
    assert abs(float(scores.regret.mean()) - regret) < 0.03 * regret
