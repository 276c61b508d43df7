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
# *After this lesson you can:* explain what the Kullback-Leibler divergence is and is not; write
# $\log p(x)$ as the ELBO plus a divergence, and check it to machine precision; read the ELBO in its
# three forms; explain what raising it over the model's parameters does to the gap, and what it does not.
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
from pyro_vae.evaluate import describe, rate_distortion, z_score
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
# zero if and only if $q = p$. It is measured in nats: what is lost per sample by coding draws of $q$
# with a code made for $p$. It is **not a similarity**, as one tutorial calls it: it grows as the two
# move apart. And it is not symmetric.

# %%
p = dist.Normal(0.0, 1.0)
for q in (dist.Normal(0.0, 1.0), dist.Normal(1.0, 1.0), dist.Normal(3.0, 1.0)):
    print(f"KL({q} || {p}) = {float(kl_divergence(q, p)):.3f} nats")
narrow = dist.Normal(0.0, 0.1)
forward, backward = kl_divergence(narrow, p), kl_divergence(p, narrow)
print(f"KL(narrow || wide) {float(forward):.3f}, KL(wide || narrow) {float(backward):.3f}")
assert backward > 10 * forward

# %% [markdown]
# The last line deserves a thought: a wide $q$ over a narrow $p$ is punished hard, a narrow $q$ in a wide
# $p$ mildly. Variational inference minimizes $\mathrm{KL}(q \,\|\, p(z \mid x))$, so where a guide cannot have the
# posterior's shape, such as a diagonal Normal for a tilted posterior, it tends to be too narrow rather than too wide.
#
# ## The identity
#
# For any $q$, take $\log p(x) = \log p(x, z) - \log p(z \mid x)$, subtract and add $\log q(z)$, and
# average over $q$:
#
# $$\log p(x) = \underbrace{\mathbb{E}_q[\log p(x, z) - \log q(z)]}_{\mathcal{L}, \text{ the ELBO}}
# + \underbrace{\mathrm{KL}(q(z) \,\|\, p(z \mid x))}_{\geq 0}.$$
#
# Every term has a closed form in the linear-Gaussian model of lesson 2 (`Exact` has them; `set_posterior` gives
# the encoder the best diagonal guide). So this is not an approximation, and the assertion below is to machine
# precision. (With the model's parameters $\theta$ it is $\log p_\theta(x)$ throughout, a logarithm of a
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
# **A common mistake.** The sign. "$\log p(x)$ plus the gap" is not the bound; *minus* the gap is:

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
# They have the same value, but not the same variance when they are estimated: in the second the
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
print(f"{'exact':28s}{elbo[0]:9.3f} nats")
for name, values in forms.items():
    values = values.detach()
    print(f"{describe(name, values, 'nats')}, sd of one sample {values.std():.3f}")
    assert abs(z_score(values, elbo[0])) < 4.6

# %% [markdown]
# The joint form wins, though it computes nothing exactly: near the posterior $\log p(x, z) - \log q(z)$
# is almost constant, and its parts cancel each other's variation. At the posterior its variance is zero.
# Here the guide is the best diagonal one, nearly the posterior. Far from it they no longer cancel; and what counts in
# training is the variance of the *gradient* (lesson 4). `pv.plan(vae)` says which form this package trains with. The
# two terms of the second form also have their own names: $-\mathbb{E}_q \log p(x \mid z)$ is the *distortion*, the
# divergence the *rate*.

# %%
print(pv.plan(vae, x).why)
split = rate_distortion(vae, x, 2000)
print(f"all six data: distortion {split.distortion:.3f} + rate {split.rate:.3f}", end=" ")
print(f"= {split.distortion + split.rate:.3f}; exactly {-elbo.mean():.3f} nats per datum")

# %% [markdown]
# ## What the identity needs
#
# Tutorials say that $q$ must cover the posterior. The identity does not need it: $q$ only has to be zero
# where $p(z \mid x)$ is. Consider a Uniform(-1, 1) guide in a model whose posterior is a Normal:

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
# weights $\theta$, with a diagonal guide and with a full one. Its two columns of $W$ start nearly parallel, so
# that its posteriors are tilted ellipses, which a diagonal guide cannot follow.
#
# Three numbers are exact at every point: $\log p(x)$; the gap, the divergence of the guide from the posterior; and
# what the *best* diagonal guide would lose, which depends on $\theta$ alone.
#
# **Predict before you run.** Trained with the diagonal guide, is that loss still there at the end?

# %%
data = exact.marginal.sample((500,))
start = linear_gaussian(5, 2, 0.5)
with torch.no_grad():
    columns = start.likelihood.decoder.layers[0].weight
    columns[:, 1] = columns[:, 0] + 0.3 * columns[:, 1]
curves = {}
for kind in ("mean-field", "full"):
    torch.manual_seed(seed + 1)
    trained = linear_gaussian(5, 2, 0.5, kind)
    trained.likelihood.load_state_dict(start.likelihood.state_dict())
    rows = []
    for _ in range(4 if smoke else 11):
        now, q = Exact(trained), trained.posterior(data)
        if kind == "mean-field":
            q = dist.MultivariateNormal(q.mean, q.variance.diag_embed())
        gap = kl_divergence(q, now.posterior(data)).mean().detach()
        rows.append([float(now.log_marginal(data).mean()), float(gap), now.approximation_gap])
        pv.fit(trained, data, epochs=20, batch_size=100, lr=1e-2, progress=False)
    curves[kind] = torch.tensor(rows).T
    print(
        f"{kind}: at the end the gap is {gap:.4f} nats, and the best diagonal guide would", end=" "
    )
    print(f"lose {now.approximation_gap:.4f} (at the start {rows[0][2]:.4f})")

fig, axes = plt.subplots(1, 3, figsize=(11, 3.4), layout="constrained")
names = ("log p(x)", "log p(x) - ELBO", "best diagonal gap")
for (kind, lines), marker in zip(curves.items(), "os"):
    for axis, name, values in zip(axes, names, lines):
        axis.plot([20 * j for j in range(len(values))], values, marker=marker, label=kind)
        axis.set(xlabel="epoch", ylabel=f"{name}, nats per datum")
for axis in axes[1:]:
    axis.set_yscale("log")
_ = axes[1].legend(title="trained with the guide", frameon=False)
assert all(log_p[-1] > log_p[0] for log_p, _, _ in curves.values())
assert curves["mean-field"][2, -1] < 0.3 * curves["full"][2, -1] or smoke

# %% [markdown]
# The gaps end near the level set by the noise of the steps. The third plot shows how the diagonal guide's gap could
# close: $\theta$ has adapted to it. Among models that explain the data equally well, training prefers those whose
# posterior the guide can follow; it has turned $W$ until the posteriors lie nearly along the axes. With the full guide
# nothing favours this, and a diagonal guide in its place would lose several times as much. So the gap is *not* only
# closed by richer guides.
#
# ## Exercises
#
# 1. Show that $\mathrm{KL}(q \| p)$ of $q = \mathcal{N}(\mu, \sigma^2)$ and $p = \mathcal{N}(m, s^2)$ is
#    $\log \frac{s}{\sigma} + \frac{\sigma^2 + (\mu - m)^2}{2 s^2} - \frac{1}{2}$, and compare with `kl_divergence`
#    for random parameters.
# 2. Find the Uniform guide with the best ELBO for the model of the box above, centred at the posterior's mean, by a
#    grid over its half-width $a$. Compare its standard deviation $a / \sqrt{3}$ with the posterior's, $s$.
#
# <details><summary>Solutions</summary>
#
# 1. Write the mean of $\log q - \log p$; $\mathbb{E}_q (z - m)^2 = \sigma^2 + (\mu - m)^2$.
# 2. $\mathrm{KL} = -\log 2a + \log \sqrt{2 \pi s^2} + a^2 / (6 s^2)$; its derivative is zero at $a = \sqrt{3} s$: a
#    standard deviation of exactly $s$. "Too narrow" is a tendency, not a rule without exceptions.
#
# </details>
#
# ## References
#
# - Kingma and Welling, *Auto-Encoding Variational Bayes*, 2014: equations 1 to 3.
# - Hoffman and Johnson, *ELBO Surgery*, 2016: the forms, and a fourth.
