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
# *After this lesson you can:* train a VAE with discrete latent variables in four ways; say which are
# unbiased, and for which bound, and what each costs; check all against an exact sum.
#
# About 25 minutes. It needs lesson 4.

# %%
# %matplotlib inline
import os
import time

import matplotlib.pyplot as plt
import torch

import pyro_vae as pv
from pyro_vae import objectives
from pyro_vae.evaluate import compare, describe, gradients, z_score

plt.style.use("tableau-colorblind10")
seed = int(os.environ.get("SEED", 0))
smoke = "SMOKE" in os.environ
torch.set_default_dtype(torch.float64)
torch.manual_seed(seed)

# %% [markdown]
# ## One model, all its answers
#
# Six bits of data are generated from four latent bits: 16 values of $z$. The evidence is a sum of 16 terms,
#
# $$p(x) = \sum_z p(z) \, p(x \mid z),$$
#
# and so is every gradient. (A likelihood over bits needs no density that is continuous in $x$, as a tutorial
# claims; it must be differentiable in the parameters.) Below, `tables` lists the 16 terms of every datum. From them
# come the exact $\log p(x)$ and the exact ELBO, $\sum_z q(z \mid x) \, [\log p(x, z) - \log q(z \mid x)]$.

# %%
truth = pv.VAE(
    pv.priors.Bernoulli(4),
    pv.likelihoods.Bernoulli(pv.nn.MLP(4, [], 6)),
    pv.posteriors.Bernoulli(pv.nn.MLP(6, [], 4)),
)
truth.likelihood.decoder.layers[0].weight.data.mul_(8)
x = pv.evaluate.sample(truth, 400, seed=seed)
test = pv.evaluate.sample(truth, 2000, seed=seed + 1)  # new data of the same model
every = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 4)


@torch.no_grad()
def tables(vae: pv.VAE, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    r"""log p(x, z) and log q(z | x) of each of the 16 values, of shape (16, N)."""
    values = [z.expand(len(x), 4) for z in every]
    log_joint = [vae.prior().log_prob(z) + vae.likelihood(z).log_prob(x) for z in values]
    return torch.stack(log_joint), torch.stack([vae.posterior(x).log_prob(z) for z in values])


def exact_log_p(vae: pv.VAE, x: torch.Tensor) -> torch.Tensor:
    return tables(vae, x)[0].logsumexp(0)


def exact_elbo(vae: pv.VAE, x: torch.Tensor) -> torch.Tensor:
    log_joint, log_q = tables(vae, x)
    return (log_q.exp() * (log_joint - log_q)).sum(0)


def fresh() -> pv.VAE:
    torch.manual_seed(seed + 1)
    return pv.VAE(
        pv.priors.Bernoulli(4),
        pv.likelihoods.Bernoulli(pv.nn.MLP(4, [], 6)),
        pv.posteriors.Bernoulli(pv.nn.MLP(6, [16], 4)),
    )


print("Under the model that made the data:")
print(describe("log p(x), training data", exact_log_p(truth, x)))
print(describe("log p(x), test data", exact_log_p(truth, test)))

# %% [markdown]
# ## Which gradients are right?
#
# *Enumeration* sums over all values, without noise. The *score function* samples (lesson 4):
#
# $$\nabla_\phi \mathcal{L} = \mathbb{E}_q[(f(z) - b) \, \nabla_\phi \log q(z \mid x)], \quad
# f(z) = \log p(x, z) - \log q(z \mid x).$$
#
# Any baseline $b$ that does not depend on $z$ leaves the mean unchanged. The variance grows with
# $\mathbb{E} (f - b)^2$: if $f$ and the score $\nabla_\phi \log q$ were independent, in proportion. Here are mean and
# standard deviation of $f$ in a model that is not trained yet, over samples and data:

# %%
vae, batch = fresh(), x[:20]
f = pv.elbo(vae, batch.repeat(200, 1), 1, seed=seed)  # one sample each: f itself
print(f"f: mean {f.mean():.2f}, standard deviation {f.std():.2f} nats")

# %% [markdown]
# **Predict before you run.** The average baseline sets $b$ to a running mean of $f$. By what factor does it cut the
# variance, against $b = 0$? The neural baseline is a network $b(x)$, which can follow $f$ from datum to datum: is it
# better immediately?

# %%
draws = 200 if smoke else 1000
at = {"parameters": [vae.posterior.encoder.layers[-1].bias], "seed": seed}
exact = gradients(vae, objectives.Enumeration(), batch, 1, **at)[0]


def variance(name: str, estimator: pv.objectives.Objective) -> float:
    r"""The variance of an estimator, whose mean must be the exact gradient."""
    values = gradients(vae, estimator, batch, draws, **at)[draws // 10 :]  # once it has settled
    z = z_score(values, exact).abs().max()
    assert z < 5
    print(f"score function, {name:26s}variance {values.var(0).sum():.4f}, |z| {z:.1f}")
    return float(values.var(0).sum())


none = variance("no baseline", objectives.ScoreFunction(1, "none"))
average = variance("average baseline", objectives.ScoreFunction(1, "average"))
torch.manual_seed(seed)
neural = objectives.ScoreFunction(1, "neural", (6,))
variance("neural, not trained", neural)
optimizer = torch.optim.Adam(neural.parameters(), lr=1e-3)
for _ in range(300):
    loss = neural(vae.model, vae.guide, batch).loss
    for p, slope in zip(neural.parameters(), torch.autograd.grad(loss, [*neural.parameters()])):
        p.grad = slope
    optimizer.step()
trained = variance("neural, after 300 steps", neural)
predicted = float(1 + f.mean() ** 2 / f.var())
print(f"cut by the average baseline: {none / average:.0f}-fold; predicted {predicted:.0f}-fold")
assert 0.5 < none / average / predicted < 2 and trained < average

# %% [markdown]
# With $b = 0$ the mean square of $f$ is its squared mean plus its variance; the average baseline leaves the variance.
# The ratio predicts the reduction. All four have the exact gradient as their mean ($|z|$ counts standard errors). The
# neural baseline is worse than one number until it has learned, and then a little better: `pv.fit` trains it with the
# model.
#
# ## Relaxation
#
# The *Concrete* (Gumbel-softmax) distribution replaces a bit by a number in (0, 1) that is nearly 0 or 1 and
# can be reparameterized:
#
# $$z = \mathrm{sigmoid}\Big(\frac{1}{\tau} \Big(\log \frac{u}{1 - u} + \ell\Big)\Big), \quad
# u \sim \mathrm{Uniform}(0, 1),$$
#
# with $\ell$ the *logit* of the bit, $p(\text{bit} = 1) = \mathrm{sigmoid}(\ell)$. As $\tau \to 0$, $z$ becomes the
# bit. The temperature $\tau$ trades bias against variance: small $\tau$, nearly bits and wild gradients; large
# $\tau$, smooth gradients of another model. Below: the slope of $\mathbb{E}[z^2]$ in $\ell$, known for a bit.
#
# **Predict before you run.** Which of the three temperatures has the largest bias, and which the largest noise?

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
# ## A tighter bound
#
# Draw $K$ samples $z_k \sim q(z \mid x)$ and average their weights inside the logarithm:
#
# $$\mathcal{L}_K = \mathbb{E} \log \frac{1}{K} \sum_{k=1}^K w_k, \quad w_k = \frac{p(x, z_k)}{q(z_k \mid x)}.$$
#
# $\mathcal{L}_1$ is the ELBO, and $\mathcal{L}_1 \leq \mathcal{L}_2 \leq \dots \leq \log p(x)$. *VIMCO* maximizes
# $\mathcal{L}_K$ by the score function, with each sample's baseline made of the others.
#
# ## The race
#
# Four ways to train the same model, for the same number of steps. All are judged on the test data, by the exact
# $\log p(x)$ of their decoder, by the exact gap $\log p(x) - \mathcal{L}_1$ of their guide, and by that of
# $\mathcal{L}_8$, which needs samples. The relaxed model is judged by the model it stands for: its *twin* of bits,
# which has its networks. Equal steps are not equal cost: `terms` counts the values of $z$ that a step sends through the
# decoder for each datum, and the seconds are those of the machine that ran this.
#
# **Predict before you run.** Whose guide will be nearest to the posterior, by $\log p(x) - \mathcal{L}_1$? And whose
# farthest?

# %%
epochs = 10 if smoke else 100


def relaxed() -> pv.VAE:
    torch.manual_seed(seed + 1)
    return pv.VAE(
        pv.priors.RelaxedBernoulli(4, temperature=0.5),
        pv.likelihoods.Bernoulli(pv.nn.MLP(4, [], 6)),
        pv.posteriors.RelaxedBernoulli(pv.nn.MLP(6, [16], 4), temperature=0.5),
    )


contenders = {
    "enumeration": (fresh, 16, {"estimator": "enumeration"}),
    "score function": (fresh, 1, {"estimator": "score-function"}),
    "VIMCO, 8 samples": (fresh, 8, {"estimator": "vimco", "num_particles": 8}),
    "relaxed, 0.5": (relaxed, 1, {}),
}


def race(make, options: dict) -> tuple[pv.VAE, pv.VAE, float, float]:
    r"""Returns the model, its twin of bits, the last bound in training, and the seconds."""
    vae = make()
    torch.manual_seed(seed + 2)
    start = time.perf_counter()
    history = pv.fit(vae, x, epochs=epochs, batch_size=50, lr=1e-2, progress=False, **options)
    seconds = time.perf_counter() - start
    twin = fresh()
    twin.likelihood.load_state_dict(vae.likelihood.state_dict())
    twin.posterior.encoder.load_state_dict(vae.posterior.encoder.state_dict())
    return vae, twin, -history["loss"][-1], seconds


models, twins, reported, results = {}, {}, {}, {}
print(f"{'':18s}terms  seconds  log p(x)  gap of L_1  gap of L_8  (nats per datum)")
for name, (make, terms, options) in contenders.items():
    models[name], twins[name], reported[name], seconds = race(make, options)
    log_p = exact_log_p(twins[name], test)
    gap = log_p - exact_elbo(twins[name], test)
    gap_8 = log_p - pv.log_marginal(twins[name], test, 8, seed=seed).log_marginal
    results[name] = (log_p, gap, gap_8)
    print(
        f"{name:18s}{terms:5d}{seconds:9.1f}{log_p.mean():10.3f}{gap.mean():12.3f}"
        f"{gap_8.mean():12.3f}"
    )
first = results["enumeration"][0]
found = {name: compare(first, row[0]) for name, row in results.items() if name != "enumeration"}
for name, difference in found.items():
    print(difference.sentence("enumeration", name))
assert all(gap.min() > -1e-9 and gap.mean() > gap_8.mean() for _, gap, gap_8 in results.values())
if not smoke:
    vimco = results["VIMCO, 8 samples"]
    assert z_score(first - exact_log_p(fresh(), test)) > 4.3
    assert z_score(vimco[1] - results["enumeration"][1]) > 4.3  # its L_1 is looser
    assert vimco[2].mean() < vimco[1].mean() / 4  # its L_8 is not
    assert found["relaxed, 0.5"].difference < -4.3 * found["relaxed, 0.5"].difference.se

# %%
figure, axis = plt.subplots(figsize=(6.4, 2.6), layout="constrained")
for marker, label, column in (("o", "exact log p(x)", 0), ("^", "$L_8$", 2), ("s", "ELBO", 1)):
    values = [float((row[0] - (row[column] if column else 0)).mean()) for row in results.values()]
    axis.plot(values, list(results), marker, label=label)
axis.set(xlabel="nats per datum, test data")
axis.invert_yaxis()
_ = axis.legend(frameon=False)

# %% [markdown]
# *log p(x).* VIMCO has the best decoder and the relaxed model the worst; the differences are paired, datum by datum,
# and several standard errors wide. (The errors are over test data. Another training run changes every number; with
# `SEED=1` and `SEED=2` the order is the same.)
#
# *Gaps.* VIMCO also has the largest gap, and that is not a failure: VIMCO fits the guide for $\mathcal{L}_8$, so its
# one-sample ELBO is loose, and its $\mathcal{L}_8$ is tight. Judged by the ELBO, its model would be ranked too low.
#
# *Cost.* Sixteen terms, one sample and eight take about the same time, as a decoder this small costs next to nothing
# and the seconds are overhead. With a large decoder `terms` is what a step costs, and 40 bits cannot be listed.
#
# *Bias.* Enumeration, the score function and VIMCO are unbiased: the first two for the gradient of the ELBO, the
# third for that of $\mathcal{L}_8$. The relaxed gradient is that of another model.
#
# ## Which to use
#
# `pv.plan` says which it chooses and why. In short: enumerate where the values can be listed; else use the score
# function with a baseline, or VIMCO where a tight bound matters; relax where there are many, and evaluate the
# discrete twin before believing a number.

# %%
print(pv.plan(fresh(), x).why)
print(pv.plan(relaxed(), x).why)

# %% [markdown]
# **A common mistake.** Mistaking the bound of a relaxed model for one of the discrete model. Its $p(x)$ is a
# probability of the same bits, and its bound is a true bound of it; but it is a different model, whose decoder sees
# numbers in (0, 1). Here are both, for each of the 64 values that six bits can have:

# %%
name = "relaxed, 0.5"
patterns = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 6)
with torch.no_grad():
    z = models[name].prior().sample((20_000, 1))
    terms = models[name].likelihood(z).log_prob(patterns)  # an average over the relaxed prior
relaxed_p, twin_p = terms.exp().mean(0), exact_log_p(twins[name], patterns).exp()
apart = relaxed_p.log() - twin_p.log()
print(f"sums over x: relaxed {relaxed_p.sum():.6f}, twin {twin_p.sum():.6f}")
print(f"log p(x), relaxed minus twin: from {apart.min():+.2f} to {apart.max():+.2f} nats")
print(f"what training says, the relaxed bound: {reported[name]:.3f} nats per datum")
print(describe("the twin on the same data, exact ELBO", exact_elbo(twins[name], x)))
print(describe("pv.elbo of the relaxed model", pv.elbo(models[name], x, 100)))
assert abs(relaxed_p.sum() - 1) < 1e-6 and abs(twin_p.sum() - 1) < 1e-6
assert apart.min() < -0.05 and apart.max() > 0
assert abs((pv.elbo(models[name], x, 100) - exact_elbo(twins[name], x)).mean()) < 0.03

# %% [markdown]
# Two distributions over the same 64 values; each is more likely than the other somewhere. So a bound of the relaxed
# $\log p(x)$, if tight, lies above the twin's for some data. `pv.elbo` and `pv.log_marginal` evaluate the twin.
#
# ## Exercises
#
# 1. Measure `variance` of `objectives.ScoreFunction(K, baseline="none")` for $K$ = 1, 2, 4 and 16. How many
#    particles make up for the missing baseline?
# 2. Anneal the temperature of `relaxed()`, by two options of `pv.fit`: `final_temperature=0.1` and
#    `temperature_epochs=60`. Does the exact evidence of the twin improve? Does its ELBO?
#
# <details><summary>Solutions</summary>
#
# 1. Two, and the variance does not fall as $1 / K$: with several samples the mean of the others is each one's
#    baseline, at no cost. With `SEED=0`: 0.885, 0.0150, 0.0047 and 0.0009, against 0.0175 of one sample with the
#    average baseline. `ScoreFunction(2, "average")` has 0.0150 too: nothing is left for it to remove.
# 2. `race(relaxed, {"final_temperature": 0.1, "temperature_epochs": 60})`, and `exact_log_p` and `exact_elbo` of the
#    twin on `test`. With `SEED=0` the exact $\log p(x)$ falls, from -3.502 to -3.545 nats per datum (paired
#    difference -0.043 +- 0.003); its gap is half as wide, so that the ELBO does not change (-0.003 +- 0.002).
#    The bias is smaller and the gradients are wilder. Look at the twin, not at the training loss.
#
# </details>
#
# ## References
#
# - Maddison, Mnih and Teh, *The Concrete Distribution*, 2017: equation 10.
# - Jang, Gu and Poole, *Categorical Reparameterization with Gumbel-Softmax*, 2017.
# - Mnih and Rezende, *Variational Inference for Monte Carlo Objectives*, 2016: equations 8 to 10.
# - Mnih and Gregor, *Neural Variational Inference and Learning*, 2014: baselines.
