"""Penalties on the aggregate posterior against exact mixtures, closed forms and enumeration."""

from itertools import combinations
from math import log

import pyro.distributions as dist
import pytest
import torch
from checks import build, gaussian_vae
from torch import nn

import pyro_vae as pv
from pyro_vae.evaluate import kl_terms, z_score
from pyro_vae.objectives import ELBO, BetaTCVAE, FactorVAE, InfoVAE, kl_parts
from pyro_vae.objectives.decomposition import stratified, weighted
from pyro_vae.objectives.factor_vae import shuffled
from pyro_vae.objectives.info_vae import squared_mmd

pytestmark = pytest.mark.usefixtures("float64")

N, D = 6, 3


def posteriors():
    """q(z | x) of six data, a prior, and samples."""
    q = dist.Normal(torch.randn(N, D), 0.3 + torch.rand(N, D)).to_event(1)
    return q, dist.Normal(torch.zeros(D), 1.0).to_event(1), q.sample()


def mixture(q):
    """Of all six, by PyTorch's own mixture."""
    return torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(torch.ones(N)), torch.distributions.Independent(*q)
    )


@pytest.mark.parametrize("estimator", ["beta-tcvae", "factor-vae"])
def test_with_weights_of_one_it_is_the_elbo(estimator):
    vae, x = gaussian_vae()
    losses = []
    for name, options in (("reparameterized", {}), (estimator, {"tc_weight": 1.0})):
        objective = pv.plan(vae, x, name, num_particles=2, **options).objective
        torch.manual_seed(1)
        losses.append(objective(vae.model, vae.guide, x))
    assert losses[0] == losses[1]


def test_all_data_in_one_batch_are_the_exact_mixture():
    q, p, z = posteriors()
    base = q.base_dist
    joint = mixture((base, 1)).log_prob(z)
    single = [
        mixture((dist.Normal(*(t[:, j : j + 1] for t in (base.loc, base.scale))), 1))
        for j in range(D)
    ]
    marginals = sum(law.log_prob(z[:, j : j + 1]) for j, law in enumerate(single))
    exact = q.log_prob(z) - joint, joint - marginals, marginals - p.log_prob(z)
    parts = kl_parts(q, p, z, stratified(N, N, z))
    for part, value in zip(parts, exact):
        torch.testing.assert_close(part, value)
    torch.testing.assert_close(sum(parts), q.log_prob(z) - p.log_prob(z))
    low = kl_parts(q, p, z, weighted(N, N, z))  # of the paper's other estimate, by log N
    torch.testing.assert_close(low.mutual_information, exact[0] + log(N))


def test_particles_are_samples_each_for_itself():
    q, p, _ = posteriors()
    z = q.expand([4, N]).sample()
    together = kl_parts(q.expand([4, N]), p, z, stratified(N, 100, z))
    alone = [kl_parts(q, p, some, stratified(N, 100, z)) for some in z]
    for part, each in zip(together, zip(*alone)):
        torch.testing.assert_close(part, torch.stack(each))


@pytest.mark.parametrize("size", [2, 3, 5])
def test_stratified_estimates_of_the_density_have_no_bias(size):
    """The mean over all batches that hold a datum is q(z), exactly; the other one's is not."""
    q, _, z = posteriors()
    log_q = q.base_dist.log_prob(z[0]).sum(-1)
    exact = mixture((q.base_dist, 1)).log_prob(z[0])
    batches = [(0, *rest) for rest in combinations(range(1, N), size - 1)]
    for sampling, right in ((stratified, True), (weighted, False)):
        weights = sampling(size, N, z)[0]
        densities = [(log_q[list(batch)] + weights).logsumexp(0).exp() for batch in batches]
        mean = torch.stack(densities).mean().log()
        assert torch.isclose(mean, exact) == right
    assert float(stratified(size, N, z).logsumexp(1).abs().max()) < 1e-12


def test_a_minibatch_is_right_on_average_up_to_jensen():
    """Estimates of log q(z) from batches are low, and less so from larger ones."""
    q, p, z = posteriors()
    exact = float(-kl_parts(q, p, z, stratified(N, N, z)).mutual_information.mean())
    means = []
    for size in (2, 3, 5, 6):
        found = []
        for batch in combinations(range(N), size):
            rows = torch.tensor(batch)
            some = dist.Normal(q.base_dist.loc[rows], q.base_dist.scale[rows]).to_event(1)
            parts = kl_parts(some, p, z[rows], stratified(size, N, z))
            found.append(-parts.mutual_information.mean())
        means.append(float(torch.stack(found).mean()))
    assert means == sorted(means) and means[-1] == pytest.approx(exact)


def test_the_penalty_is_what_the_parts_cost():
    vae, x = gaussian_vae()
    options = {"mi_weight": 0.5, "tc_weight": 3.0, "dimension_weight": 2.0}
    torch.manual_seed(1)
    plain = ELBO(1, "closed-form")(vae.model, vae.guide, x).loss.detach()
    torch.manual_seed(1)
    objective = BetaTCVAE(1, "closed-form", **options)
    loss = objective(vae.model, vae.guide, x).loss.detach()
    with torch.no_grad():
        torch.manual_seed(1)
        z = vae.guide(x)
        found = kl_parts(vae.posterior(x), vae.prior(), z, stratified(len(x), len(x), z))
    extra = sum(w * part.mean() for w, part in zip((-0.5, 2.0, 1.0), found))
    torch.testing.assert_close(loss, plain + extra)
    objective.num_data = 10 * len(x)
    assert float(objective(vae.model, vae.guide, x).loss.detach()) != pytest.approx(float(loss))


def test_evaluation_has_the_exact_parts():
    """They sum to the KL term, and are those of one batch of all data."""
    vae, x = gaussian_vae()
    found = kl_terms(vae, x, 200)
    rate = pv.evaluate.rate_distortion(vae, x, 200)
    total = sum(found[:3])
    assert total == pytest.approx(float(rate.rate), abs=0.05)
    assert 0 < found.mutual_information <= log(len(x)) and found.num_data == len(x)
    assert found.record()["total_correlation_se"] == found.total_correlation.se


def gaussian_kernel(mean, variance, width):
    """E exp(-d^2 / 2 w^2) of d ~ N(mean, variance) in each dimension."""
    square = width**2 * len(mean)
    return float(
        ((1 + variance / square).rsqrt() * (-(mean**2) / (2 * (square + variance))).exp()).prod()
    )


@pytest.mark.parametrize("width", [0.5, 1.0])
def test_mmd_of_normal_laws_is_its_closed_form(width):
    loc, scale = torch.tensor([0.7, -0.3]), torch.tensor([0.5, 1.2])
    zero, one = torch.zeros(2), torch.ones(2)
    exact = (
        gaussian_kernel(zero, 2 * scale**2, width)
        + gaussian_kernel(zero, 2 * one, width)
        - 2 * gaussian_kernel(loc, scale**2 + 1, width)
    )
    z, u = loc + scale * torch.randn(20_000, 8, 2), torch.randn(20_000, 8, 2)
    estimates = squared_mmd(z, u, width)
    assert abs(float(z_score(estimates, exact))) < 4.3
    pairs = estimates + (2 - 2 * exact) / 8  # with each datum beside itself, as it is often coded
    assert abs(float(z_score(pairs, exact))) > 10
    none = squared_mmd(torch.randn(20_000, 4, 2), u[:, :4], width)
    assert abs(float(z_score(none, 0.0))) < 4.3
    assert float(squared_mmd(z[:1, :1], u[:1, :1])) <= 0  # one datum has no pairs


def test_a_kl_weight_of_zero_leaves_the_distance_alone():
    """MMD-VAE: the penalty has its weight, whatever that of the KL term is."""
    vae, x = gaussian_vae()
    objective, losses = InfoVAE(1, "closed-form", mmd_weight=7.0), []
    for weight in (0.0, 1.0):
        torch.manual_seed(1)
        with pv.objectives.scale_kl(weight):
            losses.append([term.detach() for term in objective(vae.model, vae.guide, x)])
    (bare, terms, kl), (whole, *_) = losses
    torch.testing.assert_close(whole - bare, kl)
    assert float(bare + terms) != 0


class Ratio(nn.Module):
    """The best discriminator of two correlated Normal features: the exact log ratio."""

    def __init__(self, rho):
        super().__init__()
        self.joint = torch.distributions.MultivariateNormal(
            torch.zeros(2), torch.tensor([[1.0, rho], [rho, 1.0]])
        )
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, z):
        alone = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(-1)
        return (self.weight * (self.joint.log_prob(z) - alone))[..., None]


def test_the_best_discriminator_gives_the_total_correlation():
    rho = 0.6
    objective = FactorVAE(latent_dim=2, tc_weight=2.0)
    objective.discriminator = Ratio(rho)
    z = objective.discriminator.joint.sample((400, 50)).requires_grad_()
    law = dist.Normal(0.0, 1.0)
    site = {"z": {"fn": law, "value": z, "scale": 1.0}}
    values = torch.stack(
        [objective.penalty({"z": {**site["z"], "value": some}}, site, "z") for some in z]
    )
    exact = -0.5 * log(1 - rho**2)
    assert abs(float(z_score(values.detach(), exact))) < 4.3
    assert abs(float(z_score(-values.detach(), exact))) > 10
    values.mean().backward()  # the discriminator is at its best, and learns nothing from z
    slope = objective.discriminator.weight.grad
    assert abs(float(slope)) < 0.01 and z.grad.abs().sum() > 0


def test_each_feature_is_shuffled_for_itself():
    z = torch.arange(12.0).reshape(6, 2)
    mixed = shuffled(z.expand(3, 6, 2))
    torch.testing.assert_close(mixed.sort(-2).values, z.expand(3, 6, 2))
    assert not torch.equal(mixed[0, :, 1] - mixed[0, :, 0], torch.ones(6))


def test_only_its_own_error_moves_the_discriminator():
    vae, x = gaussian_vae()
    objective = pv.plan(vae, x, "factor-vae", tc_weight=50.0).objective
    torch.manual_seed(1)
    objective(vae.model, vae.guide, x).loss.backward()
    first = [p.grad.clone() for p in objective.discriminator.parameters()]
    objective.zero_grad()
    objective.tc_weight = 1.0
    torch.manual_seed(1)
    objective(vae.model, vae.guide, x).loss.backward()
    for a, p in zip(first, objective.discriminator.parameters()):
        torch.testing.assert_close(a, p.grad)


@pytest.mark.parametrize("estimator", ["beta-tcvae", "info-vae", "factor-vae"])
def test_training_reports_the_plain_elbo(estimator):
    vae, _ = gaussian_vae()
    x = torch.randn(12, 3)
    history = pv.fit(vae, x, valid=x, epochs=2, batch_size=7, estimator=estimator, progress=False)
    bound = float(pv.elbo(vae, x, seed=0).mean())
    assert history["elbo"][-1] == pytest.approx(bound)
    row = history.rows[-2]
    assert row["loss"] != pytest.approx(row["kl"] - row["reconstruction"])


def test_derivations_show_the_penalty():
    vae, x = gaussian_vae()
    found = pv.explain(vae, x, estimator="beta-tcvae", tc_weight=4.0)
    assert "3 KL(q(z) || prod_j q(z_j))" in found.text and r"\max" in found.latex
    assert "I(x; z) + KL(q(z) || prod_j q(z_j)) + sum_j KL(q(z_j) || p(z_j))" in found.text
    with pytest.raises(ValueError, match="of the whole batch"):
        found.evaluate(x)
    assert "MMD^2" in pv.explain(vae, x, estimator="info-vae").text
    assert "discriminator" in pv.explain(vae, x, estimator="factor-vae").text
    assert "KL term has a weight of its own" in pv.explain(vae, x, kl_weight=4.0).text
    assert "KL term has a weight of its own" not in pv.explain(vae, x).text


REFUSALS = [
    ("bernoulli", "bernoulli", "beta-tcvae", "no gradient flows"),
    ("flow", "mean-field-normal", "beta-tcvae", "factorize over latent features"),
    ("standard-normal", "full-covariance-normal", "beta-tcvae", "Use factor-vae"),
    ("standard-normal", "iaf", "beta-tcvae", "factorize over latent features"),
    ("gaussian-mixture", "mean-field-normal", "info-vae", "whose samples have gradients"),
    ("categorical", "categorical", "factor-vae", "no gradient flows"),
]


@pytest.mark.parametrize("prior,posterior,estimator,words", REFUSALS)
def test_what_has_no_such_penalty_is_refused(prior, posterior, estimator, words):
    vae, x = build(({"kind": prior}, {"kind": "gaussian"}, {"kind": posterior}))
    with pytest.raises(ValueError, match=words):
        pv.plan(vae, x, estimator)


def test_weights_without_their_estimator_are_refused():
    vae, x = gaussian_vae()
    with pytest.raises(ValueError, match="beta-tcvae or factor-vae with tc_weight"):
        pv.plan(vae, x, tc_weight=4.0)
    with pytest.raises(ValueError, match="info-vae with mmd_weight"):
        pv.plan(vae, x, "beta-tcvae", mmd_weight=4.0)
    with pytest.raises(ValueError, match="free bits"):
        pv.plan(vae, x, "beta-tcvae", free_bits=1.0)


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: pv.objectives.ELBO(1, "closed"), "kl 'closed-form' or 'sampled'; got 'closed'"),
        (lambda: pv.objectives.BetaTCVAE(tc_sampling="even"), "tc_sampling 'stratified' or"),
        (lambda: pv.objectives.InfoVAE(mmd_width=0.0), "mmd_width as a positive number"),
        (lambda: pv.objectives.ScoreFunction(baseline="mean"), "baseline 'average', 'neural' or"),
        (lambda: pv.objectives.FactorVAE(latent_dim=0), "latent_dim as a whole number"),
    ],
)
def test_options_that_do_not_exist_are_refused(make, words):
    with pytest.raises(ValueError, match=f"^Expected {words}"):
        make()
