"""A conditional VAE, p(x | y) of images given their label, trained by Pyro's own SVI.

    python scripts/svi_conditional.py                  # 10 epochs of MNIST
    python scripts/svi_conditional.py --data digits    # scikit-learn's digits, a few seconds

MNIST is searched for in PYRO_VAE_DATA, then downloaded.
"""

import argparse

import pyro
import torch
from pyro.infer import SVI, Trace_ELBO

import pyro_vae as pv

parser = argparse.ArgumentParser(description="Trains a conditional VAE by pyro.infer.SVI.")
parser.add_argument("--data", choices=["mnist", "digits"], default="mnist")
parser.add_argument("--epochs", type=int, default=10)
args = parser.parse_args()

pyro.set_rng_seed(0)
known = {"y": "label"}  # one-hot rows beside x
mnist = args.data == "mnist"
data = pv.data.mnist(valid=0, known=known) if mnist else pv.data.digits(known=known)
x_shape, scale = data.train.x_shape, data.train.scale
latent_dim = 32 if mnist else 8

# p(z) p(x | z, y) and q(z | x, y); Join makes one vector of several inputs
decoder = pv.nn.Join(pv.nn.MLP(latent_dim + 10, [200], x_shape), (1, 1))
encoder = pv.nn.MLP(x_shape[1] * x_shape[2] + 10, [200], 2 * latent_dim)
scaled = torch.nn.Sequential(pv.nn.At(0, pv.nn.Divide(scale)), pv.nn.Join(encoder, (3, 1)))
vae = pv.VAE(
    prior=pv.priors.StandardNormal(latent_dim),
    likelihood=pv.likelihoods.Bernoulli(decoder, event_dim=3).given("z", "y")
    if mnist
    else pv.likelihoods.Binomial(decoder, total_count=16, event_dim=3).given("z", "y"),
    posterior=pv.posteriors.MeanFieldNormal(scaled).given("x", "y"),
)
svi = SVI(vae.model, vae.guide, pyro.optim.Adam({"lr": 1e-3}), loss=Trace_ELBO())

for epoch in range(1, args.epochs + 1):
    for batch in torch.randperm(len(data.train)).split(100):
        x, more = data.train.batch(batch)
        svi.step(x, **more)
    test = pv.elbo(vae, data.test)  # a split brings its labels along
    print(f"epoch {epoch}  test ELBO of p(x | y) {test.mean():.2f} nats per datum")

# The handwriting of each image as a seven: z from q(z | x, y), x given y = 7
sevens = pv.reconstruct(vae, data.test.take(slice(0, 100)), given={"y": torch.eye(10)[7:8]})
labels = data.test.known["y"][:100].flip(0)
wrong = pv.elbo(vae, data.test.take(slice(0, 100)).knowing(y=labels)).mean()
print(f"{len(sevens)} sevens of shape {tuple(sevens.shape[1:])}")
print(f"with labels of other images {wrong:.2f} nats per datum")
