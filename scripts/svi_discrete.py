"""Bernoulli latents, which cannot be reparameterized, trained by score-function gradients.

    python scripts/svi_discrete.py

With 8 bits the evidence is a sum over 256 states, so every estimate can be compared with it.
"""

import argparse

import pyro
import torch
from pyro.infer import SVI, TraceGraph_ELBO
from torch import Tensor, nn

import pyro_vae as pv

parser = argparse.ArgumentParser(description="Trains a VAE with Bernoulli latents.")
parser.add_argument("--epochs", type=int, default=60)
args = parser.parse_args()

LATENT_DIM = 8


pyro.set_rng_seed(0)
data = pv.data.digits()
x_shape, scale = data.train.x_shape, data.train.scale

vae = pv.VAE(
    pv.priors.Bernoulli(LATENT_DIM),
    pv.likelihoods.Binomial(pv.nn.MLP(LATENT_DIM, [100], x_shape), total_count=16, event_dim=3),
    pv.posteriors.Bernoulli(pv.nn.MLP(x_shape, [100], LATENT_DIM, scale=scale)),
)

# The gradient of E_q[f(z)] is E_q[(f(z) - b(x)) grad log q(z | x)]: any baseline b leaves its mean
# unchanged; a good one reduces its variance. This one predicts log p(x, z) - log q(z | x) from x,
# datum by datum, so a smaller last batch is no special case; TraceGraph_ELBO trains it by squared
# error.
baseline = nn.Sequential(pv.nn.MLP(x_shape, [50], 1, scale=scale), nn.Flatten(0))


def infer(site):
    if site["name"] == "z":
        return {"baseline": {"nn_baseline": baseline, "nn_baseline_input": site["x"]}}
    return {}


def guide(x: Tensor):
    """The VAE's guide, with a baseline at its site."""
    with pyro.poutine.infer_config(config_fn=lambda site: infer({**site, "x": x})):
        return vae.guide(x)


def exact_log_marginal(x: Tensor) -> Tensor:
    """log p(x) = log sum_z p(z) p(x | z), over all 2^8 states."""
    with torch.no_grad():
        z = vae.prior().enumerate_support()
        joint = vae.prior().log_prob(z)[:, None] + vae.likelihood(z[:, None]).log_prob(x)
        return joint.logsumexp(0)


# The baseline's parameters are not sites of the model, so it has its own optimizer.
svi = SVI(vae.model, guide, pyro.optim.Adam({"lr": 2e-3}), loss=TraceGraph_ELBO())
baseline_optimizer = torch.optim.Adam(baseline.parameters(), lr=1e-2)

for epoch in range(1, args.epochs + 1):
    for batch in torch.randperm(len(data.train)).split(64):
        svi.step(data.train.rows(batch))
        baseline_optimizer.step()
        baseline_optimizer.zero_grad()
    if epoch % max(1, args.epochs // 6) == 0:
        x = data.test.rows(slice(None))
        print(
            f"epoch {epoch}  test ELBO {pv.elbo(vae, x, 20).mean():.2f}  "
            f"exact log p(x) {exact_log_marginal(x).mean():.2f} nats per datum"
        )

# Importance sampling is biased low where the guide misses states: its Monte Carlo error cannot
# reveal that, but the Pareto shape of its weights can.
x = data.test.rows(slice(None))
estimate, exact = pv.log_marginal(vae, x, num_samples=1000), exact_log_marginal(x)
print(
    f"log p(x): importance sampling {estimate.log_marginal.mean():.3f} +- "
    f"{estimate.mc_se.square().sum().sqrt() / len(x):.3f} (Monte Carlo), exact {exact.mean():.3f} "
    f"nats per datum; k-hat above 0.7 for {(estimate.khat > 0.7).float().mean():.0%} of the data"
)
