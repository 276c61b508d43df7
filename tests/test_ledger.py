"""The gap ledger where everything is a sum, and advice that can be followed."""

import re

import pytest
import torch
from checks import build, exact_vae, pairs, refusal

import pyro_vae as pv
from pyro_vae import report
from pyro_vae.config import REGISTRY
from pyro_vae.evaluate import Ledger
from pyro_vae.evaluate.advice import advise, posteriors_for, priors_for
from pyro_vae.evaluate.coordinates import ascend, expected, joint_table
from pyro_vae.evaluate.free import free_program, starting_values
from pyro_vae.evaluate.gaps import Rise


def categorical(size=6, spread=0.7):
    """One block: q(z | x) can be the posterior itself, so that there is nothing to approximate."""
    torch.manual_seed(0)
    vae = pv.VAE(
        pv.priors.Categorical(size, learned=True),
        pv.likelihoods.Bernoulli(pv.nn.MLP(size, [8], 6)),
        pv.posteriors.Categorical(pv.nn.MLP(6, [8], size), size),
    )
    for parameter in vae.parameters():
        parameter.data += spread * torch.randn_like(parameter)
    return vae, torch.bernoulli(torch.full((40, 6), 0.5))


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
    assert Rise(0.1, 0.0, 0.2).left == pytest.approx(0.1)  # 0.05 + 0.025 + ..., no less than it
    assert Rise(0.16, 0.0, 0.2).left == pytest.approx(0.64)  # 0.128 + 0.1024 + ...
    assert Rise(0.2, 0.0, 0.2).left == float("inf") and not Rise(0.2, 0.0, 0.2).ended
    assert Rise(-0.1, 0.0, 0.2).left == 0 and Rise(-0.1, 0.0, 0.2).ended
    assert Rise(0.001, 0.0, 0.001).ended  # noise
    assert not Rise(0.0, 0.0, 0.1, reach=0.01).ended


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


# --- Advice -----------------------------------------------------------------------------------------


def ledger_of(amortization, approximation, richer=None, count=100, spread=0.1):
    noise = spread * torch.linspace(-1, 1, count)
    own = torch.full((count,), -100.0)
    optima = {"own": own}
    if richer is not None:
        optima["full-covariance"] = own + richer + noise
    return Ledger(
        own + approximation + noise,
        own - amortization + noise,
        optima,
        {"own": Rise(0.0, 0.0)},
    )


def advice_for(vae, **changes):
    class Told:
        holes, saturated, marginal_kl = 0.3, False, 2.0

    parts = {
        "figures": {"log_marginal": -99.0},
        "classical": {},
        "train_gap": (0.0, 0.1),
        "ledger": None,
        "train_ledger": None,
        "activity": torch.ones(4),
        "information": Told(),
        "calibration": None,
        "vae": vae,
    }
    return advise({**parts, **changes})


REAL = ({"kind": "standard-normal"}, {"kind": "gaussian"}, {"kind": "mean-field-normal"})


def test_advice_does_not_contradict_itself():
    vae, _ = build(REAL)
    same = advice_for(vae, ledger=ledger_of(3.0, 0.0), train_ledger=ledger_of(3.0, 0.0))
    assert any("take a larger encoder" in told for told in same)
    assert not any("overfits" in told for told in same)
    over = advice_for(vae, ledger=ledger_of(3.0, 0.0), train_ledger=ledger_of(0.2, 0.0))
    assert any("it overfits. Take a smaller encoder" in told for told in over)
    assert not any("larger encoder" in told for told in over)
    noisy = ledger_of(3.0, 0.0, spread=100.0)
    unsure = advice_for(vae, ledger=noisy, train_ledger=ledger_of(0.2, 0.0))
    assert not any("encoder" in told for told in unsure)


def test_overfitting_and_a_lagging_encoder_do_not_contradict_each_other():
    """Smaller networks, but not a larger encoder in the next sentence."""
    vae, _ = build(REAL)
    gap = {"train_gap": (5.0, 0.1)}
    lags = {"ledger": ledger_of(3.0, 0.0), "train_ledger": ledger_of(3.0, 0.0)}
    both = " ".join(advice_for(vae, **gap, **lags))
    assert "take a smaller decoder" in both and "it is not the encoder that overfits" in both
    assert "larger encoder" not in both and "smaller networks" not in both
    assert "larger encoder" in " ".join(advice_for(vae, **lags))  # the twin
    assert "smaller networks" in " ".join(advice_for(vae, **gap))


@pytest.mark.parametrize(
    "gain,spread,told", [(1.0, 1.0, True), (1.0, 50.0, False), (-1.0, 1.0, 0)]
)
def test_references_are_better_beyond_the_error_of_the_difference(gain, spread, told):
    class Estimate:
        log_marginal = -100 + 25 * torch.randn(200, generator=torch.Generator().manual_seed(0))

    noise = spread * torch.linspace(-1, 1, 200)
    vae, _ = build(REAL)
    classical = {"independent elements": Estimate.log_marginal + gain + noise}
    advice = advice_for(vae, classical=classical, estimate=Estimate)
    assert any("model without a network" in sentence for sentence in advice) == bool(told)


def test_a_prior_that_differs_by_nothing_stays():
    vae, _ = build(REAL)

    class Told:
        holes, saturated, marginal_kl = 0.3, False, -0.2

    assert not any("learned prior" in told for told in advice_for(vae, information=Told()))
    assert any("learned prior" in told for told in advice_for(vae))


def test_flows_are_not_told_to_become_normals():
    flow = (*REAL[:2], {"kind": "iaf", "hidden_features": [8], "context_features": 4})
    vae, _ = build(flow)
    told = " ".join(advice_for(vae, ledger=ledger_of(0.0, 3.0)))
    assert "posterior.kind sylvester" in told and "full-covariance" not in told


def test_no_advice_for_what_gains_nothing():
    vae, _ = build(REAL)
    worse = advice_for(vae, ledger=ledger_of(0.0, 3.0, richer=-0.75))
    assert any("approximation gap" in told for told in worse)
    assert not any("win back" in told for told in worse)
    better = advice_for(vae, ledger=ledger_of(0.0, 3.0, richer=2.0))
    assert any("full-covariance would win back 2.00 +-" in told for told in better)
    assert any("full-covariance-normal, iaf or sylvester" in told for told in better)
    named = " ".join(worse)  # what the ledger has tried in vain is not recommended
    assert "posterior.kind iaf or sylvester" in named and "full-covariance" not in named
    none = advice_for(vae, ledger=ledger_of(0.0, 0.1))
    assert not any("gap" in told for told in none)


ALLOWED = [triple for triple in pairs() if refusal(triple) is None]


@pytest.mark.parametrize("triple", ALLOWED[::3], ids=lambda t: f"{t[0]['kind']}-{t[2]['kind']}")
def test_families_that_are_named_go_with_the_model(triple):
    vae, x = build(triple)
    told = " ".join(advice_for(vae, ledger=ledger_of(0.0, 3.0)))
    for role, kinds in (("posterior", posteriors_for(vae)), ("prior", priors_for(vae))):
        named = re.findall(rf"{role}\.kind ([\w-]+(?:, [\w-]+)*(?: or [\w-]+)?)", told)
        named = [kind for part in named for kind in re.split(r", | or ", part)]
        assert set(named) == set(kinds)
        for kind in named:
            assert kind in REGISTRY[role] and kind != triple[0 if role == "prior" else 2]["kind"]
            options = {"num_components": 5} if kind == "vamp" else {}
            changed = {"kind": kind, **options}
            other = (changed, *triple[1:]) if role == "prior" else (*triple[:2], changed)
            pv.plan(*build(other))


# --- The page ---------------------------------------------------------------------------------------


def test_a_page_has_no_figure_where_there_is_none():
    """Infinite bounds from above, scores that do not exist, gaps that have not converged."""
    shares = torch.tensor([float("nan"), 0.5, 1.5])
    assert report._range(shares) == "0.50 to 1.50, median 0.50"
    assert "no figure" in report._range(shares[:1])
    figures = {"a": float("inf"), "a_se": float("nan"), "b": 1.0, "b_se": 0.5}
    assert report._mean(figures, "a") == "infinite: q has no density at some true z"
    assert report._mean(figures, "b") == "1.000 +- 0.500"


def test_a_diagnosis_of_categories_says_that_it_sums():
    vae, x = categorical(12, spread=2.0)
    data = pv.data.as_split(x)
    found = pv.diagnose(vae, data, data, num_samples=10, num_data=20, num_steps=5)
    told = report.text(found, "categories")
    assert "log p(x) is a sum over all values" in told and "importance samples" not in told
    assert "one-hot blocks" in told and "neHots" not in told
    record = found.record()
    assert abs(record["test_approximation_gap"]) < 1e-4 and record["test_gap_converged"]
    assert record["simulated_eubo"] > record["simulated_elbo"]
    assert not any("approximation gap" in sentence for sentence in found.advice)
    assert not any("posterior.kind" in sentence for sentence in found.advice)
