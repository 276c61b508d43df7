"""Pyro idioms that fail silently. Each test shows a trap, and that this package avoids it."""

import copy
import warnings

import pyro
import pyro.distributions as dist
import pytest
import torch
from checks import B, D, Exact, L, bound, data_for, linear_gaussian
from pyro import poutine
from pyro.infer import SVI, Predictive, RenyiELBO, Trace_ELBO, TraceGraph_ELBO, TraceMeanField_ELBO
from torch import nn

import pyro_vae as pv


class Tutorial(nn.Module):
    """The VAE of a tutorial, registered by name in the global store."""

    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = nn.Linear(D, 2 * L), nn.Linear(L, D)

    def model(self, x):
        pyro.module("vae", self)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(L), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(self.decoder(z), 1.0).to_event(1), obs=x)

    def guide(self, x):
        pyro.module("vae", self)
        with pyro.plate("data", len(x)):
            loc, log_scale = self.encoder(x).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))


def vae():
    return linear_gaussian(D, L, 0.5)


def moves(model):
    x = torch.randn(B, D)
    before = copy.deepcopy(model.state_dict())
    svi = SVI(model.model, model.guide, pyro.optim.Adam({"lr": 0.01}), Trace_ELBO())
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # the trap does not even warn
        for _ in range(3):
            svi.step(x)
    return any(not torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.param_store
def test_1_a_second_model_in_the_store_never_trains():
    first = Tutorial()
    assert moves(first)
    assert not moves(Tutorial()) and not moves(copy.deepcopy(first))
    ours = vae()
    assert moves(ours) and moves(vae()) and moves(copy.deepcopy(ours))


def test_3_renyi_elbo_puts_the_subsample_scale_inside_the_logarithm():
    """With N/B = 10 Pyro's IWAE claims more than the exact evidence; our model has no such scale."""
    torch.set_default_dtype(torch.float64)
    try:
        model = linear_gaussian(D, L, 0.5)
        exact = Exact(model)
        exact.set_posterior(model)
        x = exact.marginal.sample((200,))
        evidence = float(exact.marginal.log_prob(x).sum())
        with torch.no_grad(), poutine.scale(scale=10.0):
            elbo = RenyiELBO(0, num_particles=200, vectorize_particles=True)
            claimed = -elbo.loss(model.model, model.guide, x) / 10
        ours = pv.log_marginal(model, x, 200)
        error = float(ours.mc_se.square().sum().sqrt())
        assert abs(float(ours.log_marginal.sum()) - evidence) < bound(1) * error
        assert claimed - evidence > 10 * bound(1) * error
    finally:
        torch.set_default_dtype(torch.float32)


def test_4_mean_field_elbo_needs_one_site_order():
    def model():
        a = pyro.sample("a", dist.Normal(0.0, 1.0))
        pyro.sample("b", dist.Normal(a, 0.5))

    def guide():
        b = pyro.sample("b", dist.Normal(0.0, 1.0))
        pyro.sample("a", dist.Normal(2 * b, 0.5))

    arguments = dict(num_particles=100_000, vectorize_particles=True, max_plate_nesting=0)
    with pyro.validation_enabled(False):
        right = Trace_ELBO(**arguments).loss(model, guide)
        wrong = TraceMeanField_ELBO(**arguments).loss(model, guide)
    assert abs(right - float(wrong)) > 0.05


@pytest.mark.param_store
def test_6_the_decaying_average_baseline_has_the_shape_of_the_first_batch():
    def program(x, **infer):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Bernoulli(torch.full((len(x),), 0.5)), infer=infer)

    def guide(x):
        program(x, baseline={"use_decaying_avg_baseline": True})

    TraceGraph_ELBO().loss_and_grads(program, guide, torch.zeros(8))
    with pytest.raises((RuntimeError, AssertionError)):
        TraceGraph_ELBO().loss_and_grads(program, guide, torch.zeros(5))  # a smaller last batch
    objective = pv.objectives.ScoreFunction(baseline="average")
    for size in (8, 5):
        objective.baseline(torch.zeros(size), torch.randn(1, size))
    assert objective.baseline.mean.shape == ()


@pytest.mark.parametrize("elbo", [TraceGraph_ELBO(), RenyiELBO(0, num_particles=2)])
def test_5_some_elbos_have_no_differentiable_loss(elbo):
    model = vae()
    with pytest.raises(AttributeError):
        elbo.differentiable_loss(model.model, model.guide, torch.randn(B, D))
    elbo.loss_and_grads(model.model, model.guide, torch.randn(B, D))
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)


def test_7_our_model_scales_nothing():
    """N/B inside a model would temper everything else that runs it, such as NUTS."""
    trace = poutine.trace(vae().model).get_trace(torch.randn(B, D))
    assert {site["scale"] for site in trace.nodes.values() if site["type"] == "sample"} == {1.0}


def test_8_predictive_returns_the_data_unless_unconditioned():
    model, x = vae(), torch.randn(B, D)
    arguments = dict(guide=model.guide, num_samples=2)
    assert torch.equal(Predictive(model.model, **arguments)(x)["x"][0], x)
    assert not torch.equal(Predictive(poutine.uncondition(model.model), **arguments)(x)["x"][0], x)


def test_9_a_forgotten_to_event_is_silent_without_validation():
    def model():
        with pyro.plate("data", 4):
            pyro.sample("z", dist.Normal(torch.zeros(4, 4), 1.0))

    with pytest.raises(ValueError, match="invalid log_prob shape"):
        Trace_ELBO().loss(model, model)
    with pyro.validation_enabled(False):
        Trace_ELBO().loss(model, model)  # a finite, wrong loss
        with pytest.raises(ValueError, match=r"Expected x of shape \(batch, 6\)"):
            Trace_ELBO().loss(vae().model, vae().guide, torch.randn(B, 1, D))


def test_10_torch_mixtures_have_no_bijection():
    parts = (
        dist.Categorical(logits=torch.zeros(2)),
        dist.Normal(torch.zeros(2, 3), 1.0).to_event(1),
    )
    with pytest.raises(NotImplementedError):
        torch.distributions.biject_to(dist.MixtureSameFamily(*parts).support)
    torch.distributions.biject_to(pv.distributions.Mixture(*parts).support)


@pytest.mark.parametrize("p,integral", [(0.5, 0.50), (0.1, 0.36), (0.01, 0.21)])
def test_11_grey_pixels_under_a_bernoulli_are_not_a_density(p, integral):
    x = torch.linspace(0, 1, 10_001, dtype=torch.float64)
    density = (
        dist.Bernoulli(torch.tensor(p, dtype=torch.float64), validate_args=False).log_prob(x).exp()
    )
    assert abs(float(torch.trapezoid(density, x)) - integral) < 0.01
    model = pv.VAE(
        pv.priors.StandardNormal(L),
        pv.likelihoods.Bernoulli(pv.nn.MLP(L, [4], D)),
        pv.posteriors.MeanFieldNormal(pv.nn.MLP(D, [4], 2 * L)),
    )
    with pyro.validation_enabled(False), pytest.raises(ValueError, match="inarize"):
        pv.fit(model, torch.rand(20, D), epochs=1, progress=False)


def test_11_probabilities_saturate_where_logits_do_not():
    logit, zero = torch.tensor(40.0), torch.tensor(0.0)
    assert abs(dist.Bernoulli(torch.sigmoid(logit)).log_prob(zero) + 15.94) < 0.01
    assert pv.likelihoods.Bernoulli(nn.Identity(), event_dim=0)(logit).log_prob(zero) == -40


def test_12_masks_do_not_handle_missing_elements():
    """A mask per element does not fit vector events, and NaN under a mask has NaN gradients."""
    x = torch.tensor([[1.0, float("nan")], [0.5, 2.0], [0.0, 0.0]])
    loc = torch.zeros(2, requires_grad=True)

    def model():
        with pyro.plate("data", 3):
            normal = dist.Normal(loc, 1.0).to_event(1)
            pyro.sample("x", normal, obs=x, obs_mask=~x.isnan())

    with pytest.raises((ValueError, RuntimeError)):
        poutine.trace(model).get_trace()
    masked = dist.Normal(loc, 1.0, validate_args=False).mask(~x.isnan()).to_event(1)
    masked.log_prob(x).sum().backward()
    assert loc.grad.isnan().any()
    loc.grad = None
    part = dist.Normal(loc, 1.0, validate_args=False).to_event(1)
    pv.distributions.Columns([part], [torch.arange(2)]).log_prob(x).sum().backward()
    torch.testing.assert_close(loc.grad, torch.tensor([1.5, 2.0]))


def test_14_discretized_logistics_without_tails_do_not_sum_to_one():
    level = torch.arange(256.0)
    loc, scale = torch.tensor(-0.9), torch.tensor(0.5)
    left, right = (2 * (level + h) / 255 - 1 for h in (-0.5, 0.5))
    bare = torch.sigmoid((right - loc) / scale) - torch.sigmoid((left - loc) / scale)
    assert 0.2 < float(bare.sum()) < 0.9
    ours = pv.distributions.DiscretizedLogistic(
        torch.zeros(1), loc[None], scale.log()[None], num_levels=256
    )
    assert abs(float(ours.log_prob(level).exp().sum()) - 1) < 1e-5


def test_13_evaluation_leaves_flags_and_weights_alone():
    class Flagged(Tutorial):
        def guide(self, x):
            seen.append(self.training)
            return linear.guide(x)

    seen, linear = [], vae()
    flagged = Flagged()
    flagged.model = linear.model
    flagged.train()
    pv.log_marginal(flagged, torch.randn(B, D), 10)
    assert not any(seen) and flagged.training  # evaluated in eval mode, left in train mode


def test_unregistered_parameters_are_shown_not_stored():
    model = vae()
    trace = poutine.trace(model.guide).get_trace(torch.randn(B, D))
    shown = {name for name, site in trace.nodes.items() if site["type"] == "param"}
    assert shown == {f"posterior.{name}" for name, _ in model.posterior.named_parameters()}
    assert len(pyro.get_param_store()) == 0


def test_discrete_posteriors_are_refused_by_our_elbo():
    class Bits(pv.posteriors.MeanFieldNormal):
        def forward(self, x):
            return dist.Bernoulli(logits=self.encoder(x)[..., :L]).to_event(1)

    model = vae()
    model.prior, model.posterior = pv.priors.Bernoulli(L), Bits(pv.nn.MLP(D, [], 2 * L))
    with pytest.raises(ValueError, match="TraceGraph_ELBO"):
        pv.fit(model, data_for("gaussian"), epochs=1, progress=False)
