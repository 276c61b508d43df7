r"""Compares beta-VAE, beta-TCVAE, FactorVAE and InfoVAE on data of known factors.

For each of them: test ELBO, total correlation, MIG and DCI, over seeds. Errors are of seeds and
data together. Run as ``python scripts/kin.py --epochs 30 --seeds 3``.
"""

import argparse
from typing import Any

import torch

import pyro_vae as pv
from pyro_vae.evaluate import factor_scores, kl_terms
from pyro_vae.objectives import kl_parts
from pyro_vae.objectives.decomposition import stratified, weighted
from pyro_vae.statistics import Mean

SETTINGS: dict[str, dict[str, Any]] = {
    "VAE": {},
    "beta-VAE, KL weight 4": {"kl_weight": 4.0},
    "beta-TCVAE, TC weight 6": {"estimator": "beta-tcvae", "tc_weight": 6.0},
    "FactorVAE, TC weight 6": {"estimator": "factor-vae", "tc_weight": 6.0},
    "InfoVAE, MMD weight 1000": {"estimator": "info-vae", "mmd_weight": 1000.0},
    "MMD-VAE, KL weight 0, MMD weight 1000": {
        "estimator": "info-vae",
        "mmd_weight": 1000.0,
        "kl_weight": 0.0,
    },
}
COLUMNS = ("ELBO", "TC", "MIG", "disentanglement", "completeness", "informativeness")


def measured(vae: Any, rows: Any) -> dict[str, Mean]:
    r"""The figures of one model."""
    scores = factor_scores(vae, rows)
    found = {
        "ELBO": Mean.of(pv.elbo(vae, rows, 10)),
        "TC": kl_terms(vae, rows).total_correlation,
        "MIG": scores.mig.value,
    }
    return found | {name: getattr(scores, name).value for name in COLUMNS[3:]}


def print_bias(vae: Any, rows: Any, sizes: tuple[int, ...] = (10, 100, 400, 1200)) -> None:
    r"""Prints what batches of some sizes make of the parts of the KL term of all rows."""
    print("| batch | sampling | mutual information | total correlation |\n|---|---|---|---|")
    rows = rows.take(slice(0, max(sizes)))
    with torch.no_grad():
        q, p = vae.posterior(rows.rows(slice(None))), vae.prior()
        z = q.sample()
        for size in sizes:
            for sampling in (stratified, weighted):
                parts = []
                for some in torch.randperm(len(z)).split(size):
                    law = type(q.base_dist)(*(t[some] for t in (q.mean, q.stddev))).to_event(1)
                    parts.append(kl_parts(law, p, z[some], sampling(size, len(z), z)))
                cells = [
                    Mean.of(torch.cat([getattr(part, name) for part in parts]))
                    for name in ("mutual_information", "total_correlation")
                ]
                shown = " | ".join(f"{float(m):.2f} {m.error}" for m in cells)
                print(f"| {size} | {sampling.__name__} | {shown} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", default="sprites")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--bias", metavar="RUN", help="of minibatch estimates, for one run")
    given = parser.parse_args()
    rows = pv.data.load(pv.config.validate(pv.config.read_recipe(given.recipe)).data).test
    if given.bias:
        print_bias(pv.load(given.bias), rows)
        return
    print(f"| | {' | '.join(COLUMNS)} |\n|---|{'---|' * len(COLUMNS)}")
    for name, settings in SETTINGS.items():
        models = pv.fit_many(
            given.recipe,
            seeds=range(given.seeds),
            epochs=given.epochs,
            progress=False,
            compile="no",
            **settings,
        )
        figures = [measured(trained.vae, rows) for trained in models]
        cells = [Mean.over([each[column] for each in figures]) for column in COLUMNS]
        digits = [2, 2, 3, 3, 3, 3]
        shown = [f"{float(m):.{d}f} +- {m.se:.{d}f}" for m, d in zip(cells, digits)]
        print(f"| {name} | {' | '.join(shown)} |", flush=True)


if __name__ == "__main__":
    main()
