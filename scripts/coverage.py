"""How often intervals of missing cells cover them, and how good single completions are.

    python scripts/coverage.py                         # all tables, 3 seeds each
    python scripts/coverage.py diabetes --own --methods sir gibbs nuts

Half of all cells are hidden, whatever their values. 19 completions are drawn: between the smallest
and the largest of them another draw of the same law lies with probability 18 / 20. `--own` takes
tables that the trained model has drawn, of which this is true as far as its draws are those of the
posterior; of real tables the model is an approximation. A category is right where it is the one
that is drawn most often.
"""

import argparse
import math
import warnings
from types import SimpleNamespace

import torch
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine

import pyro_vae as pv
from pyro_vae.evaluate import Mean

DRAWS, LATENT, HIDDEN = 19, 6, 64


def breast_cancer():
    """569 patients, 30 numbers."""
    return load_breast_cancer(return_X_y=True)[0], ()


def wine():
    """178 wines: 13 numbers, and the grower, one of three."""
    table, grower = load_wine(return_X_y=True)
    return [[*row, code] for row, code in zip(table, grower)], (13,)


def diabetes():
    """442 patients: 9 numbers, and their sex."""
    table = load_diabetes(return_X_y=True, scaled=False)[0]
    table[:, 1] -= 1  # sex is 1 or 2
    return table, (1,)


TABLES = {"breast-cancer": breast_cancer, "wine": wine, "diabetes": diabetes}


def load(name):
    """A table in standard deviations from the means of its numbers, and its columns of codes."""
    values, coded = TABLES[name]()
    whole = torch.as_tensor(values, dtype=torch.float32)
    numeric = [j for j in range(whole.shape[1]) if j not in coded]
    shift, unit = whole[:, numeric].mean(0), whole[:, numeric].std(0)
    whole[:, numeric] = (whole[:, numeric] - shift) / unit
    return SimpleNamespace(whole=whole, numeric=numeric, coded=coded)


def hidden(whole, seed):
    """A random half of all cells."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(whole.numel(), generator=generator)
    return (order < whole.numel() // 2).view_as(whole)


def trained(x, table, seed, epochs):
    """A VAE of a table with holes: Normal numbers, codes with probabilities, by MIWAE."""
    torch.manual_seed(seed)
    columns = x.shape[1]

    def net(outputs):
        return pv.nn.MLP(LATENT, [HIDDEN], outputs)

    numbers = pv.likelihoods.Gaussian(net(len(table.numeric)), "per-column")
    parts = [(table.numeric, numbers)]
    for j in table.coded:
        levels = int(table.whole[:, j].max()) + 1
        parts.append(([j], pv.likelihoods.Categorical(net(levels), levels)))
    encoder = pv.nn.MLP(2 * columns, [HIDDEN], 2 * LATENT)
    vae = pv.VAE(
        pv.priors.StandardNormal(LATENT),
        pv.likelihoods.Product(torch.nn.Identity(), parts),
        pv.posteriors.MeanFieldNormal(torch.nn.Sequential(pv.nn.Observed(), encoder)),
    )
    how = {"estimator": "iwae", "num_particles": 10, "lr": 3e-3, "schedule": "cosine"}
    pv.fit(vae, x, epochs=epochs, batch_size=64, seed=seed, progress=False, **how)
    return vae


def covered(found, whole, at):
    """The share of cells between the smallest and the largest draw, with the error from rows."""
    inside = (found.draws.min(0).values <= whole) & (whole <= found.draws.max(0).values) & at
    return Mean.ratio(inside.double().sum(1), at.double().sum(1), "of cells")


def imputed(vae, x, method, seed):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # which share to trust is printed
        return pv.impute(vae, x, DRAWS, method=method, num_steps=100, seed=seed)


def of_model(name, args):
    """Coverage of 20,000 numbers that a model of this table itself has drawn."""
    table = load(name)
    holes = hidden(table.whole, 0)
    vae = trained(table.whole.masked_fill(holes, math.nan), table, 0, args.epochs)
    own = pv.sample(vae, 40_600 // len(table.numeric), "sample", seed=1)
    at = hidden(own, 1)
    x = own.masked_fill(at, math.nan)
    at[:, list(table.coded)] = False
    for method in args.methods:
        rows = slice(0, 40 if method == "nuts" else None)  # a chain for each row takes its time
        found = imputed(vae, x[rows], method, 2)
        for which, of in (("all", None), ("trusted", found.trusted), ("others", ~found.trusted)):
            cells = at[rows] if of is None else at[rows] & of[:, None]
            if cells.any():
                share = covered(found, own[rows], cells)
                print(
                    f"model of {name}  {method:6s}{which:8s}{int(cells.sum()):6d} cells  covered "
                    f"{float(share):.2%} +- {share.se:.2%}",
                    flush=True,
                )


def of_table(name, args):
    """Coverage and errors of a real table, over seeds of holes and training."""
    found = {}
    for seed in range(args.seeds):
        table = load(name)
        holes = hidden(table.whole, seed)
        x = table.whole.masked_fill(holes, math.nan)
        vae = trained(x, table, seed, args.epochs)
        for method in args.methods:
            for key, value in figures(imputed(vae, x, method, seed), table, holes, x).items():
                found.setdefault((method, key), []).append(value)
    for (method, key), values in found.items():
        mean = Mean.of(torch.tensor(values), "")
        print(f"{name}  {method:6s}{key:42s}{float(mean):.3f} +- {mean.se:.3f}", flush=True)


def figures(found, table, holes, x):
    """What is said of completions whose truth is known."""
    numeric = holes.clone()
    numeric[:, list(table.coded)] = False
    error = (found.mean - table.whole)[numeric].square().mean()
    by_mean = (x.nanmean(0) - table.whole)[numeric].square().mean()
    said = {
        "rows to be trusted": float(found.trusted.double().mean()),
        "numbers covered": float(covered(found, table.whole, numeric)),
        "squared error of numbers": float(error),
        "squared error of the mean of the column": float(by_mean),
    }
    for j in table.coded:
        guess, truth = found.draws[:, :, j].round().mode(0).values, table.whole[:, j]
        most = x[:, j][~holes[:, j]].mode().values
        said["categories that are right"] = float((guess == truth)[holes[:, j]].double().mean())
        said["most frequent category"] = float((truth == most)[holes[:, j]].double().mean())
    return said


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("tables", nargs="*", default=[*TABLES], help=", ".join(TABLES))
    parser.add_argument("--own", action="store_true", help="tables that the model has drawn")
    parser.add_argument("--methods", nargs="+", default=["sir", "gibbs"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=150)
    args = parser.parse_args()
    if strange := [name for name in args.tables if name not in TABLES]:
        parser.error(f"Expected tables among {', '.join(TABLES)}; got {', '.join(strange)}.")
    for name in args.tables:
        (of_model if args.own else of_table)(name, args)


if __name__ == "__main__":
    main()
