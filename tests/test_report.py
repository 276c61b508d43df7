"""Reports print no number where a value is missing."""

import torch

from pyro_vae import report


def test_missing_values_are_not_printed_as_numbers():
    """Infinite bounds from above, scores that do not exist, gaps that have not converged."""
    shares = torch.tensor([float("nan"), 0.5, 1.5])
    assert report._range(shares) == "0.50 to 1.50, median 0.50"
    assert "no figure" in report._range(shares[:1])
    metrics = {"a": float("inf"), "a_se": float("nan"), "b": 1.0, "b_se": 0.5}
    assert report._mean(metrics, "a") == "infinite: q has no density at some true z"
    assert report._mean(metrics, "b") == "1.000 +- 0.500"
