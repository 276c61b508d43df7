"""Groups of seeds: the error of a difference holds what seeds and data leave unknown."""

import pytest
import torch
from checks import bound

from pyro_vae.evaluate import compare_groups, rank


def layout(seeds, data, of_seed, of_datum, rest, shift=0.0):
    """A layout of two ways with random effects of both."""
    rows, columns = torch.randn(seeds, 1) * of_seed, torch.randn(data) * of_datum
    return rows + columns + torch.randn(seeds, data) * rest + shift


@pytest.mark.parametrize("scales", [(0.0, 1.0), (0.5, 0.2), (1.0, 0.0)])
def test_the_error_is_the_spread_of_the_difference(scales):
    """Over 400 repetitions, of seeds and data: z is standard, up to the few seeds."""
    torch.manual_seed(0)
    of_seed, rest = scales
    found, errors = [], []
    for _ in range(400):
        common = torch.randn(60) * 3  # what is hard about a datum is hard for both
        slope = torch.randn(60) * 0.7
        a = common + layout(20, 60, of_seed, 0.0, rest)
        b = common + slope + layout(20, 60, of_seed, 0.0, rest, shift=0.3)
        comparison = compare_groups(a.double(), b.double())
        found.append(float(comparison.difference))
        errors.append(comparison.difference.se**2)
    values, predicted = torch.tensor(found), torch.tensor(errors).mean()
    z = (values.mean() - 0.3) / (values.std() / 20)
    assert abs(z) < bound(1)
    ratio = values.var() / predicted
    assert (
        abs(ratio - 1) < bound(1) * (2 / 400) ** 0.5 + 0.1
    )  # the larger part is taken if in doubt
    if of_seed:  # the twin: an error over data alone is too small
        alone = torch.tensor([e for e in errors]).mean() - 2 * of_seed**2 / 20
        assert values.var() / alone > 1.5


def test_few_seeds_are_not_trusted():
    torch.manual_seed(1)
    a, b = layout(2, 500, 0.3, 1.0, 0.1), layout(2, 500, 0.3, 1.0, 0.1, shift=0.5)
    assert compare_groups(a, b).p_value > 0.01  # two degrees of freedom


def test_a_difference_is_said():
    torch.manual_seed(2)
    columns = torch.randn(300)
    a, b = columns + torch.randn(5, 1) * 0.05, columns + torch.randn(5, 1) * 0.05 + 1.9
    sentence = compare_groups(a, b).sentence("standard-normal", "vamp")
    assert sentence.startswith("vamp beats standard-normal by 1.898")
    assert sentence.endswith("nats per datum over 5 seeds and 300 data.")
    assert "One seed says nothing" in compare_groups(a[:1], b[:1]).sentence()
    rows = rank({"standard-normal": a, "vamp": b})
    assert [row["setting"] for row in rows] == ["vamp", "standard-normal"]
    assert rows[1]["to_best"]["difference"] == pytest.approx(-1.9, abs=0.2)


def test_wrong_groups_get_a_sentence():
    with pytest.raises(ValueError, match="a row for each seed"):
        compare_groups(torch.zeros(2, 3), torch.zeros(2, 4))
    with pytest.raises(ValueError, match="finite"):
        compare_groups(torch.zeros(2, 3), torch.full((2, 3), float("nan")))
