"""Ordered levels: cutpoints on a line, and what does not depend on how they are told."""

import math

import pytest
import torch
from checks import bound, z_scores
from torch import nn

import pyro_vae as pv
from pyro_vae.distributions import Ordinal

pytestmark = pytest.mark.usefixtures("float64")

CUTS = torch.tensor([-1.5, -0.2, 0.1, 2.0])


def law(f, cuts):
    return Ordinal(torch.as_tensor(f), cuts[..., 0], cuts.diff().log())


def probabilities(f, cuts=CUTS):
    return law(f, cuts).probs


def test_ordered_levels_are_differences_of_a_logistic_curve():
    f = torch.linspace(-3, 3, 7)
    below = torch.sigmoid(CUTS - f[:, None])
    edges = torch.cat([torch.zeros(7, 1), below, torch.ones(7, 1)], 1)
    torch.testing.assert_close(probabilities(f), edges.diff())
    torch.testing.assert_close(probabilities(f).sum(1), torch.ones(7))
    ours, x = law(f, CUTS), torch.arange(5.0)[:, None].expand(5, 7)
    torch.testing.assert_close(ours.log_prob(x).exp(), edges.diff().T)
    torch.testing.assert_close(ours.cdf(x[:4]), below.T)
    mean = (edges.diff() * torch.arange(5.0)).sum(1)
    torch.testing.assert_close(ours.mean, mean)
    torch.testing.assert_close(
        ours.variance, (edges.diff() * torch.arange(5.0).square()).sum(1) - mean.square()
    )
    assert z_scores(ours.sample((20_000,)), mean).abs().max() < bound(7)


def test_ordered_levels_do_not_depend_on_origin_direction_or_grouping():
    f = torch.linspace(-3, 3, 7)
    torch.testing.assert_close(probabilities(f + 5.0, CUTS + 5.0), probabilities(f))
    torch.testing.assert_close(probabilities(-f, -CUTS.flip(0)).flip(-1), probabilities(f))
    merged = probabilities(f, CUTS[[0, 1, 3]])  # levels 2 and 3 as one
    p = probabilities(f)
    torch.testing.assert_close(
        merged, torch.stack([p[:, 0], p[:, 1], p[:, 2] + p[:, 3], p[:, 4]], 1)
    )
    assert (probabilities(2 * f) - p).abs().max() > 0.1  # the twin: the unit of f matters


def test_two_levels_are_bits():
    ordinal = pv.likelihoods.Ordinal(nn.Identity(), num_levels=2)
    f, x = torch.linspace(-4, 4, 6)[:, None], torch.tensor([[0.0], [1.0]] * 3)
    bits = pv.likelihoods.Bernoulli(nn.Identity())(f)
    torch.testing.assert_close(ordinal(f).log_prob(x), bits.log_prob(x))


@pytest.mark.parametrize("cutpoints", ["shared", "per-column"])
def test_cutpoints_are_learned_from_the_histogram(cutpoints):
    """With f held at zero, levels get their shares in the data: of all columns, or of each."""
    p = torch.tensor([[0.1, 0.2, 0.6, 0.1], [0.4, 0.1, 0.1, 0.4]])
    x = torch.distributions.Categorical(p).sample((4000,)).to(p.dtype)
    ordinal = pv.likelihoods.Ordinal(nn.Identity(), 4, cutpoints, x_shape=(2,))
    optimizer = torch.optim.LBFGS(ordinal.parameters(), max_iter=60)

    def loss():
        optimizer.zero_grad()
        value = -ordinal(torch.zeros(len(x), 2)).log_prob(x).mean()
        value.backward()
        return value

    optimizer.step(loss)
    shares = torch.stack([(x == k).to(p.dtype).mean(0) for k in range(4)], -1)
    shares = shares if cutpoints == "per-column" else shares.mean(0).expand(2, -1)
    found = ordinal(torch.zeros(1, 2)).base_dist.probs[0].detach()
    torch.testing.assert_close(found, shares, atol=1e-3, rtol=0)
    assert (found[0] - found[1]).abs().max() < 1e-9 or cutpoints == "per-column"


@pytest.mark.parametrize("level", [-1e4, -60.0, 0.0, 60.0, 1e4])
@pytest.mark.parametrize("gap", [-1e3, -15.0, 0.0, 5.0, 1e3])
def test_ordered_levels_are_finite_far_out(level, gap):
    ordinal = pv.likelihoods.Ordinal(nn.Identity(), 4).float()
    ordinal.log_gaps.data.fill_(gap)
    f = torch.full((1, 5), level, dtype=torch.float32).requires_grad_()
    x = torch.tensor([[0.0, 1.0, 2.0, 3.0, torch.nan]], dtype=torch.float32)
    value = pv.likelihoods.MissingAtRandom(ordinal)(f).log_prob(x)
    assert value.isfinite().all()
    assert all(g.isfinite().all() for g in torch.autograd.grad(value.sum(), [f, ordinal.first]))
    assert ordinal.log_gaps.grad is None


def test_training_starts_at_the_mean():
    ordinal = pv.likelihoods.Ordinal(nn.Identity(), 6)
    mean = torch.tensor([0.3, 2.5, 4.9])
    start = ordinal.outputs_at(mean).detach()
    torch.testing.assert_close(ordinal(start[None]).mean[0].detach(), mean)
    assert float(start[1]) == pytest.approx(0.0, abs=1e-6)
    assert math.isfinite(float(ordinal.outputs_at(torch.tensor([0.0]))))


def test_levels_outside_are_refused():
    vae = pv.VAE(
        pv.priors.StandardNormal(2),
        pv.likelihoods.Ordinal(pv.nn.MLP(2, [], 3), 5),
        pv.posteriors.MeanFieldNormal(pv.nn.MLP(3, [], 4)),
    )
    x = torch.randint(5, (10, 3)).to(torch.get_default_dtype())
    assert pv.elbo(vae, x).isfinite().all()
    for wrong in (5.0, -1.0, 1.5):
        bad = x.clone()
        bad[6, 1] = wrong
        with pytest.raises(
            ValueError, match=rf"in {{0, ..., 4}}, the support of Ordinal; got {wrong:g}"
        ):
            pv.elbo(vae, bad)
    with pytest.raises(ValueError, match="Expected num_levels of at least 2; got 1"):
        pv.likelihoods.Ordinal(nn.Identity(), 1)
    with pytest.raises(ValueError, match="Expected x_shape with cutpoints per column"):
        pv.likelihoods.Ordinal(nn.Identity(), 5, "per-column")
