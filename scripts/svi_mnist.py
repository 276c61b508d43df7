"""A VAE trained by Pyro's own SVI, minibatch by minibatch.

    python scripts/svi_mnist.py                  # 10 epochs of MNIST, a few minutes on 2 cores
    python scripts/svi_mnist.py --data digits    # scikit-learn's digits, a few seconds

MNIST is searched for in PYRO_VAE_DATA, then downloaded.
"""

import argparse

import pyro
import torch
from pyro.infer import SVI, Trace_ELBO

import pyro_vae as pv

parser = argparse.ArgumentParser(description="Trains a VAE by pyro.infer.SVI.")
parser.add_argument("--data", choices=["mnist", "digits"], default="mnist")
parser.add_argument("--epochs", type=int, default=10)
parser.add_argument("--batch-size", type=int, default=100)
args = parser.parse_args()

pyro.set_rng_seed(0)

# Data: a split returns x of shape (B, 1, H, W) for the rows asked for. MNIST's grey pixels become
# bits, drawn again at every visit; digits are counts 0..16.
data = pv.data.mnist(valid=0) if args.data == "mnist" else pv.data.digits()
x_shape = data.train.x_shape

# The three assumptions: p(z), p(x | z), q(z | x)
latent_dim = 32 if args.data == "mnist" else 8
decoder = pv.nn.MLP(latent_dim, [200, 200], x_shape)
encoder = pv.nn.MLP(x_shape, [200, 200], 2 * latent_dim, scale=data.train.scale)
vae = pv.VAE(
    prior=pv.priors.StandardNormal(latent_dim),
    likelihood=pv.likelihoods.Bernoulli(decoder, event_dim=3)
    if args.data == "mnist"
    else pv.likelihoods.Binomial(decoder, total_count=16, event_dim=3),
    posterior=pv.posteriors.MeanFieldNormal(encoder),
)

# SVI: maximize E_q[log p(x, z) - log q(z | x)], summed over the batch, by Adam
svi = SVI(vae.model, vae.guide, pyro.optim.Adam({"lr": 1e-3}), loss=Trace_ELBO())

for epoch in range(1, args.epochs + 1):
    total = 0.0
    for batch in torch.randperm(len(data.train)).split(args.batch_size):
        total += svi.step(data.train.rows(batch))
    test = pv.elbo(vae, data.test)
    print(
        f"epoch {epoch}  training ELBO {-total / len(data.train):.2f}  "
        f"test ELBO {test.mean():.2f} +- {test.std() / len(test) ** 0.5:.2f} nats per datum"
    )

# log p(x) by importance sampling from the guide
estimate = pv.log_marginal(vae, data.test, num_samples=100).log_marginal
print(
    f"test log p(x) {estimate.mean():.2f} +- {estimate.std() / len(estimate) ** 0.5:.2f} nats per "
    f"datum ({len(estimate)} data, 100 samples)"
)
