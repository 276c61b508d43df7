# ---
# jupyter:
#   jupytext:
#     formats: py:percent
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # When VAEs fail
#
# *After this lesson you can:* recognize posterior collapse, holes and blur by numbers; predict how many
# latent units survive; say when a remedy helps, and when nothing was wrong.
#
# About 25 minutes. It needs lessons 3 and 5.

# %%
# %matplotlib inline
import math
import os

import matplotlib.pyplot as plt
import pyro.distributions as dist
import torch
from sklearn.decomposition import PCA

import pyro_vae as pv
from pyro_vae.evaluate import (
    active_units,
    compare,
    describe,
    information,
    rate_distortion,
    z_score,
)
from pyro_vae.exact import linear_gaussian

plt.style.use("tableau-colorblind10")
seed = int(os.environ.get("SEED", 0))
smoke = "SMOKE" in os.environ
torch.manual_seed(seed)
digits = pv.data.digits()

# %% [markdown]
# ## How many units live?
#
# A latent unit that carries more information than it costs survives; one that does not is switched off: its
# posterior equals the prior. A unit is called *active* if the variance over data of its posterior mean is above 0.01.
#
# Consider a linear VAE on digits divided by 16, with ten units and noise of fixed variance $\sigma^2$. What there is to
# encode are the directions in which data vary: the eigenvalues $\lambda$ of their covariance.

# %%
x = digits.train.rows(slice(None)).flatten(1) / 16
eigenvalues = torch.from_numpy(PCA().fit(x.numpy()).explained_variance_)
print("eigenvalues:", [round(float(v), 2) for v in eigenvalues[:10]])

# %% [markdown]
# **Predict before you run.** How many of the ten units live, for $\sigma^2 = 0.3, 0.47, 2$?

# %%
options = {"batch_size": 260, "lr": 2e-2, "schedule": "cosine", "progress": False, "seed": seed}
for variance in (0.3, 0.47, 2.0):
    torch.manual_seed(seed)
    vae = linear_gaussian(64, 10, math.sqrt(variance))
    vae.likelihood.decoder.layers[0].bias.data.copy_(x.mean(0))
    pv.fit(vae, x, epochs=5 if smoke else 200, **options)
    alive = int((active_units(vae, x) > 0.01).sum())
    above = int((eigenvalues > variance).sum())
    print(f"sigma^2 = {variance}: {alive} active units, {above} eigenvalues above it")
    assert alive == above or smoke

# %% [markdown]
# What lies below the noise is not worth its nats. That is not a failure: it is how a VAE finds its dimension.
#
# ## Collapse
#
# It is a failure if useful units die. Too much weight on the KL term causes it; so does a decoder that ignores $z$.
# First the weight: it rises from 0 to 100 while we train, and `fit` watches: it warns when half of the living units are
# about to die.

# %%


def small_vae(
    latent_dim: int = 8, decoder_layers: int = 1, activation: str = "Tanh", start: int = seed
) -> pv.VAE:
    torch.manual_seed(start)
    decoder = pv.nn.MLP(latent_dim, [64] * decoder_layers, (1, 8, 8), activation=activation)
    encoder = pv.nn.MLP((1, 8, 8), [64], 2 * latent_dim, scale=16)
    return pv.VAE(
        pv.priors.StandardNormal(latent_dim),
        pv.likelihoods.Binomial(decoder, 16, event_dim=3),
        pv.posteriors.MeanFieldNormal(encoder),
    )


def count_active(vae: pv.VAE) -> int:
    return int((active_units(vae, digits.train) > 0.01).sum())


epochs = 30 if smoke else 60
ill = small_vae()
history = pv.fit(
    ill,
    digits.train,
    epochs=epochs,
    kl_weight=100.0,
    kl_warmup_epochs=epochs,
    seed=seed,
    progress=False,
)
units = history["active_units"]
warnings = [row for row in history.rows if "warning" in row]
print("active units by epoch:", units)
print(f"epoch {warnings[0]['epoch']}: {warnings[0]['warning']}")
warned = warnings[0]["epoch"]
dead = next(epoch for epoch, n in enumerate(units, 1) if n <= units[warned - 1] / 2)
print(f"Half of the units that lived at the warning were dead {dead - warned} epochs later.")
assert dead >= warned + 5 and units[-1] <= 2

# %% [markdown]
# **Predict before you run.** We continue to train the dead model, with the weight 1. Do its units come back?
#
# The ELBO below always has the weight 1, whatever the weight in training, so that values can be compared.

# %%
options = {"lr": 1e-2, "schedule": "cosine", "progress": False, "seed": seed}
before = pv.elbo(ill, digits.test, 10)
print(f"{count_active(ill)} active units, {describe('ELBO at weight 100', before)}")
pv.fit(ill, digits.train, epochs=2 if smoke else 40, **options)
after = pv.elbo(ill, digits.test, 10)
print(f"{count_active(ill)} active units, {describe('trained on at weight 1', after)}")
assert z_score(after - before) > 4.6
assert smoke or count_active(ill) >= 7

# %% [markdown]
# They do. So this collapse was caused by the objective, not by a trap: the remedy is the weight 1.
#
# ## Remedies: when they help, and when not
#
# A trap is a start from which the objective with weight 1 does not find the way. Two remedies are usual:
#
# - **Warm-up**: the KL weight rises from 0 to 1, so that the encoder finds something to say before it is
#   charged for it (`kl_warmup_epochs`).
# - **Free bits**: the first few nats of each unit are free (`free_bits`). The loss is then not a bound.
#
# We try them on two decoders: one with four Sigmoid layers, and the one with one Tanh layer from above. A Sigmoid has
# a slope of at most 1/4, so four of them hardly pass $z$ on. The first number printed measures this: the standard
# deviation over $z \sim p(z)$ of the logits, before training.
#
# **Predict before you run.** Which rows below have dead units? In which does a remedy raise the ELBO?

# %%
epochs = 2 if smoke else 80
remedies = {
    "plain": {},
    "warm-up": {"kl_warmup_epochs": epochs / 2},
    "free bits 1": {"free_bits": 1.0},
}
decoders = {"four Sigmoid layers": (4, "Sigmoid"), "one Tanh layer": (1, "Tanh")}
bounds, alive, models = {}, {}, {}


def train(decoder: str, name: str, start: int = seed, **remedy: float) -> None:
    vae = models[decoder, name] = small_vae(8, *decoders[decoder], start)
    pv.fit(vae, digits.train, epochs=epochs, **options, **remedy)
    rate = rate_distortion(vae, digits.test, 10).rate
    bounds[decoder, name] = pv.elbo(vae, digits.test, 10)
    alive[decoder, name] = count_active(vae)
    print(
        f"{alive[decoder, name]} active units, rate {abs(rate):4.1f}, "
        + describe(f"{name}, ELBO", bounds[decoder, name])
    )


for decoder, layers in decoders.items():
    logits = small_vae(8, *layers).likelihood.decoder(torch.randn(1000, 8))
    print(f"{decoder}: sd of the logits at the start {logits.std(0).mean():.4f}")
    for name, remedy in remedies.items():
        train(decoder, name, **remedy)
train("one Tanh layer", "plain, another start", seed + 100)

pixels = digits.train.rows(slice(None)).mean(0) / 16
alone = dist.Binomial(16, probs=pixels.clamp(1e-4, 1 - 1e-4)).to_event(3)
print(describe("pixels without z", alone.log_prob(digits.test.rows(slice(None)))))
for (decoder, name), bound in bounds.items():
    if name != "plain":
        change = compare(bounds[decoder, "plain"], bound).difference
        print(f"{decoder}, {name} - plain: {change:+.2f} +- {change.se:.2f} nats per datum")
if not smoke:
    deep = {name: alive["four Sigmoid layers", name] for name in remedies}
    assert deep["plain"] <= 1 and deep["free bits 1"] == 8
    gain = bounds["four Sigmoid layers", "free bits 1"] - bounds["four Sigmoid layers", "plain"]
    assert z_score(gain) > 4.6
    shallow = [bound.mean() for (decoder, _), bound in bounds.items() if "Tanh" in decoder]
    assert min(alive[key] for key in alive if "Tanh" in key[0]) == 8
    assert max(shallow) - min(shallow) < 6

# %% [markdown]
# The deep decoder starts out deaf to $z$: its logits vary with $z$ by about a thousandth. All its units die, and its
# ELBO is that of *pixels without z*, independent binomials with the mean grey levels of the training data. These units
# were useful: with free bits all eight survive, and the ELBO is higher by a hundred nats. The warm-up does not help
# here; after its 40 epochs nothing listens yet. But compare the rows below. A decoder that listens from the start
# is better still, by tens of nats, and needs no remedy.
#
# With the Tanh layer nothing had collapsed, so there is nothing to fix. All eight units are active in each row, and
# a remedy changes no more than luck does: with `SEED=1` the warm-up gains 1.5 nats instead of losing 1.6, and
# another start alone gains 2.6. (The errors are over test digits. They do not include the luck of training.)
#
# So count the active units first. If none that you need is dead, leave the remedies alone.
#
# ## Rate and distortion
#
# $-\mathcal{L} = R + D$: the *rate* is the information in $z$, the *distortion* what is still missing. Every point
# of a line $R + D = c$ has the same ELBO, from "encodes nothing, guesses well" to "encodes everything". The KL weight
# picks the point; one model, trained further at one weight after another, traces the curve. It has to be a trained
# model, or else the later weights look better only because they had more epochs. So we use one that is already
# trained, and train it further at the first weight.
#
# **Predict before you run.** At which weight is the test ELBO best?

# %%
weights = (0.3, 1.0, 3.0) if smoke else (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
vae = models["one Tanh layer", "plain, another start"]
options["lr"] = 5e-3
pv.fit(vae, digits.train, epochs=2 if smoke else 30, kl_weight=weights[0], **options)
curve = pv.rate_distortion_curve(
    vae, digits.train, digits.test, weights, epochs=2 if smoke else 15, **options
)
rates = [float(point.rate) for point in curve.values()]
distortions = [float(point.distortion) for point in curve.values()]
for weight, point in curve.items():
    print(
        f"KL weight {weight:4g}: rate {point.rate:5.2f} +- {point.rate_se:.2f}, distortion "
        f"{point.distortion:6.2f} +- {point.distortion_se:.2f}, ELBO "
        f"{-point.rate - point.distortion:7.2f} nats per datum"
    )
figure, axis = plt.subplots(figsize=(5.6, 3.8), layout="constrained")
axis.plot(rates, distortions, marker="o", label="one model")
for weight, r, d in zip(weights, rates, distortions):
    axis.annotate(f"{weight:g}", (r, d), textcoords="offset points", xytext=(5, 5))
best = min(r + d for r, d in zip(rates, distortions))
axis.plot([0, max(rates)], [best, best - max(rates)], linestyle="--", label="equal ELBO")
axis.set(xlabel="rate, nats per datum", ylabel="distortion, nats per datum")
axis.set_title("test digits; numbers are KL weights")
axis.legend(frameon=False)
assert rates == sorted(rates, reverse=True)
if not smoke:
    assert distortions[1:] == sorted(distortions[1:])
    assert weights[[r + d for r, d in zip(rates, distortions)].index(best)] == 1.0
    assert rates[0] - rates[1] > 3 and distortions[1] - distortions[0] < 1

# %% [markdown]
# The rate falls with the weight, and from 0.3 on the distortion rises. At the smallest weights little is gained:
# from 0.3 to 0.1 the rate grows by about 4 nats, and the distortion falls by less than one. The best ELBO is at
# weight 1, as it should be: there the objective is the ELBO.
#
# In training a nat of rate is bought as long as it saves more distortion than its weight. So the slope
# $\Delta D / \Delta R$ between two neighbours lies between minus their weights. On test digits, from 0.3 on:

# %%
for i in range(len(weights) - 1):
    slope = (distortions[i + 1] - distortions[i]) / (rates[i + 1] - rates[i])
    print(f"from weight {weights[i]:g} to {weights[i + 1]:g}: slope {slope:.2f}")
    assert smoke or i == 0 or weights[i] < -slope < weights[i + 1]

# %% [markdown]
# ## Holes
#
# The *aggregate posterior* $q(z) = \frac{1}{N} \sum_i q(z \mid x_i)$ is where the encoder puts data; the prior is
# where samples come from. The rate has two parts,
#
# $$R = I_q(x; z) + \mathrm{KL}(q(z) \,\|\, p(z)),$$
#
# information, plus a *mismatch* that buys nothing. At best the information identifies which of the $N$ data it was, so
# it is at most $\log N$. (Near this cap it is underestimated, and the mismatch overestimated by as much: `saturated`.)
#
# *Holes* are something else: the share of prior draws at which the density $q(z)$ is below the 1 % quantile of its
# values at $q$'s own draws. It is 1 % if the two are equal. The decoder was hardly ever trained on points in a hole.
#
# **Predict before you run.** Two latent features, weights 0.1 and 1, each after 10 epochs and after 100 more. What
# does training do to the mismatch, and what to the holes?

# %%
figure, axes = plt.subplots(2, 2, figsize=(8, 8), layout="constrained", sharex=True, sharey=True)
holes, mismatch, width = {}, {}, {}
options["lr"] = 2e-2
for column, weight in zip(axes.T, (0.1, 1.0)):
    vae, trained = small_vae(2), 0
    for axis, epochs in zip(column, (2, 10) if smoke else (10, 100)):
        pv.fit(vae, digits.train, epochs=epochs, kl_weight=weight, **options)
        trained += epochs
        found, q = information(vae, digits.train), pv.encode(vae, digits.train)
        holes[weight, trained] = float(found.holes)
        mismatch[weight, trained] = float(found.marginal_kl)
        spread = (q.loc.var(0) + q.scale.square().mean(0)).sqrt()
        width[weight, trained] = float(((spread**2 - 1) / 2 - spread.log()).sum())
        print(
            f"KL weight {weight}, {trained:3d} epochs: I(x; z) {found.mutual_information:.2f} of at "
            f"most {found.cap:.2f}{', saturated' if found.saturated else ''}; KL(q(z) || p(z)) "
            f"{found.marginal_kl:.2f}, by its width at least {width[weight, trained]:.2f} nats; sd "
            f"of q(z) {spread[0]:.1f} and {spread[1]:.1f}; holes {found.holes:.0%}"
        )
        z = vae.prior().expand((1000,)).sample()
        axis.scatter(q.loc[:, 0], q.loc[:, 1], s=6, linewidths=0, label="means of q(z | x)")
        axis.scatter(z[:, 0], z[:, 1], s=3, linewidths=0, color="black", label="draws of p(z)")
        title = f"KL weight {weight}, {trained} epochs: {holes[weight, trained]:.0%} holes"
        axis.set(title=title, xlabel="z1", ylabel="z2")
axes[0, 0].legend(frameon=False)
if not smoke:
    assert all(holes[weight, 110] < 0.5 * holes[weight, 10] for weight in (0.1, 1.0))
    assert mismatch[0.1, 110] > mismatch[0.1, 10] and holes[0.1, 110] < 0.3
    assert width[0.1, 110] > 2 > mismatch[1.0, 110]

# %% [markdown]
# After 10 epochs about half of the prior is holes: the encoder has not spread the data yet. Training closes most of
# them, at both weights. The mismatch does not close with them. At the weight 0.1 it is higher after 110 epochs than
# after 10, though few holes are left: $q(z)$ is two to three times as wide as the prior, and covers it. (The number
# is too high where the information is at its cap. But a $q(z)$ of variances $s_j^2$ has a mismatch of at least
# $\sum_j \frac{1}{2} (s_j^2 - 1 - \log s_j^2)$, that of a Normal of this width, and the cap does not affect it.)
#
# So mismatch and holes are different things, and many holes may only mean that training was short. Train first. Lesson
# 6 measures what a *learned* prior does about the rest, in holes and in evidence.
#
# ## Blur
#
# **A common mistake.** "VAEs are blurry", said of images of $\mathbb{E}[x \mid z]$. A mean over all images that
# a $z$ allows *is* smooth; a sample of $p(x \mid z)$ has the pixel noise that the likelihood implies. We measure it
# by the absolute difference of neighbouring pixels, averaged over an image, in grey levels.
#
# **Predict before you run.** Order data, means and samples by it.

# %%


def roughness(images: torch.Tensor) -> torch.Tensor:
    r"""The mean absolute difference of neighbouring pixels, of each image."""
    across, down = images.diff(dim=-1).abs(), images.diff(dim=-2).abs()
    return (across.flatten(1).mean(1) + down.flatten(1).mean(1)) / 2


vae, x = models["one Tanh layer", "plain"], digits.test.rows(slice(None))
rough = {"data": roughness(x)}
for what in ("mean", "sample"):
    rough[what] = roughness(pv.evaluate.reconstruct(vae, x, what))
for name, values in rough.items():
    print(describe(name, values, "grey levels"))
assert z_score(rough["mean"] - rough["data"]) < -4.6 or smoke
assert z_score(rough["sample"] - rough["mean"]) > 4.6
pv.plot.plot_reconstructions(vae, digits.test)

# %% [markdown]
# The means are the smoothest and the data the roughest. A sample lies between: the noise restores a part of the missing
# roughness. Independent pixels cannot move an edge; where $z$ does not say where a stroke ends, a mean is
# blurred, and a sample is noise on blur. Then the likelihood is too simple, or $z$ carries too little.
#
# ## Exercises
#
# 1. Choose $\sigma^2$ within 2 % of an eigenvalue in the first experiment, $0.98 \cdot 0.3912$. What happens to the
#    count, and why is no finite training reliable?
# 2. Train the decoder of four Sigmoid layers with `free_bits=0.1`, without a warm-up and with one of 40 epochs.
#    Which has the better ELBO?
#
# <details><summary>Solutions</summary>
#
# 1. Four eigenvalues lie above. Seeds 0, 1 and 2 count 5, 3 and 4 units; with four times as many epochs 4, 4 and 3.
#    At the optimum the unit gains $\frac{1}{2} \left( \lambda / \sigma^2 - 1 - \log(\lambda / \sigma^2) \right)$,
#    which is of second order in the distance: $10^{-4}$ nats here. Its gradient is tiny, and the noise of the steps
#    decides. The count itself is crude, too: the activity at the optimum is $(\lambda - \sigma^2) / \lambda$, here
#    0.02; within 1 % it is below 0.01, and even a perfectly trained unit counts as dead.
# 2. With it: -171.8 +- 2.9 against -186.5 +- 2.8 nats per datum (seed 1: -178.3 against -212.5). All eight units
#    are active in all four. A warm-up alone did not help, yet it helps free bits. Measure with `pv.elbo`: the loss
#    under free bits is not a bound and must not be compared.
#
# </details>
#
# ## References
#
# - Burda et al., *Importance Weighted Autoencoders*, 2016: section 5, active units.
# - Lucas et al., *Don't Blame the ELBO!*, 2019: collapse in linear models.
# - Alemi et al., *Fixing a Broken ELBO*, 2018: equations 4 to 6.
# - Hoffman and Johnson, *ELBO Surgery*, 2016: equation 8.
# - Kingma et al., *Improved Variational Inference with Inverse Autoregressive Flow*, 2016: equation 15, free bits.
