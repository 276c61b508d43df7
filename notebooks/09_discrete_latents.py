# ---
# jupyter:
#   jupytext:
#     formats: py:percent
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # Discrete latents
#
# *After this lesson you can:* train a VAE whose latent variable is discrete in five ways; say which are
# unbiased and what each costs; check all against a sum that is exact.
#
# About 25 minutes. It needs lesson 4.

# %%
# %matplotlib inline
import os

import matplotlib.pyplot as plt
import torch

import pyro_vae as pv
from pyro_vae import objectives
from pyro_vae.evaluate import gradients, z_score

plt.style.use("tableau-colorblind10")
seed = int(os.environ.get("SEED", 0))
smoke = "SMOKE" in os.environ
torch.set_default_dtype(torch.float64)
torch.manual_seed(seed)

# %% [markdown]
# ## One model, all its answers
#
# Six bits of data, four bits behind them: 16 values of $z$. The evidence is a sum of 16 terms,
#
# $$p(x) = \sum_z p(z) \, p(x \mid z),$$
#
# and so is every gradient. (A likelihood over bits needs no density that is continuous in $x$, as a tutorial
# claims; it must be differentiable in the parameters.)

# %%
truth = pv.VAE(
    pv.priors.Bernoulli(4),
    pv.likelihoods.Bernoulli(pv.nn.MLP(4, [], 6)),
    pv.posteriors.Bernoulli(pv.nn.MLP(6, [], 4)),
)
truth.likelihood.decoder.layers[0].weight.data.mul_(8)
x = pv.evaluate.sample(truth, 400, seed=seed)
every = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 4)


def log_evidence(vae: pv.VAE, x: torch.Tensor) -> torch.Tensor:
    terms = [
        vae.prior().log_prob(z) + vae.likelihood(z.expand(len(x), 4)).log_prob(x) for z in every
    ]
    return torch.stack(terms).logsumexp(0).detach()


def fresh() -> pv.VAE:
    torch.manual_seed(seed + 1)
    return pv.VAE(
        pv.priors.Bernoulli(4),
        pv.likelihoods.Bernoulli(pv.nn.MLP(4, [], 6)),
        pv.posteriors.Bernoulli(pv.nn.MLP(6, [16], 4)),
    )


print(f"log p(x) under the model that made the data: {log_evidence(truth, x).mean():.3f} nats")

# %% [markdown]
# ## Which gradients are right?
#
# *Enumeration* sums over all values, without noise. The *score function* samples (lesson 4); a baseline takes
# most of its noise away. Both have the gradient of the ELBO as their mean.
#
# **Predict before you run.** By how much does the average baseline cut the variance?

# %%
vae, batch = fresh(), x[:20]
draws = 200 if smoke else 2000
bias = {"parameters": [vae.posterior.encoder.layers[-1].bias], "seed": seed}
exact = gradients(vae, objectives.Enumeration(), batch, 1, **bias)[0]
for baseline in ("none", "average", "neural"):
    estimator = objectives.ScoreFunction(1, baseline, (6,))
    values = gradients(vae, estimator, batch, draws, **bias)[draws // 10 :]  # once it has settled
    z = z_score(values, exact)
    print(
        f"score function, baseline {baseline:8s}variance {values.var(0).sum():.4f}, |z| {z.abs().max():.1f}"
    )
    assert z.abs().max() < 5

# %% [markdown]
# ## Relaxation
#
# The *Concrete* (Gumbel-softmax) distribution replaces a bit by a number in (0, 1) that is nearly 0 or 1 and
# can be reparameterized, $z = \sigma((\log \frac{u}{1 - u} + \ell) / \tau)$. The temperature $\tau$ trades bias
# against variance: small $\tau$, nearly bits and wild gradients; large $\tau$, smooth gradients of another model.

# %%
temperatures = (2.0, 0.5, 0.03)
logits = torch.tensor(0.4)
p = torch.sigmoid(logits)
exact_slope = p * (1 - p)  # of E[z^2] = p, for a bit z
rows = []
for temperature in temperatures:
    u = torch.rand(20_000 if smoke else 400_000)
    z = torch.sigmoid(((u / (1 - u)).log() + logits) / temperature)
    slopes = 2 * z * z * (1 - z) / temperature  # of z^2 in the logit, along the path
    rows.append((float(slopes.mean() - exact_slope), float(slopes.std())))
    print(
        f"temperature {temperature}: bias {rows[-1][0]:+.4f}, sd of one sample {rows[-1][1]:.3f}"
    )
assert abs(rows[0][0]) > 4 * abs(rows[2][0]) and rows[0][1] < rows[1][1] < rows[2][1]

# %% [markdown]
# ## The race
#
# Four ways to train the same model, for as many steps. All are judged by the exact $\log p(x)$ of their decoder
# and by the exact gap of their guide. VIMCO maximizes a tighter bound of $K$ samples by the score function, with
# each sample's baseline made of the others.

# %%
epochs = 10 if smoke else 150
contenders = {
    "enumeration": (fresh, {"estimator": "enumeration"}),
    "score function": (fresh, {"estimator": "score-function"}),
    "VIMCO, 8 samples": (fresh, {"estimator": "vimco", "num_particles": 8}),
}


def relaxed() -> pv.VAE:
    torch.manual_seed(seed + 1)
    return pv.VAE(
        pv.priors.RelaxedBernoulli(4, temperature=0.5),
        pv.likelihoods.Bernoulli(pv.nn.MLP(4, [], 6)),
        pv.posteriors.RelaxedBernoulli(pv.nn.MLP(6, [16], 4), temperature=0.5),
    )


contenders["relaxed, temperature 0.5"] = (relaxed, {})
results = {}
for name, (make, options) in contenders.items():
    vae = make()
    torch.manual_seed(seed + 2)
    pv.fit(vae, x, epochs=epochs, batch_size=50, lr=1e-2, progress=False, **options)
    discrete = fresh()  # evaluated as what it stands for: bits
    discrete.likelihood.load_state_dict(vae.likelihood.state_dict())
    discrete.posterior.encoder.load_state_dict(vae.posterior.encoder.state_dict())
    evidence = log_evidence(discrete, x).mean()
    gap = evidence - pv.elbo(discrete, x, 200).mean()
    results[name] = (float(evidence), float(gap))
    print(f"{name:26s}log p(x) {evidence:.3f}, gap {gap:.3f} nats per datum")
assert all(gap > -0.02 for _, gap in results.values())
if not smoke:
    assert results["enumeration"][0] > log_evidence(fresh(), x).mean() + 0.1

# %%
figure, axis = plt.subplots(figsize=(6.4, 2.6), layout="constrained")
for shift, (label, column) in zip((0, 1), (("exact log p(x)", 0), ("ELBO", 1))):
    values = [row[0] - column * row[1] for row in results.values()]
    axis.plot(values, list(results), "os"[shift], label=label)
axis.set(xlabel="nats per datum")
axis.invert_yaxis()
axis.legend(frameon=False)

# %% [markdown]
# ## Which to take
#
# `pv.plan` says which it takes and why. In short: enumerate where the values can be listed; else the score
# function with a baseline, or VIMCO where a tight bound matters; relax where there are many, and look at the
# discrete twin before believing a number.

# %%
print(pv.plan(fresh(), x).why)
print(pv.plan(relaxed(), x).why)

# %% [markdown]
# **A common mistake.** Comparing the bound of a relaxed model with one of a discrete model. A density over
# (0, 1) and a probability of bits are different things, and neither bounds the other. The package evaluates
# the twin, as above.
#
# ## Exercises
#
# 1. Train with `estimator="score-function"` and 1, 4, 16 particles. How many make up for a missing baseline?
# 2. Anneal the temperature: `final_temperature=0.1, temperature_epochs=100`. Does the exact evidence improve?
#
# <details><summary>Solutions</summary>
#
# 1. `pv.fit(..., baseline="none", num_particles=K)`: variance falls as $1 / K$, so divide the two variances
#    printed above.
# 2. Look at `log_evidence` of the discrete twin, not at the training loss.
#
# </details>
#
# ## References
#
# - Maddison, Mnih and Teh, *The Concrete Distribution*, 2017: equation 10.
# - Jang, Gu and Poole, *Categorical Reparameterization with Gumbel-Softmax*, 2017.
# - Mnih and Rezende, *Variational Inference for Monte Carlo Objectives*, 2016: equations 8 to 10.
# - Mnih and Gregor, *Neural Variational Inference and Learning*, 2014: baselines.
