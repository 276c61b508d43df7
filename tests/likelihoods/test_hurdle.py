"""Zero or not, and how much: the two questions of a hurdle, and what it refuses."""

import math

import pytest
import torch
from scipy import stats
from torch import nn

import pyro_vae as pv

pytestmark = pytest.mark.usefixtures("float64")

COUNTS = {
    "poisson": lambda net: pv.likelihoods.Poisson(net),
    "binomial": lambda net: pv.likelihoods.Binomial(net, 6),
    "negative-binomial": lambda net: pv.likelihoods.NegativeBinomial(net, 0.7),
}
POSITIVE = {
    "log-normal": lambda net: pv.likelihoods.LogNormal(net, 0.6),
    "gamma": lambda net: pv.likelihoods.Gamma(net, 2.0),
}


@pytest.mark.parametrize("name", COUNTS)
def test_counts_with_a_hurdle_sum_to_one(name):
    """Also over two elements at once, whose outputs are the rates first and then the logits."""
    hurdle = pv.likelihoods.Hurdle(COUNTS[name](nn.Identity()))
    outputs = torch.tensor([[-30.0, 1.2, -0.4, 3.0], [0.0, -1.0, 8.0, -8.0]])
    x = torch.arange(7.0 if name == "binomial" else 400.0)
    each = hurdle(outputs).base_dist.log_prob(x[:, None, None]).logsumexp(0)
    torch.testing.assert_close(each, torch.zeros(2, 2), atol=1e-9, rtol=0)
    zero = hurdle(outputs).base_dist.log_prob(torch.zeros(2, 2))
    torch.testing.assert_close(zero, torch.nn.functional.logsigmoid(-outputs[:, 2:]))


@pytest.mark.parametrize("name", [*COUNTS, *POSITIVE])
def test_the_two_questions_are_apart(name):
    """log p(x) is the answer to zero or not, plus that of the family given that it is not zero."""
    family = {**COUNTS, **POSITIVE}[name](nn.Identity())
    f, h, x = torch.tensor([[0.3, -1.0]]), torch.tensor([[0.8, -2.0]]), torch.tensor([[3.0, 1.0]])
    found = pv.likelihoods.Hurdle(family)(torch.cat([f, h], 1)).log_prob(x)
    law = family(f).base_dist
    positive = (
        -torch.expm1(law.log_prob(torch.zeros(1, 2))) if name in COUNTS else torch.ones(1, 2)
    )
    by_hand = (h.sigmoid().log() + law.log_prob(x) - positive.log()).sum(1)
    torch.testing.assert_close(found, by_hand)
    assert float(found.detach()) != pytest.approx(
        float((h.sigmoid().log() + law.log_prob(x)).sum().detach()) if name in COUNTS else 0.0
    )  # the twin


def test_a_hurdle_of_log_normals_is_that_of_scipy():
    hurdle = pv.likelihoods.Hurdle(POSITIVE["log-normal"](nn.Identity()))
    hurdle.requires_grad_(False)
    law = hurdle(torch.tensor([[0.5, 1.0]])).base_dist
    h, exact = 1 / (1 + math.exp(-1.0)), stats.lognorm(s=0.6, scale=math.exp(0.5))
    for x in (0.2, 1.0, 9.0):
        assert float(law.cdf(torch.tensor(x))) == pytest.approx(1 - h + h * exact.cdf(x))
        assert float(law.log_prob(torch.tensor(x))) == pytest.approx(math.log(h) + exact.logpdf(x))
    assert float(law.cdf(torch.tensor(0.0))) == pytest.approx(1 - h)
    assert float(law.mean) == pytest.approx(h * exact.mean())
    assert float(law.variance) == pytest.approx(
        h * (exact.var() + exact.mean() ** 2) - (h * exact.mean()) ** 2
    )


@pytest.mark.parametrize("level", [-1e4, -60.0, 0.0, 30.0, 1e4])
@pytest.mark.parametrize("name", [*COUNTS, *POSITIVE])
def test_hurdles_have_no_nan_at_extremes(name, level):
    family = {**COUNTS, **POSITIVE}[name](nn.Identity()).float()
    hurdle = pv.likelihoods.MissingAtRandom(pv.likelihoods.Hurdle(family))
    outputs = torch.full((1, 8), level, dtype=torch.float32).requires_grad_()
    x = torch.tensor([[0.0, 1.0, 5.0, torch.nan]], dtype=torch.float32)
    value = hurdle(outputs).log_prob(x)
    assert value.isfinite().all()
    parameters = [p for p in hurdle.parameters() if p.requires_grad]
    found = torch.autograd.grad(value.sum(), [outputs, *parameters])
    assert all(g.isfinite().all() for g in found)
    drawn = hurdle(outputs).sample()
    assert drawn.isfinite().all() and hurdle.support.check(drawn).all()


def test_hurdles_refuse_what_they_cannot_take():
    with pytest.raises(ValueError, match="inside of Hurdle; got Gaussian on the real numbers"):
        pv.likelihoods.Hurdle(pv.likelihoods.Gaussian(nn.Identity()))
    with pytest.raises(ValueError, match="inside of Hurdle; got ZeroInflatedNegativeBinomial"):
        pv.likelihoods.Hurdle(pv.likelihoods.ZeroInflatedNegativeBinomial(nn.Identity()))
    hurdle = pv.likelihoods.Hurdle(pv.likelihoods.Beta(nn.Identity()))
    with pytest.raises(ValueError, match="a multiple of 3 of outputs, for 3 parameters"):
        hurdle(torch.zeros(2, 4))


@pytest.mark.parametrize("kind", ["LogNormal", "Gamma"])
def test_zeros_that_are_no_positive_numbers_are_sent_to_a_hurdle(kind):
    def vae(likelihood):
        posterior = pv.posteriors.MeanFieldNormal(pv.nn.MLP(3, [], 4))
        return pv.VAE(pv.priors.StandardNormal(2), likelihood, posterior)

    family = getattr(pv.likelihoods, kind)
    x = torch.rand(10, 3) + 0.1
    x[4, 2] = 0.0
    name = {"LogNormal": "log-normal", "Gamma": "gamma"}[kind]
    with pytest.raises(ValueError, match=f"kind hurdle --likelihood.family.kind {name}"):
        pv.elbo(vae(family(pv.nn.MLP(2, [], 3))), x)
    assert pv.elbo(vae(pv.likelihoods.Hurdle(family(pv.nn.MLP(2, [], 6)))), x).isfinite().all()
