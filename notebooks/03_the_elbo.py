# ---
# jupyter:
#   jupytext:
#     formats: py:percent
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # The ELBO, three ways
#
# *After this lesson you can:* say what the Kullback-Leibler divergence is and is not; write
# $\log p(x)$ as the ELBO plus a divergence, and check it to machine precision; read the ELBO in its
# three forms; say what raising it over $\theta$ does to the gap, and what it does not.
#
# About 25 minutes. It needs lesson 2.

# %%
# %matplotlib inline
import os

import matplotlib.pyplot as plt
import pyro.distributions as dist
import torch
from torch.distributions import kl_divergence

import pyro_vae as pv
from pyro_vae.evaluate import rate_distortion, z_score
from pyro_vae.exact import Exact, linear_gaussian

plt.style.use("tableau-colorblind10")
seed = int(os.environ.get("SEED", 0))
smoke = "SMOKE" in os.environ
torch.set_default_dtype(torch.float64)
torch.manual_seed(seed)

# %% [markdown]
# ## A divergence
#
# $$\mathrm{KL}(q \,\|\, p) = \mathbb{E}_q[\log q(z) - \log p(z)] \geq 0,$$
#
# zero if and only if $q = p$. It is measured in nats: what one loses per sample, coding draws of $q$
# with a code made for $p$. It is **not a similarity**, as one tutorial calls it: it grows as the two
# move apart. And it is not symmetric.

# %%
p = dist.Normal(0.0, 1.0)
for q in (dist.Normal(0.0, 1.0), dist.Normal(1.0, 1.0), dist.Normal(3.0, 1.0)):
    print(f"KL({q} || {p}) = {float(kl_divergence(q, p)):.3f} nats")
narrow = dist.Normal(0.0, 0.1)
forward, backward = kl_divergence(narrow, p), kl_divergence(p, narrow)
print(f"narrow in wide {float(forward):.3f}, wide in narrow {float(backward):.3f}")
assert backward > 10 * forward

# %% [markdown]
# The last line is worth a thought: a wide $q$ over a narrow $p$ is punished hard, a narrow $q$ in a wide
# $p$ mildly. Variational inference minimizes $\mathrm{KL}(q \,\|\, p(z \mid x))$, so where a guide cannot have the
# posterior's shape it would rather be too narrow than too wide.
#
# ## The identity
#
# For any $q$, take $\log p(x) = \log p(x, z) - \log p(z \mid x)$, subtract and add $\log q(z)$, and
# average over $q$:
#
# $$\log p(x) = \underbrace{\mathbb{E}_q[\log p(x, z) - \log q(z)]}_{\mathcal{L}, \text{ the ELBO}}
# + \underbrace{\mathrm{KL}(q(z) \,\|\, p(z \mid x))}_{\geq 0}.$$
#
# Every term has a closed form in the linear-Gaussian model of lesson 2 (`Exact` knows them; `set_posterior` gives
# the encoder the best diagonal guide). So this is no approximation, and the assertion below is to machine
# precision. (It is $\log p_\theta(x)$ throughout, a logarithm of a
# density; one tutorial prints $\log_\theta p(x)$.)

# %%
vae = linear_gaussian(dim=5, latent_dim=2, sigma=0.5)
exact = Exact(vae)
exact.set_posterior(vae)
x = exact.marginal.sample((6,))
loc = vae.posterior(x).base_dist.loc.detach()
scale = vae.posterior(x).base_dist.scale.detach()
q = dist.MultivariateNormal(loc, scale.square().diag_embed())

w, b, variance = exact.w, exact.b, exact.variance
residual = (x - loc @ w.T - b).square().sum(-1)
spread = (scale.square() * w.square().sum(0)).sum(-1)  # E |W (z - loc)|^2
reconstruction = -(residual + spread) / (2 * variance) - 5 / 2 * (2 * torch.pi * variance).log()
prior = dist.MultivariateNormal(torch.zeros(2), torch.eye(2))
elbo = reconstruction - kl_divergence(q, prior)
gap = kl_divergence(q, exact.posterior(x))
error = (elbo + gap - exact.log_marginal(x)).abs().max()
print(f"log p(x) - (ELBO + KL) is at most {float(error):.1e} nats")
assert error < 1e-12

# %% [markdown]
# **A common mistake.** The sign. "$\log p(x)$ plus the gap" is not the bound; *minus* it is:

# %%
print("log p(x) - gap - ELBO:", (exact.log_marginal(x) - gap - elbo).abs().max().item())
print(
    "log p(x) + gap - ELBO:", (exact.log_marginal(x) + gap - elbo).max().item(), "= twice the gap"
)
assert (exact.log_marginal(x) + gap > elbo + 1e-3).all()

# %% [markdown]
# ## Three forms
#
# $$\begin{aligned}
# \mathcal{L} &= \mathbb{E}_q[\log p(x, z) - \log q(z)] & \text{joint} \\
# &= \mathbb{E}_q[\log p(x \mid z)] - \mathrm{KL}(q(z) \,\|\, p(z)) & \text{reconstruction, KL} \\
# &= \mathbb{E}_q[\log p(x, z)] + \mathrm{H}(q) & \text{energy, entropy}
# \end{aligned}$$
#
# They have one value. They do not have one variance when they are estimated: in the second the
# divergence is known exactly, in the third the entropy.
#
# **Predict before you run.** Which has the smallest standard deviation from sample to sample?

# %%
one = x[:1]
q1 = vae.posterior(one)
samples = q1.sample((2000 if smoke else 20_000,))[:, 0]
log_q = q1.log_prob(samples)
log_prior = vae.prior().log_prob(samples)
log_likelihood = vae.likelihood(samples).log_prob(one)
divergence = kl_divergence(q1.base_dist, dist.Normal(0.0, 1.0)).sum()
entropy = q1.base_dist.entropy().sum()
forms = {
    "joint": log_prior + log_likelihood - log_q,
    "reconstruction - KL": log_likelihood - divergence,
    "energy + entropy": log_prior + log_likelihood + entropy,
}
for name, values in forms.items():
    values = values.detach()
    print(f"{name:22s}{values.mean():9.3f}   sd {values.std():.3f} nats")
    assert abs(z_score(values, elbo[0])) < 4.6

# %% [markdown]
# The joint form wins, though it computes nothing exactly: near the posterior $\log p(x, z) - \log q(z)$
# is almost constant, and its parts swing against each other. At the posterior its variance is zero.
# Here the guide is the best diagonal one, nearly the posterior. Far from it, at the start of training, the second
# form is often better, and what counts in training is the variance of the *gradient*, lesson 4. `pv.plan(vae)`
# says which form this package trains with. The two terms also have names of their own: $-\mathbb{E}_q \log p(x \mid
# z)$ is the *distortion*, the divergence the *rate*.

# %%
print(pv.plan(vae, x).why)
split = rate_distortion(vae, x, 10)
print(f"distortion {split.distortion:.3f} + rate {split.rate:.3f} = minus the ELBO")

# %% [markdown]
# ## What the identity needs
#
# Tutorials say that $q$ must cover the posterior. The identity does not need it: $q$ only has to be zero
# where $p(z \mid x)$ is. Take a Uniform(-1, 1) guide in a model whose posterior is a Normal:

# %%
model_prior, noise, datum = dist.Normal(0.0, 1.0), 1.0, torch.tensor(0.8)
evidence = dist.Normal(0.0, 2**0.5).log_prob(datum)
posterior = dist.Normal(datum / 2, 0.5**0.5)
box = dist.Uniform(-1.0, 1.0)
grid = torch.linspace(-1, 1, 200_001)[:-1] + 5e-6  # the guide is uniform on it
joint = model_prior.log_prob(grid) + dist.Normal(grid, noise).log_prob(datum)
bound = (joint - box.log_prob(grid)).mean()
to_posterior = (box.log_prob(grid) - posterior.log_prob(grid)).mean()
importance = (joint - box.log_prob(grid)).exp().mean().log()
print(f"log p(x) {evidence:.4f} = ELBO {bound:.4f} + KL {to_posterior:.4f}")
inside = (posterior.cdf(torch.tensor(1.0)) - posterior.cdf(torch.tensor(-1.0))).log()
print(f"importance sampling tends to {importance:.4f} = log p(x) + log P(|z| < 1 | x)")
assert abs(evidence - bound - to_posterior) < 1e-6
assert abs(importance - evidence - inside) < 1e-6 and importance < evidence - 0.1

# %% [markdown]
# What fails is importance sampling, silently: it converges to a wrong number.
#
# ## Raising the bound
#
# Over $\phi$, the guide's parameters, raising the ELBO shrinks the gap: $\log p(x)$ does not depend on
# $\phi$. Over $\theta$, the model's, it may do anything to the gap. Below, one model is trained twice from the same
# weights $\theta$, beside a diagonal guide and beside a full one; the gap is the exact divergence.

# %%
data = exact.marginal.sample((500,))
start = linear_gaussian(5, 2, 0.5)
curves = {}
for kind in ("mean-field", "full"):
    torch.manual_seed(seed + 1)
    trained = linear_gaussian(5, 2, 0.5, kind)
    trained.likelihood.load_state_dict(start.likelihood.state_dict())
    rows = []
    for _ in range(3 if smoke else 12):
        now, q = Exact(trained), trained.posterior(data)
        if kind == "mean-field":
            q = dist.MultivariateNormal(q.mean, q.variance.diag_embed())
        gap = kl_divergence(q, now.posterior(data)).mean()
        rows.append((float(now.log_marginal(data).mean()), float(gap)))
        pv.fit(trained, data, epochs=10, batch_size=100, lr=1e-2, progress=False)
    curves[kind] = rows

fig, axes = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
for (kind, rows), marker in zip(curves.items(), "os"):
    for axis, i in zip(axes, (0, 1)):
        axis.plot(
            [10 * j for j in range(len(rows))], [r[i] for r in rows], marker=marker, label=kind
        )
axes[0].set(xlabel="epoch", ylabel="log p(x), nats per datum")
axes[1].set(xlabel="epoch", ylabel="log p(x) - ELBO, nats per datum", yscale="log")
_ = axes[1].legend(title="guide", frameon=False)
assert all(rows[-1][0] > rows[0][0] for rows in curves.values())

# %% [markdown]
# With the full guide the gap falls to what the noise of the steps leaves; the diagonal one keeps more. And $\theta$
# adapts to the guide:
# among models that explain the data about as well, training prefers those whose posterior the guide
# can follow. In PCA that means axes along which the posterior is diagonal, so that even the diagonal
# guide ends with nearly no gap. So the gap is *not* only closed by richer guides.
#
# ## Exercises
#
# 1. Show that $\mathrm{KL}(q \| p)$ of two Normals is $\log \frac{s}{\sigma} + \frac{\sigma^2 +
#    (\mu - m)^2}{2 s^2} - \frac{1}{2}$, and compare with `kl_divergence` for random parameters.
# 2. Find the Uniform guide with the best ELBO for the model above, by a grid over its half-width. Is it as
#    wide as the posterior?
#
# <details><summary>Solutions</summary>
#
# 1. Write the mean of $\log q - \log p$; $\mathbb{E}_q (z - m)^2 = \sigma^2 + (\mu - m)^2$.
# 2. Put the box at the posterior's mean. $\mathrm{KL} = -\log 2a + \log \sqrt{2 \pi s^2} +
#    a^2 / (6 s^2)$; its derivative is zero at $a = \sqrt{3} s$: a standard deviation of exactly $s$.
#
# </details>
#
# ## References
#
# - Kingma and Welling, *Auto-Encoding Variational Bayes*, 2014: equations 1 to 3.
# - Hoffman and Johnson, *ELBO Surgery*, 2016: the forms, and a fourth.
