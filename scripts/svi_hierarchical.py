"""Two stochastic layers (Burda et al., 2016), trained by Pyro's own SVI.

    python scripts/svi_hierarchical.py                  # 10 epochs of MNIST
    python scripts/svi_hierarchical.py --data digits    # scikit-learn's digits, a few seconds

MNIST is searched for in PYRO_VAE_DATA, then downloaded.
"""

import argparse

import pyro
import torch
from pyro.infer import SVI, Trace_ELBO

import pyro_vae as pv

parser = argparse.ArgumentParser(description="Trains two stochastic layers by pyro.infer.SVI.")
parser.add_argument("--data", choices=["mnist", "digits"], default="mnist")
parser.add_argument("--epochs", type=int, default=10)
args = parser.parse_args()

pyro.set_rng_seed(0)
mnist = args.data == "mnist"
data = pv.data.mnist(valid=0) if mnist else pv.data.digits()
shape, scale = data.train.x_shape, data.train.scale
top, low, wide, narrow = (50, 100, [200, 200], [100, 100]) if mnist else (4, 8, [100], [50])

# p(z2) p(z1 | z2) p(x | z1): a conditional prior is a family of posteriors
N, MLP = pv.posteriors.MeanFieldNormal, pv.nn.MLP
decoder = MLP(low, wide, shape)
vae = pv.VAE(
    prior=pv.Sites(z2=pv.priors.StandardNormal(top), z1=N(MLP(top, narrow, 2 * low)).given("z2")),
    likelihood=pv.likelihoods.Bernoulli(decoder, event_dim=3).given("z1")
    if mnist
    else pv.likelihoods.Binomial(decoder, total_count=16, event_dim=3).given("z1"),
    posterior=pv.Sites(  # q(z1 | x) q(z2 | z1), bottom-up
        z1=N(MLP(shape, wide, 2 * low, scale=scale)), z2=N(MLP(low, narrow, 2 * top)).given("z1")
    ),
)
svi = SVI(vae.model, vae.guide, pyro.optim.Adam({"lr": 1e-3}), loss=Trace_ELBO())

for epoch in range(1, args.epochs + 1):
    for batch in torch.randperm(len(data.train)).split(100):
        svi.step(data.train.rows(batch))
    rates = pv.evaluate.rate_distortion(vae, data.test, 1)
    kl = ", ".join(f"{site} {float(rate):.2f}" for site, rate in rates.by_site.items())
    bound = -float(rates.rate + rates.distortion)
    print(f"epoch {epoch}  test ELBO {bound:.2f}  KL {kl} nats per datum")

# The same z2 in each row, z1 drawn anew: means of x, of shape (8, 8, *x_shape)
held = pv.views.sample_held(vae, ["z2"])
within, between = held.x.var(1).mean(), held.x.mean(1).var(0).mean()
print(f"variance of E[x | z1]: {between:.4f} between values of z2, {within:.4f} within")
