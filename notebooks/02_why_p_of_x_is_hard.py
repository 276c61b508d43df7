# ---
# jupyter:
#   jupytext:
#     formats: py:percent
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # Why p(x) is hard
#
# *After this lesson you can:* say what a latent variable model is; estimate $\log p(x)$ by simple
# Monte Carlo and by importance sampling; explain why the first fails and how you would notice; and
# check both against an exact answer.
#
# About 20 minutes. It needs the first lesson.

# %%
# %matplotlib inline
import os

import matplotlib.pyplot as plt
import torch

import pyro_vae as pv
from pyro_vae.evaluate import describe, prior_guide, z_score
from pyro_vae.exact import Exact, linear_gaussian

plt.style.use("tableau-colorblind10")
seed = int(os.environ.get("SEED", 0))
smoke = "SMOKE" in os.environ  # a quick run, for tests
torch.set_default_dtype(torch.float64)
torch.manual_seed(seed)

# %% [markdown]
# ## A model with something hidden
#
# A *latent variable model* describes how data arise in two steps: something hidden is drawn,
# $z \sim p(z)$, and then what we see, $x \sim p(x \mid z)$. What we see has the probability
#
# $$p(x) = \int p(x \mid z) \, p(z) \, dz = \mathbb{E}_{p(z)}[p(x \mid z)],$$
#
# the *evidence*. It measures how well a model predicts data; training raises it, and
# models are compared by it. And it is an integral over everything that might have been hidden.
#
# There is one model in which the integral has a closed form: everything linear and Gaussian (probabilistic
# PCA). With $p(z) = \mathcal{N}(0, I)$ and $p(x \mid z) = \mathcal{N}(Wz + b, \sigma^2 I)$,
# $p(x) = \mathcal{N}(b, WW^\top + \sigma^2 I)$. So here we can see whether an estimate is right.

# %%
vae = linear_gaussian(dim=5, latent_dim=2, sigma=0.5)
exact = Exact(vae)
exact.set_posterior(vae)  # the best diagonal Gaussian guide (lesson 3 says what is best)
x = exact.marginal.sample((200,))
truth = exact.log_marginal(x)
print(describe("exact log p(x)", truth))

# %% [markdown]
# ## Simple Monte Carlo
#
# The integral is a mean, so average: draw $z_1, \dots, z_K$ from the prior and take
# $\hat p(x) = \frac{1}{K} \sum_k p(x \mid z_k)$. Its mean is $p(x)$, whatever $K$ is.
#
# In Pyro a *model* is a function that samples: every `pyro.sample("z", ...)` is a *site* with a name,
# and `pyro.plate("data", B)` declares that what is inside happens independently for each of $B$ data. A
# *guide* is a second such function, for the hidden sites only. `log_marginal` draws them from the
# guide; if the guide is the prior itself, this is simple Monte Carlo.

# %%
naive = (vae.model, prior_guide(vae.model))
ratios = torch.stack(
    [(pv.log_marginal(naive, x, 100, seed=s).log_marginal - truth).exp() for s in range(50)]
)
z = z_score(ratios.mean(1), 1.0)  # standard errors between E[estimate / p(x)] and 1
print(f"mean of the estimate over p(x): {ratios.mean():.3f}, z = {z:+.1f}")
assert abs(z) < 4.3

# %% [markdown]
# How would you notice a bad estimate without knowing the truth? The *effective sample size* (ESS)
# $(\sum_k w_k)^2 / \sum_k w_k^2$ of the terms averaged, here $w_k = p(x \mid z_k)$, is the number of equal terms that
# would be worth as much.
#
# **Predict before you run.** The same with less noise ($\sigma = 0.3$) and up to 50 elements of $x$ and 10 hidden
# features instead of 5 and 2: how far off is the mean of $\log \hat p(x)$ with a thousand samples? By a nat? By ten?
# How many of the thousand count?

# %%
sizes = [(5, 2), (10, 3), (20, 5), (50, 10)]
num_samples = 200 if smoke else 1000
lost, worth = ({"the prior": [], "the guide": []} for _ in range(2))
for dim, latent_dim in sizes:
    torch.manual_seed(seed)
    other = linear_gaussian(dim, latent_dim, sigma=0.3)
    known = Exact(other)
    known.set_posterior(other)
    data = known.marginal.sample((100,))
    for name, program in (
        ("the prior", (other.model, prior_guide(other.model))),
        ("the guide", other),
    ):
        estimate = pv.log_marginal(program, data, num_samples)
        lost[name].append((known.log_marginal(data) - estimate.log_marginal).mean())
        worth[name].append(estimate.ess.median())

fig, axis = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
for (name, values), marker in zip(lost.items(), "os"):
    axis.plot([d for d, _ in sizes], values, marker=marker, label=f"samples from {name}")
axis.set(
    xlabel="elements of x", ylabel="nats per datum too low", title=f"{num_samples} samples each"
)
axis.set_yscale("symlog", linthresh=0.1)
_ = axis.legend(frameon=False)
for name in lost:
    print(
        f"samples from {name}: nats too low {[round(float(v), 2) for v in lost[name]]},", end=" "
    )
    print(f"median ESS {[round(float(v), 1) for v in worth[name]]}")
assert lost["the prior"][-1] > 10 and lost["the guide"][-1] < lost["the prior"][-1] / 5
assert worth["the prior"][-1] < 2

# %% [markdown]
# The estimate of $p(x)$ is unbiased, and its logarithm is off by many nats. This is no contradiction:
# nearly all draws from the prior miss the small region where $p(x \mid z)$ is not negligible; a rare hit would be
# enormous, and would make up for it in the mean, but we will not live to see it. By Jensen's inequality
# $\mathbb{E}[\log \hat p(x)] \leq \log p(x)$: too low on average, and where hits are rare, for nearly every datum. (A
# value just below zero in the easy case is noise.) The ESS shows it: of a thousand draws, one counts.
#
# ## Importance sampling
#
# Draw where it matters, from a guide $q(z \mid x)$ that has seen the datum, and correct for this:
#
# $$p(x) = \mathbb{E}_{q(z \mid x)}\!\left[\frac{p(x \mid z) \, p(z)}{q(z \mid x)}\right]
# \approx \frac{1}{K} \sum_k w_k, \qquad w_k = \frac{p(x, z_k)}{q(z_k \mid x)}.$$
#
# If $q$ were the posterior $p(z \mid x)$, every weight would be $p(x)$ itself, and one sample would do.

# %%
for num_samples in (1, 10, 100, 1000):
    estimate = pv.log_marginal(vae, x, num_samples, seed=seed)
    gap = truth - estimate.log_marginal
    print(f"K = {num_samples:5d}: too low by {gap.mean():.4f} nats, median ESS", end=" ")
    print(f"{estimate.ess.median():.0f}")
z = (estimate.log_marginal - truth) / estimate.mc_se
assert z.abs().max() < 5.5  # 200 comparisons

# %% [markdown]
# The assertion counts Monte Carlo standard errors (`mc_se`) between estimate and truth. The ESS is the first thing to
# look at. It can also lie: if no sample hits the right place, all weights are equally tiny. Lesson 10 is about that.
#
# ## A common mistake: averaging the likelihood under q
#
# A widely read tutorial calls "the relationship between $\mathbb{E}_{q} p(x \mid z)$ and $p(x)$" the
# backbone of VAEs. Without the weight $p(z) / q(z \mid x)$ that mean is not $p(x)$:

# %%
q = vae.posterior(x)
z_samples = q.sample((5000,))
likelihood = vae.likelihood(z_samples).log_prob(x)
weights = likelihood + vae.prior().log_prob(z_samples) - q.log_prob(z_samples)
wrong = likelihood.exp().mean(0).log() - truth
right = weights.exp().mean(0).log() - truth
print(f"log E_q p(x | z)               - log p(x) = {wrong.mean():+.3f} nats")
print(f"log E_q p(x | z) p(z) / q(z|x) - log p(x) = {right.mean():+.3f} nats")
assert wrong.mean() > 0.5 and right.mean().abs() < 0.02

# %% [markdown]
# ## Exercises
#
# 1. How many samples from the prior are needed for an error below a tenth of a nat, at 5 and at 10
#    elements with $\sigma = 0.3$? Plot the error against $K$.
# 2. Make the guide narrower: `vae.posterior.encoder.layers[0].bias.data[2:] -= 1`. What happens to the
#    estimate, to the effective sample size, and to the mean weight?
#
# <details><summary>Solutions</summary>
#
# 1. `pv.log_marginal((other.model, prior_guide(other.model)), data, K)` for `K` of 100, 300, 1000: a few hundred
#    samples at 5 elements, more than a thousand at 10. The number needed grows roughly as
#    $e^{\mathrm{KL}(p(z \mid x) \| p(z))}$: exponentially in how much a datum says about its $z$. With $q$ instead of
#    the posterior, `pv.evaluate.rate_distortion(vae, x).rate` measures that.
# 2. The mean weight stays $p(x)$, but its variance is infinite: samples seldom reach the tails of the posterior, where
#    weights are huge. With a thousand samples the estimate is about 0.3 nats too low, and the median ESS falls from
#    about 960 to about 45.
#
# </details>
#
# ## References
#
# - Tipping and Bishop, *Probabilistic Principal Component Analysis*, 1999: equation 3, the evidence.
# - Burda et al., *Importance Weighted Autoencoders*, 2016: equation 8, the estimate.
# - Chatterjee and Diaconis, *The Sample Size Required in Importance Sampling*, 2018: theorem 1.1.
