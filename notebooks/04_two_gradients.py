# ---
# jupyter:
#   jupytext:
#     formats: py:percent
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # Two gradients
#
# *After this lesson you can:* derive the score function and the reparameterized gradient; say which
# has the smaller variance in a given problem, and that neither always does; explain what baselines and
# "sticking the landing" do.
#
# About 25 minutes. It needs lesson 3.

# %%
# %matplotlib inline
import os

import matplotlib.pyplot as plt
import pyro
import pyro.distributions as dist
import torch
from pyro.infer import SVI, Trace_ELBO, TraceGraph_ELBO
from pyro.optim import Adam

import pyro_vae as pv
from pyro_vae.evaluate import gradients, z_score
from pyro_vae.exact import Exact, linear_gaussian

plt.style.use("tableau-colorblind10")
seed = int(os.environ.get("SEED", 0))
smoke = "SMOKE" in os.environ
torch.set_default_dtype(torch.float64)
torch.manual_seed(seed)

# %% [markdown]
# ## The problem
#
# The ELBO is a mean over $q_\phi(z)$, and we need its gradient in $\phi$: the parameter is in the distribution
# that we sample from. Averaging $\nabla_\phi f(z)$ over samples is wrong, as $f$ may not depend on $\phi$ at all.
# There are two ways out.
#
# **The score function** (REINFORCE). Differentiate under the integral, and use $\nabla q = q \, \nabla \log q$:
#
# $$\nabla_\phi \mathbb{E}_{q_\phi}[f(z)] = \int f(z) \, \nabla_\phi q_\phi(z) \, dz
# = \mathbb{E}_{q_\phi}[f(z) \, \nabla_\phi \log q_\phi(z)].$$
#
# It requires nothing of $f$: discrete, discontinuous, a black box. $\nabla_\phi \log q_\phi$ is called the *score*.
#
# **Reparameterization** (SGVB). If $z = g_\phi(\epsilon)$ with $\epsilon$ from a fixed distribution, the parameter
# leaves the distribution, and the chain rule does the rest:
#
# $$\nabla_\phi \mathbb{E}[f(g_\phi(\epsilon))] = \mathbb{E}[f'(g_\phi(\epsilon)) \, \nabla_\phi g_\phi(\epsilon)],$$
#
# the *path* gradient. It uses the slope of $f$, so it needs one. For a Normal, $z = \mu + \sigma \epsilon$.
#
# In the ELBO $f = \log p(x, z) - \log q_\phi(z)$ depends on $\phi$ itself. That adds
# $\mathbb{E}_q[-\nabla_\phi \log q_\phi]$, which is zero: the mean of a score is $\int \nabla q = \nabla \int q = 0$.
# Both formulas still hold.
#
# **A common mistake.** One tutorial prints $z = \mu + \mu I z'$. Then at $\mu = 0$ nothing is random:

# %%
noise = torch.randn(10_000)
mu, sigma = torch.tensor(0.0), torch.tensor(0.7)
print(f"sd of mu + mu * noise:    {(mu + mu * noise).std():.3f}")
print(f"sd of mu + sigma * noise: {(mu + sigma * noise).std():.3f}, as it should be {sigma}")
assert (mu + mu * noise).std() == 0

# %% [markdown]
# ## The race
#
# Let $f(z) = \cos(w z)$ and $q = \mathcal{N}(\mu, 1)$. Everything is known exactly:
# $\mathbb{E}[f] = e^{-w^2 / 2} \cos(w \mu)$, and the difference of the two estimators' variances is
#
# $$\mathrm{Var}_\text{reparam} - \mathrm{Var}_\text{score}
# = \tfrac{1}{2} \left[ w^2 - 1 + (3 w^2 - 1) \cos(2 w \mu) \, e^{-2 w^2} \right].$$
#
# **Predict before you run.** Textbooks say that reparameterization has the lower variance. For which $w$
# is that true, at $\mu = 1$?

# %%
count = 20_000 if smoke else 200_000
mu = torch.tensor(1.0)
waves = torch.linspace(0.2, 3.0, 15)
epsilon = torch.randn(count)
z = mu + epsilon
rows = []
for w in waves:
    score = torch.cos(w * z) * (z - mu)
    path = -w * torch.sin(w * z)
    exact = -w * torch.exp(-(w**2) / 2) * torch.sin(w * mu)
    assert abs(z_score(score, exact)) < 4.8 and abs(z_score(path, exact)) < 4.8  # both unbiased
    rows.append((score.var(), path.var()))
scores, paths = (torch.stack(column) for column in zip(*rows))
formula = 0.5 * (
    waves**2 - 1 + (3 * waves**2 - 1) * torch.cos(2 * waves * mu) * torch.exp(-2 * waves**2)
)

fig, axis = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
axis.plot(waves, scores, marker="o", label="score function")
axis.plot(waves, paths, marker="s", label="reparameterized")
axis.set(xlabel="w", ylabel="variance of the gradient", title="cos(w z), z ~ N(1, 1)")
_ = axis.legend(frameon=False)
assert (paths - scores - formula).abs().max() < 0.1
assert paths[0] < scores[0] and paths[-1] > scores[-1]

# %% [markdown]
# Where $f$ varies slowly over the width of $q$ the path wins, where it wiggles the score, and from $w \approx 1.11$ on
# the score wins for every $\mu$. ELBOs of VAEs vary slowly in $z$ near the posterior, which is why the path is usually
# better there. But not always.
#
# ## Baselines
#
# As the mean of the score is zero, any number $b$ that does not depend on $z$ may be subtracted from $f$: the score
# function gradient stays unbiased. A $b$ near the typical value of $f$ removes much variance when $f$ is far from zero,
# as ELBOs are; a bad one adds some.

# %%
target = torch.cos(z) - 100.0  # like a log likelihood of -100 nats
baseline = torch.cos(mu + torch.randn(1000)).mean() - 100.0  # from separate draws
plain, centred = target * (z - mu), (target - baseline) * (z - mu)
print(f"variance without a baseline {plain.var():.1f}, with one {centred.var():.3f}")
print(f"of cos(z) itself without {scores[4]:.3f}, with the baseline 5", end=" ")
print(f"{((torch.cos(z) - 5) * (z - mu)).var():.1f}")
assert plain.var() > 1000 * centred.var()

# %% [markdown]
# ## Sticking the landing
#
# In the reparameterized ELBO gradient, $\log q_\phi(z)$ depends on $\phi$ twice: through $z$, and directly.
# The direct part is a score, with mean zero and variance that does not vanish. Leave it out, and at the
# exact posterior the gradient has *no* variance at all. `objectives.STL` does that; `evaluate.gradients` draws an
# estimator's gradient many times.

# %%
vae = linear_gaussian(dim=5, latent_dim=2, sigma=0.5, posterior="full")
known = Exact(vae)
known.set_posterior(vae)
x = known.marginal.sample((20,))
draws = 50 if smoke else 300
options = {"parameters": [vae.posterior.encoder.layers[0].bias], "seed": seed}
elbo = gradients(vae, pv.objectives.ELBO(kl="sampled"), x, draws, **options)
stl = gradients(vae, pv.objectives.STL(), x, draws, **options)
score = gradients(vae, pv.objectives.ScoreFunction(baseline="none"), x, draws, **options)
for name, values in (("ELBO", elbo), ("STL", stl), ("score function", score)):
    print(f"{name:16s} variance, summed over the encoder's biases, {values.var(0).sum():.2e}")
assert stl.var(0).sum() < 1e-20 < elbo.var(0).sum() < score.var(0).sum()

# %% [markdown]
# ## Where the path is closed
#
# A Bernoulli latent variable cannot be reparameterized: a tiny change in a probability changes no sample,
# until it changes one by 1. (Its two values could also be summed over: lesson 9.) `Trace_ELBO` and `TraceGraph_ELBO`
# then use the score function; the latter takes baselines, given at the site. A Pyro *parameter* is what `pyro.param`
# names; `SVI` updates it.

# %%
data = torch.tensor([1.0, 1.0, 1.0, 0.0])


def model(data: torch.Tensor) -> None:
    fair = pyro.sample("fair", dist.Bernoulli(0.5))
    with pyro.plate("flips", len(data)):
        pyro.sample("flip", dist.Bernoulli(torch.where(fair > 0, 0.5, 0.9)), obs=data)


def guide(data: torch.Tensor) -> None:
    logit = pyro.param("logit", torch.tensor(0.0))
    baseline = {"use_decaying_avg_baseline": True}
    pyro.sample("fair", dist.Bernoulli(logits=logit), infer={"baseline": baseline})


by_hand = torch.tensor([0.9**3 * 0.1, 0.5**4])
truth = by_hand[1] / by_hand.sum()
pyro.clear_param_store()
pyro.set_rng_seed(seed)
svi = SVI(model, guide, Adam({"lr": 0.02}), TraceGraph_ELBO())
late = []
for step in range(500 if smoke else 2000):
    svi.step(data)
    if step >= 300:
        late.append(torch.sigmoid(pyro.param("logit")).item())
found = torch.tensor(late).mean()
print(f"P(fair | data): {found:.3f} by SVI, {truth:.3f} exactly")
assert abs(found - truth) < (0.15 if smoke else 0.05)

variances = {}
for loss in (Trace_ELBO(), TraceGraph_ELBO()):
    logit = pyro.param("logit").unconstrained()
    slopes = []
    for _ in range(300):
        logit.grad = None
        loss.loss_and_grads(model, guide, data)
        slopes.append(logit.grad.clone())
    variances[type(loss).__name__] = torch.stack(slopes[100:]).var()  # once the baseline settled
    print(f"{type(loss).__name__}: variance of the gradient {variances[type(loss).__name__]:.2e}")
pyro.clear_param_store()
assert variances["TraceGraph_ELBO"] < variances["Trace_ELBO"] / 10

# %% [markdown]
# The guide has reached the posterior, where $\log p(x, z) - \log q(z)$ is the same for both values of $z$: the
# baseline removes it, and no variance is left.
#
# ## Exercises
#
# 1. Find the $w$ at which the two variances are equal for $\mu = 0$ and for $\mu = \pi / 2$.
# 2. Which baseline is best for $\cos(wz)$? Derive $b^* = \mathbb{E}[f s^2] / \mathbb{E}[s^2]$, with
#    $s = \nabla \log q$, and measure it.
# 3. Break STL: shift the encoder's bias by 0.1 and look at the variances again.
#
# <details><summary>Solutions</summary>
#
# 1. Solve the formula for zero; with $\mu = 0$ at $w \approx 0.85$, with $\mu = \pi / 2$ at
#    $w \approx 1.10$ (`scipy.optimize.brentq`).
# 2. Minimize $\mathbb{E}[(f - b)^2 s^2]$ over $b$. Here $b^* = (1 - w^2) \, \mathbb{E}[f]$: not the mean of $f$, but
#    near it for small $w$; at $w = 1$ it is 0.
# 3. Its variance grows as the square of the shift, as the ELBO's gap does: a hundred times for a shift of 0.1 instead
#    of 0.01. At a shift of 1 the advantage is gone. It is small near the posterior, not everywhere.
#
# </details>
#
# ## References
#
# - Williams, *Simple Statistical Gradient-Following Algorithms*, 1992: the score function.
# - Kingma and Welling, *Auto-Encoding Variational Bayes*, 2014: equations 4 to 7.
# - Roeder, Wu and Duvenaud, *Sticking the Landing*, 2017: equation 8.
# - Mohamed et al., *Monte Carlo Gradient Estimation in Machine Learning*, 2020: section 3 has the race.
