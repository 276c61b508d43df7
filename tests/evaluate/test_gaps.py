"""The ledger of gaps against closed forms and sums."""

import pyro
import pytest
import torch
from checks import bound, categorical, exact_vae, gamma_poisson, shifted, z_scores

import pyro_vae as pv
from pyro_vae.evaluate.gaps import Rise
from pyro_vae.evaluate.optima import free_program, starting_values
from pyro_vae.programs import ascend, expected, joint_table
from pyro_vae.statistics import Mean


def test_a_posterior_that_can_be_exact_has_no_approximation_gap():
    vae, x = categorical()
    with torch.no_grad():
        z = vae.prior().enumerate_support()
        joint = vae.prior().log_prob(z)[:, None] + vae.likelihood(z[:, None]).log_prob(x)
        log_q = vae.posterior(x).log_prob(z[:, None])
        truth = joint.logsumexp(0)
        elbo = (log_q.exp() * (joint - log_q)).sum(0)
    ledger = pv.gap_ledger(vae, x, num_steps=400, lr=0.1)
    torch.testing.assert_close(ledger.log_marginal.float(), truth)
    torch.testing.assert_close(ledger.elbo.float(), elbo)
    assert abs(ledger.approximation.mean()) < 0.01 and ledger.converged
    assert ledger.amortization.mean() > 0.2  # the twin: all of the loss is the encoder's
    assert ledger.error(ledger.approximation) < 0.02
    assert "not converged" not in str(ledger)


def test_the_ledger_of_one_block_needs_no_steps():
    """Far logits, which steps of 0.02 do not reach: coordinate ascent does."""
    vae, x = categorical(12, spread=4.0)
    ledger = pv.gap_ledger(vae, x, num_steps=2)
    torch.testing.assert_close(ledger.optima["own"], ledger.log_marginal, rtol=0, atol=1e-4)
    assert ledger.converged and ledger.amortization.mean() > 5
    assert ledger.error(ledger.approximation) < 1e-3


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("blocks", [None, 3])
def test_coordinate_ascent_ends_where_the_bound_is_flat(blocks):
    """Bits, and two blocks of three: no direction is left, and no start of 30 ends higher."""
    torch.manual_seed(1)
    size = 4 if blocks is None else 6
    if blocks is None:
        prior, posterior = pv.priors.Bernoulli(4), pv.posteriors.Bernoulli(pv.nn.MLP(5, [], 4))
    else:
        prior, posterior = (
            pv.priors.Categorical(6, blocks),
            pv.posteriors.Categorical(pv.nn.MLP(5, [], 6), 6, blocks),
        )
    net = pv.nn.MLP(size, [8], 5)
    vae = pv.VAE(prior, pv.likelihoods.Bernoulli(net), posterior).double()
    for parameter in vae.parameters():
        parameter.data += torch.randn_like(parameter)
    x = torch.bernoulli(torch.full((20, 5), 0.5, dtype=torch.float64))

    def bound(logits):
        q = type(vae.posterior(x))(logits, *([] if blocks is None else [blocks]))
        return expected(q, *joint_table(vae, q, x)), q

    with torch.no_grad():
        start, q = bound(vae.posterior.encoder(x))
        ends = [ascend(vae, q, x)]
        ends += [ascend(vae, bound(3 * torch.randn(20, size).double())[1], x) for _ in range(30)]
    logits = ends[0].clone().requires_grad_()
    end = bound(logits)[0]
    slope = torch.autograd.grad(end.sum(), logits)[0]
    assert slope.abs().max() < 1e-4 and (end >= start).all()
    evidence = pv.log_marginal(vae, x).log_marginal
    every = torch.stack([bound(e)[0] for e in ends])
    assert (every <= evidence + 1e-9).all()
    assert (every.amax(0) - end).mean() < 0.1  # a local optimum, as the bound has several


def lazy_normal():
    """An encoder that is off by one: the gap of amortization has a closed form."""
    vae, exact, x = exact_vae("mean-field", count=30)
    with torch.no_grad():
        vae.posterior.encoder.layers[0].bias[:2] += 1.0
    truth = 0.5 * float(exact.precision.diagonal().log().sum() - torch.logdet(exact.precision))
    return vae, exact.marginal.log_prob(x), x, truth


@pytest.mark.parametrize("num_steps,lr", [(4, 0.02), (100, 1e-4), (1, 0.3)])
def test_a_ledger_that_has_not_converged_says_so(num_steps, lr):
    vae, log_p, x, truth = lazy_normal()
    ledger = pv.gap_ledger(vae, x, ["own"], log_p=log_p, num_steps=num_steps, lr=lr)
    assert not ledger.converged and "has not converged" in str(ledger)
    off = float(ledger.approximation.mean()) - truth
    over_data = float(ledger.approximation.std()) / len(x) ** 0.5
    assert off > 4 * over_data  # the twin: errors over data alone do not hold it
    assert ledger.error(ledger.approximation) >= off


def test_a_ledger_that_has_converged_holds_the_truth():
    vae, log_p, x, truth = lazy_normal()
    ledger = pv.gap_ledger(vae, x, ["own"], log_p=log_p, num_steps=200)
    assert ledger.converged and "converged" not in str(ledger)
    assert abs(float(ledger.approximation.mean()) - truth) < 0.02


def test_rises_are_extrapolated():
    assert Rise(Mean(0.1, 0.0), 0.2).left == pytest.approx(
        0.1
    )  # 0.05 + 0.025 + ..., no less than it
    assert Rise(Mean(0.16, 0.0), 0.2).left == pytest.approx(0.64)  # 0.128 + 0.1024 + ...
    assert Rise(Mean(0.2, 0.0), 0.2).left == float("inf") and not Rise(Mean(0.2, 0.0), 0.2).ended
    assert Rise(Mean(-0.1, 0.0), 0.2).left == 0 and Rise(Mean(-0.1, 0.0), 0.2).ended
    assert Rise(Mean(0.001, 0.0), 0.001).ended  # noise
    assert not Rise(Mean(0.0, 0.0), 0.1, reach=0.01).ended


def test_planar_flows_do_not_borrow_the_bound_of_full_covariances():
    vae, _, x = exact_vae("full", count=20)
    ledger = pv.gap_ledger(vae.float(), x.float(), ["own", "planar"], num_steps=2)
    assert (ledger.optima["planar"] < ledger.optima["own"]).any()
    full = pv.gap_ledger(vae, x.float(), ["mean-field", "full-covariance"], num_steps=2)
    assert (full.optima["full-covariance"] >= full.elbo).all()
    assert full.optima["mean-field"].mean() < full.elbo.mean() - 0.02  # the twin


def test_full_covariances_start_at_the_covariance_of_the_guide():
    vae, _, x = exact_vae("full", count=20)
    values = starting_values(vae, x, "full-covariance", {})
    program, _ = free_program(vae, x, "full-covariance", values, {})
    index = torch.arange(20)
    found, known = program.free.posterior(x, index), vae.posterior(x)
    torch.testing.assert_close(found.mean, known.mean)
    torch.testing.assert_close(found.covariance_matrix, known.covariance_matrix)


def test_a_larger_family_never_looks_worse():
    vae, exact, x = exact_vae("mean-field", count=30)
    with torch.no_grad():
        vae.posterior.encoder.layers[0].bias[:2] += 1.0
    ledger = pv.gap_ledger(
        vae.float(), x.float(), ["own", "full-covariance", "planar"], num_steps=30
    )
    bounds = [*ledger.optima.values()]
    assert (bounds[1] >= bounds[0]).all() and (bounds[2] >= bounds[0]).all()
    assert (bounds[0] >= ledger.elbo - 0.1).all()  # it starts at the encoder


# --- The gap ledger -----------------------------------------------------------------------------------


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("families", [["own"], pytest.param(None, marks=pytest.mark.slow)])
def test_gaps_are_the_closed_forms(families):
    vae, exact, x = exact_vae("mean-field", count=50 if families else 100)
    truth = exact.marginal.log_prob(x)
    expected = 0.5 * float(exact.precision.diagonal().log().sum() - torch.logdet(exact.precision))
    assert expected > 0.05
    lazy = shifted(vae, loc=0.5)  # an encoder that is off by s costs s' Lambda s / 2
    options = {"num_steps": 400, "lr": 0.04} if families else {"num_steps": 1000}
    ledger = pv.gap_ledger(
        lazy, x, families, log_p=truth, num_samples=20_000, num_particles=16, **options
    )
    assert abs(float(ledger.approximation.mean()) - expected) < 1e-3
    shift = 0.5 * exact.precision.diagonal().rsqrt()
    amortization = 0.5 * float(shift @ exact.precision @ shift)
    assert abs(float(ledger.amortization.mean()) - amortization) < 1e-3
    total = ledger.approximation + ledger.amortization
    torch.testing.assert_close(total, ledger.log_marginal - ledger.elbo)
    assert "approximation gap" in str(ledger)
    if families is None:
        full = truth - ledger.optima["full-covariance"]
        assert 0 <= full.mean() < 1e-3


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
def test_a_full_covariance_has_no_approximation_gap():
    vae, exact, x = exact_vae("full")
    lazy = shifted(vae, loc=0.2, log_scale=0.1)
    truth = exact.marginal.log_prob(x)
    ledger = pv.gap_ledger(lazy, x, ["own"], log_p=truth, num_steps=1500)
    assert abs(ledger.approximation.mean()) < 1e-3
    assert ledger.amortization.mean() > 0.02
    again = pv.gap_ledger(lazy, x[:20], ["own"], num_steps=300)  # log p by its own optimum
    assert (again.log_marginal - truth[:20]).abs().max() < 0.02


@pytest.mark.usefixtures("float64")
def test_the_ledger_takes_any_program():
    program, x, exact = gamma_poisson()
    ledger = pv.gap_ledger(program, x, num_steps=200)
    assert list(ledger.optima) == ["mean-field", "full-covariance"]
    assert (ledger.log_marginal - exact).abs().max() < 0.05
    assert ledger.amortization.mean() > 0.01 and (ledger.approximation > -0.02).all()
    with pytest.raises(ValueError, match="Expected a VAE with one latent site"):
        pv.gap_ledger(program, x, ["own"])
    with pytest.raises(ValueError, match="Expected a family"):
        pv.gap_ledger(program, x, ["rich"])


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
def test_the_ledger_of_discrete_latents_and_of_flows():
    torch.manual_seed(0)
    x = torch.bernoulli(torch.full((12, 6), 0.5))
    vae = pv.VAE(
        pv.priors.Bernoulli(3),
        pv.likelihoods.Bernoulli(pv.nn.MLP(3, [8], 6)),
        pv.posteriors.Bernoulli(pv.nn.MLP(6, [8], 3)),
    ).double()
    ledger = pv.gap_ledger(vae, x, num_steps=100)
    assert list(ledger.optima) == ["own"] and ledger.amortization.mean() > 0
    vae, exact, x = exact_vae("mean-field", count=30)
    log_p = exact.marginal.log_prob(x)
    flow = pv.gap_ledger(vae, x, ["own", "planar"], log_p=log_p, num_steps=200, lr=0.04)
    assert flow.optima["planar"].mean() > flow.optima["own"].mean() + 0.02


@pytest.mark.usefixtures("float64")
def test_evidence_is_elbo_plus_kl():
    """log p = KL(q || p(z|x)) + ELBO, each from its closed form."""
    vae, exact, x = exact_vae("mean-field", count=5)
    q = vae.posterior(x).base_dist
    p = torch.distributions.MultivariateNormal(exact.posterior_mean(x), exact.covariance)
    kl = torch.distributions.kl_divergence(
        torch.distributions.MultivariateNormal(q.loc, q.scale.square().diag_embed()), p
    )
    estimates = torch.stack([pv.elbo(vae, x, 200, seed=s) for s in range(50)])
    assert z_scores(estimates, exact.marginal.log_prob(x) - kl).abs().max() < bound(5)
    with pyro.validation_enabled(False):
        assert z_scores(estimates, exact.marginal.log_prob(x) + kl).abs().max() > bound(5)
