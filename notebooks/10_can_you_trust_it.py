# ---
# jupyter:
#   jupytext:
#     formats: py:percent
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # Can you trust it?
#
# *After this lesson you can:* read an estimate of $\log p(x)$ with its standard error, effective sample
# size and tail; bound $\log p(x)$ from both sides; tell a calibrated posterior from one that is too
# sure; compare two models honestly.
#
# About 30 minutes. It needs lessons 2 and 3.

# %%
# %matplotlib inline
import copy
import os

import matplotlib.pyplot as plt
import torch

import pyro_vae as pv
from pyro_vae.evaluate import compare, describe, interval_coverage, sbc, trust, z_score
from pyro_vae.exact import Exact, linear_gaussian

plt.style.use("tableau-colorblind10")
seed = int(os.environ.get("SEED", 0))
smoke = "SMOKE" in os.environ
torch.set_default_dtype(torch.float64)
torch.manual_seed(seed)

# %% [markdown]
# ## A number that is wrong, and looks fine
#
# Two elements of $x$, five hidden features, little noise. A datum fixes two directions of $z$ and says
# nothing of three, so that the posterior is a thin pancake across the axes; a diagonal guide can only
# be a small ball inside it.

# %%
vae = linear_gaussian(dim=2, latent_dim=5, sigma=0.05**0.5)
with torch.no_grad():
    vae.likelihood.decoder.layers[0].weight.mul_(4)
exact = Exact(vae)
exact.set_posterior(vae)  # the best diagonal guide there is
x = exact.marginal.sample((100,))
truth = exact.log_marginal(x)

num_samples = 1000 if smoke else 10_000
estimate = pv.log_marginal(vae, x, num_samples, seed=seed)
print(describe(f"importance sampling, {num_samples}", estimate.log_marginal))
print(describe("the truth", truth))
print(describe("claimed Monte Carlo error", estimate.mc_se, "nats"))
assert (truth - estimate.log_marginal).mean() > 0.1

# %% [markdown]
# **Predict before you run.** The standard error over data is the spread of $\log p(x)$ from datum to datum.
# Does it know of this bias? Does the Monte Carlo error? Does the effective sample size?
#
# ## A light
#
# None of them is safe alone. `trust` looks at the tail of the weights (Pareto's $\hat k$: above 0.7 the mean
# does not converge in any useful time), at the effective sample size (at least 400), at whether the
# estimate still rises with the number of samples, and, if given, at annealed importance sampling.

# %%
light = trust(estimate)
print(light.light, "-", light.sentence)
assert light.light == "amber"

# %% [markdown]
# ## Annealing
#
# Importance sampling jumps from $q$ to the posterior at once. *Annealed* importance sampling goes there in
# many small steps, $f_\beta(z) = p(z)^{1 - \beta} \, (p(z) \, p(x \mid z))^\beta$, moving the samples along by
# Hamiltonian dynamics, and each step's weight is mild. It needs gradients in $z$, so discrete latent
# variables are out. Its mean weight is $p(x)$ too, so its logarithm is also too low on average: with more
# temperatures, less.

# %%
temperatures = (10, 30, 100) if smoke else (10, 100, 1000)
gaps = []
for count in temperatures:
    annealed = pv.ais(vae, x, num_temperatures=count, num_chains=4, seed=seed)
    gap = truth - annealed.log_marginal
    gaps.append(gap.mean())
    print(f"{count:5d} temperatures: too low by {gap.mean():.3f} nats")
assert gaps[0] > gaps[-1] and gaps[-1] < (truth - estimate.log_marginal).mean()
if not smoke:
    light = trust(estimate, annealed)
    print(light.light, "-", light.sentence)
    assert light.light == "red"

# %% [markdown]
# ## Both sides
#
# On real data nobody knows the truth. On *simulated* data one knows a posterior sample: the $z$ that made
# the datum. From there, chains annealed backwards give an upper bound on average. If lower and upper meet,
# annealing works for this model (bidirectional Monte Carlo).

# %%
count = 20 if smoke else 200
bounds = pv.bdmc(vae, 100, num_temperatures=count, seed=seed)
known = exact.log_marginal(bounds.x)
print(describe("lower - truth", bounds.lower - known))
print(describe("upper - truth", bounds.upper - known))
print(describe("width", bounds.upper - bounds.lower))
assert z_score(bounds.lower - known) < 4.3 and z_score(bounds.upper - known) > -4.3

# %% [markdown]
# ## Is the posterior as wide as it says?
#
# *Simulation-based calibration*: draw $z^*, x$ from the model and rank $z^*$ among draws from $q(z \mid x)$. If
# $q$ is the posterior, all ranks are equally likely. With an encoder that is one forward pass a
# simulation.

# %%
good = linear_gaussian(dim=5, latent_dim=2, sigma=0.7, posterior="full")
Exact(good).set_posterior(good)
narrow = copy.deepcopy(good)
with torch.no_grad():
    bias = narrow.posterior.encoder.layers[0].bias  # 2 means, then the rows of the triangle
    bias[[2, 4]] -= 0.4
    bias[3] *= 0.67
results = {
    "the exact posterior": sbc(good, seed=seed),
    "two thirds as wide": sbc(narrow, seed=seed),
}
fig, axes = plt.subplots(1, 2, figsize=(9, 3), layout="constrained", sharey=True)
for axis, (name, result) in zip(axes, results.items()):
    axis.hist((result.ranks.flatten() + 0.5).numpy() / 100, bins=20, range=(0, 1), density=True)
    axis.axhline(1, color="black", linestyle="--", linewidth=1)
    axis.set(
        title=f"{name}: p = {result.p_value:.2g}", xlabel="rank of the true z", ylabel="density"
    )
assert results["the exact posterior"].p_value > 1e-4 > results["two thirds as wide"].p_value
print("50 % intervals hold the truth:", results["two thirds as wide"].coverage(0.5))

# %% [markdown]
# Piled up at both ends: the truth lies outside too often, $q$ is too sure of itself. Variational posteriors
# are like that (lesson 3).
#
# ## Do predictions hold?

# %%
data = Exact(good).marginal.sample((300,))
overconfident = copy.deepcopy(good)
with torch.no_grad():
    overconfident.likelihood.log_scale -= 1.0
for name, model in (("true model", good), ("noise too small", overconfident)):
    covered = interval_coverage(model, data, given="prior" if model is good else "posterior")
    print(name, {level: round(share, 3) for level, share in covered.items()})
    assert (abs(covered[0.95] - 0.95) < 0.03) == (model is good)

# %% [markdown]
# ## Comparing two models
#
# Log densities differ from datum to datum by much more than models do. So compare *pairs*, on the same data:

# %%
rival = linear_gaussian(dim=5, latent_dim=1, sigma=0.7)
rival.likelihood.decoder.layers[0].bias.data.copy_(good.likelihood.decoder.layers[0].bias)
pv.fit(rival, Exact(good).marginal.sample((500,)), epochs=50, lr=1e-2, progress=False)
a = pv.log_marginal(rival, data, 500).log_marginal
b = pv.log_marginal(good, data, 500).log_marginal
print(describe("log p(x), one feature", a))
print(describe("log p(x), two features", b))
found = compare(a, b)
print(found.sentence("the model with one feature", "the model with two"))
unpaired = ((a.var() + b.var()) / 300) ** 0.5
print(f"unpaired, the error would be {unpaired:.3f}")
assert found.difference > 0 and found.se < unpaired

# %% [markdown]
# **A common mistake.** Comparing numbers of different densities. The same pixels, as levels 0 to 16 or
# divided by 16, differ by $D \log 16$ nats under densities, whatever the model:

# %%
levels = torch.randint(0, 17, (200, 64)).double()
on_levels = torch.distributions.Normal(8.0, 5.0).log_prob(levels).sum(-1)
on_unit = torch.distributions.Normal(0.5, 5 / 16).log_prob(levels / 16).sum(-1)
print(f"one model, two scales: {(on_unit - on_levels).mean():.2f} nats apart")
assert abs((on_unit - on_levels).mean() - 64 * torch.tensor(16.0).log()) < 1e-6
levels_record = {
    "x_shape": [64],
    "levels": 16,
    "range": "levels",
    "binarize": "no",
    "discrete": False,
}
try:
    pv.evaluate.check_comparable(levels_record, {**levels_record, "range": "unit"})
except ValueError as error:
    print("Refused:", error)

# %% [markdown]
# ## Exercises
#
# 1. Start annealing at the guide instead of the prior (`start="guide"`). How many temperatures are saved in
#    the first model?
# 2. Bias the posterior of `good` by 0.3 standard deviations instead of narrowing it. What do the ranks look
#    like?
# 3. Run `pyro-vae diagnose` on the digits of lesson 1, and follow its advice once. Was it right?
#
# <details><summary>Solutions</summary>
#
# 1. Try 10 to 300: the guide already sits inside the posterior, so that fewer steps do.
# 2. They slope: all features lean to one end. A slope is a bias, a U is overconfidence, a hill is too
#    little confidence.
# 3. Look at the gaps on test against training data: on 1300 digits it is the encoder that overfits. Then
#    compare, with `pyro-vae compare`, a run with `--train.patience 10`.
#
# </details>
#
# ## References
#
# - Vehtari et al., *Pareto Smoothed Importance Sampling*, 2024: section 3.
# - Neal, *Annealed Importance Sampling*, 2001: equation 11.
# - Grosse, Ancha and Roy, *Measuring the Reliability of MCMC Inference with Bidirectional Monte Carlo*, 2016.
# - Talts et al., *Validating Bayesian Inference Algorithms with Simulation-Based Calibration*, 2018: theorem 1.
# - Wu et al., *On the Quantitative Analysis of Decoder-Based Generative Models*, 2017.
