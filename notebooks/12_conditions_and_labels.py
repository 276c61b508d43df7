# ---
# jupyter:
#   jupytext:
#     formats: py:percent
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # Conditions and labels
#
# *After this lesson you can:* write $p(x \mid c)$ as a VAE and check it against an exact answer; complete images
# without fooling yourself; train with few labels by two bounds and a sum; say what a label is worth, in nats and
# in accuracy; tell accuracy from generation, and a calibrated probability from a confident one.
#
# About 40 minutes. It needs lessons 6, 8 and 9, and the verdicts of lesson 10.

# %%
# %matplotlib inline
import math
import os

import matplotlib.pyplot as plt
import pyro
import pyro.distributions as dist
import torch
from torch.nn import Sequential
from torch.nn.functional import cross_entropy

import pyro_vae as pv
from pyro_vae import objectives
from pyro_vae.evaluate import (
    agreement,
    classification,
    compare,
    describe,
    judge_of,
    verdict,
    z_score,
)
from pyro_vae.evaluate.groups import spread

plt.style.use("tableau-colorblind10")
seed = int(os.environ.get("SEED", 0))
smoke = "SMOKE" in os.environ
torch.manual_seed(seed)

# %% [markdown]
# ## A model, given something
#
# All models so far were of $p(x)$. Often something about a datum is known beforehand: its class, or half of its
# pixels. Call it a *condition* $c$. The model need not explain it, and may use it:
#
# $$p(x \mid c) = \int p(x \mid z, c) \, p(z \mid c) \, dz.$$
#
# With the guide $q(z \mid x, c)$ the ELBO bounds $\log p(x \mid c)$: put $c$ behind every bar in lesson 3. In the
# package a factor says what it is given, `.given("z", "c")`, and `pv.nn.Join(net, (1, 1))` makes one vector of two
# inputs, each with one dimension per datum. $p(z \mid c)$ is a distribution from a network, as posteriors are;
# so a conditional prior is `MeanFieldNormal(net).given("c")`.
#
# First a model about which all is known. With fixed matrices $A$, $B$, $W$ let
#
# $$z \mid c \sim \mathcal{N}(A c, s^2 I), \quad x \mid z, c \sim \mathcal{N}(W z + B c, \sigma^2 I).$$
#
# Then $p(x \mid c)$ is Normal, with mean $(W A + B) c$ and covariance $V = s^2 W W^\top + \sigma^2 I$, and the
# posterior is Normal with precision $\Lambda = I / s^2 + W^\top W / \sigma^2$ and mean
# $\Lambda^{-1} (A c / s^2 + W^\top (x - B c) / \sigma^2)$, which is linear in $x$ and $c$. We use it as the guide. At
# the posterior one draw of the ELBO is $\log p$, without noise (lesson 3).

# %%
Normal, Join, MLP = pv.posteriors.MeanFieldNormal, pv.nn.Join, pv.nn.MLP
sigma = 0.4


def affine(weight: torch.Tensor, constants: tuple | torch.Tensor = ()) -> torch.nn.Linear:
    r"""A network without hidden layers: these weights, and constant outputs behind."""
    net = torch.nn.Linear(weight.shape[1], len(weight) + len(constants))
    with torch.no_grad():
        net.weight.zero_()
        net.bias.zero_()
        net.weight[: len(weight)] = weight
        net.bias[len(weight) :] = torch.as_tensor(constants)
    return net


Parts = tuple[torch.Tensor, torch.Tensor, torch.Tensor, float]  # W, A, B and s


def exact_law(c: torch.Tensor, parts: Parts) -> dist.Distribution:
    w, a, b, s = parts
    noise = sigma**2 * torch.eye(len(w))
    return dist.MultivariateNormal(c @ (w @ a + b).T, s**2 * w @ w.T + noise)


def exact_posterior(parts: Parts) -> pv.posteriors.FullCovarianceNormal:
    w, a, b, s = parts
    size = w.shape[1]
    covariance = torch.linalg.inv(torch.eye(size) / s**2 + w.T @ w / sigma**2)
    of_x, of_c = covariance @ w.T / sigma**2, covariance @ (a / s**2 - w.T @ b / sigma**2)
    tril = torch.linalg.cholesky(covariance)  # the family wants its triangle, with a log diagonal
    tril = tril.tril(-1) + tril.diagonal().log().diag()
    rows, columns = torch.tril_indices(size, size)
    net = affine(torch.cat([of_x, of_c], 1), tril[rows, columns])
    return pv.posteriors.FullCovarianceNormal(Join(net, (1, 1)), size)


def linear_likelihood(parts: Parts) -> pv.likelihoods.Gaussian:
    w, _, b, _ = parts
    net = Join(affine(torch.cat([w, b], 1)), (1, 1))
    return pv.likelihoods.Gaussian(net, sigma="fixed", scale=sigma)


w, a, b, s = torch.randn(4, 2), torch.randn(2, 2), torch.randn(4, 2), 0.5
parts = (w, a, b, s)
vae = pv.VAE(
    prior=Normal(affine(a, (math.log(s),) * 2)).given("c"),
    likelihood=linear_likelihood(parts).given("z", "c"),
    posterior=exact_posterior(parts).given("x", "c"),
)
c = torch.randn(1000, 2)
x = exact_law(c, parts).sample()
truth = exact_law(c, parts).log_prob(x)
print(describe("log p(x | c), exact", truth))
print(describe("ELBO, one draw", pv.elbo(vae, x, 1, c=c)))
error = (pv.elbo(vae, x, 1, c=c) - truth).abs().max()
print(f"of no datum is it off by more than {error:.0e} nats")
assert error < 1e-3

# %% [markdown]
# **Predict before you run.** Here $c$ enters twice, by the prior and by the decoder. (a) How many nats are lost with
# a standard Normal prior, if the decoder may be chosen anew? (b) How many with a model of $p(x)$, which never sees
# $c \sim \mathcal{N}(0, I)$?

# %%
rewired = (s * w, 0 * a, b + w @ a, 1.0)
standard = pv.VAE(
    prior=pv.priors.StandardNormal(2),
    likelihood=linear_likelihood(rewired).given("z", "c"),
    posterior=exact_posterior(rewired).given("x", "c"),
)
print(describe("a standard prior loses", truth - pv.elbo(standard, x, 1, c=c)))
assert (pv.elbo(standard, x, 1, c=c) - truth).abs().max() < 1e-3

of_c, v = w @ a + b, s**2 * w @ w.T + sigma**2 * torch.eye(4)
without = dist.MultivariateNormal(torch.zeros(4), of_c @ of_c.T + v)
gain = truth - without.log_prob(x)
information = 0.5 * (torch.logdet(of_c @ of_c.T + v) - torch.logdet(v))
print(describe("log p(x | c) - log p(x)", gain))
print(f"mutual information {information:.3f} nats")
assert abs(z_score(gain, information)) < 4.3

# %% [markdown]
# (a) Nothing. Write $z = A c + s z'$ with a standard Normal $z'$: a decoder that is given $c$ can do what the prior
# did. (b) The mutual information
#
# $$I(x; c) = \mathbb{E}[\log p(x \mid c) - \log p(x)]
# = \tfrac{1}{2} \log \det((W A + B)(W A + B)^\top + V) - \tfrac{1}{2} \log \det V.$$
#
# So a condition is worth what it tells about $x$, and that it enters matters more than where. Networks of limited size
# and training are not free to rewrite each other, so for them "where" is a question to measure.
#
# ## The other half of a digit
#
# `known={"c": "left"}` takes the left half out of each image: these 32 pixels, divided by 16, are $c$, and the right
# half, 32 levels from 0 to 16, is $x$. Four models, with hidden layers of the same size:
#
# - $p(x)$: a VAE of the right half alone;
# - $p(x \mid c)$ without $z$: a network from $c$ straight to the distribution of $x$, the *deterministic baseline*;
# - two conditional VAEs, with the prior $p(z)$ and with $p(z \mid c)$.
#
# The likelihood is the discretized logistic of lesson 6. Without $z$ there is no bound: the program below has an empty
# guide, and its ELBO is $\log p(x \mid c)$.
#
# **Predict before you run.** Order the four by $\log p(x \mid c)$, or $\log p(x)$ of the first. Which will have green
# verdicts?

# %%
halves = pv.data.digits(known={"c": "left"}, valid=0, test=500)
latent_dim, hidden = 8, [64]
epochs = 2 if smoke else 50
options = {"lr": 3e-3, "schedule": "cosine", "progress": False, "seed": seed}
unit = pv.nn.Divide(16)  # levels to numbers from 0 to 1, for encoders


def of_levels(net: torch.nn.Module) -> pv.likelihoods.DiscretizedLogistic:
    return pv.likelihoods.DiscretizedLogistic(net, num_levels=17)


class Direct(torch.nn.Module):
    r"""p(x | c) by a network alone: no latent variable."""

    def __init__(self, likelihood: pv.base.Likelihood) -> None:
        super().__init__()
        self.likelihood = likelihood

    def model(self, x=None, *, c, batch_size=1):
        with pyro.plate("data", len(c)):
            return pyro.sample("x", self.likelihood(c), obs=x)

    def guide(self, x, *, c):
        pass


def half_model(name: str) -> torch.nn.Module:
    torch.manual_seed(seed)
    if name == "no z":
        return Direct(of_levels(MLP(32, hidden, 2 * 32)))
    if name == "no c":
        return pv.VAE(
            prior=pv.priors.StandardNormal(latent_dim),
            likelihood=of_levels(MLP(latent_dim, hidden, 2 * 32)),
            posterior=Normal(MLP(32, hidden, 2 * latent_dim, scale=16)),
        )
    decoder = Join(MLP(latent_dim + 32, hidden, 2 * 32), (1, 1))
    encoder = Join(MLP(32 + 32, hidden, 2 * latent_dim), (1, 1))
    if name == "prior p(z | c)":
        prior = Normal(MLP(32, hidden, 2 * latent_dim)).given("c")
    else:
        prior = pv.priors.StandardNormal(latent_dim)
    return pv.VAE(
        prior=prior,
        likelihood=of_levels(decoder).given("z", "c"),
        posterior=Normal(Sequential(pv.nn.At(0, unit), encoder)).given("x", "c"),
    )


models, log_p = {}, {}
for name in ("no c", "no z", "prior p(z)", "prior p(z | c)"):
    train, test = halves.train, halves.test
    if name == "no c":
        train, test = train.forgetting(["c"]), test.forgetting(["c"])
    models[name] = half_model(name)
    pv.fit(models[name], train, epochs=epochs, **options)
    if name == "no z":
        log_p[name], colour = pv.elbo(models[name], test), "exact"
    else:
        estimate = pv.log_marginal(models[name], test, 200, seed=seed)
        log_p[name], colour = estimate.log_marginal, verdict(estimate).colour
    print(f"{describe(name, log_p[name])}, {colour}")
for a, b in (("no z", "no c"), ("no c", "prior p(z)"), ("prior p(z)", "prior p(z | c)")):
    print(compare(log_p[a], log_p[b]).sentence(a, b))
if not smoke:
    assert z_score(log_p["no c"] - log_p["no z"]) > 4.3
    assert z_score(log_p["prior p(z)"] - log_p["no c"]) > 4.3
    assert log_p["prior p(z | c)"].mean() > log_p["prior p(z)"].mean()

# %% [markdown]
# The network that sees half of the image, but has no $z$, loses even to the VAE that sees nothing. Given $c$ its pixels
# are independent, and those of a stroke are not: here $z$, which ties the pixels together, is worth more than half of
# the image. With both, $c$ adds more than two nats to what $z$ does.
#
# The decoder could do the work of $p(z \mid c)$, but does not quite: the conditional prior is better. (The errors are
# over test digits, for one training each.)
#
# The VAEs have amber verdicts: their numbers are lower bounds. Two of them are above the exact number, so those
# comparisons stand; for the others we trust that the bounds are about equally loose. And note that $\log p(x \mid c)$
# and $\log p(x)$ may be compared, as $x$ is the same 32 pixels. With $\log p$ of whole images they may not:
# $\log p(\text{image}) = \log p(\text{left}) + \log p(\text{right} \mid \text{left})$.
#
# Now look: each row has what is given, the digit, and six completions.

# %%
pv.plot.plot_completions(models["prior p(z | c)"], halves.test, 6, 6, seed=seed)

# %% [markdown]
# **A common mistake.** Showing "completions" whose $z$ is drawn from the guide $q(z \mid x, c)$, as reconstructions
# are. Who needs a completion has no $x$, so $z$ has to come from $p(z \mid c)$.
#
# **Predict before you run.** Order by squared error, averaged over pixels: the mean of the network without $z$; the
# mean $\mathbb{E}[x \mid z, c]$ at one $z$ from $p(z \mid c)$; the average of such means over many $z$; and the
# mistake.

# %%
x, known = halves.test.batch(slice(None))
vae, draws = models["prior p(z | c)"], 3 if smoke else 30
means = [pv.sample(vae, len(x), "mean", seed=i, **known) for i in range(draws)]
completions = {
    "no z": models["no z"].likelihood(known["c"]).mean.detach(),
    "z from p(z | c)": means[0],
    f"average of {draws} such means": torch.stack(means).mean(0),
    "z from q(z | x, c)": pv.reconstruct(vae, x, seed=seed, **known),
}
squares = {name: (mean - x).square().mean(1) for name, mean in completions.items()}
for name, values in squares.items():
    print(describe(name, values, "squared grey levels"))
if not smoke:
    one, average, cheat = list(squares.values())[1:]
    assert z_score(one - average) > 4.3 and z_score(average - cheat) > 4.3

# %% [markdown]
# The mistake wins by far: its $z$ has seen the answer. Of the honest three, the network without $z$ and the average are
# equal. Both estimate $\mathbb{E}[x \mid c]$, which no other guess beats in squared error; a single completion is one
# of many, and worse. So squared error ranks the network without $z$ first, and $\log p(x \mid c)$ ranks it last. The
# first asks for the best guess of each pixel (a blur, lesson 8), the second for the distribution of the image.
#
# ## What is a label worth, in nats?
#
# Next the condition is the class of a whole digit, a one-hot row $y$ of ten numbers, with one prior $p(z)$ for all
# classes. One model has both $p(x \mid y)$ and $p(x) = \frac{1}{10} \sum_y p(x \mid y)$, and as no term of the sum is
# negative, $p(x) \geq p(x \mid y) / 10$. So for every datum
#
# $$\log p(x \mid y) - \log p(x) = \log 10 + \log p(y \mid x) \leq \log 10,$$
#
# where $p(y \mid x) = p(x \mid y) / \sum_{y'} p(x \mid y')$ is Bayes' rule. A label is worth at most 2.30 nats, and a
# model of $x$ given $y$ is a classifier.
#
# **Predict before you run.** It is trained with all 1297 labels. How much is a label worth on average? What share of
# test digits are most probable under their own label? And if the $z$ of a digit is decoded under another label, what
# will be seen?

# %%
digits = pv.data.digits(known={"y": "label"}, valid=0, test=500)
x_test, labels = digits.test.rows(slice(None)), digits.test.labels
every = torch.eye(10)


def of_digits() -> pv.likelihoods.Binomial:
    net = Join(MLP(latent_dim + 10, hidden, (1, 8, 8)), (1, 1))
    return pv.likelihoods.Binomial(net, 16, event_dim=3).given("z", "y")


def encoder_of_both() -> pv.posteriors.MeanFieldNormal:
    net = Join(MLP(64 + 10, hidden, 2 * latent_dim), (3, 1))
    return Normal(Sequential(pv.nn.At(0, unit), net)).given("x", "y")


torch.manual_seed(seed)
by_label = pv.VAE(pv.priors.StandardNormal(latent_dim), of_digits(), encoder_of_both())
pv.fit(by_label, digits.train, epochs=epochs, **options)
under = []  # log p(x | y) of each test digit, for each y
for row in every:
    y = row.expand(len(labels), 10)
    under.append(pv.log_marginal(by_label, x_test, 10 if smoke else 100, y=y).log_marginal)
under = torch.stack(under, 1)
own = under[torch.arange(len(labels)), labels]
worth = own - (under.logsumexp(1) - math.log(10))
right = (under.argmax(1) == labels).double()
print(describe("log p(x | y), its own y", own))
print(describe("log p(x | y) - log p(x)", worth), f"at most {worth.max():.4f}")
print(describe("largest under its own y", right, "of the digits"))
assert worth.max() <= math.log(10) + 1e-9

# %%
few = digits.test.take(slice(0, 6))
rows = [few.rows(slice(None))]
for row in every:
    rows.append(pv.reconstruct(by_label, few, given={"y": row[None]}, seed=seed))
grid = torch.nn.functional.pad(torch.stack(rows, 1)[:, :, 0], (1, 1, 1, 1), value=8.0)
figure, axis = plt.subplots(figsize=(8, 4.6), layout="constrained")
axis.imshow(grid.permute(0, 2, 1, 3).reshape(6 * 10, 11 * 10), cmap="gray")
axis.set_title("a digit, then E[x | z, y] with its z under y = 0, 1, ..., 9", fontsize=10)
axis.set_axis_off()

# %% [markdown]
# Half a nat of 2.30, 78 % (ten classes: 10 % by chance), and rows that keep their digit, whatever $y$ says. So $z$ has
# the class. It may: $p(z)$ is the same for all classes, but nothing forbids $q(z \mid x, y)$ to tell it, and then the
# decoder does not need $y$. ($\log p(x \mid y)$ under a wrong $y$ is estimated with a guide that saw no such pair in
# training, so it is too low; without that, even fewer would be right.) We come back to this.
#
# ## A label that is known for some
#
# Images are cheap and labels are not. So make the label a latent variable, $p(y) \, p(z) \, p(x \mid z, y)$ with
# $p(y) = 1 / K$, and the guide $q(y \mid x) \, q(z \mid x, y)$. This is *M2* of Kingma et al. Where $y$ is known there
# is nothing to guess about it, and the bound is
#
# $$L(x, y) = \mathbb{E}_{q(z \mid x, y)} [\log p(y) + \log p(z) + \log p(x \mid z, y) - \log q(z \mid x, y)]
# \leq \log p(x, y).$$
#
# Where it is not known, we sum over it, as in lesson 9:
#
# $$U(x) = \sum_y q(y \mid x) \, [L(x, y) - \log q(y \mid x)] \leq \log p(x).$$
#
# If $L(x, y) = \log p(x, y)$, then $\log p(x) - U(x) = \mathrm{KL}(q(y \mid x) \,\|\, p(y \mid x))$: the gap of
# lesson 3. All this can be checked by brute force: in the linear-Gaussian model with $y$ in the place of $c$, the
# posterior of $z$ is known and the sum has three terms. `pv.Sites` is a product of factors with the names of their
# sites; a label that is not known is NaN. `bounds` computes both bounds by hand, from one draw of $z$. The package has
# them as the objective `Enumeration`, which takes the KL term of $z$ in closed form, and therefore has noise here.

# %%
direction = torch.tensor([[1.5], [1.0]])
centres = torch.tensor([[-0.9, 0.0, 0.9], [1.2, 0.0, -1.2]])
stripe_parts = (direction, torch.zeros(1, 3), centres, 1.0)  # W, A = 0, B and s = 1
torch.manual_seed(seed)
stripes = pv.VAE(
    prior=pv.Sites(y=pv.priors.Categorical(3), z=pv.priors.StandardNormal(1)),
    likelihood=linear_likelihood(stripe_parts).given("z", "y"),
    posterior=pv.Sites(
        y=pv.posteriors.Categorical(MLP(2, [8], 3), 3),
        z=exact_posterior(stripe_parts).given("x", "y"),
    ),
)
one_hot = torch.eye(3)[torch.randint(3, (600,))]
points = exact_law(one_hot, stripe_parts).sample()
y = one_hot.clone()
y[6:] = math.nan  # six labels; NaN is what is not known


def bounds(vae: pv.VAE, x: torch.Tensor, weight: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    r"""L(x, y) for every y, from one draw of z each, and log q(y | x), both of shape (N, K)."""
    log_q = vae.posterior["y"].encoder(x).log_softmax(-1)
    size = log_q.shape[1]
    y = torch.eye(size)[:, None].expand(size, len(x), size)
    q = vae.posterior["z"]((x.expand(size, *x.shape), y))
    z = q.rsample()
    cost = math.log(size) + q.log_prob(z) - vae.prior["z"]().log_prob(z)
    return (vae.likelihood((z, y)).log_prob(x) - weight * cost).T, log_q


with torch.no_grad():
    log_joint = [
        exact_law(row.expand(600, 3), stripe_parts).log_prob(points) for row in torch.eye(3)
    ]
    log_joint = torch.stack(log_joint, 1) - math.log(3)  # brute force: log p(y) p(x | y)
    bound, log_q = bounds(stripes, points)
    unlabelled = (log_q.exp() * (bound - log_q)).sum(1)
    by_hand = torch.where(y[:, 0].isnan(), unlabelled, (bound * y.nan_to_num()).sum(1))
    sums = [objectives.Enumeration()(stripes.model, stripes.guide, points, y=y) for _ in range(50)]
    package = torch.stack([-terms.loss for terms in sums])
print(f"L(x, y) is off by at most {(bound - log_joint).abs().max():.0e} nats")
print(f"mean bound by hand {by_hand.mean():.4f}, by the package {package.mean():.4f}")
assert (bound - log_joint).abs().max() < 1e-3
assert abs(z_score(package, by_hand.mean())) < 4.3

gap = log_joint.logsumexp(1) - unlabelled
divergence = (log_q.exp() * (log_q - log_joint.log_softmax(1))).sum(1)
print(describe("log p(x) - U(x)", gap))
print(describe("KL(q(y | x) || p(y | x))", divergence))
assert (gap - divergence).abs().max() < 1e-3
drawn = pv.elbo(stripes, points, 20, seed=seed, y=y)  # draws y where it is not known
assert abs(z_score(drawn - by_hand)) < 4.3

# %% [markdown]
# **Predict before you run.** We train on the labelled points alone, by $L(x, y)$. What does $q(y \mid x)$ learn from
# six labels?

# %%
weights = list(stripes.posterior["y"].parameters())
for supervision in (0.0, 1.0):
    objective = objectives.Enumeration(supervision=supervision)
    loss = objective(stripes.model, stripes.guide, points[:6], y=y[:6]).loss
    pull = sum(float(g.abs().sum()) for g in torch.autograd.grad(loss, weights))
    print(f"supervision {supervision:g}: the six labels pull q(y | x) with {pull:.3f}")
    assert (pull == 0) == (supervision == 0)

# %% [markdown]
# Nothing: $L(x, y)$ has no $q(y \mid x)$ in it. **A common mistake** is to stop here and to wonder about the accuracy.
# So a term is added for each labelled datum, $\alpha \log q(y \mid x)$, the loss of a classifier; $\alpha$ is the
# option `supervision`. The sum is no bound any more. What unlabelled data teach $q(y \mid x)$ is $U$: be near
# $p(y \mid x)$, whatever the model takes the classes to be.
#
# ## What is a label worth, in accuracy?
#
# Of 1297 digits 20, 50, 100 or 400 have a label, evenly over classes, in three draws. There are two contenders:
#
# - *labels alone*: the network of $q(y \mid x)$, trained as a classifier of the labelled digits;
# - *M2*: the same network, trained with all digits, $\alpha = 100$.
#
# Two details of M2 are measured afterwards: the first 150 steps use labelled digits alone, and the KL terms of $y$ and
# $z$ have the weight 4. (`pv.fit(vae, data, supervision=100, kl_weight=4)` maximizes this objective, and the recipe
# `digits-m2` has a larger model. By hand it is ten lines.) The errors are of draws of labels and of test digits
# together.
#
# **Predict before you run.** How accurate is each with 20 labels? With how many do unlabelled digits no longer help?

# %%
x_train, y_train = digits.train.rows(slice(None)), digits.train.known["y"]
counts, num_draws = ((20, 100), 2) if smoke else ((20, 50, 100, 400), 3)


def told(count: int, draw: int) -> torch.Tensor:
    r"""Labels of `count` digits, evenly over classes; NaN for the others."""
    generator = torch.Generator().manual_seed(10_000 * seed + 1000 * draw + count)
    order = torch.randperm(len(x_train), generator=generator)
    kept = [order[y_train[order, k] == 1][: count // 10] for k in range(10)]
    y = torch.full_like(y_train, math.nan)
    y[torch.cat(kept)] = y_train[torch.cat(kept)]
    return y


def classifier() -> MLP:
    return MLP((1, 8, 8), hidden, 10, scale=16)


def labels_alone(y: torch.Tensor, draw: int) -> torch.nn.Module:
    torch.manual_seed(1000 * seed + draw)
    net, known = classifier(), ~y[:, 0].isnan()
    adam = torch.optim.Adam(net.parameters(), lr=1e-2)
    for _ in range(20 if smoke else 200):
        loss = cross_entropy(net(x_train[known]), y[known])
        adam.zero_grad()
        loss.backward()
        adam.step()
    return net


def m2(
    y: torch.Tensor, draw: int, weight: float = 4.0, first: int = 150, alpha: float = 100.0
) -> pv.VAE:
    torch.manual_seed(1000 * seed + draw)
    vae = pv.VAE(
        prior=pv.Sites(y=pv.priors.Categorical(10), z=pv.priors.StandardNormal(latent_dim)),
        likelihood=of_digits(),
        posterior=pv.Sites(y=pv.posteriors.Categorical(classifier(), 10), z=encoder_of_both()),
    )
    steps = 20 if smoke else 500
    first = min(first, steps // 2)
    adam = torch.optim.Adam([p for p in vae.parameters() if p.requires_grad], lr=5e-3)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps)
    known, value = ~y[:, 0].isnan(), y.nan_to_num()
    has_label = known.nonzero()[:, 0]
    for step in range(steps):
        pool = has_label if step < first else torch.arange(len(x_train))
        rows = pool[torch.randperm(len(pool))[:100]]
        bound, log_q = bounds(vae, x_train[rows], weight)
        labelled = (value[rows] * (bound + alpha * log_q)).sum(1)
        unlabelled = (log_q.exp() * (bound - weight * log_q)).sum(1)
        loss = -torch.where(known[rows], labelled, unlabelled).mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
        cosine.step()
    return vae


def q_of_y(net: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return net(x_test).softmax(-1)


def share(values: torch.Tensor) -> str:
    r"""A mean over draws of labels (rows) and data (columns), with the error from both."""
    mean = spread(values.mean(0), [values]).mean
    return f"{float(mean):6.1%} +- {mean.se:.1%}"


right, trained = {}, {}
for count in counts:
    for name in ("labels alone", "M2"):
        trained[name, count] = [
            labels_alone(told(count, i), i) if name == "labels alone" else m2(told(count, i), i)
            for i in range(num_draws)
        ]
        nets = trained[name, count]
        nets = [net if name == "labels alone" else net.posterior["y"].encoder for net in nets]
        hits = [(q_of_y(net).argmax(1) == labels).double() for net in nets]
        right[name, count] = torch.stack(hits)
    gain = right["M2", count] - right["labels alone", count]
    print(
        f"{count:4d} labels: alone {share(right['labels alone', count])}, "
        f"M2 {share(right['M2', count])}, difference {share(gain)}",
        flush=True,
    )
if not smoke:
    assert right["M2", 100].mean() > right["labels alone", 100].mean()

# %%
figure, axis = plt.subplots(figsize=(5.6, 3.6), layout="constrained")
for name, marker in (("labels alone", "s"), ("M2", "o")):
    means = [spread(right[name, n].mean(0), [right[name, n]]).mean for n in counts]
    errors = [mean.se for mean in means]
    axis.errorbar(counts, [float(m) for m in means], errors, marker=marker, capsize=3, label=name)
axis.set(xscale="log", xlabel="labels, of 1297 digits", ylabel="test digits that are right")
axis.set_xticks(counts, [str(n) for n in counts])
axis.minorticks_off()
_ = axis.legend(frameon=False)

# %% [markdown]
# With 20 labels a classifier is right for about 73 %, and unlabelled digits add some five points; with 50 they add
# three, with 100 two and a half, and with 400 no difference is seen. (Three draws make rough errors: take a difference
# of less than three of them for nothing.) Read across, too: 50 labels instead of 20 bring 14 points. A label is worth
# most where there are few, and unlabelled data are no replacement for labels.
#
# When do unlabelled data help? They say something of $p(x)$. That says something of $p(y \mid x)$ if classes are lumps
# of $p(x)$ with few data between them, and if these are the lumps that the model's $y$ stands for. The second is not
# automatic.
#
# **Predict before you run.** We change one thing: (a) with 20 labels, all digits take part from the first step; (b)
# with 100 labels, the KL weight is 1, so that $L$ and $U$ are the bounds above. What becomes of the accuracy?

# %%
variants = {
    ("all digits from the first step", 20): {"first": 0},
    ("KL weight 1", 100): {"weight": 1.0},
}
for (name, count), change in variants.items():
    vaes = [m2(told(count, i), i, **change) for i in range(num_draws)]
    trained[name, count] = vaes
    hits = [(q_of_y(vae.posterior["y"].encoder).argmax(1) == labels).double() for vae in vaes]
    right[name, count] = torch.stack(hits)
    lost = right[name, count] - right["M2", count]
    print(
        f"{count:4d} labels, {name}: {share(right[name, count])}, difference to M2 {share(lost)}"
    )
if not smoke:
    assert right["all digits from the first step", 20].mean() < right["M2", 20].mean()

# %% [markdown]
# (a) It falls by fifteen points, and below the labels alone: unlabelled data can harm. At the start $q(y \mid x)$ is
# random, and twenty labels are no match for 1277 digits, which sort themselves into ten groups of their own, by slant,
# say. Then every $y$ has a meaning, and the labels come too late. After a start with the labels, $p(x \mid z, y)$ knows
# what each $y$ looks like before the sums begin. (b) The KL weight hardly moves the accuracy: without it M2 is about as
# good. So why is it there?
#
# ## Accuracy is not generation
#
# Does a model that knows a three when it sees one also draw a three when it is asked for one? We draw $z \sim p(z)$ and
# $x \sim p(x \mid z, y)$ for each $y$, and let a *judge* look: a classifier that is part of no model and was trained
# with all labels. And we ask what $z$ knows: it is drawn from $q(z \mid x, y)$ of a test digit, then decoded under one
# of the nine other labels.
#
# **Predict before you run.** At KL weights 1 and 4: how many samples are of the class asked for? Of the digits under
# another label, how many are of that label, and how many still of their own?

# %%
judge = judge_of(digits.train, seed=seed)
print(
    f"the judge, {judge.name}: right for {float(judge.accuracy(digits.test)):.1%} of test digits"
)
asked_for, log_px = {}, {}
asked = (labels + 1 + torch.arange(len(labels)) % 9) % 10  # another class, all nine evenly
for name in ("KL weight 1", "M2"):
    drawn, swapped, stayed = [], [], []
    for vae in trained[name, 100]:
        drawn.append(float(agreement(vae, "y", judge, 10, 50, seed=seed).rate))
        under_other = pv.reconstruct(
            vae, x_test, y=every[labels], given={"y": every[asked]}, seed=seed
        )
        found = judge.classes_of(under_other)
        swapped.append(float((found == asked).double().mean()))
        stayed.append(float((found == labels).double().mean()))
    print(f"{name}, {num_draws} draws of 100 labels")
    print("  samples that are the class asked for:", *(f"{v:.0%}" for v in drawn))
    print("  z of a digit under another y, that y:", *(f"{v:.0%}" for v in swapped))
    print("  z of a digit under another y, its own:", *(f"{v:.0%}" for v in stayed))
    asked_for[name] = sum(drawn) / len(drawn)
    first = trained[name, 100][0]
    log_px[name] = pv.log_marginal(first, x_test, 10 if smoke else 100, seed=seed).log_marginal
    print(describe("  log p(x), the first draw", log_px[name]))
print(compare(log_px["KL weight 1"], log_px["M2"]).sentence("weight 1", "weight 4"))
assert smoke or asked_for["M2"] > asked_for["KL weight 1"] + 0.1

# %%
pv.plot.plot_classes(trained["KL weight 1", 100][0], "y", [*"0123456789"], 8, seed=seed)

# %%
pv.plot.plot_classes(trained["M2", 100][0], "y", [*"0123456789"], 8, seed=seed)

# %% [markdown]
# With weight 1 less than half of the samples are of the class, with weight 4 nearly nine in ten, at the same accuracy.
# The lines below say why: with weight 1 a digit's $z$ under another label still shows the digit's own class nearly as
# often as the other. $z$ carries the class, the decoder follows $z$, and nothing in the accuracy of $q(y \mid x)$
# depends on that. In the first picture (weight 1) the $z$ of the column decides which digit is seen; in the second
# (weight 4) it is the label of the row, and $z$ keeps slant and width.
#
# A class in $z$ costs up to $\log 10$ nats of its KL term. Since labels make $q(y \mid x)$ tell the class anyway, that
# is paid twice. So with weight 1, too, it should go in the end; but what $z$ has learned is slow to go, and the weight
# makes it four times as dear. The weight may have a price: the objective is no bound on $\log p(x)$ then. Here no
# difference in $\log p(x)$ is seen; with a larger model (`docs/semi-supervised.md`) three nats were lost. Measure what
# you need: accuracy, samples and $\log p(x)$ are three numbers.
#
# ## Are the probabilities right?
#
# Where $q(y \mid x)$ says "90 %", is it right in nine of ten? Sort data into bins $b$ by the probability of their most
# probable class. With $n_b$ data in the bin, $a_b$ the share that is right and $p_b$ the mean probability, the
# *expected calibration error* is
#
# $$\sum_b \frac{n_b}{n} \, |a_b - p_b|.$$
#
# **A common mistake** is to read any number above zero as wrong probabilities. An absolute value is never negative, so
# chance alone makes it positive. `classification` draws labels with the probabilities that are claimed, many times:
# `chance` is the error that these show.
#
# **Predict before you run.** Are the two classifiers too sure, or not sure enough? Is one of them calibrated? The last
# line of the output replaces the true labels by draws from $q(y \mid x)$ itself: what error will it show?

# %%
for name in ("labels alone", "M2"):
    net = trained[name, 100][0]
    p = q_of_y(net if name == "labels alone" else net.posterior["y"].encoder)
    judged = classification(p, labels, seed=seed)
    print(
        f"{name}: right for {float(judged.accuracy):.1%}, sure of {p.max(1).values.mean():.1%}; "
        f"calibration error {float(judged.error):.3f} +- {judged.error.se:.3f}, "
        f"{judged.chance:.3f} by chance"
    )
torch.manual_seed(seed)
honest = classification(p, dist.Categorical(p).sample(), seed=seed)
print(f"labels drawn from q(y | x) itself: {float(honest.error):.3f} +- {honest.error.se:.3f}")
assert abs(float(honest.error) - honest.chance) < 4.3 * honest.error.se
pv.plot.plot_reliability(judged)

# %% [markdown]
# The classifier of labels alone is too sure, by more than chance explains. M2's error is about that of chance: 500
# digits do not show that its probabilities are wrong. And the honest labels of the last line have an error of the same
# size. In the picture four data in five are in the last bin; the others have few, and wide error bars, and the leftmost
# has a single one.
#
# ## Exercises
#
# 1. Give the guide of the first model $x$ alone. The best it can do is the mean $\mathbb{E}[\mu(x, c) \mid x]$, with
#    $\mu$ the posterior mean, and the covariance $\Lambda^{-1}$. How many nats does it lose? Derive it, then measure
#    it.
# 2. Set $\alpha = 0$ in `m2` and look at the accuracy. Which labels did $q(y \mid x)$ then see?
# 3. In which of the models of this lesson could `pv.encode` use a label that is known at test time, and how would you
#    pass it?
#
# <details><summary>Solutions</summary>
#
# 1. It is $\frac{1}{2} \mathrm{tr}(\Lambda G \, \mathrm{Cov}[c \mid x] \, G^\top)$ with
#    $G = \Lambda^{-1} (A / s^2 - W^\top B / \sigma^2)$, the slope of $\mu$ in $c$: the divergence of two Normals of one
#    covariance, averaged. With `SEED=0` it is 0.301 nats, measured 0.296 +- 0.011. The bound is still one of
#    $\log p(x \mid c)$: only $q$ was given less.
# 2. With 100 labels it falls to 84.6 +- 3.3 %, less than the labels alone give. It saw no label directly: labels shaped
#    $p(x \mid z, y)$ by $L$, and $q(y \mid x)$ follows $p(y \mid x)$ by $U$.
# 3. In M2 alone, where $y$ is a latent site: `pv.encode(vae, x, y=y)`, NaN where it is not known. In `by_label` it is a
#    condition, and has to be there for every datum.
#
# </details>
#
# ## References
#
# - Sohn, Lee and Yan, *Learning Structured Output Representation using Deep Conditional Generative Models*, 2015:
#   equation 4, and section 4.2 on $z$ in training and in testing.
# - Kingma et al., *Semi-Supervised Learning with Deep Generative Models*, 2014: equations 6, 7 and 9.
# - Chapelle, Scholkopf and Zien, *Semi-Supervised Learning*, 2006: chapter 1, when unlabelled data help.
# - Guo et al., *On Calibration of Modern Neural Networks*, 2017: equations 2 and 3.
