# ---
# jupyter:
#   jupytext:
#     formats: py:percent
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # From AEVB to the VAE
#
# *After this lesson you can:* explain what "amortized" means and what it costs; scale a minibatch correctly;
# name the three assumptions of any VAE and find them behind a squared error and a KL term; tell $\sigma$ from
# $\sigma^2$.
#
# About 30 minutes. It needs lesson 3.

# %%
# %matplotlib inline
import math
import os

import matplotlib.pyplot as plt
import pyro.distributions as dist
import torch
from torch.distributions import kl_divergence

import pyro_vae as pv
from pyro_vae.evaluate import active_units, describe, rate_distortion, z_score
from pyro_vae.exact import Exact, linear_gaussian

plt.style.use("tableau-colorblind10")
seed = int(os.environ.get("SEED", 0))
smoke = "SMOKE" in os.environ
torch.set_default_dtype(torch.float64)
torch.manual_seed(seed)

# %% [markdown]
# ## One guide per datum, or one network for all
#
# Data $x_1, \dots, x_N$ have hidden $z_1, \dots, z_N$, and each posterior $p(z_i \mid x_i)$ is different. Classical
# variational inference, with the model fixed, gives each its own parameters $\lambda_i$ and solves $N$ problems:
#
# $$\sum_i \max_{\lambda_i} \mathcal{L}(x_i, \lambda_i).$$
#
# AEVB, *auto-encoding variational Bayes*, learns a function $x \mapsto \lambda$ instead, the encoder, and
# solves one: $\max_\phi \sum_i \mathcal{L}(x_i, \lambda_\phi(x_i))$. The cost of inference is paid once for all data,
# *amortized*: new data cost one pass. But it cannot be better: a maximum of a sum is at most the sum of
# maxima, and the difference is the *amortization gap*.

# %%
truth = linear_gaussian(dim=6, latent_dim=2, sigma=0.5)
x = Exact(truth).marginal.sample((60,))
exact = Exact(truth)


def fitted(posterior: pv.base.Posterior) -> torch.Tensor:
    r"""The bound of each datum after training only the guide."""
    vae = pv.VAE(truth.prior, truth.likelihood, posterior).requires_grad_(False)
    vae.posterior.requires_grad_(True)
    options = {"batch_size": len(x), "lr": 2e-2, "schedule": "cosine", "progress": False}
    pv.fit(vae, x, epochs=300 if smoke else 1500, **options)
    rows = torch.arange(len(x)) if vae.posterior.index else None  # which rows have parameters
    return pv.elbo(vae, x, 2000, index=rows)


guides = {
    # a table with 2 means and 2 log scales for each row number, instead of an encoder
    "one for each": pv.posteriors.PerDatum(
        pv.posteriors.MeanFieldNormal(torch.nn.Embedding(len(x), 4))
    ),
    "a linear encoder": pv.posteriors.MeanFieldNormal(pv.nn.MLP(6, [], 4)),
    "an encoder that sees one element": pv.posteriors.MeanFieldNormal(
        torch.nn.Sequential(pv.nn.Divide(torch.tensor([1.0] + [1e9] * 5)), pv.nn.MLP(6, [16], 4))
    ),
}
bounds = {name: fitted(guide) for name, guide in guides.items()}
best = exact.log_marginal(x).mean() - exact.approximation_gap  # less what any diagonal guide loses
for name, bound in bounds.items():
    print(f"{name:32s}{bound.mean():8.3f} nats per datum")
print(f"{'the best diagonal guide there is':32s}{best:8.3f}")
assert abs(bounds["one for each"].mean() - best) < (0.5 if smoke else 0.05)
assert bounds["an encoder that sees one element"].mean() < best - 0.3

# %% [markdown]
# In this model the best $\lambda$ is a linear function of $x$, so the linear encoder loses nothing (the last digits are
# sampling noise and unfinished training). An encoder that cannot see most of the datum loses much.
#
# ## Minibatches
#
# The objective is a sum over $N$ data. A batch of $B$ random ones estimates it if its sum is multiplied by $N / B$:
#
# $$\sum_{i=1}^{N} \mathcal{L}(x_i) \approx \frac{N}{B} \sum_{i \in \text{batch}} \mathcal{L}(x_i).$$
#
# That is Pyro's convention: `pyro.plate("data", N, subsample_size=B)` multiplies by $N / B$. It matters as soon as
# something is shared by all data, such as a global parameter with a prior: forget it, and the prior weighs $N / B$
# times too much. Here everything belongs to one datum, and losses are *means per datum*: the mean over a batch has, on
# average, the value and the gradient of the mean over all, and neither $N$ nor $B$ changes a number or a learning rate.

# %%
vae = linear_gaussian(dim=6, latent_dim=2, sigma=0.5)
each = pv.elbo(vae, x, 100)
batches = torch.stack([each[torch.randperm(60)[:10]] for _ in range(2000)])
print(f"the sum over all 60 data   {each.sum():9.1f} nats")
print(describe("sum of a batch of 10", batches.sum(1), "nats"))
print(describe("60 / 10 times that sum", 6 * batches.sum(1), "nats"))
print(f"the mean over all data     {each.mean():9.3f} nats per datum")
print(describe("mean of a batch of 10", batches.mean(1)))
assert abs(z_score(6 * batches.sum(1), each.sum())) < 4.6
assert abs(z_score(batches.mean(1), each.mean())) < 4.6
assert abs(z_score(batches.sum(1), each.sum())) > 100  # the forgotten factor

# %% [markdown]
# ## The three assumptions
#
# A VAE **is** $p(z)$, $p(x \mid z)$ and $q(z \mid x)$. For the posterior a *family* is assumed, not the truth:
# nothing implies that $p(z \mid x)$ is Gaussian. (One text says that "$p(z)$ and $q(x \mid z)$" are Gaussian, and means
# $q(z \mid x)$.) In the loss the divergence is to the **prior**:
#
# $$-\mathcal{L} = -\mathbb{E}_q[\log p(x \mid z)] + \mathrm{KL}(q(z \mid x) \,\|\, p(z)).$$
#
# The package derives it from the assumptions that you name:

# %%
print(pv.explain(vae, x).text)

# %% [markdown]
# And here is one step, site by site: `z` in the guide, `z` and `x` in the model. A *trace* is the record of one run
# of a program, which this table is made of. *Batch* counts data, *event* the elements of one; *plates* declare what is
# independent, *scale* is the factor $N / B$ of a plate (1: the plate is the batch), *mask* shows whether elements are
# left out. The loss term is the log density divided by the batch, minus in the model and plus in the guide; the last
# column is the norm of its gradient in all weights. This table shows a *sampled* step: the first two rows together
# estimate the divergence that training computes in closed form.

# %%
step = pv.inspect_step(vae, x[:8])
print(step)
assert abs(sum(row.term for row in step.rows) - step.loss) < 1e-9

# %% [markdown]
# ## Where the squared error comes from
#
# If $p(x \mid z) = \mathcal{N}(f(z), \sigma^2 I)$ then
#
# $$-\log p(x \mid z) = \frac{\|x - f(z)\|^2}{2 \sigma^2} + \frac{D}{2} \log 2 \pi \sigma^2.$$
#
# The other two assumptions hide in the closed form of `kl`: $p(z) = \mathcal{N}(0, I)$ and a Normal $q$ with
# independent features.
#
# **Predict before you run.** Code often takes `mse_loss(x, f) + kl`, for each datum either summed or averaged over
# the $D$ elements. Which $\sigma^2$ does each choose implicitly?

# %%
D = 784
f, data = torch.rand(4, D), torch.rand(4, D)
error = (data - f).square()


def gaussian(variance: float) -> torch.Tensor:
    log_p = dist.Normal(f, math.sqrt(variance)).log_prob(data).sum(-1)
    return -log_p - D / 2 * math.log(2 * math.pi * variance)  # what depends on f


print("sum of squares is sigma^2 = 1/2:", (error.sum(-1) - gaussian(0.5)).abs().max().item())
print("mean of squares is sigma^2 = D/2:", (error.mean(-1) - gaussian(D / 2)).abs().max().item())
assert torch.allclose(error.sum(-1), gaussian(0.5))
assert torch.allclose(error.mean(-1), gaussian(D / 2))

# %% [markdown]
# With the mean, the noise has a standard deviation of $\sqrt{392} \approx 20$ on pixels between 0 and 1.
# Against the data the KL term then weighs 784 times as much as with the sum. Does it matter? Three VAEs that
# differ in $\sigma$ alone, on MNIST: it is searched for in a folder (`PYRO_VAE_DATA`), then downloaded; without it the
# lesson continues with the 8x8 digits. A unit of $z$ is *active* if its posterior mean varies over data, with a
# variance above 0.01; the others carry no information.
#
# **Predict before you run.** Under one of the three no unit is active. Which?

# %%
torch.set_default_dtype(torch.float32)
try:
    if smoke:
        raise ValueError("this is a quick run.")
    images, epochs = pv.data.mnist(binarize="no"), 2
except ValueError as error:
    print("The 8x8 digits, as", error)
    images, epochs = pv.data.digits(range="unit"), 10 if smoke else 60
shape = images.train.x_shape
count = math.prod(shape)
shown, active, reached = [images.test.rows(slice(0, 8))], {}, {}
for name, options in {
    "sum of squares": {"sigma": "fixed", "scale": 0.5**0.5},
    "mean of squares": {"sigma": "fixed", "scale": (count / 2) ** 0.5},
    "sigma learned": {"sigma": "shared"},
}.items():
    torch.manual_seed(seed)
    fit_to = pv.VAE(
        pv.priors.StandardNormal(20),
        pv.likelihoods.Gaussian(pv.nn.MLP(20, [200], shape), event_dim=3, **options),
        pv.posteriors.MeanFieldNormal(pv.nn.MLP(shape, [200], 40)),
    )
    pv.fit(fit_to, images.train, epochs=epochs, lr=2e-3, progress=False)
    active[name] = int((active_units(fit_to, images.test) > 0.01).sum())
    shown.append(pv.evaluate.reconstruct(fit_to, shown[0]))
    reached[name] = pv.elbo(fit_to, images.test)
    rate = rate_distortion(fit_to, images.test).rate
    print(
        f"{name}: sigma {fit_to.likelihood.log_scale.exp():.3f}, {active[name]} of 20 units",
        end=" ",
    )
    print(f"active, which tell {rate:.1f} nats per datum")
    print("    " + describe("ELBO on test data", reached[name]))
torch.set_default_dtype(torch.float64)
assert active["mean of squares"] == 0 < active["sum of squares"]
for name in () if smoke else ("sum of squares", "mean of squares"):
    assert active[name] <= active["sigma learned"]
    assert z_score(reached["sigma learned"] - reached[name]) > 4.6

# %%
fig, axes = plt.subplots(4, 1, figsize=(6.4, 3.6), layout="constrained")
for axis, row, name in zip(axes, shown, ["test data", *active]):
    axis.imshow(torch.cat(list(row[:, 0]), 1).clamp(0, 1), cmap="gray_r")
    axis.set_title(f"{name}: means $f(z)$" if name in active else name, fontsize=9, loc="left")
    axis.set_axis_off()

# %% [markdown]
# Under the mean of squares nothing is worth encoding, and every image is the average one. The sum is a guess
# that happens to be usable. Sigma is a parameter like any other: learn it
# (`likelihoods.Gaussian(decoder, sigma="shared")`), and the same networks predict new data much better, on MNIST by
# hundreds of nats.
#
# **"If $x$ is sampled, how can squared error be right?"** Training never samples $\hat x$. It *scores* the
# datum under the density around $f(z)$. Sampling is for making new data, and there it is necessary:
# $f(z)$ alone is a mean, not a draw. And $x$ given $z$ has independent elements; $x$ does not:

# %%
z = truth.prior().expand((50_000,)).sample()
made = truth.likelihood(z).sample().detach()
means = truth.likelihood(z).mean.detach()
print("covariance of x:\n", torch.cov(made.T)[:3, :3].round(decimals=2))
print("covariance of x given z:\n", torch.cov((made - means).T)[:3, :3].round(decimals=2))
print("W W' + sigma^2 I:\n", exact.marginal.covariance_matrix[:3, :3].round(decimals=2))
assert (torch.cov(made.T) - exact.marginal.covariance_matrix).abs().max() < 0.1
assert (torch.cov((made - means).T) - 0.25 * torch.eye(6)).abs().max() < 0.02

# %% [markdown]
# ## A common mistake: what is sigma?
#
# One widely read text writes $\mathcal{N}(\mu, \sigma I)$ and, for the same $\sigma$,
# $\frac{1}{2}(\sigma^\top \sigma + \mu^\top \mu - k - \log \det \sigma I)$: a standard deviation in one
# term, a variance in the other. Another writes $\mathcal{N}(\mu, \sigma)$ on one line and
# $\mathcal{N}(\cdot, \sigma^2 \odot I)$ on the next. Run it:

# %%
mu, sigma = torch.tensor([0.3, -1.0]), torch.tensor([0.5, 3.0])
standard = dist.Normal(0.0, 1.0)
printed = 0.5 * (sigma @ sigma + mu @ mu - 2 - sigma.log().sum())
as_sd = kl_divergence(dist.Normal(mu, sigma), standard).sum()
as_variance = kl_divergence(dist.Normal(mu, sigma.sqrt()), standard).sum()
print(
    f"printed {printed:.3f}; sigma a standard deviation {as_sd:.3f}, a variance {as_variance:.3f}"
)
assert abs(printed - as_sd) > 0.1 and abs(printed - as_variance) > 0.1

small = torch.full((2,), 2**-0.5)
impossible = 0.5 * (small @ small - 2 - small.log().sum())
print(f"the printed form at mu = 0, sigma = 1 / sqrt(2): {impossible:.3f} nats; no KL is negative")
assert impossible < 0

grid = torch.linspace(0.3, 2, 200)
wrong = 0.5 * (grid**2 - 1 - grid.log())
right = 0.5 * (grid**2 - 1 - 2 * grid.log())
fig, axis = plt.subplots(figsize=(6.4, 3.4), layout="constrained")
axis.plot(grid, wrong, linestyle="--", label="as printed")
axis.plot(grid, right, label="KL(N(0, sigma^2) || N(0, 1))")
axis.axhline(0, color="black", linewidth=0.8)
axis.set(xlabel="sigma", ylabel="nats")
_ = axis.legend(frameon=False)

# %% [markdown]
# In this package the `scale` of a distribution is a standard deviation everywhere, and networks return its logarithm.
# (One text estimates the divergence from an *empirical distribution of $z$*; of two Normals, means and scales are
# enough.)
#
# ## Exercises
#
# 1. Train the VAE above with a fixed scale of 0.2, 1, 2 and 4 instead. How do rate and active units depend on it?
# 2. Binary cross-entropy, $-x \log p - (1 - x) \log(1 - p)$, is minus the log of which likelihood? Over which $x$
#    does that likelihood sum to 1?
#
# <details><summary>Solutions</summary>
#
# 1. The larger sigma, the fewer: whatever lies below the noise is not worth its nats. On MNIST 38, 4.3, 0.1 and 0.0
#    nats in 20, 17, 6 and 0 units; on the digits 12.4 nats in 20 units, and then none. For linear decoders the count is
#    the number of eigenvalues of the data's covariance above $\sigma^2$ (lesson 8), at most the 20 that there are.
# 2. Of a Bernoulli; over bits. Over grey pixels it is not a density (lesson 6).
#
# </details>
#
# ## References
#
# - Kingma and Welling, *Auto-Encoding Variational Bayes*, 2014: algorithm 1, appendices B and C.
# - Rybkin, Daniilidis and Levine, *Simple and Effective VAE Training with Calibrated Decoders*, 2021: sigma.
# - Cremer, Li and Duvenaud, *Inference Suboptimality in Variational Autoencoders*, 2018: equation 8.
