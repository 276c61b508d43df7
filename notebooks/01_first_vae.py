# ---
# jupyter:
#   jupytext:
#     formats: py:percent
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # A first variational autoencoder
#
# A VAE is three distributional assumptions. Everything else follows from them: the loss, the
# training, the pictures. We make them for handwritten digits of 8x8 pixels whose grey levels are
# counts from 0 to 16.

# %%
# %matplotlib inline
import math

import pyro
import torch
from pyro import poutine

import pyro_vae as pv

pyro.set_rng_seed(0)
digits = pv.data.load(pv.config.Digits())
x = digits.train.rows(slice(0, 5))
print(len(digits.train), "digits to train on, each of shape", tuple(x.shape[1:]))

# %% [markdown]
# ## Three assumptions
#
# 1. **The prior** $p(z)$: before we see a digit, its two hidden features are
#    $z \sim \mathcal{N}(0, I)$.
# 2. **The likelihood** $p(x \mid z)$: given them, each pixel counts 16 coin flips,
#    $x_i \sim \mathrm{Binomial}(16, f_i(z))$, with a network $f$, the *decoder*.
# 3. **The posterior** $q(z \mid x) = \mathcal{N}(\mu(x), \mathrm{diag}\,\sigma^2(x))$: our
#    approximation of $p(z \mid x)$, with a network $\mu, \log\sigma$, the *encoder*.

# %%
latent_dim = 2
encoder = pv.nn.MLP((1, 8, 8), [200, 200], 2 * latent_dim)
decoder = pv.nn.MLP(latent_dim, [200, 200], (1, 8, 8))

vae = pv.VAE(
    prior=pv.priors.StandardNormal(latent_dim),
    likelihood=pv.likelihoods.Binomial(decoder, total_count=16, event_dim=3),
    posterior=pv.posteriors.MeanFieldNormal(torch.nn.Sequential(pv.nn.Divide(16), encoder)),
)

# %% [markdown]
# Each is a module that returns a distribution. `vae.model` and `vae.guide` are ordinary Pyro
# programs made of them; here is what the model samples, for five data.

# %%
print(poutine.trace(vae.model).get_trace(x).format_shapes())

# %% [markdown]
# ## The loss
#
# We want $\log p(x) = \log \int p(x \mid z)\, p(z)\, dz$ to be high, and cannot integrate. For any
# $q$,
#
# $$\log p(x) = \underbrace{\mathbb{E}_q[\log p(x \mid z)] - \mathrm{KL}(q(z \mid x)\,\|\,p(z))}
# _{\text{ELBO}} + \underbrace{\mathrm{KL}(q(z \mid x)\,\|\,p(z \mid x))}_{\geq 0},$$
#
# so the ELBO is a lower bound. Where everything is linear and Gaussian each part has a closed
# form, and we can check: with $p(x \mid z) = \mathcal{N}(Wz, s^2 I)$ the evidence is
# $\mathcal{N}(0, WW^\top + s^2 I)$.

# %%
w, s = torch.randn(5, 2), 0.7
linear = pv.nn.MLP(2, [], 5)
linear.layers[0].weight.data.copy_(w)
toy = pv.VAE(
    prior=pv.priors.StandardNormal(2),
    likelihood=pv.likelihoods.Gaussian(linear, sigma="fixed", scale=s),
    posterior=pv.posteriors.MeanFieldNormal(pv.nn.MLP(5, [], 2 * 2)),
)
evidence = torch.distributions.MultivariateNormal(torch.zeros(5), w @ w.T + s**2 * torch.eye(5))
data = evidence.sample((100,))
toy.likelihood.requires_grad_(False)  # the guide alone is fitted
pv.fit(toy, data, epochs=1500, lr=1e-2, schedule="cosine", progress=False)

precision = torch.eye(2) + w.T @ w / s**2
exact = torch.distributions.MultivariateNormal(
    data @ w @ precision.inverse() / s**2, precision_matrix=precision
)
with torch.no_grad():
    q = toy.posterior(data).base_dist
    q = torch.distributions.MultivariateNormal(q.loc, q.scale.square().diag_embed())
    gap = torch.distributions.kl_divergence(q, exact).mean()
bounds = pv.elbo(toy, data, 2000)
print(f"ELBO + KL to the exact posterior: {bounds.mean() + gap:.2f} nats per datum")
print(f"exact log p(x):                   {evidence.log_prob(data).mean():.2f} nats per datum")

# %% [markdown]
# ## Training
#
# Stochastic variational inference raises the ELBO of one minibatch after another. The
# reparameterization $z = \mu(x) + \sigma(x)\,\epsilon$ with $\epsilon \sim \mathcal{N}(0, I)$
# carries the gradient through the sample.

# %%
history = pv.fit(
    vae, digits.train, valid=digits.valid, epochs=100, lr=2e-3, schedule="cosine", seed=0
)
pv.plot.plot_curves(history.rows)

# %% [markdown]
# ## Pictures
#
# A *mean* $\mathbb{E}[x \mid z]$ is smooth. A *sample* from $p(x \mid z)$ is what the model says
# that digits look like; it has the noise of 16 coin flips in every pixel.

# %%
pv.plot.plot_samples(vae)

# %%
pv.plot.plot_reconstructions(vae, digits.test)

# %% [markdown]
# With two hidden features we can look at all of latent space: what each point decodes to, and
# where the digits are. The labels only colour the dots; training never saw them.

# %%
pv.plot.plot_manifold(vae)

# %%
pv.plot.plot_latent(vae, digits.train)

# %% [markdown]
# ## How good is it?
#
# On digits that it has never seen: the bound, and $\log p(x)$ by importance sampling,
# $\log \frac{1}{K} \sum_k p(x, z_k) / q(z_k \mid x)$. The difference is what the approximate
# posterior costs.

# %%
bounds = pv.elbo(vae, digits.test, 10)
marginal = pv.log_marginal(vae, digits.test, 1000)


def report(name: str, values: torch.Tensor) -> None:
    error = values.std() / math.sqrt(len(values))
    print(f"{name:10s}{values.mean():9.2f} +- {error:.2f} nats per datum")


report("ELBO", bounds)
report("log p(x)", marginal.log_marginal)
report("gap", marginal.log_marginal - bounds)

# %% [markdown]
# ## Exercises
#
# 1. Swap the prior: `pv.priors.Vamp(posterior, digits.train.rows(slice(0, 50)))` shares the
#    posterior with the VAE. What happens to the samples, and to $\log p(x)$?
# 2. Swap the posterior: `pv.posteriors.FullCovarianceNormal(encoder, 2)` needs an encoder with
#    $2 + 3$ outputs. Does the gap shrink?
