"""A product of experts is the exact posterior of linear-Gaussian views, whichever are there."""

from itertools import product

import pytest
import torch
from checks import bound, z_scores
from torch.distributions import MultivariateNormal

import pyro_vae as pv
from pyro_vae.nn import MLP, Views, views_of

SIZES, L, SIGMA = (3, 2, 4), 2, 0.6
D = sum(SIZES)
SUBSETS = [*product((False, True), repeat=len(SIZES))]


def linear(prior=None):
    """Views W z + b + noise, each with orthogonal columns; their elements lie across x."""
    torch.manual_seed(2)
    blocks = torch.randperm(D).split(SIZES)
    w, b = torch.zeros(D, L), torch.randn(D)
    views = []
    for block in blocks:
        q, _ = torch.linalg.qr(torch.randn(len(block), L))
        w[block] = q * (0.5 + torch.rand(L))
        views.append((block.tolist(), expert(w[block], b[block])))
    decoder = MLP(L, [], D)
    with torch.no_grad():
        decoder.layers[0].weight.copy_(w)
        decoder.layers[0].bias.copy_(b)
    likelihood = pv.likelihoods.Gaussian(decoder, "fixed", SIGMA)
    prior = prior or pv.priors.StandardNormal(L)
    posterior = pv.posteriors.ProductOfExperts(Views(views), L, prior)
    vae = pv.VAE(prior, pv.likelihoods.MissingAtRandom(likelihood), posterior)
    return vae, [torch.tensor(block) for block, _ in views], w, b


def expert(w, b, prior=0.0):
    """The evidence of a view: N(z; (W'W)^-1 W'(x - b), sigma^2 (W'W)^-1)."""
    net = MLP(len(b), [], 2 * L)
    precision = (w * w).sum(0) / SIGMA**2 + prior
    with torch.no_grad():
        gain = w.T / SIGMA**2 / precision[:, None]
        net.layers[0].weight[:L], net.layers[0].weight[L:] = gain, 0.0
        net.layers[0].bias[:L], net.layers[0].bias[L:] = -gain @ b, -precision.log() / 2
    return net


def exact(w, b, there, x, prior):
    """The posterior, and log p of what is there, by matrices."""
    base = prior()
    loc, variance = base.mean, base.variance
    w, b, x = w[there], b[there], x[:, there]
    precision = variance.reciprocal().diag() + w.T @ w / SIGMA**2
    mean = ((x - b) @ w / SIGMA**2 + loc / variance) @ torch.linalg.inv(precision)
    noise = SIGMA**2 * torch.eye(len(b))
    marginal = MultivariateNormal(b + w @ loc, w @ variance.diag() @ w.T + noise)
    log_p = marginal.log_prob(x) if len(b) else torch.zeros(len(x))
    return MultivariateNormal(mean, precision_matrix=precision), log_p


def holes(x, blocks, subset):
    x, there = x.clone(), torch.ones(D, dtype=torch.bool)
    for block, seen in zip(blocks, subset):
        if not seen:
            x[:, block], there[block] = torch.nan, False
    return x, there


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("prior", ["standard", "normal"])
def test_it_is_the_exact_posterior_for_every_subset_of_views(prior):
    own = pv.priors.Normal(L, 0.5, 2.0) if prior == "normal" else None
    vae, blocks, w, b = linear(own)
    x = vae.model(batch_size=20).detach()
    for subset in SUBSETS:
        seen, there = holes(x, blocks, subset)
        law, log_p = exact(w, b, there, seen, vae.prior)
        z = law.sample((5,))
        ours = vae.posterior(seen)
        assert (ours.log_prob(z) - law.log_prob(z)).abs().max() < 1e-10, subset
        assert (pv.elbo(vae, seen) - log_p).abs().max() < 1e-10, subset  # without noise


@pytest.mark.usefixtures("float64")
def test_a_prior_that_every_expert_counts_is_found():
    """The twin: experts that are posteriors of their view, each with a prior of its own."""
    vae, blocks, w, b = linear()
    views = [(block.tolist(), expert(w[block], b[block], prior=1.0)) for block in blocks]
    vae.posterior.encoder = Views(views)
    x = vae.model(batch_size=20).detach()
    law, log_p = exact(w, b, torch.ones(D, dtype=torch.bool), x, vae.prior)
    z = law.sample((5,))
    assert (vae.posterior(x).log_prob(z) - law.log_prob(z)).abs().max() > 0.1
    assert (pv.elbo(vae, x, 200) - log_p).mean() < -0.1


def test_views_that_are_not_there_say_nothing_and_learn_nothing():
    vae, blocks, *_ = linear()
    x = vae.model(batch_size=6).detach()
    x[:, blocks[1]] = torch.nan
    terms = pv.plan(vae, x[:2]).objective(vae.model, vae.guide, x)
    terms.loss.backward()
    experts = vae.posterior.encoder.nets
    gradients = [[p.grad.abs().max() for p in net.parameters()] for net in experts]
    assert all(float(g) == 0 for g in gradients[1])
    assert all(float(g) > 0 for i in (0, 2) for g in gradients[i])
    x[:] = torch.nan
    law = vae.posterior(x)
    assert torch.equal(law.mean, torch.zeros(6, L)) and torch.equal(law.stddev, torch.ones(6, L))


def test_elements_missing_inside_of_a_view_are_told_to_its_expert():
    torch.manual_seed(0)
    nets = [torch.nn.Sequential(pv.nn.Observed(), MLP(4, [8], 2 * L)) for _ in range(2)]
    posterior = pv.posteriors.ProductOfExperts(Views([([0, 2], nets[0]), ([1, 3], nets[1])]), L)
    x = torch.tensor([[0.0, 1.0, 2.0, 3.0]]).repeat(2, 1)
    x[1, 0] = torch.nan
    law = posterior(x)
    assert law.mean.isfinite().all() and not torch.equal(law.mean[0], law.mean[1])
    deaf = pv.posteriors.ProductOfExperts(
        Views([([0, 2], MLP(2, [], 4)), ([1, 3], MLP(2, [], 4))]), L
    )
    with torch.no_grad():  # never taken for a view that is not there
        assert deaf.encoder(x)[1].isnan().any() and not deaf.encoder(x)[0].isnan().any()


def test_one_expert_is_a_corrected_prior():
    prior = pv.priors.StandardNormal(L)
    net = MLP(D, [5], 2 * L)
    x = torch.randn(4, D)
    one = pv.posteriors.ProductOfExperts(net, L, prior)(x)
    other = pv.posteriors.Corrected(net, prior)(x)
    assert torch.equal(one.mean, other.mean) and torch.equal(one.stddev, other.stddev)


def test_a_conditional_prior_counts_once():
    """q(z | x, c) is p(z | c) times the evidence."""
    prior = pv.posteriors.MeanFieldNormal(MLP(3, [5], 2 * L)).given("c")
    net = Views([([0], MLP(1, [], 4)), ([1, 2], MLP(2, [], 4))])
    posterior = pv.posteriors.ProductOfExperts(net, L, prior).given("x", "c")
    x, c = torch.full((4, 3), torch.nan), torch.randn(4, 3)
    torch.testing.assert_close(posterior((x, c)).mean, prior(c).mean)
    torch.testing.assert_close(posterior((x, c)).stddev, prior(c).stddev)


@pytest.mark.parametrize(
    "make,message",
    [
        (lambda: Views([([0, 1], MLP(2, [], 4)), ([1], MLP(1, [], 4))]), "every element of x in"),
        (lambda: Views([([0, 2], MLP(2, [], 4))]), r"one view; got the positions \[0, 2\]"),
        (lambda: Views([]), "every element of x in one view"),
        (lambda: Views([([0, 1], MLP(2, [], 4))])(torch.zeros(5, 3)), "data of 2 elements in 1 d"),
        (
            lambda: pv.posteriors.ProductOfExperts(MLP(2, [], 5), 2)(torch.zeros(3, 2)),
            "Expected 4 outputs for each view",
        ),
        (
            lambda: pv.posteriors.ProductOfExperts(MLP(2, [], 4), 2, pv.priors.Laplace(2))(
                torch.zeros(3, 2)
            ),
            "Expected a diagonal Normal prior",
        ),
    ],
)
def test_what_is_no_product_of_experts_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# --- Views that are dropped in training -----------------------------------------------------------


def test_views_are_hidden_as_often_as_said_and_never_all():
    views = Views([([0, 3], MLP(2, [], 4)), ([1, 2], MLP(2, [], 4))])
    x, rate = torch.randn(20_000, 4), 0.4
    hidden = torch.stack([v.isnan().all(-1) for v in views.split(views.hide(x, rate))], -1)
    assert torch.equal(views.hide(x, 0.0), x) and not hidden.all(-1).any()
    expected = rate - rate**2 / 2  # below the rate, and below the other
    assert z_scores(hidden.float(), expected).abs().max() < bound(2)
    assert z_scores(hidden.float(), rate).abs().max() > bound(2)  # the twin
    x[:, 1:3] = torch.nan  # the other is all there is
    assert torch.equal(views.hide(x, 0.9)[:, [0, 3]], x[:, [0, 3]])


def test_hidden_views_of_images():
    views = Views([(range(8), MLP(8, [], 4)), (range(8, 16), MLP(8, [], 4))], event_dim=3)
    x = torch.rand(50, 1, 4, 4)
    seen = views.hide(x, 0.9)
    assert seen.shape == x.shape and views(seen).shape == (50, 8)
    upper, lower = seen[:, :, :2].isnan(), seen[:, :, 2:].isnan()
    assert ((upper.all((1, 2, 3)) ^ lower.all((1, 2, 3))) | ~seen.isnan().any((1, 2, 3))).all()


def made():
    """One latent feature, of which a product of Normal experts can be the exact posterior."""
    torch.manual_seed(0)
    net = Views([([0, 1, 2], MLP(3, [16], 2)), ([3, 4, 5], MLP(3, [16], 2))])
    likelihood = pv.likelihoods.Gaussian(MLP(1, [], 6), "fixed", 0.5)
    posterior = pv.posteriors.ProductOfExperts(net, 1)
    prior = pv.priors.StandardNormal(1)
    return pv.VAE(prior, pv.likelihoods.MissingAtRandom(likelihood), posterior)


def test_experts_that_saw_views_alone_say_more_of_them():
    x = torch.randn(400, 1) @ torch.randn(1, 6) + 0.5 * torch.randn(400, 6)
    alone, gaps = x.clone(), {}
    alone[:, 3:] = torch.nan
    for rate in (0.0, 0.4):
        vae = made()
        pv.fit(vae, x, epochs=20, lr=1e-2, progress=False, drop_views=rate)
        gap = pv.log_marginal(vae, alone, 200).log_marginal - pv.elbo(vae, alone, 20)
        gaps[rate] = float(gap.mean())
    assert gaps[0.4] < 0.1 and gaps[0.0] > 0.4


def test_drop_views_needs_views_and_a_likelihood_with_holes():
    x = torch.randn(20, 6)
    plain = pv.VAE(
        pv.priors.StandardNormal(2),
        pv.likelihoods.Gaussian(MLP(2, [], 6)),
        pv.posteriors.MeanFieldNormal(MLP(6, [], 4)),
    )
    with pytest.raises(ValueError, match="Expected a posterior that sees views"):
        pv.fit(plain, x, epochs=1, progress=False, drop_views=0.3)
    whole = made()
    whole.likelihood = whole.likelihood.family
    with pytest.raises(ValueError, match="likelihood of data with holes"):
        pv.fit(whole, x, epochs=1, progress=False, drop_views=0.3)
    with pytest.raises(ValueError, match="drop_views"):
        pv.fit(made(), x, epochs=1, progress=False, drop_views=1.0)
    assert views_of(plain) is None and views_of(made()) is not None


# --- Recipes ----------------------------------------------------------------------------------------


def recipe(**changes):
    values = {
        "latent_dim": 3,
        "data": {"kind": "digits", "binarize": "threshold"},
        "likelihood": {"kind": "bernoulli", "decoder": {"kind": "mlp", "hidden_features": [8]}},
        "posterior": {
            "kind": "product-of-experts",
            "views": ["left", ["top-right", "bottom-right"]],
            "encoder": {"kind": "mlp", "hidden_features": [8]},
        },
    }
    return pv.config.validate({**values, **changes})


def test_regions_of_an_image_are_views():
    found = recipe()
    assert found.posterior.views == (("left",), ("top-right", "bottom-right"))
    data = pv.data.load(found.data)
    vae = pv.build_vae(found, data.train.x_shape, data.train.scale, data.train)
    assert isinstance(vae.posterior, pv.posteriors.ProductOfExperts)
    assert vae.posterior.prior is vae.prior and vae.likelihood.missing
    x = data.test.rows(slice(0, 4))
    left, right = vae.posterior.encoder.split(x)
    assert torch.equal(left.reshape(4, 8, 4), x[:, 0, :, :4])
    assert torch.equal(right.reshape(4, 8, 4), x[:, 0, :, 4:])
    pv.fit(vae, data.train, epochs=1, progress=False, drop_views=0.4)
    again = pv.build_vae(found, (1, 8, 8), data.train.scale, None)  # as a checkpoint is loaded
    again.load_state_dict(vae.state_dict())
    other = recipe(prior={"kind": "laplace"})
    apart = pv.build_vae(other, (1, 8, 8), 1.0, None)
    assert isinstance(apart.posterior.prior, pv.priors.StandardNormal)
    shared = pv.build_vae(recipe(prior={"kind": "normal", "learned": True}), (1, 8, 8), 1.0, None)
    assert shared.posterior.prior is shared.prior


def test_columns_of_a_table_are_views():
    values = pv.config.read_recipe("diabetes-views")
    found = pv.config.validate(values)
    data = pv.data.load(found.data)
    assert data.train.x_shape == (10,) and data.label == "progression"
    vae = pv.build_vae(found, (10,), data.train.scale, data.train)
    body, serum = vae.posterior.encoder.split(data.test.rows(slice(0, 4)))
    assert body.shape == (4, 4) and serum.shape == (4, 6)
    x = data.test.rows(slice(0, 20))
    x[:10, 4:], x[10:, 0] = torch.nan, torch.nan  # a view, and an element of one
    assert pv.elbo(vae, x).isfinite().all()


@pytest.mark.parametrize(
    "posterior,message",
    [
        ({"views": ["left"]}, "every element of x in one view"),
        ({"views": ["left", "rihgt"]}, r"regions of the image .*; got 'rihgt'"),
        ({"views": ["left", "right", "top"]}, "every element of x in one view"),
        ({"views": []}, r"posterior\.views"),
        ({}, r"posterior\.views"),
        ({"views": ["left", "right"], "given": ["x"]}, "Build such a model in Python"),
    ],
)
def test_views_that_make_no_sense_are_refused(posterior, message):
    with pytest.raises(ValueError, match=message):
        found = recipe(posterior={"kind": "product-of-experts", **posterior})
        pv.build_vae(found, (1, 8, 8), 1.0, None)
