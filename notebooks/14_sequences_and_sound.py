# ---
# jupyter:
#   jupytext:
#     formats: py:percent
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # Sequences and sound
#
# *After this lesson you can:* write a chain as a VAE and check it against the exact answer; pad sequences without
# changing a number; forecast, with intervals that hold; say what a chain is worth beside independent steps; turn
# a spectrogram into sound, and say what was lost.
#
# About 35 minutes. It needs lessons 3, 5 and 10.

# %%
# %matplotlib inline
import math
import os

import matplotlib.pyplot as plt
import torch
from torch.distributions import MultivariateNormal, Normal

import pyro_vae as pv
from pyro_vae.data import log_mel, pad, to_waves
from pyro_vae.evaluate import compare, describe, z_score

plt.style.use("tableau-colorblind10")
seed = int(os.environ.get("SEED", 0))
smoke = "SMOKE" in os.environ
torch.manual_seed(seed)
nan = float("nan")

# %% [markdown]
# ## A chain about which all is known
#
# A sequence is one datum: $T$ steps of $D$ numbers. Its latent variable is one site $z$ of shape $(T, L)$, too, a
# chain,
#
# $$p(z) = p(z_1) \prod_{t>1} p(z_t \mid z_{t-1}), \qquad p(x \mid z) = \prod_t p(x_t \mid z_t).$$
#
# So nothing of lessons 3 to 10 changes: the ELBO, importance weights and verdicts are those of one latent variable,
# which has structure. We start where everything is Normal: $z_0 = 0$ and
#
# $$z_t = a z_{t-1} + q \, \varepsilon_t, \qquad x_t = c z_t + r \, \eta_t.$$
#
# Then $x$ is Normal, with a covariance that can be written down. In the package `priors.Markov` has a network for
# the step, which returns mean and log standard deviation of $z_t$ given $z_{t-1}$; and the guide
# `posteriors.CorrectedMarkov` multiplies each step of the prior by *evidence*, a Normal factor whose mean and log
# standard deviation a second network computes from $x_t$ and all that follow. That is the shape of the exact posterior:
# $p(z_t \mid z_{t-1}, x) \propto p(z_t \mid z_{t-1}) \, p(x_{t:T} \mid z_t)$.
#
# Here $p(x_{t:T} \mid z_t)$ is known. As a function of $z_t$ it is Normal with precision $\lambda_t$ and mean
# $\eta_t / \lambda_t$; one step back these are divided by $1 + q^2 \lambda$, multiplied by $a^2$ and $a$, and what $x_t$
# says is added: $c^\top c / r^2$ and $c^\top x_t / r^2$. This is the information filter, run backwards.

# %%
a, q, r, c = 0.9, 0.5, 0.4, torch.tensor([1.0, -0.5, 0.3])


def affine(weight: torch.Tensor, constants: tuple = ()) -> pv.nn.MLP:
    r"""A network without hidden layers: these weights, and constant outputs behind."""
    net = pv.nn.MLP(weight.shape[1], [], len(weight) + len(constants))
    with torch.no_grad():
        net.layers[0].weight.zero_()
        net.layers[0].bias.zero_()
        net.layers[0].weight[: len(weight)] = weight
        net.layers[0].bias[len(weight) :] = torch.tensor(constants)
    return net


class Evidence(torch.nn.Module):
    r"""What x_t and the steps after it say of z_t, exactly."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        precision = mean = torch.zeros(*x.shape[:-2], 1)
        outputs = []
        for t in reversed(range(x.shape[-2])):
            there = ~x[..., t, :].isnan()
            shrink = 1 + q**2 * precision
            precision, mean = a**2 * precision / shrink, a * mean / shrink
            precision = precision + (there * c**2).sum(-1, keepdim=True) / r**2
            seen = torch.where(there, x[..., t, :], 0.0)
            mean = mean + (seen * c).sum(-1, keepdim=True) / r**2
            safe = precision.clamp(min=1e-12)
            outputs.append(torch.cat([mean / safe, -safe.log() / 2], -1))
        return torch.stack(outputs[::-1], -2)


def chain(num_steps: int) -> pv.VAE:
    prior = pv.priors.Markov(affine(torch.tensor([[a]]), (math.log(q),)), 1, num_steps)
    gaussian = pv.likelihoods.Gaussian(affine(c[:, None]), "fixed", r, event_dim=2)
    posterior = pv.posteriors.CorrectedMarkov(Evidence(), prior)
    return pv.VAE(prior, pv.likelihoods.MissingAtRandom(gaussian), posterior)


def covariances(num_steps: int) -> tuple[torch.Tensor, torch.Tensor]:
    r"""Of c z, and of x, each as one vector of all steps."""
    steps = torch.arange(num_steps)
    power = (a ** (steps[:, None] - steps).clamp(min=0)).tril()
    of_z = q**2 * power @ power.T
    of_cz = torch.kron(of_z, torch.outer(c, c))
    return of_cz, of_cz + r**2 * torch.eye(len(of_cz))


num_steps = 12
vae, (of_cz, of_x) = chain(num_steps), covariances(num_steps)
law = MultivariateNormal(torch.zeros(3 * num_steps), of_x)
x = law.sample((1000,)).unflatten(1, (num_steps, 3))
truth = law.log_prob(x.flatten(1))
print(describe("log p(x), exact", truth))
print(describe("ELBO, one draw", pv.elbo(vae, x, 1)))
error = (pv.elbo(vae, x, 1) - truth).abs().max()
print(f"of no sequence is it off by more than {error:.0e} nats")
assert error < 1e-3

# %% [markdown]
# The guide is the posterior, so that each draw of the ELBO is $\log p(x)$ (lesson 3). A guide that reads forwards, from
# $x_1$ to $x_t$, could not be: $z_t$ is known best when what follows has been heard.
#
# ## Padding
#
# Sequences differ in length, tensors do not. **Predict before you run.** A sequence of 12 steps gets 6 more, (a) of NaN,
# which stands for *not there*, (b) of zeros. By how much does $\log p$ of it change?

# %%
short = x[:200]
padded = pad(list(short), num_steps + 6)
zeros = torch.nan_to_num(padded)
before = pv.elbo(vae, short, 1)
for name, longer in (("NaN", padded), ("zeros", zeros)):
    print(describe(f"6 steps of {name}", pv.elbo(vae, longer, 1) - before))
assert (pv.elbo(vae, padded, 1) - before).abs().max() < 1e-3
assert abs(z_score(pv.elbo(vae, zeros, 1) - before)) > 4.3

# %% [markdown]
# (a) Nothing: elements that are not there leave the likelihood, and behind the last datum the guide *is* the prior, so
# that the KL term of these steps is zero, exactly. (b) Zeros are data. A model is then trained on the end of sequences
# that never were, and its number of nats cannot be compared with that of another padding.
#
# **A common mistake.** Nats *per step* of several sequences is a ratio of sums. The mean of each sequence's own ratio
# weighs a step of a short sequence more than one of a long one, and is another number. `Mean.ratio` has the first, with
# its error.
#
# ## Forecasts
#
# What is to come is NaN, and `pv.impute` draws it from $p(x_{\text{missing}} \mid x_{\text{there}})$: a forecast is
# imputation. With Normals the answer is known: mean and variance of a conditional Normal.
#
# **Predict before you run.** Of 5 steps to come, does the forecast's standard deviation grow without end? Which share of
# what comes is within the 90 % intervals?

# %%
known = 3 * (num_steps - 5)
past = x[: 50 if smoke else 300].clone()
past[:, num_steps - 5 :] = nan
future = pv.impute(vae, past, num_samples=50 if smoke else 400, seed=seed)
gain = of_x[known:, :known] @ torch.linalg.inv(of_x[:known, :known])
mean = (past.flatten(1)[:, :known] @ gain.T).unflatten(1, (5, 3))
variance = (of_x[known:, known:] - gain @ of_x[:known, known:]).diagonal().unflatten(0, (5, 3))
drawn = future.draws[:, :, num_steps - 5 :]
low, high = drawn.quantile(torch.tensor([0.05, 0.95]), dim=0)
there = x[: len(past), num_steps - 5 :]
inside = ((there >= low) & (there <= high)).double().mean((1, 2))
print("sd of the first element, drawn", drawn[..., 0].std(0).mean(0).tolist())
print("                         exact", variance[:, 0].sqrt().tolist())
print(describe("inside of the 90 % intervals", inside, "of the steps"))
worst = ((drawn.mean(0) - mean) / (variance / len(drawn)).sqrt()).abs().max()
print(f"the mean of the draws is within {worst:.1f} standard errors of the exact mean, everywhere")
assert worst < 6 and abs(float(inside.mean()) - 0.9) < (0.05 if smoke else 0.02)

# %%
figure, axis = plt.subplots(figsize=(7, 3), layout="constrained")
steps = torch.arange(1, num_steps + 1)
axis.plot(steps, x[0, :, 0], "o", label="x, its first element")
axis.plot(steps[-5:], mean[0, :, 0], color="k", label="exact mean of what is to come")
axis.fill_between(steps[-5:], low[0, :, 0], high[0, :, 0], alpha=0.3, label="90 % of the draws")
axis.set(xlabel="step", ylabel="x")
axis.legend(frameon=False, fontsize=8)

# %% [markdown]
# It grows to that of a chain which has forgotten where it was, $c^2 q^2 / (1 - a^2) + r^2$ in the long run. The intervals
# hold.
#
# ## A chain that is learned
#
# Now the steps are not linear. A pendulum turns with a speed of its own, and we see where it is, with noise:
# $x_t = (\cos \theta_t, \sin \theta_t) + 0.2 \, \varepsilon_t$ and $\theta_t = \theta_{t-1} + \omega$. At each
# step alone $x_t$ says nothing of the next one; two steps say nearly all.
#
# `pv.nn.Gated` moves the state part of the way to a bounded proposal, so that chains stay finite; `pv.nn.Backward` is a
# GRU that reads from the end. **Predict before you run.** By how many nats per step is the chain better than independent
# steps? What becomes of it if the KL weight is 1 from the first step?

# %%
length, size = 16, 2
torch.manual_seed(seed)


def pendulums(count: int) -> torch.Tensor:
    speed = 0.3 + 0.5 * torch.rand(count, 1)
    angle = 2 * torch.pi * torch.rand(count, 1) + speed * torch.arange(length)
    place = torch.stack([angle.cos(), angle.sin()], -1)
    return place + 0.2 * torch.randn_like(place)


train, test = pendulums(500), pendulums(300)
alone = Normal(train.mean((0, 1)), train.std((0, 1))).log_prob(test).sum((1, 2))


def learned(warmup: float) -> pv.VAE:
    torch.manual_seed(seed)
    prior = pv.priors.Markov(pv.nn.Gated(4, 16), 4, length)
    net = pv.nn.MLP(4, [32], size, "ReLU", "kaiming")
    vae = pv.VAE(
        prior,
        pv.likelihoods.Gaussian(net, "shared", 0.5, event_dim=2),
        pv.posteriors.CorrectedMarkov(pv.nn.Backward(size, 32, 2 * 4), prior),
    )
    epochs = 2 if smoke else 80
    pv.fit(vae, train, epochs=epochs, lr=1e-2, batch_size=50, schedule="cosine", seed=seed,
           kl_warmup_epochs=warmup * epochs, compile="no", progress=False)  # fmt: skip
    return vae


print(describe("independent steps", alone / length, "nats per step"))
bounds = {}
for name, warmup in (("weight 1 from the first step", 0.0), ("a warm-up", 0.4)):
    vae = learned(warmup)
    bounds[name] = pv.elbo(vae, test, 10)
    print(describe(f"{name}: ELBO", bounds[name] / length, "nats per step"))
print(compare(*bounds.values()).sentence(*bounds))
if not smoke:
    assert z_score(bounds["a warm-up"] - alone) > 4.3

# %% [markdown]
# By two nats per step. Where the pendulum is costs the first step as much as any; then the chain knows speed and place,
# and each step costs little more than its noise. With the weight 1 from the first step the chain is used here, too, and
# half a nat per sequence is lost. That is not so everywhere: on chorales (`docs/sequences.md`) the chain is then not used
# at all.
#
# Given the first 8 steps, where does it go?

# %%
past = test[:3].clone()
past[:, 8:] = nan
missing = pv.VAE(vae.prior, pv.likelihoods.MissingAtRandom(vae.likelihood), vae.posterior)
future = pv.impute(missing, past, num_samples=100, seed=seed)
figure, axes = plt.subplots(1, 3, figsize=(9, 2.6), layout="constrained", sharey=True)
for i, axis in enumerate(axes):
    axis.plot(future.draws[:30, i, 7:, 0].T, color="tab:blue", alpha=0.15)
    axis.plot(range(-1, length - 8), test[i, 7:, 0], "k.", label="what came")
    axis.set(xlabel="steps ahead", title=f"pendulum {i}")
axes[0].legend(frameon=False)

# %% [markdown]
# ## Sound
#
# A sound is a sequence, too, of 8000 numbers a second, of which an ear hears slow changes of loudness in bands of
# frequency. So a model is mostly given *log-mel frames*: the power of some bands in windows of 1/30 of a second, in dB.
# `pv.data.log_mel` makes 32 frames of 32 bands. Phases are gone, and bands are wider than a semitone at the low end.
#
# To hear what a model draws we need a wave whose frames are those. There is none in closed form; Griffin and Lim (1984)
# go back and forth: analyze a wave, keep its phases, give it the power that is asked for, and take the wave that fits
# best, in the sense of least squares.
#
# **Predict before you run.** Tones, through frames and back: how many semitones are they off? (Bands at 440 Hz are 60 Hz
# apart, and a semitone is 26 Hz.)

# %%
tones = torch.tensor([150.0, 220.0, 330.0, 440.0, 660.0, 880.0, 1320.0, 1760.0, 2640.0]).double()
time = torch.arange(4096).double() / 8000
waves = 0.3 * (2 * math.pi * tones[:, None] * time).sin()


def levels(waves: torch.Tensor) -> torch.Tensor:
    r"""Frames from 0 (-60 dB) to 1 (30 dB)."""
    return ((log_mel(waves) + 60) / 90).clamp(0, 1)


def pitch(waves: torch.Tensor) -> torch.Tensor:
    spectrum = torch.fft.rfft(waves * torch.hann_window(waves.shape[1]).double(), 65536).abs()
    return spectrum.argmax(1) * (8000 / 65536)


for count in (2, 10, 60):
    back = to_waves(levels(waves), count, seed=seed)
    off = 12 * (pitch(back) / tones).log2()
    wanted, found = levels(waves)[:, 2:-2], levels(back)[:, 2:-2]
    error = (found - wanted)[wanted > 0.3].abs().mean() * 90
    print(
        f"{count:3d} iterations: frames are off by {error:.2f} dB, "
        f"tones by at most {off.abs().max():.2f} semitones"
    )
assert off.abs().max() < 1

# %% [markdown]
# Less than a semitone, from the first few iterations on: the shares of neighbouring bands tell the frequency. The power of
# the frames fits worse, and slowly. Frames of a tone without an end are the hardest case: a window smears it over bands
# by a rule that only some phases obey. Clips that begin and end are easier, as we now see.

# %%
from pyro_vae.data.places import find  # where data are looked for

try:
    find("fsdd", ["fsdd_logmel32.npz"], None)
    clips = pv.data.fsdd().test.rows(slice(0, 6)).double()
    print("six spoken digits of the data set fsdd")
except ValueError:
    glides = 2 * math.pi * torch.cumsum(200 + 1500 * time * torch.rand(6, 1).double(), 1) / 8000
    clips = levels(0.3 * glides.sin() * torch.hann_window(4096).double())
    print("six made glides, as the data set fsdd is not there")
again = levels(to_waves(clips, seed=seed))
loud = clips > 0.2
print(
    f"frames that are back from sound are off by {(again - clips)[loud].abs().mean() * 90:.2f} dB"
)
figure, axes = plt.subplots(2, 6, figsize=(9, 3), layout="constrained")
for column, pair in enumerate(zip(clips, again)):
    for axis, frames in zip(axes[:, column], pair):
        axis.imshow(frames.T, origin="lower", cmap="magma", vmin=0, vmax=0.8)
        axis.set(xticks=[], yticks=[])
axes[0, 0].set_ylabel("frames")
axes[1, 0].set_ylabel("of their sound")
assert (again - clips)[loud].abs().mean() * 90 < 1

# %% [markdown]
# What was lost is not in this picture: phases, the length of the clip, and all detail within a band. A model of frames
# cannot be blamed for it, nor praised: its $\log p$ is one of frames. `pyro-vae sample RUN --out x.wav` writes what it
# draws as sound; `docs/sequences.md` has a model of spoken digits.
#
# ## Exercises
#
# 1. Let the evidence of the first model be that of $x_t$ alone, without what follows. What is the gap between
#    $\log p(x)$ and the ELBO, per step? Where is it largest?
# 2. Hide steps 4 to 8 of the first chain instead of the last ones. Is the forecast in the middle of the gap wider or
#    narrower than that of as many steps to come?
# 3. In `to_waves`, what happens to two tones within one band?
#
# <details><summary>Solutions</summary>
#
# 1. Give `Evidence` a `precision` of 0 at each step before $x_t$ is added. The last step has nothing that follows, and
#    no gap; all others lose alike.
# 2. Narrower: what comes after the gap speaks, too.
# 3. Their power is one number. What comes back is some sound in the band with their common power, which starts from
#    noise: its pitch is not theirs.
#
# </details>
#
# ## References
#
# - Krishnan, Shalit and Sontag, *Structured Inference Networks for Nonlinear State Space Models*, 2017: section 4, why
#   the guide reads backwards.
# - Griffin and Lim, *Signal Estimation from Modified Short-Time Fourier Transform*, 1984.
# - Jackson et al., *Free Spoken Digit Dataset*, 2018.
