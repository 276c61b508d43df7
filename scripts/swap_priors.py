"""Combines priors and posteriors on one data set, all else equal: a table of test log p(x).

    python scripts/swap_priors.py                              # digits, a few minutes
    python scripts/swap_priors.py --recipe mnist-mean-field --epochs 20 --num-samples 500

Any kind from `pyro-vae list` can be used; where the planner refuses a pair, it prints why.
"""

import argparse
import time

import pyro_vae as pv
from pyro_vae.config import override, read_recipe, validate
from pyro_vae.evaluate import evaluate

PRIORS = ["standard-normal", "gaussian-mixture", "vamp", "flow"]
POSTERIORS = ["mean-field-normal", "full-covariance-normal", "iaf"]

parser = argparse.ArgumentParser(description="Compares priors and posteriors.")
parser.add_argument("--recipe", default="digits-plain", help="what all pairs share")
parser.add_argument("--priors", nargs="+", default=PRIORS)
parser.add_argument("--posteriors", nargs="+", default=POSTERIORS)
parser.add_argument("--num-components", type=int, default=50, help="of mixtures and vamp")
parser.add_argument("--epochs", type=int, default=100)
parser.add_argument("--num-samples", type=int, default=500, help="importance samples per datum")
parser.add_argument("--seed", type=int, default=0)
args = parser.parse_args()

shared = read_recipe(args.recipe)
data = pv.data.load(validate(shared).data)
print(f"{data.name}: {len(data.train)} training and {len(data.test)} test data, nats per datum")
print(f"{'prior':20s}{'posterior':24s}{'ELBO':>18s}{'log p(x)':>18s}{'seconds':>9s}")

for prior in args.priors:
    for posterior in args.posteriors:
        flags = {
            "prior.kind": prior,
            "posterior.kind": posterior,
            "train.epochs": args.epochs,
            "seed": args.seed,
        }
        if prior in ("vamp", "gaussian-mixture"):
            flags["prior.num_components"] = args.num_components
        recipe = validate(override(shared, flags))
        start = time.perf_counter()
        try:
            vae = pv.build_vae(recipe, data.train.x_shape, data.train.scale, data.train)
            pv.fit(vae, data.train, seed=args.seed, progress=False, **recipe.train.model_dump())
        except ValueError as error:
            print(f"{prior:20s}{posterior:24s}  {error}", flush=True)
            continue
        seconds = time.perf_counter() - start
        metrics = evaluate(vae, data.test, args.num_samples)
        elbo, evidence = (
            f"{metrics[key]:.2f} +- {metrics[f'{key}_se']:.2f}" for key in ("elbo", "log_marginal")
        )
        print(f"{prior:20s}{posterior:24s}{elbo:>18s}{evidence:>18s}{seconds:9.0f}", flush=True)
