# ---
# jupyter:
#   jupytext:
#     formats: py:percent
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # Hierarchies
#
# *After this lesson you can:* write a model of several layers, and its guide in either order; say what each
# layer pays, and when that number is a KL divergence; predict whether an upper layer lives; say what the cures do
# and what they do not.
#
# About 35 minutes. It needs lessons 3, 7 and 8.

# %%
# %matplotlib inline
import copy
import math
import os

import matplotlib.pyplot as plt
import pyro.distributions as dist
import torch
from pyro import poutine

import pyro_vae as pv
from pyro_vae.evaluate import (
    Mean,
    compare,
    compare_groups,
    describe,
    information,
    rate_distortion,
    site_activities,
    z_score,
)

plt.style.use("tableau-colorblind10")
seed = int(os.environ.get("SEED", 0))
smoke = "SMOKE" in os.environ
torch.manual_seed(seed)

# %% [markdown]
# ## Two layers
#
# So far there was one $z$. In a *hierarchy* the prior of $z_1$, which makes the data, is a model itself, with a
# latent variable $z_2$ above:
#
# $$p(x) = \iint p(x \mid z_1) \, p(z_1 \mid z_2) \, p(z_2) \, dz_1 \, dz_2.$$
#
# We start with one feature in each layer, all of it linear and Normal:
#
# $$z_2 \sim \mathcal{N}(0, 1), \quad z_1 \mid z_2 \sim \mathcal{N}(a z_2, 1 - a^2), \quad
# x \mid z_1 \sim \mathcal{N}(z_1, \sigma^2), \quad \sigma = 0.5.$$
#
# The variances are chosen so that $z_1 \sim \mathcal{N}(0, 1)$, and $x \sim \mathcal{N}(0, 1 + \sigma^2)$, for every
# $a$; so $a$ is the correlation of $z_1$ and $z_2$.
#
# A guide has to draw both. The posterior factorizes in two orders:
#
# $$p(z_1, z_2 \mid x) = \underbrace{p(z_1 \mid x) \, p(z_2 \mid z_1)}_\text{bottom-up}
# = \underbrace{p(z_2 \mid x) \, p(z_1 \mid x, z_2)}_\text{top-down}.$$
#
# Bottom-up, $x$ is not needed twice: once $z_1$ is known, $x$ says no more about $z_2$. Top-down, Bayes' rule
# gives the second factor: $p(z_1 \mid x, z_2) \propto p(z_1 \mid z_2) \, p(x \mid z_1)$, the model's own
# prior times the *evidence* of the datum. As a function of $z_1$ the evidence is a Normal here, with location $x$ and
# scale $\sigma$; a product of two Normals is a Normal, whose precision is the sum of theirs. A guide made like this is
# called a *ladder*: it takes $p(z_1 \mid z_2)$ from the model, and its network says no more than the evidence. (This
# evidence is about $z_1$; it is not $p(x)$, which has the same name in other lessons.)
#
# In code, `pv.Sites` is a product of factors in the order of sampling, and `.given` says what each is given; a factor
# of a posterior is given `x` if nothing is said. The conditional prior $p(z_1 \mid z_2)$ is made by a class of
# posteriors: both are a Normal from a network. `Corrected` is the ladder's product.

# %%
N, MLP = pv.posteriors.MeanFieldNormal, pv.nn.MLP
sigma = 0.5


class Affine(torch.nn.Module):
    r"""Returns a weighted sum of what it is given as location, and the log of one scale."""

    def __init__(self, weights: list[float], scale: float) -> None:
        super().__init__()
        self.weights = torch.nn.Parameter(torch.tensor(weights))
        self.log_scale = torch.nn.Parameter(torch.tensor([math.log(scale)]))

    def forward(self, values: torch.Tensor | tuple[torch.Tensor, ...]) -> torch.Tensor:
        values = values if isinstance(values, tuple) else (values,)
        loc = sum(weight * value for weight, value in zip(self.weights, values))
        return torch.cat([loc, self.log_scale.expand_as(loc)], -1)


def two_layers(a: float, order: str) -> pv.VAE:
    r"""The linear model, with a guide that is the posterior, or the best of its kind."""
    own, of_x = 1 - a**2, 1 + sigma**2  # the variances of z1 given z2, and of x
    prior = pv.Sites(z2=pv.priors.StandardNormal(1), z1=N(Affine([a], own**0.5)).given("z2"))
    likelihood = pv.likelihoods.Gaussian(torch.nn.Identity(), "fixed", sigma).given("z1")
    if order == "bottom-up":
        posterior = pv.Sites(
            z1=N(Affine([1 / of_x], sigma / of_x**0.5)), z2=N(Affine([a], own**0.5)).given("z1")
        )
    elif order == "top-down":
        posterior = pv.Sites(
            z2=N(Affine([a / of_x], (1 - a**2 / of_x) ** 0.5)),
            z1=pv.posteriors.Corrected(Affine([1.0], sigma), prior["z1"]).given("x", "z2"),
        )
    else:  # separate: each from x alone
        posterior = pv.Sites(
            z1=N(Affine([1 / of_x], (1 / own + 1 / sigma**2) ** -0.5)),
            z2=N(Affine([a / of_x], own**0.5)),
        )
    return pv.VAE(prior, likelihood, posterior)


# %% [markdown]
# The third guide draws each layer from $x$ alone, $q(z_1 \mid x) \, q(z_2 \mid x)$. Lesson 7 says what it loses. The
# posterior has the precision
#
# $$\Lambda = \begin{pmatrix} \frac{1}{1 - a^2} + \frac{1}{\sigma^2} & -\frac{a}{1 - a^2} \\
# -\frac{a}{1 - a^2} & \frac{1}{1 - a^2} \end{pmatrix}, \quad
# \frac{1}{2} \Big( \log \Lambda_{11} + \log \Lambda_{22} - \log \det \Lambda \Big)
# = -\frac{1}{2} \log \Big( 1 - \frac{a^2 \sigma^2}{1 - a^2 + \sigma^2} \Big) \text{ nats}.$$
#
# **Predict before you run.** For $a = 0.9$: how many draws does the ELBO of each guide need to come within 0.0001 nats
# of $\log p(x)$?

# %%


def loss_of_separate(a: float) -> float:
    return -0.5 * math.log(1 - a**2 * sigma**2 / (1 - a**2 + sigma**2))


x = dist.Normal(0.0, (1 + sigma**2) ** 0.5).sample((1000, 1))
log_p = dist.Normal(0.0, (1 + sigma**2) ** 0.5).log_prob(x[:, 0])
orders = ("bottom-up", "top-down", "separate")
for order in orders:
    one_draw, gap = (log_p - pv.elbo(two_layers(0.9, order), x, k, seed=seed) for k in (1, 100))
    print(describe(f"{order}: log p - ELBO", gap), end="; ")
    print(f"with one draw at most {one_draw.abs().max():.1e}")
    if order == "separate":
        assert abs(z_score(gap, loss_of_separate(0.9))) < 4.3
    else:
        assert one_draw.abs().max() < 1e-4
print(f"closed form of the third: {loss_of_separate(0.9):.3f}")

# %%
axis = torch.linspace(-2, 2.6, 200)
grid = torch.cartesian_prod(axis, axis)
datum = torch.tensor([[1.0]])
density = (
    dist.Normal(0.0, 1.0).log_prob(grid[:, 1])
    + dist.Normal(0.9 * grid[:, 1], 0.19**0.5).log_prob(grid[:, 0])
    + dist.Normal(grid[:, 0], sigma).log_prob(datum[0])
)
height = (density - density.max()).exp().reshape(200, 200).T
figure, axes = plt.subplots(
    1, 3, figsize=(9.4, 3.4), layout="constrained", sharex=True, sharey=True
)
for panel, order in zip(axes, orders):
    drawn = poutine.trace(two_layers(0.9, order).guide).get_trace(datum.expand(600, 1)).nodes
    panel.contour(axis, axis, height, levels=[0.05, 0.2, 0.5, 0.8], cmap="cividis")
    z1, z2 = (drawn[site]["value"][:, 0].detach() for site in ("z1", "z2"))
    panel.scatter(z1, z2, s=3, linewidths=0)
    panel.set(title=f"{order}, and p(z1, z2 | x = 1)", xlabel="z1", xlim=(-1, 2.6))
_ = axes[0].set(ylabel="z2")

# %% [markdown]
# One draw is enough for the first two: with the exact conditionals $\log p(x, z) - \log q(z \mid x)$ is
# $\log p(x)$ whatever is drawn. The order does not matter, only that the second layer sees the first. The third
# guide loses what its closed form says, as the posterior is tilted and its draws cannot be. (It is too narrow, too:
# lesson 7.)
#
# ## Which layer pays?
#
# Minus the ELBO is distortion plus rate (lesson 8), and the rate is a sum of one term for each layer:
#
# $$R = \mathbb{E}_q \log \frac{q(z_1 \mid \cdot)}{p(z_1 \mid z_2)}
# + \mathbb{E}_q \log \frac{q(z_2 \mid \cdot)}{p(z_2)}.$$
#
# With the exact posterior the whole rate is the information $I(x; z_1) = \frac{1}{2} \log (1 + 1 / \sigma^2) = 0.805$
# nats, for each $a$: as $z_2$ acts through $z_1$ alone, it can add none. (Of two Normals whose correlation is $\rho$
# the information is $-\frac{1}{2} \log(1 - \rho^2)$.) How the sum is split depends on the order:
#
# | | term of $z_2$ | term of $z_1$ |
# |---|---|---|
# | top-down | $I(x; z_2) = \frac{1}{2} \log \frac{1 + \sigma^2}{1 - a^2 + \sigma^2}$ | the rest |
# | bottom-up | $I(z_1; z_2) = -\frac{1}{2} \log (1 - a^2)$ | the rest |
#
# **Predict before you run.** From $a = 0$ to $a = 0.99$, what becomes of $\log p(x)$? And which term is negative at
# the end?

# %%
correlations = (0.0, 0.5, 0.9, 0.99)
repeats = 5 if smoke else 20
whole = 0.5 * math.log(1 + 1 / sigma**2)
for a in correlations:
    of_z2 = {
        "top-down": 0.5 * math.log((1 + sigma**2) / (1 - a**2 + sigma**2)),
        "bottom-up": -0.5 * math.log(1 - a**2),
    }
    for order, expected in of_z2.items():
        vae = two_layers(a, order)
        found = []
        for s in range(repeats):
            torch.manual_seed(1000 * seed + s)
            fresh = dist.Normal(0.0, (1 + sigma**2) ** 0.5).sample((2000, 1))
            sites = rate_distortion(vae, fresh, 1, seed=1000 * seed + s).by_site
            found.append([sites["z2"], sites["z1"]])
        found = torch.tensor(found)
        means, errors = found.mean(0), found.std(0) / repeats**0.5
        print(
            f"a = {a:4}, {order:9s}  z2 {means[0]:5.2f} +- {errors[0]:.2f} ({expected:5.2f})  z1 "
            f"{means[1]:5.2f} +- {errors[1]:.2f} ({whole - expected:5.2f})  sum {means.sum():.2f}"
        )
        exact = torch.tensor([expected, whole - expected])
        assert smoke or ((means - exact).abs() < 4.3 * errors + 1e-4).all()

# %% [markdown]
# $\log p(x)$ and the sum stay what they are. What moves is who pays: for the same density, $z_2$ may hold
# nothing or nearly all that is known of $x$.
#
# **A common mistake.** Calling the terms of a bottom-up guide KL divergences, and reading 1.96 nats as what $z_2$
# knows about $x$. No KL divergence is negative, and the term of $z_1$ is. A term is a KL divergence if its prior is
# given only what the guide has drawn *before*: then the expectation over the site itself is one. Top-down this is so.
# Bottom-up, $p(z_1 \mid z_2)$ is compared with $q(z_1 \mid x)$ at a $z_2$ that was drawn from this very $z_1$. It is
# the sum that is a KL divergence, in any order. So do not compare a layer of one guide with that of another by its
# term.
#
# ## Nothing to gain
#
# So the bound does not care for $a$, as long as the guide is exact. If it is not, what the guide loses counts, and
# the separate guide loses the more, the larger $a$ is. We train all three from $a = 0.9$, model and guide together, on
# 2000 draws of $\mathcal{N}(0, 1 + \sigma^2)$, and watch the share of the variance of $z_1$ that $z_2$ makes:
# $a^2 / (a^2 + s^2)$, where $p(z_1 \mid z_2) = \mathcal{N}(a z_2, s^2)$. It is 0.81 at the start. A fourth training
# has the separate guide and *free bits* (lesson 8) by layer: a term below half a nat costs nothing.
#
# **Predict before you run.** What becomes of the share in each of the four? Whose ELBO is best at the end?

# %%
torch.manual_seed(seed)
x = dist.Normal(0.0, (1 + sigma**2) ** 0.5).sample((2000, 1))
log_p = dist.Normal(0.0, (1 + sigma**2) ** 0.5).log_prob(x[:, 0])
options = {"batch_size": 200, "schedule": "cosine", "progress": False}
free = {"free_bits": 0.5, "free_bits_per": "site"}
shares, gaps = {}, {}
for name, order, cure in (
    *((o, o, {}) for o in orders),
    ("separate, free bits", "separate", free),
):
    vae = two_layers(0.9, order)
    pv.fit(vae, x.repeat(4, 1), epochs=2 if smoke else 15, lr=2e-2, seed=seed, **options, **cure)
    with torch.no_grad():
        net = vae.prior["z1"].encoder
        explained, rest = float(net.weights[0] ** 2), float((2 * net.log_scale).exp())
        gaps[name] = log_p - pv.elbo(vae, x, 100, seed=seed)
    shares[name] = explained / (explained + rest)
    print(describe(f"{name}: log p - ELBO", gaps[name]), end="; ")
    print(f"share of z2 {shares[name]:.3f}")
if not smoke:
    assert min(shares[order] for order in orders[:2]) > 0.6
    assert shares["separate"] < 0.01 and abs(gaps["separate"].mean()) < 0.01
    assert shares["separate, free bits"] > 0.3 and z_score(gaps["separate, free bits"]) > 4.3

# %% [markdown]
# With the exact guides the share hardly moves: nothing pushes it. With the separate guide $z_2$ dies, and nothing
# better can happen: at $a = 0$ the posterior does factorize, this guide is exact, and its ELBO is $\log p(x)$ again.
# Free bits keep $z_2$ alive, and that costs 0.13 nats: in training what is below half a nat costs nothing, in the ELBO
# it does.
#
# So a layer dies where it has nothing to gain: then whatever its guide loses is a reason to use it less, and
# a dead layer loses nothing, as $q(z_2 \mid \cdot) = p(z_2)$ is its posterior. And a layer that is kept alive need not
# be worth anything.
#
# ## What an upper layer can gain
#
# For a bottom-up guide the ELBO is, on average over data,
#
# $$\mathcal{L} = \underbrace{\mathbb{E} \log p(x \mid z_1) - I_q(x; z_1)}_\text{the lower half}
# - \underbrace{\mathrm{KL}(q(z_1) \,\|\, p(z_1))}_\text{mismatch}
# - \underbrace{\mathbb{E} \, \mathrm{KL}(q(z_2 \mid z_1) \,\|\, p(z_2 \mid z_1))}_\text{the guide of $z_2$},$$
#
# with the aggregate posterior $q(z_1) = \frac{1}{N} \sum_i q(z_1 \mid x_i)$ and its mismatch from lesson 8, and
# $p(z_1) = \int p(z_1 \mid z_2) \, p(z_2) \, dz_2$. (Put $q(z_1)$ between $q(z_1 \mid x)$ and $p(z_1)$ in the rate,
# and $p(z_1 \mid z_2) \, p(z_2) = p(z_1) \, p(z_2 \mid z_1)$.) The upper layer is in the last two terms only. Dead, it
# leaves $p(z_1)$ a Normal, and pays nothing. Alive, it can bend $p(z_1)$ towards $q(z_1)$, and pays the last term. So
# with the lower half as it is, **all that it can gain is the mismatch**; the ideal upper layer is a learned prior with
# the density $q(z_1)$ (lesson 6).
#
# We test it on digits as bits: a pixel is 1 with the probability grey level / 16, drawn anew at every visit. Three
# models of one layer with two features differ in their KL weight in training, 1, 0.1 and 0.01: the lower it is, the
# larger the mismatch (lesson 8). Then we freeze each, and train a second layer on top of it.
#
# **Predict before you run.** On top of which of the three does $z_2$ gain? What is the most that it can?

# %%
digits = pv.data.digits(binarize="dynamic")
epochs, visits = (1, 1) if smoke else (6, 10)
tenfold = digits.train.take(torch.arange(len(digits.train)).repeat(visits))  # rows of an epoch
bits = digits.train.freeze(seed)  # one draw, to measure with
options["lr"] = 1e-2


def one_layer(features: int) -> pv.VAE:
    return pv.VAE(
        pv.priors.StandardNormal(features),
        pv.likelihoods.Bernoulli(MLP(features, [64], (1, 8, 8)), event_dim=3),
        N(MLP((1, 8, 8), [64], 2 * features)),
    )


# %%
figure, axes = plt.subplots(
    2, 3, figsize=(9.4, 6.2), layout="constrained", sharex="col", sharey="col"
)
gains, mismatches = {}, {}
for column, weight in zip(axes.T, (1.0, 0.1, 0.01)):
    torch.manual_seed(seed)
    one = one_layer(2)
    pv.fit(one, tenfold, epochs=epochs, kl_weight=weight, seed=seed, **options)
    below = copy.deepcopy(one).requires_grad_(False)
    two = pv.VAE(
        pv.Sites(z2=pv.priors.StandardNormal(2), z1=N(MLP(2, [64], 4)).given("z2")),
        below.likelihood.given("z1"),
        pv.Sites(z1=below.posterior.given("x"), z2=N(MLP(2, [64], 4)).given("z1")),
    )
    pv.fit(two, tenfold, epochs=epochs, seed=seed, **options)
    gain = compare(pv.elbo(one, bits, 20, seed=seed), pv.elbo(two, bits, 20, seed=seed)).difference
    found = information(one, bits)
    gains[weight], mismatches[weight] = gain, float(found.marginal_kl)
    print(f"KL weight {weight}: mismatch {found.marginal_kl:.2f}, gain of z2 {gain}", end="; ")
    print(f"I(x; z1) {found.mutual_information:.2f} of at most {found.cap:.2f}")
    with torch.no_grad():
        of_data = one.posterior(bits.rows(slice(None))).sample()
        of_prior = poutine.trace(two.model).get_trace(batch_size=len(bits)).nodes["z1"]["value"]
    for panel, name, z in zip(column, ("q(z1)", "p(z1), two layers"), (of_data, of_prior)):
        panel.scatter(z[:, 0], z[:, 1], s=4, linewidths=0)
        panel.set_title(f"KL weight {weight}: {name}", fontsize="medium")
if not smoke:
    assert abs(gains[1.0]) < 0.05 and gains[0.01] > 0.5
    assert all(gains[weight] < mismatches[weight] + 4.3 * gains[weight].se for weight in gains)

# %% [markdown]
# The gain follows the mismatch, and stays below it. At the weight 1 there is nothing to gain: the mismatch is a part
# of what this layer was trained to make small, its $q(z_1)$ is nearly Normal (upper left), and no upper layer is
# needed. At 0.01 $q(z_1)$ is wide and off centre. The second layer learns its place and width (lower right), which is
# most of the mismatch, and not its fine structure. (There the information is near its cap $\log N = 7.17$, and the
# mismatch overestimated: lesson 8.)
#
# ## The cures
#
# Now both layers are trained together, 16 features and 8 above. The contenders are *one layer* of 16 features with
# the same networks, the two layers *plain*, that is bottom-up, and three cures:
#
# - *warm-up*: the KL weight rises from 0 to 1 over the first half (lesson 8); for one layer, too, to be fair;
# - *free bits* by layer, as above, 4 nats each;
# - the *ladder*, and the ladder with the warm-up, as its authors train it. Top-down, $z_2$ comes first, given $x$.
#   `pv.Net` is a node without noise: here a network of $x$ whose output `h` both layers of the guide see.
#
# Each is trained with three seeds, by `fit_many`. Terms are of test digits, and their errors are over seeds. A unit is
# active as in lesson 8: if the variance over data of its posterior mean is above 0.01.
#
# **Predict before you run.** In which of the two-layer models is a layer dead, and which layer?

# %%
seeds = [seed] if smoke else range(3 * seed, 3 * seed + 3)


def hierarchy(guide: str) -> pv.VAE:
    prior = pv.Sites(z2=pv.priors.StandardNormal(8), z1=N(MLP(8, [64], 32)).given("z2"))
    likelihood = pv.likelihoods.Bernoulli(MLP(16, [64], (1, 8, 8)), event_dim=3).given("z1")
    if guide == "bottom-up":
        z1, z2 = N(MLP((1, 8, 8), [64], 32)), N(MLP(16, [64], 16)).given("z1")
        return pv.VAE(prior, likelihood, pv.Sites(z1=z1, z2=z2))
    h = pv.Net(MLP((1, 8, 8), [64], 64))  # a node without noise, which both layers see
    z1 = pv.posteriors.Corrected(MLP(64, [], 32), prior["z1"]).given("h", "z2")
    return pv.VAE(prior, likelihood, pv.Sites(h=h, z2=N(MLP(64, [64], 16)).given("h"), z1=z1))


contenders = {
    "one layer": (lambda: one_layer(16), {}),
    "one layer, warm-up": (lambda: one_layer(16), {"kl_warmup_epochs": epochs / 2}),
    "plain": (lambda: hierarchy("bottom-up"), {}),
    "warm-up": (lambda: hierarchy("bottom-up"), {"kl_warmup_epochs": epochs / 2}),
    "free bits": (lambda: hierarchy("bottom-up"), {"free_bits": 4.0, "free_bits_per": "site"}),
    "ladder": (lambda: hierarchy("ladder"), {}),
    "ladder, warm-up": (lambda: hierarchy("ladder"), {"kl_warmup_epochs": epochs / 2}),
}
test = digits.test.freeze(seed)
models, logs, terms, units = {}, {}, {}, {}
for name, (make, cure) in contenders.items():
    trained = pv.fit_many(make, tenfold, seeds=seeds, epochs=epochs, **options, **cure)
    models[name] = [found.vae for found in trained]
    logs[name] = torch.stack(
        [pv.log_marginal(vae, test, 100).log_marginal for vae in models[name]]
    )
    rates = [rate_distortion(vae, test).by_site for vae in models[name]]
    active = [site_activities(vae, bits) for vae in models[name]]
    for site in rates[0]:
        terms[name, site] = Mean.of(torch.stack([rate[site] for rate in rates]))
        alive = [float((a[site] > 0.01).sum()) for a in active]
        units[name, site] = Mean.of(torch.tensor(alive), "units")
        term, count = terms[name, site], units[name, site]
        print(
            f"{name:19s}{site:3s} term {term:5.2f} +- {term.se:.2f} nats, "
            f"{count:4.1f} +- {count.se:.1f} active units"
        )
if not smoke:
    assert units["free bits", "z2"] == 8 and 3.5 < terms["free bits", "z2"] < 4.5
    assert terms["ladder", "z1"] < 0.1 < terms["ladder", "z2"]
    assert min(terms["ladder, warm-up", site] for site in ("z1", "z2")) > 0.5

# %% [markdown]
# $z_2$ is alive everywhere, also in the plain model: with sixteen features trained together with it, it has something
# to gain. The layer that is dead is a *lower* one: in the ladder without warm-up the term of $z_1$ is 0.00 nats. A
# likely reason: at the start what its network says is noise, and costs nats; the weaker the evidence, the less it
# costs. Without evidence $q(z_1 \mid x, z_2)$ is $p(z_1 \mid z_2)$, all that the decoder hears of $x$ comes through
# $z_2$, and what is left is a model of one layer. During a warm-up it costs little to be wrong, and both layers live.
#
# **A common mistake.** Trusting the count. All 16 units of that dead $z_1$ count as active: their means vary with $x$,
# as they follow $z_2$. A unit that only repeats is active, and adds nothing. In a top-down guide the term says so, as
# it is a KL divergence given $z_2$; in a bottom-up guide the term is not one, and there the share at the end of this
# lesson helps.
#
# ## One layer against two
#
# The comparison is paired, on the same test digits, and each number is a mean over three seeds. `compare_groups` adds
# the error of the seeds to that of the data; with three seeds its p value is worth more than a count of errors.
#
# **Predict before you run.** Do two layers beat one? Do the free bits, with most units in $z_2$, win?

# %%
for name, values in logs.items():
    print(f"{name:19s}log p(x) {values.mean():.2f} nats per datum")
for one, name in (
    ("one layer", "plain"),
    ("one layer", "free bits"),
    ("one layer", "ladder"),
    ("one layer", "one layer, warm-up"),
    ("one layer, warm-up", "warm-up"),
    ("one layer, warm-up", "ladder, warm-up"),
):
    found = compare_groups(logs[one], logs[name])
    print(f"{name} - {one}: {found.difference}, p = {found.p_value:.1g}")
    if one == "one layer, warm-up" and not smoke:
        assert found.difference > 0 and found.p_value < 0.01

# %% [markdown]
# With the warm-up on both sides two layers beat one by 0.3 nats, five errors and more. Without it no difference is
# seen between plain and one layer, and none between free bits and one layer, though there all eight units of $z_2$ are
# active and it is charged four nats (with `SEED=1` it gains 0.14 +- 0.04). The ladder without warm-up has one layer
# less than it seems, and the differences between its seeds are so large that a nat is not significant.
#
# So the upper layer is worth something, and not much: 0.3 of 23 nats. On MNIST Burda et al. (2016) report -86.76 nats
# for one layer and -85.33 for two, with 16 and 5 active units. With five layers on these digits
# (`docs/hierarchical.md`, also three seeds) the upper ones die in every contender but the one with free bits, which
# has a worse $\log p(x)$ than the ladder with warm-up, whose four upper layers are nearly dead. A dead upper layer is
# not a defect; a loss of $\log p(x)$ is.
#
# ## What does each layer hold?
#
# Hold a value of $z_2$, draw $z_1$ again and again, and look at the means of $x$; then hold $z_1$ and draw $z_2$.
# (What comes before a held site is drawn from the prior.) `sample_held` returns rows of draws that share the held
# value.
#
# **Predict before you run.** What do the pictures of a row have in common, in either case?

# %%
vae = models["ladder, warm-up"][0]
figure, axes = plt.subplots(1, 2, figsize=(9.4, 4.8), layout="constrained")
for panel, (held, drawn) in zip(axes, (("z2", "z1"), ("z1", "z2"))):
    rows = pv.views.sample_held(vae, [held], num_rows=6, num_draws=8, seed=seed).x[:, :, 0]
    tiles = torch.nn.functional.pad(rows, (1, 1, 1, 1)).permute(0, 2, 1, 3)
    panel.imshow(tiles.reshape(60, 80), cmap="gray_r", vmin=0, vmax=1)
    panel.set(title=f"{held} held in each row, {drawn} drawn", xticks=[], yticks=[])
    same = rows.var(1).max()
    print(f"{held} held: largest variance of a pixel within a row {same:.4f}")
    assert (same < 1e-8) == (held == "z1")
for name in [name for name, site in terms if site == "z2"]:
    decided = []
    for vae in models[name]:
        x = pv.views.sample_held(vae, ["z2"], 50 if smoke else 300, 20, seed=seed).x
        within = x.var(1).mean()
        between = x.mean(1).var(0).mean() - within / 20  # less what 20 draws leave
        decided.append(between / (between + within))
    share = Mean.of(torch.stack(decided))
    print(
        f"{name:16s}share of the variance of E[x | z1] that z2 decides {share:.2f} {share.error}"
    )
    assert smoke or (share > 0.95) == (name == "ladder")

# %% [markdown]
# With $z_2$ held, the digits of a row are alike in some respects and differ in others: $z_2$ decides about half of
# what varies, in all but the ladder without warm-up, where it decides everything. With $z_1$ held, the pictures of a
# row are the same. This is no failure of $z_2$: the decoder is given $z_1$ alone, so that once $z_1$ is known $z_2$ is
# of no consequence. It has spoken before, by choosing which $z_1$ are likely. What this upper layer learns is
# therefore the shape of $q(z_1)$; whether that has a meaning, such as which digit it is, nothing in the bound asks
# for.
#
# ## Exercises
#
# 1. A guide that forgets $x$ on its way down: $q(z_2 \mid x) \, p(z_1 \mid z_2)$. What does the best of them lose in
#    the linear model? Which $a$ does it prefer, and which layer dies?
# 2. Give the likelihood both layers, `.given("z1", "z2")`, with the network
#    `pv.nn.Join(MLP(24, [64], (1, 8, 8)), (1, 1))`, and train it bottom-up. What does the second picture show?
#
# <details><summary>Solutions</summary>
#
# 1. With $v = a^2 + \sigma^2$ the best such guide loses $\frac{1}{2} \log \frac{v}{1 + \sigma^2} + \frac{1 +
#    \sigma^2}{2 v} - \frac{1}{2} + \frac{1 - a^2}{2 \sigma^2}$ nats: 3.20 at $a = 0$, 0.39 at 0.9, and none at 1,
#    where $z_1$ is a copy of $z_2$. The separate guide drives out the upper layer, this one the lower. It is the
#    ladder with no evidence.
# 2. Trained with the warm-up and `SEED=0`, the rows now differ, but hardly: the largest variance of a pixel within a
#    row is 0.004, against 0.11 with $z_2$ held. The decoder may listen to $z_2$ directly, and has no need to.
#
# </details>
#
# ## References
#
# - Burda et al., *Importance Weighted Autoencoders*, 2016: two layers, bottom-up; section 5, active units by layer.
# - Sonderby et al., *Ladder Variational Autoencoders*, 2016: equations 8 to 11.
# - Hoffman and Johnson, *ELBO Surgery*, 2016: equation 8, the mismatch.
# - Zhao, Song and Ermon, *Learning Hierarchical Features from Deep Generative Models*, 2017: why a lower layer can do
#   alone.
# - Maaloe et al., *BIVA*, 2019: a way up and a way down, with skips.
