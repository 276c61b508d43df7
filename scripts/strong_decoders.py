"""Posterior collapse under a strong decoder, and its cures, on digits as bits.

    python scripts/strong_decoders.py
    python scripts/strong_decoders.py --epochs 60 --seeds 3

Each row is the recipe digits-pixelcnn with one thing changed. It prints the rate (the KL term),
log p(x) by importance samples and the active units, all of the test data.
"""

import argparse

import torch

import pyro_vae as pv
from pyro_vae.config import override, read_recipe, validate
from pyro_vae.evaluate import active_units, log_marginal, rate_distortion
from pyro_vae.statistics import Mean

MLP = {"likelihood": {"kind": "bernoulli", "decoder": {"kind": "mlp", "hidden_features": [100]}}}
MADE = {"likelihood": {**MLP["likelihood"], "kind": "made", "hidden_features": [128]}}
PLAIN = {"train.free_bits": 0.0}
ROWS = {
    "MLP, ELBO": {**MLP, **PLAIN},
    "MADE, ELBO": {**MADE, **PLAIN},
    "PixelCNN, ELBO": PLAIN,
    "PixelCNN, 0.5 free bits a feature": {},
    "PixelCNN, rate of 0.5 a feature committed": {
        **PLAIN,
        "posterior": {
            "kind": "committed-rate-normal",
            "rate": 0.5,
            "encoder": {"kind": "mlp", "hidden_features": [100]},
        },
    },
    "PixelCNN, capacity of 6 nats": {**PLAIN, "train.capacity": 6.0, "train.kl_weight": 2.0},
}

parser = argparse.ArgumentParser(description="Compares decoders and cures of collapse.")
parser.add_argument("--epochs", type=int, default=60)
parser.add_argument("--num-samples", type=int, default=200, help="importance samples per datum")
parser.add_argument("--rows", nargs="+", choices=ROWS, default=[*ROWS], metavar="ROW")
parser.add_argument("--seeds", type=int, default=1)
args = parser.parse_args()
torch.set_num_threads(1)

print(f"{'decoder and objective':44s}{'rate':>14s}{'log p(x)':>17s}{'active units':>14s}")
for name in args.rows:
    changes = ROWS[name]
    for seed in range(args.seeds):
        values = {**read_recipe("digits-pixelcnn")}
        values = values | {k: v for k, v in changes.items() if "." not in k}
        flags = {k: v for k, v in changes.items() if "." in k}
        recipe = validate(override(values, {**flags, "train.epochs": args.epochs, "seed": seed}))
        data = pv.data.load(recipe.data, quiet=True)
        vae = pv.build_vae(recipe, data.train.x_shape, data.train.scale, data.train)
        settings = recipe.train.model_dump()
        pv.fit(vae, data.train, seed=seed, progress=False, **settings)
        test = data.test.freeze(0)
        evidence = Mean.of(log_marginal(vae, test, args.num_samples).log_marginal)
        rate = float(rate_distortion(vae, test, 10).rate)
        alive = int((active_units(vae, test) > 0.01).sum())
        shown = f"{evidence.value:.2f} +- {evidence.se:.2f}"
        print(f"{name:44s}{rate:14.2f}{shown:>17s}{alive:14d}", flush=True)
