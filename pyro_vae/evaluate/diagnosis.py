r"""How good, how sure, what limits it, what to try: one model, all questions."""

from collections.abc import Callable
from math import hypot, prod
from typing import Any, NamedTuple

import torch
from pyro import poutine
from torch import Tensor
from torch.distributions import constraints

from ..checks import check_rows
from ..counted import counted
from ..data import Split
from ..deprecation import renamed_attributes
from ..distributions.support import same
from ..gallery import bernoulli_mixture, factor_analysis, independent_pixels, ppca
from ..programs import as_program, family_of, sample_sites, undisturbed
from ..randomness import stream
from ..statistics import Mean
from .advice import advise
from .annealed import ais
from .calibration import Calibration, eubo, sbc
from .collapse import ACTIVE, Information, Rate, active_units, information, rate_distortion
from .gaps import Ledger, gap_ledger
from .importance import LogMarginal, elbo, log_marginal
from .reliability import Verdict, verdict
from .summary import metrics_of

COMPONENTS = 50
ROWS_COMPARED = 2000


@renamed_attributes(figures="metrics", light="verdict")
class Diagnosis(NamedTuple):
    r"""What :func:`diagnose` found; a part that a model does not allow is None.

    Attributes:
        metrics: ELBO and :math:`\log p(x)` of the whole test set, as :func:`evaluate` has them.
        estimate: :math:`\log p(x)` datum by datum.
        verdict: Whether it can be trusted.
        classical: The mean :math:`\log p(x)` of models without a network, in nats per datum.
        gains: By how much these are better, datum by datum.
        ledger: The gaps on some test data.
        train_ledger: The gaps on as many training data.
        train_gap: The ELBO of training data minus that of the test data.
        rate: Where the nats go.
        information: What the latent variable tells of the data.
        activity: The activity of each latent unit.
        calibration: Ranks, contraction and z scores on simulated data.
        simulated: ELBO and EUBO of simulated data with their standard errors, in nats per datum.
        advice: What to try, the most promising first.
        notes: What was left out, and why.
    """

    metrics: dict[str, Any]
    estimate: LogMarginal
    verdict: Verdict
    classical: dict[str, float]
    gains: dict[str, Mean]
    ledger: Ledger | None
    train_ledger: Ledger | None
    train_gap: Mean
    rate: Rate
    information: Information | None
    activity: Tensor
    calibration: Calibration | None
    simulated: dict[str, float] | None
    advice: list[str]
    notes: list[str]

    def record(self) -> dict[str, Any]:
        r"""Returns the metrics as JSON values."""
        record: dict[str, Any] = {
            **self.metrics,
            "verdict": self.verdict.colour,
            "reason": self.verdict.reason,
            "classical": self.classical,
            **self.train_gap.record("train_minus_test_elbo"),
            "rate": float(self.rate.rate),
            "distortion": float(self.rate.distortion),
            "active_units": int((self.activity > ACTIVE).sum()),
            "latent_units": len(self.activity),
        }
        for name, ledger in (("test", self.ledger), ("train", self.train_ledger)):
            if ledger is not None:
                record |= ledger.mean(ledger.approximation).record(f"{name}_approximation_gap")
                record |= ledger.mean(ledger.amortization).record(f"{name}_amortization_gap")
                record[f"{name}_gap_converged"] = ledger.converged
                record[f"{name}_gap_num_data"] = len(ledger.elbo)
        if self.information is not None:
            record["mutual_information_cap"] = self.information.cap
            for name in ("mutual_information", "marginal_kl", "holes"):
                record[name] = float(getattr(self.information, name))
        if self.calibration is not None:
            record["sbc_p_value"] = self.calibration.p_value
            record["sbc_worst"] = self.calibration.worst
            for name in ("contraction", "z_score", "z_spread"):
                record[name] = getattr(self.calibration, name).tolist()
        record |= self.simulated or {}
        return {**record, "advice": self.advice, "notes": self.notes}


@counted
def diagnose(
    vae: Any,
    test: Split,
    train: Split,
    *,
    num_samples: int = 500,
    num_data: int = 100,
    num_temperatures: int = 500,
    num_steps: int = 500,
    seed: int = 0,
) -> Diagnosis:
    r"""Asks of a VAE how good it is, how sure that is, what limits it and what to try.

    Arguments:
        vae: The VAE.
        test: The test data; the bound and :math:`\log p(x)` are about all of them.
        train: The training data.
        num_samples: Importance samples per datum.
        num_data: How many test and training data the costly questions use: annealed
            importance sampling and the gap ledger.
        num_temperatures: Of annealed importance sampling.
        num_steps: Optimization steps of the ledger.
        seed: Seeds everything.

    Raises:
        ValueError: The posterior has no density, or parameters for its training data only.
    """
    vae = as_program(vae)
    check_rows(vae, {})
    notes: list[str] = []
    test, train = test.freeze(seed), train.freeze(stream(seed, "training data"))
    few, seen = (split.spread(num_data) for split in (test, train))
    bound = elbo(vae, test, min(10, num_samples), seed=seed)
    estimate = log_marginal(vae, test, num_samples, seed=seed)

    def attempt(name: str, question: Callable, *args: Any, **options: Any) -> Any:
        r"""The answer, or nothing and a note where the model refuses the question."""
        try:
            return question(vae, *args, seed=seed, **options)
        except ValueError as error:
            if name:
                notes.append(f"{name} was left out. {error}")
            return None

    annealed = attempt(
        "Annealed importance sampling", ais, test.take(few), num_temperatures=num_temperatures
    )
    beside, rows = annealed if len(few) > 1 else None, few.to(estimate.ess.device)
    on_test = attempt("The gap ledger", gap_ledger, test.take(few), num_steps=num_steps)
    on_train = attempt("", gap_ledger, train.take(seen), num_steps=num_steps)
    if on_test is not None and annealed is not None:  # both are lower bounds: the higher counts
        higher = max(on_test.log_marginal, annealed.log_marginal, key=lambda v: float(v.mean()))
        on_test = on_test._replace(log_marginal=higher)
    classical = classical_references(vae, train, test)
    ours = estimate.log_marginal.double().cpu()
    found = Diagnosis(
        metrics=metrics_of(vae, test, bound, estimate, num_samples),
        estimate=estimate,
        verdict=verdict(estimate, beside, rows, can_anneal=annealed is not None),
        classical={name: float(values.mean()) for name, values in classical.items()},
        gains={n: Mean.of(values.double().cpu() - ours) for n, values in classical.items()},
        ledger=on_test,
        train_ledger=on_train,
        train_gap=_train_gap(vae, train, bound, seed),
        rate=rate_distortion(vae, test, seed=seed),
        information=attempt("Mutual information", information, train),
        activity=active_units(vae, test, seed=seed),
        calibration=attempt("Simulation-based calibration", sbc, **_few(vae, test, 500)),
        simulated=attempt("The bound from above", simulated, **_few(vae, test, 2000)),
        advice=[],
        notes=notes,
    )
    return found._replace(advice=advise(vae, found))


def classical_references(vae: Any, train: Split, test: Split) -> dict[str, Tensor]:
    r""":math:`\log p(x)` of each datum by classical models that data and likelihood allow.

    Nothing where the likelihood allows holes in the data, or real data lie in part of the line.
    """
    likelihood = family_of(vae, "likelihood", "x")
    if likelihood is None or likelihood.missing or vae.conditions or len(vae.observed) > 1:
        return {}
    with undisturbed(vae, 0):
        sites = sample_sites(poutine.trace(vae.model).get_trace(batch_size=1))
    latent_dim = sum(sites[name]["fn"].event_shape.numel() for name in vae.latents)
    found: dict[str, Tensor] = {}
    if likelihood.support.is_discrete:
        found["independent elements"] = independent_pixels(train, test)
        if train.levels == 1:
            found[f"mixture of {COMPONENTS} Bernoullis"] = bernoulli_mixture(
                train, test, COMPONENTS
            )
    elif same(likelihood.support, constraints.real) and latent_dim < prod(train.x_shape):
        found[f"probabilistic PCA, {latent_dim} features"] = ppca(train, test, latent_dim)
        found[f"factor analysis, {latent_dim} features"] = factor_analysis(train, test, latent_dim)
    return found


@counted
def simulated(vae: Any, num_data: int = 2000, *, seed: int = 0, **known: Any) -> dict[str, float]:
    r"""ELBO and EUBO of simulated data, between which their mean :math:`\log p(x)` lies.

    Returns:
        ``simulated_elbo``, ``simulated_eubo`` and what lies between, ``jeffreys``, each with its
        standard error ``*_se``, in nats per datum.

    Raises:
        ValueError: As :func:`eubo`.
    """
    upper, lower = eubo(vae, num_data, seed=seed, **known)
    values = {"simulated_elbo": lower, "simulated_eubo": upper, "jeffreys": upper - lower}
    record: dict[str, float] = {"simulated_num_data": num_data}
    for name, each in values.items():
        record |= Mean.of(each).record(name)
    return record


def _few(vae: Any, split: Split, count: int) -> dict[str, Any]:
    r"""Conditions for this many simulated data: those of the data, repeated."""
    rows = torch.arange(count) % len(split)
    known = split.known_at(rows)
    return {name: known[name] for name in getattr(vae, "conditions", ()) if name in known}


def _train_gap(vae: Any, train: Split, bound: Tensor, seed: int) -> Mean:
    seen = train.take(train.spread(ROWS_COMPARED))
    trained, tested = Mean.of(elbo(vae, seen, 10, seed=seed)), Mean.of(bound)
    return Mean(trained - tested, hypot(trained.se, tested.se))
