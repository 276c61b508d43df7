"""How trained models are judged, on all test data: the figures of `scripts/reproduce.py`.

A judge takes the models of one variant, each with its data, the number of importance samples and
the folder of the runs, and yields figures.
"""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import imputation
import torch
from torch import Tensor

import pyro_vae as pv
from pyro_vae.evaluate.summary import seen_steps

ACTIVE = 0.01  # the variance of a posterior mean above which a unit is active


@dataclass
class Figure:
    """A number of each model; `values` has a row for each seed, and a column for each datum if it
    is a mean over data. `published` is its goal and tolerance where only the data can tell."""

    name: str
    values: Tensor
    unit: str = "nats"
    published: tuple[float, float] | None = None

    def summary(self) -> dict:
        """The mean over seeds, with the error from seeds and data."""
        if self.values.dim() == 2:
            row = pv.evaluate.rank({"": self.values})[0]
            found = {"value": row["log_marginal"], "se": row["log_marginal_se"]}
            return found | {"by seed": row["seeds"]}
        mean = pv.evaluate.Mean.of(self.values.double())
        return {
            "value": float(mean),
            "se": mean.se if len(self.values) > 1 else None,
            "by seed": self.values.tolist(),
        }


def evidence(pairs, samples: int, folder: Path) -> Iterator[Figure]:
    """log p(x) and the ELBO of the test data, and the units that are active in training data."""
    found: dict[str, list] = {}
    for trained, data in pairs:
        cache = folder / f"log_marginal-{samples}-seed={trained.seed}.npz"
        marginal = pv.log_marginal(trained.vae, data.test, samples, cache=cache)
        found.setdefault("log p(x)", []).append(marginal.log_marginal)
        found.setdefault("ELBO", []).append(pv.elbo(trained.vae, data.test, 10))
        first = data.train.take(slice(0, 500)).freeze(0)
        for site, units in pv.evaluate.site_activities(trained.vae, first).items():
            active = (units > ACTIVE).sum().double()
            found.setdefault(f"active units of {site}", []).append(active)
    for name, values in found.items():
        unit = "units" if name.startswith("active") else "nats"
        yield Figure(name, torch.stack(values).double().cpu(), unit)


def bounds(pairs, samples: int, folder: Path) -> Iterator[Figure]:
    """The ELBO of training, validation and test data."""
    for name, part in (("training", "train"), ("validation", "valid"), ("test", "test")):
        values = [pv.elbo(model.vae, getattr(data, part), samples) for model, data in pairs]
        yield Figure(f"ELBO, {name} data", torch.stack(values).double().cpu())


def steps(pairs, samples: int, folder: Path) -> Iterator[Figure]:
    """The ELBO and log p(x) of sequences by step, sums over data divided by the number of steps.

    A datum with `value` and `length` counts as `ratio + (value - ratio length) / mean length`: the
    mean is the ratio, and its standard error that of the delta method.
    """
    found: dict[str, list] = {"ELBO per step": [], "log p(x) per step": []}
    for model, data in pairs:
        lengths = seen_steps(data.test).double()
        marginal = pv.log_marginal(model.vae, data.test, samples).log_marginal
        for rows, values in zip(found.values(), (pv.elbo(model.vae, data.test, 10), marginal)):
            ratio = values.double().sum() / lengths.sum()
            rows.append(ratio + (values - ratio * lengths) / lengths.mean())
    for name, rows in found.items():
        yield Figure(name, torch.stack(rows))


def classes(pairs, samples: int, folder: Path) -> Iterator[Figure]:
    """The share of test data whose most probable class under q(y | x) is right."""
    right = []
    for trained, data in pairs:
        with torch.no_grad():
            guesses = [trained.vae.posterior["y"](x).mean.argmax(-1) for x in data.test.chunks()]
        right.append((torch.cat(guesses) == data.test.labels).double())
    yield Figure("accuracy of y", 100 * torch.stack(right), "%")


def optimum(pairs, samples: int, folder: Path) -> Iterator[Figure]:
    """The exact log p(x) of a linear VAE beside that of the best, which is probabilistic PCA."""
    found: dict[str, list] = {}
    best: dict[str, float] = {}
    for trained, data in pairs:
        exact = pv.exact.Exact(trained.vae)
        for name, split in (("training", data.train), ("test", data.test)):
            x = split.rows(slice(None)).double()
            marginal = exact.log_marginal(x.flatten(1))
            bound = pv.elbo(trained.vae, split, 100)
            pca = pv.gallery.ppca(data.train, split, exact.w.shape[1])
            best[f"log p(x), {name} data"] = float(pca.mean())
            found.setdefault(f"log p(x), {name} data", []).append(marginal.mean())
            found.setdefault(f"log p(x) - ELBO, {name} data", []).append(
                marginal.mean() - bound.mean()
            )
    for name, values in found.items():
        goal = (best[name], 2.0) if name in best else (0.0, 0.02)
        yield Figure(name, torch.stack(values).double(), "nats", goal)


def holes(pairs, samples: int, folder: Path) -> Iterator[Figure]:
    """The mean squared error of single imputation, beside that of others on the same holes."""
    found: dict[str, list] = {}
    trusted = []
    for trained, data in pairs:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # which share to trust is a figure
            imputed = pv.impute(trained.vae, data.train, 1, num_particles=samples)
        found.setdefault("MIWAE", []).append(imputation.error(imputed.mean, data))
        trusted.append(100 * float(imputed.trusted.double().mean()))
        for name, value in imputation.contenders(data).items():
            found.setdefault(name, []).append(value)
    for name, values in found.items():
        yield Figure(name, torch.tensor(values, dtype=torch.double), "MSE")
    yield Figure("rows whose weights can be trusted", torch.tensor(trusted).double(), "%")


JUDGES = {judge.__name__: judge for judge in (evidence, bounds, steps, classes, optimum, holes)}
