"""A page has no figure where there is none."""

import torch

from pyro_vae import report


def test_a_page_has_no_figure_where_there_is_none():
    """Infinite bounds from above, scores that do not exist, gaps that have not converged."""
    shares = torch.tensor([float("nan"), 0.5, 1.5])
    assert report._range(shares) == "0.50 to 1.50, median 0.50"
    assert "no figure" in report._range(shares[:1])
    figures = {"a": float("inf"), "a_se": float("nan"), "b": 1.0, "b_se": 0.5}
    assert report._mean(figures, "a") == "infinite: q has no density at some true z"
    assert report._mean(figures, "b") == "1.000 +- 0.500"
