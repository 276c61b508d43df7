"""Products of factors against exact answers, each beside a twin that has to fail."""

import copy
import math

import pyro.distributions as dist
import pytest
import torch
from checks import bound, z_scores
from kinds import KINDS, hierarchy
from ppca import conditionals, linear, ppca, tril_outputs
from pyro import poutine
from pyro.infer import Trace_ELBO, TraceEnum_ELBO
from torch import nn
from torch.distributions import MultivariateNormal

import pyro_vae as pv
from pyro_vae.data import as_split
from pyro_vae.objectives import ELBO, STL, DReG, Enumeration
from pyro_vae.programs import sample_sites, traces


@pytest.fixture(autouse=True)
def double(float64):
    torch.manual_seed(0)


N, F, MLP, Join = (
    pv.posteriors.MeanFieldNormal,
    pv.posteriors.FullCovarianceNormal,
    pv.nn.MLP,
    pv.nn.Join,
)
NAN = float("nan")


# --- Two layers ---------------------------------------------------------------------------------
D, L1, L2, S1, SX = 5, 3, 2, 0.7, 0.5


def two_layers(order):
    """p(z2) p(z1 | z2) p(x | z1), linear and Gaussian, with its exact guide in either order."""
    a, w = torch.randn(L1, L2), torch.randn(D, L1)
    prior = pv.Sites(
        z2=pv.priors.StandardNormal(L2), z1=N(linear(a, [math.log(S1)] * L1)).given("z2")
    )
    likelihood = pv.likelihoods.Gaussian(linear(w), "fixed", SX).given("z1")
    eye = torch.eye
    of_z1 = a @ a.T + S1**2 * eye(L1)
    if order == "bottom-up":
        c1 = torch.linalg.inv(torch.linalg.inv(of_z1) + w.T @ w / SX**2)
        c2 = torch.linalg.inv(eye(L2) + a.T @ a / S1**2)
        posterior = pv.Sites(
            z1=F(linear(c1 @ w.T / SX**2, tril_outputs(c1)), L1),
            z2=F(linear(c2 @ a.T / S1**2, tril_outputs(c2)), L2).given("z1"),
        )
    else:
        noise, wa = w @ w.T * S1**2 + SX**2 * eye(D), w @ a
        c2 = torch.linalg.inv(eye(L2) + wa.T @ torch.linalg.inv(noise) @ wa)
        c1 = torch.linalg.inv(eye(L1) / S1**2 + w.T @ w / SX**2)
        gain = torch.cat([c1 @ w.T / SX**2, c1 @ a / S1**2], 1)
        posterior = pv.Sites(
            z2=F(linear(c2 @ wa.T @ torch.linalg.inv(noise), tril_outputs(c2)), L2),
            z1=F(Join(linear(gain, tril_outputs(c1)), (1, 1)), L1).given("x", "z2"),
        )
    law = MultivariateNormal(torch.zeros(D), w @ of_z1 @ w.T + SX**2 * eye(D))
    return pv.VAE(prior, likelihood, posterior), law.sample((200,)), law


@pytest.mark.parametrize("order", ["bottom-up", "top-down"])
def test_two_layers_at_the_exact_posterior(order):
    vae, x, law = two_layers(order)
    truth = law.log_prob(x)
    torch.testing.assert_close(pv.elbo(vae, x), truth)
    torch.testing.assert_close(pv.log_marginal(vae, x, 30).log_marginal, truth)
    assert -Trace_ELBO().loss(vae.model, vae.guide, x) / len(x) == pytest.approx(
        float(truth.mean()), abs=1e-10
    )
    terms = ELBO()(vae.model, vae.guide, x)
    assert float(terms.loss.detach()) == pytest.approx(-float(truth.mean()), abs=1e-10)
    sites = pv.evaluate.rate_distortion(vae, x, 1).by_site
    assert set(sites) == {"z1", "z2"}


def closed_losses(vae, x, runs=200):
    objective = ELBO(kl="closed-form")
    with torch.no_grad():
        return torch.stack([objective(vae.model, vae.guide, x).loss for _ in range(runs)])


@pytest.mark.parametrize("order", ["bottom-up", "top-down"])
def test_closed_forms_where_they_are_exact(order, monkeypatch):
    vae, x, law = two_layers(order)
    exact = -float(law.log_prob(x).mean().detach())
    assert abs(float(z_scores(closed_losses(vae, x), exact))) < bound(2)
    everywhere = lambda q, p: dict.fromkeys(p, True)  # noqa: E731
    monkeypatch.setattr("pyro_vae.objectives.elbo.closed_sites", everywhere)
    twin = abs(float(z_scores(closed_losses(vae, x), exact)))
    assert twin > 20 if order == "bottom-up" else twin < bound(2)


def test_gradients_that_vanish_at_the_exact_posterior():
    vae, x, _ = two_layers("top-down")
    parameters = [p for p in vae.posterior.parameters() if p.requires_grad]
    gradient = pv.evaluate.gradients(vae, STL(), x, 3, parameters=parameters)
    assert float(gradient.abs().max()) < 1e-10
    noisy = pv.evaluate.gradients(vae, ELBO(), x, 3, parameters=parameters)
    assert float(noisy.abs().max()) > 1e-3
    doubly = pv.evaluate.gradients(vae, DReG(4), x, 3, parameters=parameters)
    assert float(doubly.abs().max()) < 1e-10


def test_a_ladder_whose_evidence_is_exact():
    """x = W z1 with W diagonal: the evidence of z1 is Normal, and so are all corrections."""
    w, a = torch.tensor([1.5, -0.7, 2.0]), torch.randn(3, 2)
    prior = pv.Sites(
        z2=pv.priors.StandardNormal(2), z1=N(linear(a, [math.log(S1)] * 3)).given("z2")
    )
    noise = (w * S1).square() + SX**2
    wa = w[:, None] * a
    c2 = torch.linalg.inv(torch.eye(2) + wa.T @ (wa / noise[:, None]))
    gain = c2 @ wa.T / noise
    evidence = linear((1 / w).diag(), (SX / w.abs()).log())
    posterior = pv.Sites(
        z2=F(linear(gain, tril_outputs(c2)), 2),
        z1=pv.posteriors.Corrected(evidence, prior["z1"]).given("x", "z2"),
    )
    vae = pv.VAE(
        prior, pv.likelihoods.Gaussian(linear(w.diag()), "fixed", SX).given("z1"), posterior
    )
    law = MultivariateNormal(torch.zeros(3), wa @ wa.T + noise.diag())
    x = law.sample((50,))
    torch.testing.assert_close(pv.elbo(vae, x), law.log_prob(x))
    twin = copy.deepcopy(vae)
    twin.posterior["z1"].encoder.layers[0].bias.data[3:] += 0.5  # evidence thought too weak
    assert float((law.log_prob(x) - pv.elbo(twin, x, 200)).mean().detach()) > 0.05


def test_a_graph_of_nets_sums_to_one():
    vae, _, _ = KINDS["with a net"]()
    bits = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 6)
    decoder = vae.likelihood.decoder
    vae.likelihood = pv.likelihoods.Bernoulli(decoder).given("z1", "d")
    guide = pv.evaluate.prior_guide(vae.model)
    estimate = pv.log_marginal((vae.model, guide), bits, 4000)
    p = estimate.log_marginal.exp()
    se = float((p * estimate.mc_se).square().sum().sqrt())
    assert abs(float(p.sum()) - 1) < bound(1) * se < 0.1
    q, sites = traces(vae.model, vae.guide, bits, 1000)
    without = sites["x"]["fn"].log_prob(bits) - q["z1"]["fn"].log_prob(q["z1"]["value"])
    without = without.detach()
    assert abs(float(without.logsumexp(0).sub(math.log(1000)).exp().sum()) - 1) > 0.1


# --- Conditions ---------------------------------------------------------------------------------


def test_a_linear_conditional_model():
    """p(z | c) = N(B c, I), p(x | z, c) = N(W z + V c, s): log p(x | c) and its posterior."""
    w, v, b = torch.randn(D, 2), torch.randn(D, 3), torch.randn(2, 3)
    c = torch.randn(100, 3)
    covariance = torch.linalg.inv(torch.eye(2) + w.T @ w / SX**2)
    gain = covariance @ torch.cat([w.T, b * SX**2 - w.T @ v], 1) / SX**2
    vae = pv.VAE(
        N(linear(b, [0.0, 0.0])).given("c"),
        pv.likelihoods.Gaussian(Join(linear(torch.cat([w, v], 1)), (1, 1)), "fixed", SX).given(
            "z", "c"
        ),
        F(Join(linear(gain, tril_outputs(covariance)), (1, 1)), 2).given("x", "c"),
    )
    law = MultivariateNormal(c @ (w @ b + v).T, w @ w.T + SX**2 * torch.eye(D))
    x = law.sample()
    torch.testing.assert_close(pv.elbo(vae, x, c=c), law.log_prob(x))
    total = Trace_ELBO().loss(vae.model, vae.guide, x, c=c)
    assert -total == pytest.approx(float(law.log_prob(x).sum()), abs=1e-9)
    shuffled = pv.elbo(vae, x, 50, c=c.flip(0))  # the condition of another datum
    assert float((law.log_prob(x) - shuffled).mean()) > 1
    annealed = pv.ais(vae, x[:10], num_temperatures=200, num_chains=16, c=c[:10])
    z = (annealed.log_marginal - law.log_prob(x)[:10]) / annealed.mc_se
    assert float(z.abs().max()) < bound(10)
    drawn = pv.sample(vae, 4000, c=c[0])
    assert float(z_scores(drawn, law.loc[0]).abs().max()) < bound(D)


# --- Labels that are known for some data --------------------------------------------------------
K = 4


def m2(extra=False):
    """Kingma's M2, or M1 and M2 in one graph with a latent variable before and one after y."""
    size = 2 if extra else 6
    source = "z1" if extra else "x"
    prior = {"y": pv.priors.Categorical(K, learned=True), "z": pv.priors.StandardNormal(2)}
    posterior = {
        "y": pv.posteriors.Categorical(MLP(size, [8], K), K).given(source),
        "z": N(Join(MLP(size + K, [8], 4), (1, 1))).given(source, "y"),
    }
    likelihood = pv.likelihoods.Bernoulli(Join(MLP(K + 2, [8], 6), (1, 1))).given("y", "z")
    if extra:
        prior["z1"] = N(Join(MLP(K + 2, [8], 4), (1, 1))).given("y", "z")
        posterior = {"z1": N(MLP(6, [8], 4)), **posterior}
        likelihood = pv.likelihoods.Bernoulli(MLP(2, [8], 6)).given("z1")
    vae = pv.VAE(pv.Sites(prior), likelihood, pv.Sites(posterior))
    with torch.no_grad():
        for p in vae.parameters():
            p.add_(0.3 * torch.randn_like(p))
    x = torch.bernoulli(torch.full((7, 6), 0.5))
    y = torch.eye(K)[torch.randint(K, (7,))]
    y[::2] = NAN
    return vae, x, y


def brute_force(vae, x, y, draws):
    """The bounds of Kingma et al., Eq. 6 where y is known and Eq. 7 where it is not."""
    q = vae.posterior["y"](x).logits.softmax(-1)
    bounds = []
    for k in range(K):
        label = torch.eye(K)[k].expand(len(x), K)
        law = vae.posterior["z"]((x, label))
        z = law.base_dist.loc + law.base_dist.scale * draws[k]
        kl = torch.distributions.kl_divergence(law.base_dist, dist.Normal(0.0, 1.0)).sum(-1)
        joint = vae.likelihood((label, z)).log_prob(x) + vae.prior["y"]().log_prob(label)
        bounds.append(joint - kl)
    every = torch.stack(bounds, -1)
    labelled = (every * torch.nan_to_num(y)).sum(-1)
    return torch.where(y[:, 0].isnan(), (q * (every - q.log())).sum(-1), labelled), q


def test_labels_against_brute_force():
    vae, x, y = m2()
    torch.manual_seed(1)
    terms = Enumeration()(vae.model, vae.guide, x, y=y)
    torch.manual_seed(1)
    values, q = brute_force(vae, x, y, torch.randn(K, 7, 2))
    torch.testing.assert_close(-terms.loss, values.mean())
    torch.manual_seed(1)
    blind = Enumeration()(vae.model, vae.guide, x, y=torch.full_like(y, NAN))
    assert abs(float((blind.loss - terms.loss).detach())) > 0.1
    torch.manual_seed(1)
    taught = Enumeration(supervision=3.0)(vae.model, vae.guide, x, y=y)
    evidence = (q.log() * torch.nan_to_num(y)).sum() / len(x)
    torch.testing.assert_close(taught.loss, terms.loss - 3 * evidence)


def apart(a, b):
    return abs(float((a.mean() - b.mean()) / (a.var() / len(a) + b.var() / len(b)).sqrt()))


@pytest.mark.parametrize(
    "extra", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["M2", "M1 + M2"]
)
def test_labels_against_pyros_enumeration(extra):
    vae, x, y = m2(extra)

    def listing(x, **known):
        listed = lambda s: {"enumerate": "parallel"} if s["name"] == "y" else {}  # noqa: E731
        return poutine.infer_config(vae.guide, listed)(x, **known)

    pyros, sampled = TraceEnum_ELBO(max_plate_nesting=1), Trace_ELBO()
    objective = Enumeration()
    with torch.no_grad():
        theirs = torch.tensor([pyros.loss(vae.model, listing, x, y=y) / 7 for _ in range(150)])
        ours = torch.stack([objective(vae.model, vae.guide, x, y=y).loss for _ in range(150)])
        drawn = torch.tensor([sampled.loss(vae.model, vae.guide, x, y=y) / 7 for _ in range(600)])
        none = torch.stack(
            [objective(vae.model, vae.guide, x, y=y * NAN).loss for _ in range(150)]
        )
    assert apart(theirs, ours) < bound(2) and apart(drawn, ours) < bound(2)
    assert apart(none, ours) > bound(2)


def by_quadrature(vae, x):
    """log p(x, y) of each datum and class, by a grid over z."""
    side = torch.linspace(-6, 6, 121)
    z = torch.cartesian_prod(side, side)
    area = 2 * (side[1] - side[0]).log()
    parts = []
    for k in range(K):
        label = torch.eye(K)[k].expand(len(z), 1, K)
        log_x = vae.likelihood((label, z[:, None])).log_prob(x)
        log_z = dist.Normal(0.0, 1.0).log_prob(z).sum(-1)
        inside = (log_x + log_z[:, None]).logsumexp(0) + area
        parts.append(inside + vae.prior["y"]().log_prob(torch.eye(K)[k]))
    return torch.stack(parts, -1).detach()


def test_the_evidence_of_data_and_labels():
    vae, x, y = m2()
    joint = by_quadrature(vae, x)
    at_label = joint.masked_fill(torch.nan_to_num(y) == 0, -torch.inf).logsumexp(-1)
    exact = torch.where(y[:, 0].isnan(), joint.logsumexp(-1), at_label).detach()
    found = pv.log_marginal(vae, x, 40_000, y=y)
    inside = (exact >= found.lower) & (exact <= found.upper)
    assert int(inside.sum()) >= 5  # of seven 95 % intervals
    ignored = pv.log_marginal(vae, x, 2000).log_marginal
    assert float((ignored - exact)[1::2].min()) > 0.3  # log p(x) is more than log p(x, y)


def test_a_real_latent_variable_that_is_known_for_some():
    vae, x, law = two_layers("top-down")
    z2 = torch.randn(len(x), L2)
    z2[::2] = NAN
    found = pv.elbo(vae, x, 2000, z2=z2)
    torch.testing.assert_close(found[::2], law.log_prob(x)[::2])
    weight = vae.likelihood.decoder.layers[0].weight
    a = vae.prior["z1"].encoder.layers[0].weight[:L1]
    noise = weight @ weight.T * S1**2 + SX**2 * torch.eye(D)
    known = MultivariateNormal(torch.nan_to_num(z2) @ (weight @ a).T, noise).log_prob(x)
    exact = known + dist.Normal(0.0, 1.0).log_prob(torch.nan_to_num(z2)).sum(-1)
    torch.testing.assert_close(found[1::2], exact.detach()[1::2])
    with pytest.raises(ValueError, match="nothing is known of"):
        pv.ais(vae, x[:2], z2=z2[:2], num_temperatures=5)
    with pytest.raises(ValueError, match="Expected z2 of shape"):
        pv.elbo(vae, x, z2=torch.randn(len(x), 3))


# --- Holes --------------------------------------------------------------------------------------
def test_holes_against_probabilistic_pca():
    vae, x, law = ppca()
    truth, _ = conditionals(law, x)
    torch.testing.assert_close(pv.elbo(vae, x), truth)
    total = Trace_ELBO().loss(vae.model, vae.guide, x)
    assert -total == pytest.approx(float(truth.sum()), abs=1e-9)
    filled = pv.elbo(vae, torch.nan_to_num(x))
    assert float((filled - truth).abs().max()) > 0.5


def test_batches_gather_what_is_known():
    kind = KINDS["conditional"]()
    vae = kind.vae
    svi = pv.CompiledSVI(vae.model, vae.guide, torch.optim.Adam, Trace_ELBO(), backend="graph")
    losses = svi.run(12, kind.x, batch_size=10, **kind.known)
    assert losses.shape == (12,) and bool(losses.isfinite().all())


# --- The grammar's sentences --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: pv.Sites(), "got none"),
        (lambda: pv.Sites(z=nn.Linear(2, 2)), "got Linear as 'z'"),
        (lambda: pv.Sites(index=pv.priors.StandardNormal(2)), "modules use themselves"),
        (lambda: broken(posterior=pv.Sites(z1=N(MLP(6, [], 6)))), "got none for z2"),
        (lambda: broken(posterior=pv.Sites(a=N(MLP(6, [], 6)), z1=N(MLP(6, [], 6)), z2=N(MLP(6, [], 4)))), "got a, too"),
        (lambda: broken(prior=pv.Sites(z1=N(MLP(2, [], 6)).given("z2"), z2=pv.priors.StandardNormal(2))), "not made before it"),
        (lambda: broken(likelihood=pv.Sites(w=pv.likelihoods.Gaussian(MLP(3, [], 6)).given("z1"))), "with the site x"),
    ],
)  # fmt: skip
def test_what_is_no_model(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def broken(prior=None, likelihood=None, posterior=None):
    return pv.VAE(
        prior or hierarchy(),
        likelihood or pv.likelihoods.Gaussian(MLP(3, [], 6)).given("z1"),
        posterior or pv.Sites(z1=N(MLP(6, [], 6)), z2=N(MLP(3, [], 4)).given("z1")),
    )


def test_what_is_known_is_asked_for():
    kind = KINDS["conditional"]()
    with pytest.raises(ValueError, match=r"Expected c= for every datum"):
        pv.elbo(kind.vae, kind.x)
    with pytest.raises(ValueError, match="got d, which no factor is given"):
        pv.elbo(kind.vae, kind.x, d=kind.known["c"], **kind.known)
    with pytest.raises(ValueError, match="a row for each of 40 data"):
        pv.elbo(kind.vae, kind.x, c=kind.known["c"][:3])
    stranger = KINDS["a stranger's module"]()
    with pytest.raises(ValueError, match=r"model that takes c="):
        pv.elbo(stranger.vae, stranger.x, c=kind.known["c"])
    labels = KINDS["semi-supervised"]()
    with pytest.raises(ValueError, match="one-hot blocks"):
        pv.elbo(labels.vae, labels.x, y=torch.full((40, 3), 0.5))


def test_known_data_are_part_of_what_data_are():
    kind = KINDS["conditional"]()
    split = as_split(kind.x, **kind.known)
    other = as_split(kind.x, c=kind.known["c"] + 1)
    assert pv.data.fingerprint(split) != pv.data.fingerprint(other)
    assert pv.data.fingerprint(split) == pv.data.fingerprint(as_split(kind.x, **kind.known))
    taken = split.take(torch.tensor([3, 1]))
    assert torch.equal(taken.known["c"], kind.known["c"][[3, 1]])


def test_names_of_one_factor_are_what_they_were():
    vae = KINDS["plain"]().vae
    parts = {name.split(".")[0] + "." + name.split(".")[1] for name in vae.state_dict()}
    assert parts == {"likelihood.decoder", "likelihood.log_scale", "posterior.encoder"}
    assert sample_sites(poutine.trace(vae.guide).get_trace(torch.randn(3, 6))).keys() == {"z"}


def test_free_bits_by_site():
    """Where each KL term is below what is free, the rate costs that much for each site."""
    vae, x, _ = two_layers("top-down")
    torch.manual_seed(1)
    plain = ELBO()(vae.model, vae.guide, x)
    torch.manual_seed(1)
    free = ELBO(free_bits=50.0, free_bits_per="site")(vae.model, vae.guide, x)
    torch.testing.assert_close(free.loss, 100 - free.reconstruction)
    torch.manual_seed(1)
    little = ELBO(free_bits=1e-3, free_bits_per="site")(vae.model, vae.guide, x)
    torch.testing.assert_close(little.loss, plain.loss)


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        (
            "bottom-up",
            {"estimator": "iwae", "supervision": 1.0},
            "or score-function for supervision",
        ),
        ("bottom-up", {"estimator": "enumeration"}, "whose values can be listed"),
        ("semi-supervised", {"estimator": "iwae"}, "through whose samples no gradient flows"),
        ("semi-supervised", {"estimator": "vimco", "num_particles": 1}, "at least 2 particles"),
        ("bottom-up", {"alfa": 1.0}, "got alfa"),
        ("bottom-up", {"estimator": "stl", "capacity": 1.0}, "modify its KL term"),
    ],
)
def test_what_the_planner_refuses(name, options, words):
    kind = KINDS[name]()
    x, known = as_split(kind.x, **kind.known).batch(slice(0, 4))
    with pytest.raises(ValueError, match=words):
        pv.plan(kind.vae, x, known=known, **options)


# --- What is not silently wrong -----------------------------------------------------------------


def test_told_values_of_latent_sites_are_kept():
    decoder = Join(linear(torch.tensor([[0.0, 0.0, 1.0, 10.0, 100.0]])), (1, 1))
    vae = pv.VAE(
        pv.Sites(z=pv.priors.StandardNormal(2), y=pv.priors.Categorical(3)),
        pv.likelihoods.Gaussian(decoder, "fixed", 0.1),
        pv.Sites(z=N(MLP(1, [4], 4)), y=pv.posteriors.Categorical(MLP(1, [4], 3), 3)),
    )
    y = torch.eye(3)[[2] * 5]
    assert pv.evaluate.decode(vae, torch.zeros(5, 2), y=y).eq(100).all()
    assert pv.sample(vae, 5, "mean", y=torch.eye(3)[1]).eq(10).all()
    with pytest.raises(ValueError, match="Expected latent variables of the sites"):
        pv.evaluate.decode(vae, torch.zeros(5, 5), y=y)
    with pytest.raises(ValueError, match="one-hot rows"):
        pv.sample(vae, 5, y=1)
    for bad in (pv.evaluate.sbc, pv.evaluate.eubo):
        with pytest.raises(ValueError, match="latent variables are simulated"):
            bad(vae, 40, y=torch.eye(3)[[2] * 40])


def test_the_prior_as_a_guide_knows_what_is_known():
    vae, x, y = m2()
    y = torch.eye(K)[torch.randint(K, (7,))]
    guide = pv.evaluate.prior_guide(vae.model)
    exact = (by_quadrature(vae, x) * y).sum(-1)
    naive = pv.log_marginal((vae.model, guide), x, 20_000, y=y)
    z = (naive.log_marginal - exact) / naive.mc_se
    assert float(z.abs().max()) < bound(7)


def test_a_collapsed_layer_is_not_active_and_moments_are_whole():
    vae = pv.VAE(
        pv.Sites(
            z2=pv.priors.StandardNormal(1), z1=N(linear(torch.zeros(1, 1), [0.0])).given("z2")
        ),
        pv.likelihoods.Gaussian(MLP(1, [8], 3)).given("z1"),
        pv.Sites(
            z1=N(linear(torch.zeros(1, 3), [0.0])),
            z2=N(linear(torch.ones(1, 1), [math.log(0.1)])).given("z1"),
        ),
    )
    x = torch.randn(5000, 3)
    assert float(pv.evaluate.active_units(vae, x).max()) < 0.005
    assert float(pv.encode(vae, x).scale[:, 0].square().mean()) == pytest.approx(1.01, abs=0.02)


def test_rates_of_sites_add_up():
    vae, x, _ = two_layers("top-down")
    found = pv.evaluate.rate_distortion(vae, x, 7)
    torch.testing.assert_close(torch.stack([*found.by_site.values()]).sum(), found.rate)
    mask = torch.arange(len(x)) < 50
    masked = tuple(poutine.mask(p, mask=mask) for p in (vae.model, vae.guide))
    found = pv.evaluate.rate_distortion(masked, x, 3)
    torch.testing.assert_close(torch.stack([*found.by_site.values()]).sum(), found.rate)


def test_contraction_is_what_data_add_to_the_condition():
    vae = pv.VAE(
        N(linear(3 * torch.ones(1, 1), [0.0])).given("c"),
        pv.likelihoods.Gaussian(linear(torch.zeros(2, 1)), "fixed", 0.5).given("z"),
        N(linear(3 * torch.ones(1, 1), [0.0])).given("c"),
    )
    found = pv.evaluate.sbc(vae, 500, c=torch.randn(500, 1))
    assert abs(float(found.contraction)) < 0.25
    with pytest.raises(ValueError, match="or one row, or 500"):
        pv.evaluate.sbc(vae, 500, c=torch.randn(40, 1))


def test_optimal_sigmas_of_all_observed_sites_move():
    optimal = lambda: pv.likelihoods.Gaussian(MLP(2, [8], 2), "optimal")  # noqa: E731
    vae = pv.VAE(
        pv.priors.StandardNormal(2),
        pv.Sites(x=optimal(), w=optimal().given("z")),
        N(MLP(2, [8], 4)),
    )
    data = as_split(torch.randn(40, 2), w=0.05 * torch.randn(40, 2))
    pv.fit(vae, data, epochs=100, batch_size=20, compile="no", progress=False)
    assert float(vae.likelihood["w"].log_scale.exp()) < 0.3


def test_supervision_is_masked_and_scaled():
    vae, x, y = m2()
    objective = Enumeration(supervision=5.0)
    with torch.no_grad():
        hidden = [poutine.mask(p, mask=torch.tensor(False)) for p in (vae.model, vae.guide)]
        assert float(objective(*hidden, x, y=y).loss) == 0
        torch.manual_seed(1)
        one = float(objective(vae.model, vae.guide, x, y=y).loss)
        torch.manual_seed(1)
        scaled = [poutine.scale(p, scale=10.0) for p in (vae.model, vae.guide)]
        assert float(objective(*scaled, x, y=y).loss) == pytest.approx(10 * one)


def test_what_is_refused_in_words(tmp_path):
    kind = KINDS["conditional"]()
    x, c = kind.x, kind.known["c"].clone()
    c[30, 0] = NAN
    with pytest.raises(ValueError, match="Expected c without holes.*row 30"):
        pv.fit(kind.vae, as_split(x, c=c), epochs=1, progress=False)
    with pytest.raises(ValueError, match=r"Give a column as c\[:, None\]"):
        pv.elbo(kind.vae, x, c=c[:, 1])
    with pytest.raises(ValueError) as told:
        pv.elbo(kind.vae, x)
    assert "Trace Shapes" not in str(told.value)
    few = Join(MLP(1, [8], 2), (1,))
    vae = pv.VAE(
        pv.priors.StandardNormal(1),
        pv.likelihoods.Gaussian(few).given("z", "c"),
        N(MLP(6, [8], 2)),
    )
    with pytest.raises(ValueError, match="Expected 1 inputs"):
        pv.elbo(vae, x, c=kind.known["c"])
    vae.likelihood.decoder = MLP(4, [8], 6)
    with pytest.raises(ValueError, match=r"Wrap it: pv\.nn\.Join"):
        pv.elbo(vae, x, c=kind.known["c"])
    with pytest.raises(ValueError, match="Expected names of what a factor is given"):
        N(MLP(2, [], 2)).given(["z", "c"])
    with pytest.raises(ValueError, match="got 'seed'"):
        pv.VAE(
            pv.priors.StandardNormal(1),
            pv.likelihoods.Gaussian(few).given("seed"),
            N(MLP(1, [], 2)),
        )
    pair = KINDS["two observed sites"]()
    with pytest.raises(ValueError, match="Give w="):
        pv.ais(pair.vae, pair.x, v=pair.known["v"], start="guide", num_temperatures=3)

    def joined(*order):
        likelihood = pv.likelihoods.Gaussian(Join(MLP(2, [8], 6), (1, 1))).given(*order)
        prior = pv.Sites(a=pv.priors.StandardNormal(1), b=pv.priors.StandardNormal(1))
        return pv.VAE(prior, likelihood, pv.Sites(a=N(MLP(6, [8], 2)), b=N(MLP(6, [8], 2))))

    pv.fit(joined("a", "b"), x, epochs=1, out=tmp_path / "r", progress=False)
    with pytest.raises(ValueError, match="Gaussian given a and b is now Gaussian given b and a"):
        pv.fit(joined("b", "a"), x, epochs=2, out=tmp_path / "r", resume=True, progress=False)


def test_corrections_are_of_normals():
    laplace = pv.posteriors.Laplace(MLP(2, [], 4)).given("z2")
    for prior in (laplace, F(MLP(2, [], 5), 2).given("z2"), pv.priors.GaussianMixture(2, 3)):
        values = (torch.randn(5, 3), torch.randn(5, 2))
        given = values if prior.parents else values[0]
        with pytest.raises(ValueError, match="Expected a diagonal Normal prior to correct"):
            pv.posteriors.Corrected(MLP(3, [], 4), prior)(given)
    with pytest.raises(ValueError, match="A conditional prior is a family of posteriors"):
        pv.VAE(
            pv.priors.StandardNormal(2).given("c"),
            pv.likelihoods.Gaussian(MLP(2, [], 3)),
            N(MLP(3, [], 4)),
        )


def test_sequences_under_a_condition():
    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = pv.nn.Backward(3, 8, 4)
            self.shift = nn.Linear(2, 4)

        def forward(self, values):
            x, c = values
            return self.net(x) + self.shift(c)[:, None]

    prior = pv.priors.Markov(MLP(2, [8], 4), 2, 4)
    vae = pv.VAE(
        prior,
        pv.likelihoods.MissingAtRandom(pv.likelihoods.Gaussian(MLP(2, [], 3), event_dim=2)),
        pv.posteriors.CorrectedMarkov(Both(), prior).given("x", "c"),
    )
    x, c = torch.randn(5, 4, 3), torch.randn(5, 2)
    x[2] = NAN
    bound_ = pv.elbo(vae, x, 3, c=c)
    assert bool(bound_.isfinite().all()) and float(bound_[2]) == pytest.approx(0, abs=1e-9)
    x[:, 2:] = NAN
    net = pv.nn.Backward(3, 8, 2)
    assert net(x)[:, 2:].eq(0).all()
