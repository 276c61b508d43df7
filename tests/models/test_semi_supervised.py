"""Latent variables that are known for some data: real numbers against quadrature, and labels."""

import math

import pyro.distributions as dist
import pytest
import torch
from checks import bound
from pyro.infer import Trace_ELBO

import pyro_vae as pv
from pyro_vae.objectives import ELBO, Enumeration, ScoreFunction

N, MLP, Join = pv.posteriors.MeanFieldNormal, pv.nn.MLP, pv.nn.Join
NAN = float("nan")
D, COUNT = 3, 6


def regression(with_z=True):
    """y is a real number, known for half of the data: p(y) p(z) p(x | y, z), q(y | x) q(z | x, y)."""
    prior = {"y": pv.priors.Normal(1, 0.5, 1.5)}
    posterior = {"y": N(MLP(D, [8], 2))}
    if with_z:
        prior["z"] = pv.priors.StandardNormal(1)
        posterior["z"] = N(Join(MLP(D + 1, [8], 2), (1, 1))).given("x", "y")
    net = Join(MLP(2, [8], D), (1, 1)) if with_z else MLP(1, [8], D)
    likelihood = pv.likelihoods.Gaussian(net, "fixed", 0.5)
    vae = pv.VAE(pv.Sites(prior), likelihood, pv.Sites(posterior)).double()
    with torch.no_grad():
        for p in vae.parameters():
            p.add_(0.3 * torch.randn_like(p))
    x, y = torch.randn(COUNT, D).double(), torch.randn(COUNT, 1).double()
    y[::2] = NAN
    return vae, x, y


def nodes(law, count=40):
    """Points and log weights of Gauss-Hermite quadrature for a Normal, along a first dimension."""
    import numpy as np

    at, weight = (torch.from_numpy(v) for v in np.polynomial.hermite_e.hermegauss(count))
    shape = (count, *[1] * law.base_dist.loc.dim())
    return law.base_dist.loc + law.base_dist.scale * at.view(shape), weight / weight.sum()


def at_y(vae, x, y):
    """E_q(z | x, y) log p(x, y, z) - log q(z | x, y), by quadrature over z, for y of (*, B, 1)."""
    q = vae.posterior["z"]((x.expand(*y.shape[:-1], D), y))
    z, weight = nodes(q)
    log_x = vae.likelihood((y.expand(z.shape), z)).log_prob(x)
    inside = (weight.view(-1, *[1] * (log_x.dim() - 1)) * log_x).sum(0)
    kl = torch.distributions.kl_divergence(q.base_dist, dist.Normal(0.0, 1.0)).sum(-1)
    return inside - kl + vae.prior["y"]().log_prob(y)


def by_quadrature(vae, x, y):
    """The bound of each datum where y is known and where it is not."""
    q = vae.posterior["y"](x)
    values, weight = nodes(q)
    free = (weight[:, None] * (at_y(vae, x, values) - q.log_prob(values))).sum(0)
    return torch.where(y[:, 0].isnan(), free, at_y(vae, x, torch.nan_to_num(y))).detach()


def test_a_real_label_against_quadrature():
    vae, x, y = regression()
    exact = by_quadrature(vae, x, y)
    draws = torch.stack([pv.elbo(vae, x, 200, seed=s, y=y) for s in range(60)])
    z = pv.evaluate.z_score(draws, exact)
    assert float(z.abs().max()) < 4
    wrong = by_quadrature(vae, x, torch.full_like(y, NAN))
    assert float((wrong - exact)[1::2].abs().min()) > 0.01  # what is known matters


@pytest.mark.parametrize("kl", ["closed-form", "sampled"])
def test_the_terms_of_a_real_label(kl):
    """Where y is known, -log p(y) is in the place of its KL term; the loss is the bound."""
    vae, x, y = regression()
    exact = by_quadrature(vae, x, y).mean()
    with torch.no_grad():
        found = [ELBO(200, kl)(vae.model, vae.guide, x, y=y) for _ in range(60)]
    bounds = torch.stack([-terms.loss for terms in found])
    assert abs(float(pv.evaluate.z_score(bounds, exact))) < 4
    assert float(found[0].reconstruction - found[0].kl) == pytest.approx(float(bounds[0]))


def test_a_real_label_without_noise():
    """All rows known and no other latent variable: nothing is drawn, so the loss is exact."""
    vae, x, _ = regression(with_z=False)
    y = torch.randn(COUNT, 1).double()
    evidence = vae.likelihood(y).log_prob(x) + vae.prior["y"]().log_prob(y)
    guess = vae.posterior["y"](x).log_prob(y)
    for kl in ("closed-form", "sampled"):
        plain = ELBO(1, kl)(vae.model, vae.guide, x, y=y).loss
        torch.testing.assert_close(-plain, evidence.mean(), rtol=0, atol=1e-6)
        taught = ELBO(1, kl, supervision=3.0)(vae.model, vae.guide, x, y=y).loss
        torch.testing.assert_close(-taught, (evidence + 3 * guess).mean(), rtol=0, atol=1e-6)
    y[0] = NAN
    half = pv.objectives.kl_divergence(
        pv.distributions.Known(vae.posterior["y"](x), y), vae.prior["y"]()
    )
    whole = pv.objectives.kl_divergence(vae.posterior["y"](x), vae.prior["y"]())
    torch.testing.assert_close(half[0], whole[0], rtol=0, atol=1e-6)
    torch.testing.assert_close(half[1:], -vae.prior["y"]().log_prob(y[1:]), rtol=0, atol=1e-6)


def test_pyro_agrees_on_a_real_label():
    vae, x, y = regression()
    torch.manual_seed(1)
    ours = ELBO(1, "sampled")(vae.model, vae.guide, x, y=y).loss
    torch.manual_seed(1)
    theirs = Trace_ELBO().loss(vae.model, vae.guide, x, y=y) / len(x)
    assert float(ours.detach()) == pytest.approx(theirs)


def test_gradients_of_a_real_label_are_finite_and_reach_the_guide():
    vae, x, y = regression()
    ELBO(2, "closed-form", supervision=2.0)(vae.model, vae.guide, x, y=y).loss.backward()
    trained = [p for p in vae.parameters() if p.requires_grad]
    assert all(p.grad.isfinite().all() for p in trained)
    assert float(vae.posterior["y"].encoder.layers[0].weight.grad.abs().sum()) > 0


def m2(learned=True):
    vae = pv.VAE(
        pv.Sites(y=pv.priors.Categorical(3, learned=learned), z=pv.priors.StandardNormal(2)),
        pv.likelihoods.Bernoulli(Join(MLP(3 + 2, [8], 6), (1, 1))).given("y", "z"),
        pv.Sites(
            y=pv.posteriors.Categorical(MLP(6, [8], 3), 3),
            z=N(Join(MLP(6 + 3, [8], 4), (1, 1))).given("x", "y"),
        ),
    )
    x = torch.bernoulli(torch.full((8, 6), 0.5))
    y = torch.eye(3)[torch.randint(3, (8,))]
    y[::2] = NAN
    return vae, x, y


def test_the_score_function_learns_from_labels_as_enumeration_does():
    """Loss and gradient of the taught bound, by drawn labels and by the sum over all of them."""
    vae, x, y = m2()
    weight = vae.posterior["y"].encoder.layers[-1].bias
    found = {}
    for name, objective, count in (
        ("drawn", ScoreFunction(400, "none", supervision=3.0), 60),
        ("summed", Enumeration(supervision=3.0), 400),
    ):
        losses, gradients = [], []
        for _ in range(count):
            loss = objective(vae.model, vae.guide, x, y=y).loss
            losses.append(loss.detach())
            gradients.append(torch.autograd.grad(loss, weight)[0])
        found[name] = torch.stack(losses), torch.stack(gradients)
    for drawn, summed in zip(found["drawn"], found["summed"]):
        error = (drawn.var(0) / len(drawn) + summed.var(0) / len(summed)).sqrt()
        z = (drawn.mean(0) - summed.mean(0)) / error
        assert float(z.abs().max()) < bound(4)


def test_supervision_where_it_means_nothing_is_refused():
    vae, x, y = m2()
    with pytest.raises(ValueError, match="reparameterized, enumeration or score-function"):
        pv.plan(vae, x, "vimco", known={"y": y}, supervision=1.0, num_particles=3)
    assert pv.plan(vae, x, known={"y": y}, supervision=1.0).objective.supervision == 1.0
    real, x, y = regression()
    assert pv.plan(real, x, known={"y": y}, supervision=2.0).objective.supervision == 2.0


def test_regression_from_few_labels():
    """q(y | x) predicts a real number of which a tenth of the rows is told."""
    torch.manual_seed(0)
    count = 300
    y, z = torch.randn(count, 1), torch.randn(count, 1)
    x = torch.cat([y + 0.3 * z, z, y - z], 1) + 0.1 * torch.randn(count, 3)
    told = torch.where(torch.arange(count)[:, None] % 10 == 0, y, NAN)
    vae = pv.VAE(
        pv.Sites(y=pv.priors.StandardNormal(1), z=pv.priors.StandardNormal(1)),
        pv.likelihoods.Gaussian(Join(MLP(2, [16], 3), (1, 1)), "shared"),
        pv.Sites(y=N(MLP(3, [16], 2)), z=N(Join(MLP(4, [16], 2), (1, 1))).given("x", "y")),
    )
    data = pv.data.as_split(x, y=told)
    pv.fit(
        vae, data, epochs=40, batch_size=50, lr=1e-2, supervision=1.0, compile="no", progress=False
    )
    guess = pv.evaluate.encode_sites(vae, x)["y"].loc
    explained = 1 - float((guess - y).square().mean() / y.var())
    assert explained > 0.9, explained
    assert math.isfinite(float(pv.elbo(vae, x).mean()))
