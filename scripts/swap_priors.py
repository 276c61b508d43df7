"""Combines priors and posteriors on one data set, all else equal, and ranks them with errors.

    python scripts/swap_priors.py                              # digits, 5 seeds, a few minutes
    python scripts/swap_priors.py --recipe mnist-mean-field --epochs 20 --num-samples 500

Any kind from `pyro-vae list` can be used; where the planner refuses a pair, it prints why.
"""

import argparse

import torch

import pyro_vae as pv
from pyro_vae.config import read_recipe, validate
from pyro_vae.evaluate import log_marginal, rank

PRIORS = ["standard-normal", "gaussian-mixture", "vamp", "flow"]
POSTERIORS = ["mean-field-normal", "full-covariance-normal", "iaf"]

parser = argparse.ArgumentParser(description="Compares priors and posteriors.")
parser.add_argument("--recipe", default="digits-plain", help="what all pairs share")
parser.add_argument("--priors", nargs="+", default=PRIORS)
parser.add_argument("--posteriors", nargs="+", default=POSTERIORS)
parser.add_argument("--num-components", type=int, default=50, help="of mixtures and vamp")
parser.add_argument("--epochs", type=int, default=100)
parser.add_argument("--num-samples", type=int, default=500, help="importance samples per datum")
parser.add_argument("--seeds", type=int, default=5)
args = parser.parse_args()

shared = read_recipe(args.recipe)
data = pv.data.load(validate(shared).data)
print(f"{data.name}: {len(data.train)} training and {len(data.test)} test data, nats per datum")

found = {}
for prior in args.priors:
    mixes = prior in ("vamp", "gaussian-mixture")
    size = {"num_components": args.num_components} if mixes else {}
    for posterior in args.posteriors:
        grid = {"prior": [{"kind": prior, **size}], "posterior.kind": [posterior]}
        try:
            seeds, options = range(args.seeds), {"epochs": args.epochs, "progress": False}
            models = pv.fit_many(shared, data, seeds=seeds, grid=grid, **options)
        except ValueError as error:
            print(f"{prior} and {posterior}: {error}", flush=True)
            continue
        values = [
            log_marginal(trained.vae, data.test.freeze(0), args.num_samples).log_marginal
            for trained in models
            if trained.error is None
        ]
        found[f"{prior} and {posterior}"] = torch.stack(values)
        print(f"{prior} and {posterior}: {float(torch.stack(values).mean()):.2f}", flush=True)

print(f"\n{'log p(x)':>60s}{'to the best':>20s}")
for row in rank(found):
    gap = row.get("to_best")
    against = f"{gap['difference']:.2f} +- {gap['difference_se']:.2f}" if gap else ""
    evidence = f"{row['log_marginal']:.2f} +- {row['log_marginal_se']:.2f}"
    print(f"{row['setting']:40s}{evidence:>20s}{against:>20s}")
