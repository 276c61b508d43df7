# ---
# jupyter:
#   jupytext:
#     formats: py:percent
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # Codes and pixels: the rate you can pay with
#
# *After this lesson you can:* give a decoder pixels that see each other, and prove that it is a distribution; say why
# the latent variable then dies, and buy it back; count what codes cost, by a learned prior and evenly; tell the bound
# of one code from $\log p(x)$.
#
# About 30 minutes. It needs lessons 8 and 9.

# %%
# %matplotlib inline
import math
import os

import matplotlib.pyplot as plt
import torch

import pyro_vae as pv
from pyro_vae.evaluate import active_units, code_use, rate_distortion
from pyro_vae.statistics import Mean

plt.style.use("tableau-colorblind10")
seed = int(os.environ.get("SEED", 0))
smoke = "SMOKE" in os.environ
torch.manual_seed(seed)
MLP = pv.nn.MLP

# %% [markdown]
# ## Pixels that see each other
#
# Given $z$, the pixels of `Bernoulli` are independent. An autoregressive likelihood gives each pixel those before it,
#
# $$p(x \mid z) = \prod_i p(x_i \mid x_{<i}, z).$$
#
# All $2^9$ images of 3x3 bits can be listed, so the sum over them can be taken. **Predict before you run:** what does
# it become if one mask is off by one, so that a pixel sees itself?

# %%
tiny = pv.likelihoods.PixelCNN(MLP(2, [8], (1, 3, 3)), channels=8, num_layers=2, kernel_size=3)
for parameter in tiny.parameters():
    parameter.data += 0.5 * torch.randn_like(parameter)
every = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 9).reshape(-1, 1, 3, 3)


@torch.no_grad()
def total() -> float:
    z = torch.ones(512, 2)
    return float(tiny(z).log_prob(every).double().exp().sum())


print(f"sum over all images: {total():.6f}")
assert abs(total() - 1) < 1e-4
mask = tiny.pixels.layers[0].left.mask
mask[..., -1] = True
print(f"with a pixel that sees itself: {total():.6f}")
assert abs(total() - 1) > 1e-2

# %% [markdown]
# A program with that mask trains to wonderful numbers, which are not log probabilities. The density takes one pass of
# the network, a draw takes nine.
#
# ## Who needs $z$?
#
# Data whose second half repeats the first: three bits, twice. A decoder that sees pixels can copy; it needs no $z$ for
# $\log p(x) = -3 \log 2$, the best that there is. The bound is
#
# $$\mathcal{L} = \mathbb{E}_q \log p(x \mid z) - \mathrm{KL},$$
#
# and a nat of KL has to save a nat of reconstruction. Where the decoder can do without $z$, it saves nothing.

# %%
torch.manual_seed(seed)
half = torch.bernoulli(torch.full((600, 3), 0.5))
x = torch.cat([half, half], 1)
best = -3 * math.log(2)


def vae_with(likelihood: pv.base.Likelihood, rate: float = 0.0) -> pv.VAE:
    encoder = MLP(6, [16], 4)
    posterior = pv.posteriors.MeanFieldNormal(encoder)
    if rate:
        posterior = pv.posteriors.CommittedRateNormal(encoder, rate)
    return pv.VAE(pv.priors.StandardNormal(2), likelihood, posterior)


def show(name: str, vae: pv.VAE, **settings: float) -> tuple[float, float]:
    epochs = 5 if smoke else 100
    pv.fit(vae, x, epochs=epochs, lr=1e-2, seed=seed, progress=False, compile="no", **settings)
    rate = float(rate_distortion(vae, x, 10).rate)
    evidence = float(pv.log_marginal(vae, x, 200).log_marginal.mean())
    alive = int((active_units(vae, x) > 0.01).sum())
    print(f"{name:34s} rate {rate:5.2f}  log p(x) {evidence:6.2f}  active units {alive}")
    return rate, evidence


torch.manual_seed(seed)
print(f"the best log p(x) there is: {best:.2f}")
independent = show("independent pixels", vae_with(pv.likelihoods.Bernoulli(MLP(2, [16], 6))))
strong = pv.likelihoods.MADE
plain = show("pixels see each other", vae_with(strong(MLP(2, [16], 6), hidden_features=[32])))
bits = show(
    "... with 0.5 free bits a feature",
    vae_with(strong(MLP(2, [16], 6), hidden_features=[32])),
    free_bits=0.5,
)
committed = show(
    "... with a committed rate of 0.5",
    vae_with(strong(MLP(2, [16], 6), hidden_features=[32]), 0.5),
)
if not smoke:
    assert plain[0] < independent[0] / 4 and min(bits[0], committed[0]) > 0.9
    assert plain[1] > independent[1]

# %% [markdown]
# Collapse is no accident of optimization: at the optimum a nat of rate saves nothing. To keep a latent variable you
# must *pay* for it: free bits do not charge the first nats of each feature; a committed rate cannot go below. Neither
# raises $\log p(x)$ here; what is bought is a $z$ that says something of $x$.
#
# ## Codes, and what they cost
#
# A vector-quantized posterior is a point: the nearest of $K$ vectors for each of $n$ blocks. A point among *codes* is
# counted, not measured, so
#
# $$\log p(x) \geq \log p(x \mid k) + \log p(k), \quad k = k(x)$$
#
# is a bound: the *rate* is $-\log p(k)$. It is often reported as $n \log K$, the price of an even code, which no data
# pay. Here are three codes of eight for the digits of scikit-learn, as bits. All $8^3 = 512$ values can be listed, so
# that $\log p(x)$ is exact.

# %%
digits = pv.data.digits(binarize="threshold")
train, test = digits.train, digits.test.freeze(0)
torch.manual_seed(seed)
posterior = pv.posteriors.VectorQuantized(MLP((1, 8, 8), [100], 12), 12, num_codes=8, code_dim=4)
decoder = MLP(12, [100], (1, 8, 8))
vae = pv.VAE(
    pv.priors.Codes.from_recipe(posterior, [64]),
    pv.likelihoods.Bernoulli(decoder, event_dim=3),
    posterior,
)
pv.fit(vae, train, epochs=2 if smoke else 40, lr=3e-3, seed=seed, progress=False, compile="no")
found = code_use(vae, test)
print(f"rate by the learned prior {found.rate}, by an even code {found.even_rate:.2f} nats")
print(f"perplexity {found.perplexity:.1f} of 8 codes, {found.dead} dead")
assert smoke or found.rate.value < found.even_rate

# %% [markdown]
# **Predict before you run.** The nearest code gives a bound. By how much do the other 511 values raise it?

# %%
exact = pv.log_marginal(vae, test).log_marginal
hard = -found.rate.value - found.distortion.value
print(f"bound of the nearest codes {hard:.2f}, exact log p(x) {Mean.of(exact)}")
assert hard < float(exact.mean())
for temperature in (0.1, 1.0, 5.0):
    vae.posterior.temperature.fill_(temperature)
    soft = float(pv.elbo(vae, test, 20).mean())
    print(f"bound of the soft twin, temperature {temperature}: {soft:.2f}")
    assert soft < float(exact.mean()) + 0.1

# %% [markdown]
# The *soft twin* has every code with a probability that falls with its distance. It is what evaluation takes: more
# samples of a point are the same sample, while those of the twin come closer to $\log p(x)$.
#
# The prior of codes is a model in its own right. Its draws, decoded:

# %%
drawn = pv.sample(vae, 24, "mean", seed=seed)
figure, axis = plt.subplots(figsize=(8, 2.2))
axis.imshow(drawn.reshape(2, 12, 8, 8).permute(0, 2, 1, 3).reshape(16, 96), cmap="gray_r")
axis.set_axis_off()
plt.show()

# %% [markdown]
# ## Exercises
#
# 1. Give the digits a `PixelCNN` decoder (`pyro-vae train digits-pixelcnn`). What is its rate with `--train.free-bits 0`?
# 2. Set `track_codebook`'s decay to 0. What happens to the perplexity?
# 3. Replace the learned prior by an even one: by how many nats does the bound fall? Compute it before you run.
