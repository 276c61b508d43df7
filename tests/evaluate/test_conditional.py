"""log p of a part of the data given the rest, against closed forms."""

import math

import pytest
import torch
from checks import bound, z_scores
from torch.distributions import MultivariateNormal

import pyro_vae as pv
from pyro_vae.data import as_split, elements_of
from pyro_vae.evaluate import log_conditional, verdict
from pyro_vae.exact import Exact, linear_gaussian

DIM, L, SIGMA = 6, 2, 0.7
GIVEN = torch.tensor([True, False, True, True, False, False])
pytestmark = pytest.mark.usefixtures("float64")


class Evidence(torch.nn.Module):
    """The exact mean of z given what is there, and scales some times those of mean-field."""

    def __init__(self, w, b, width=1.0, bias=0.0):
        super().__init__()
        self.w, self.b, self.width, self.bias = w, b, width, bias

    def forward(self, x):
        there = ~x.isnan()
        x = torch.where(there, x - self.b, 0.0)
        w = there[..., None] * self.w
        precision = torch.eye(L) + w.mT @ w / SIGMA**2
        mean = torch.linalg.solve(precision, (w.mT @ x[..., None] / SIGMA**2))[..., 0]
        scale = precision.diagonal(dim1=-2, dim2=-1).rsqrt()
        return torch.cat([mean + self.bias * scale, (self.width * scale).log()], -1)


def made(width=1.0, bias=0.0, count=50):
    torch.manual_seed(5)
    vae = linear_gaussian(DIM, L, SIGMA)
    exact = Exact(vae)
    vae.likelihood = pv.likelihoods.MissingAtRandom(vae.likelihood)
    vae.posterior.encoder = Evidence(exact.w, exact.b, width, bias)
    return vae, exact, exact.marginal.sample((count,))


def truth(exact, x, given=GIVEN):
    law, b = exact.marginal.covariance_matrix, exact.b
    some = MultivariateNormal(b[given], law[given][:, given])
    return exact.log_marginal(x) - some.log_prob(x[:, given])


def test_it_agrees_with_the_closed_form():
    vae, exact, x = made(width=1.2)
    found = log_conditional(vae, x, GIVEN, 4000)
    z = (found.log_conditional - truth(exact, x)) / found.mc_se
    assert z.abs().max() < bound(len(x))
    assert abs(float((found.log_conditional - truth(exact, x)).mean())) < 4.3 * found.mean_se
    assert verdict(found).colour == "green" and verdict(found).green.all()
    other = truth(exact, x, ~GIVEN)  # the twin: given and rest exchanged
    assert ((found.log_conditional - other) / found.mc_se).abs().max() > 100


def test_intervals_hold_the_truth_where_they_are_given():
    vae, exact, x = made(width=0.9, bias=0.3, count=400)
    found = log_conditional(vae, x, GIVEN, 500)
    there = ~found.lower.isnan()
    held = (found.lower <= truth(exact, x)) & (truth(exact, x) <= found.upper)
    share = float(held[there].double().mean())
    assert there.double().mean() > 0.7
    assert share > 0.95 - 4.3 * math.sqrt(0.05 * 0.95 / int(there.sum()))
    naive = (found.log_conditional - truth(exact, x)).abs() < 1.96 * found.mc_se / 3
    assert float(naive[there].double().mean()) < share - 0.2  # the twin: errors too small


def test_a_guide_that_is_off_is_amber_and_told_as_no_bound():
    vae, _, x = made(width=0.4, bias=1.5)
    judged = verdict(log_conditional(vae, x, GIVEN, 100))
    assert judged.colour == "amber" and "and so no bound" in judged.reason


def test_both_parts_have_samples_of_their_own():
    """One seed for both would make errors that are not independent."""
    vae, _, x = made(width=1.5)
    runs = [log_conditional(vae, x[:1].repeat(200, 1), GIVEN, 50, seed=s) for s in range(2)]
    parts = [torch.stack([r.whole.log_marginal, r.given.log_marginal]) for r in runs]
    for whole, some in parts:
        r = float(torch.corrcoef(torch.stack([whole, some]))[0, 1])
        assert abs(r) * math.sqrt(200) < 4.3
    assert not torch.equal(*parts)
    spread = runs[0].log_conditional.std()
    assert 0.7 < float(spread / runs[0].mc_se.square().mean().sqrt()) < 1.4


def test_what_is_missing_is_in_no_part():
    vae, exact, x = made()
    x[:, 0] = torch.nan
    found = log_conditional(vae, x, GIVEN, 2000)
    keep = torch.arange(DIM) != 0
    law, b = exact.marginal.covariance_matrix, exact.b
    given = GIVEN & keep
    whole = MultivariateNormal(b[keep], law[keep][:, keep]).log_prob(x[:, keep])
    some = MultivariateNormal(b[given], law[given][:, given]).log_prob(x[:, given])
    assert z_scores((found.log_conditional - whole + some)[:, None]).abs().max() < 4.3
    assert (found.log_conditional - whole + some).abs().max() < 6 * found.mc_se.max()


def test_parts_by_region_column_and_mask():
    images = as_split(torch.rand(2, 1, 4, 4))
    left = elements_of(images, "left")
    assert left.shape == (1, 4, 4) and left[..., :2].all() and not left[..., 2:].any()
    assert torch.equal(elements_of(images, ["top-left", "bottom-left"]), left)
    table = pv.data.diabetes().test
    assert elements_of(table, ["age", 2]).nonzero()[:, 0].tolist() == [0, 2]
    for part, message in [
        ("lfet", "regions of the image"),
        (torch.ones(1, 4, 4, dtype=torch.bool), "a part of x, and a rest; got all"),
        ([], "got nothing"),
        (torch.ones(4), "bools of shape"),
    ]:
        with pytest.raises(ValueError, match=message):
            elements_of(images, part)
    with pytest.raises(ValueError, match=r"columns \(age, sex, .*; got 'wiegth'"):
        elements_of(table, "wiegth")


def test_programs_without_holes_are_refused():
    vae, exact, x = made()
    whole = linear_gaussian(DIM, L, SIGMA)
    with pytest.raises(ValueError, match="Expected a likelihood of data with holes"):
        log_conditional(whole, x, GIVEN, 10)
    exact.set_posterior(whole)
    whole.likelihood = vae.likelihood  # the guide still sees no holes
    with pytest.raises(ValueError, match=r"Expected .*NaN"):
        log_conditional(whole, x, GIVEN, 10)
