r"""How well do latent features fit the factors that data were made of? MIG and DCI."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from pyro import poutine
from torch import Tensor

from ..checks import Data, opened
from ..counted import counted
from ..programs import batches, sample_sites
from ..randomness import stream
from ..statistics import Mean
from ..views import encode

NUM_TREES, SMALLEST_LEAF = 10, 3
NUM_SHUFFLES = 4
ROWS_AT_ONCE = 1000
UNIT = "of 1"


class Score(NamedTuple):
    r"""A score from 0 to 1.

    Attributes:
        value: The score, with its standard error by the bootstrap over data.
        floor: What it is by chance: for codes that are shuffled against the factors.
    """

    value: Mean
    floor: Mean

    def __str__(self) -> str:
        return f"{float(self.value):.3f} {self.value.error} ({float(self.floor):.3f} by chance)"


class FactorScores(NamedTuple):
    r"""How well latent features fit factors.

    Attributes:
        mig: The mutual information gap (:func:`mig`).
        disentanglement: Whether each feature is about one factor (:func:`dci`); NaN if there is
            one factor alone.
        completeness: Whether each factor is in one feature.
        informativeness: How well the features tell the factors.
    """

    mig: Score
    disentanglement: Score
    completeness: Score
    informativeness: Score

    def record(self) -> dict[str, float]:
        r"""Returns scores, errors and floors as JSON values."""
        found: dict[str, float] = {}
        for name, score in self._asdict().items():
            found |= {**score.value.record(name), f"{name}_by_chance": float(score.floor)}
        return found


@counted
def factor_scores(
    vae: Any,
    x: Data,
    factors: Mapping[str, Any] | None = None,
    *,
    num_bins: int = 20,
    num_resamples: int = 10,
    seed: int = 0,
    **known: Any,
) -> FactorScores:
    r"""Compares the latent features of a VAE with the factors that its data were made of.

    MIG is of a sample of :math:`q(z \mid x)` for each datum, so that a feature that is mostly
    noise tells little; DCI is of means.

    Arguments:
        vae: A VAE, or a pair of Pyro model and guide.
        x: The data, of shape `(B, *x_shape)`.
        factors: For each factor its value for each datum, a number of few; by default those of
            the split, as :func:`pyro_vae.data.sprites` has them.
        num_bins: As in :func:`mig`.
        num_resamples: The number of bootstrap samples.
        seed: Seeds samples, shuffles and trees.
        known: Further inputs of the programs, one row per datum.

    Raises:
        ValueError: There are no factors.
    """
    with opened(vae, x, known, seed) as (program, split):
        factors = split.factors if factors is None else factors
        if not factors:
            raise ValueError(
                "Expected data with known factors; got none. Pass factors={'scale': values}, or "
                "use pv.data.sprites()."
            )
        draws = []
        for rows, more in batches(split, ROWS_AT_ONCE):
            sites = sample_sites(poutine.trace(program.guide).get_trace(rows, **more))
            latent = [s["value"] for s in sites.values() if not s["is_observed"]]
            draws.append(torch.cat([value.flatten(1) for value in latent], 1))
        means = encode(program, split, seed=seed).loc.flatten(1)
    options: dict[str, Any] = {"num_resamples": num_resamples, "seed": seed}
    gap = mig(torch.cat(draws), factors, num_bins=num_bins, **options)
    return FactorScores(gap, *dci(means, factors, **options))


@counted
def mig(
    codes: Tensor,
    factors: Mapping[str, Any],
    *,
    num_bins: int = 20,
    num_resamples: int = 10,
    seed: int = 0,
) -> Score:
    r"""Returns the mutual information gap of codes: 1 if each factor is in one feature alone.

    .. math:: \frac{1}{K} \sum_k \frac{1}{H(v_k)} \left(
        I(z_{j^{(k)}}; v_k) - \max_{j \neq j^{(k)}} I(z_j; v_k)\right), \quad
        j^{(k)} = \arg\max_j I(z_j; v_k)

    Features are cut into bins of as many data each, so that only their order counts. Information
    from counts is too high by about `(bins - 1) (values - 1) / 2 N`: the floor says by how much.

    References:
        | Isolating Sources of Disentanglement in VAEs (Chen et al., 2018), Sec. 4
        | https://arxiv.org/abs/1802.04942

    Arguments:
        codes: Latent features, of shape `(N, L)`, with `L` of 2 or more.
        factors: For each factor its value for each datum, of shape `(N,)`, of few values.
        num_bins: The number of bins.
        num_resamples: The number of bootstrap samples.
        seed: Seeds them, and the shuffles.
    """
    z, v = _arrays(codes, factors)
    bins = np.stack([_binned(column, num_bins) for column in z.T], 1)

    def gap(rows: np.ndarray, others: np.ndarray) -> np.ndarray:
        tables = _information(bins[rows], v[others])
        first, second = np.sort(tables, 0)[::-1][:2]
        return np.array([np.mean(first - second)])

    return _scores(gap, len(z), num_resamples, seed)[0]


@counted
def dci(
    codes: Tensor, factors: Mapping[str, Any], *, num_resamples: int = 10, seed: int = 0
) -> tuple[Score, Score, Score]:
    r"""Returns disentanglement, completeness and informativeness of codes.

    Random forests predict each factor from the features. With :math:`R_{jk}` the importance of
    feature `j` for factor `k`,

    .. math::
        D = \sum_j \rho_j \left(1 - H_K(P_{j \cdot})\right), \quad
        C = \frac{1}{K} \sum_k \left(1 - H_L(\tilde{P}_{\cdot k})\right)

    where `P` has rows that sum to 1 and :math:`\tilde P` columns, entropies have the number of
    factors or features as their base, and :math:`\rho_j` is the share of feature `j` in all
    importance; `D` of a single factor is not defined, and NaN. Informativeness is the share of a
    factor's variance that is predicted for half of the data from the other half, at least 0, on
    average over factors; classes are their numbers.

    References:
        | A Framework for the Quantitative Evaluation of Disentangled Representations
        | (Eastwood & Williams, 2018), Sec. 2, with random forests
        | https://openreview.net/forum?id=By-7dz-AZ

    Arguments:
        codes: As in :func:`mig`, as the other arguments.
    """
    z, v = _arrays(codes, factors)
    half = np.random.default_rng(stream(seed, "halves")).permutation(len(z)) < len(z) // 2

    def scores(rows: np.ndarray, others: np.ndarray) -> np.ndarray:
        columns, told = [], []
        learn = half[rows]  # a datum that is drawn twice stays in its half
        for target in v.T.astype(np.float64):
            importance, share = _predicted(z[rows], target[others], learn, seed)
            columns.append(importance)
            told.append(share)
        importances = np.stack(columns, 1)
        return np.array([*_disentangled(importances), np.mean(told)])

    first, second, third = _scores(scores, len(z), num_resamples, seed)
    return first, second, third


# --- Parts --------------------------------------------------------------------------------------


def _scores(
    measure: Callable[[np.ndarray, np.ndarray], np.ndarray],
    count: int,
    num_resamples: int,
    seed: int,
) -> list[Score]:
    r"""Several scores of codes and factors by their row numbers, with errors and floors."""
    rng, every = np.random.default_rng(stream(seed, "rows")), np.arange(count)
    values = measure(every, every)
    resamples = [rng.integers(count, size=count) for _ in range(num_resamples)]
    drawn = np.stack([measure(rows, rows) for rows in resamples])
    shuffled = np.stack([measure(every, rng.permutation(count)) for _ in range(NUM_SHUFFLES)])
    errors = drawn.std(0, ddof=1) if num_resamples > 1 else np.full(len(values), np.nan)
    return [
        Score(Mean(value, error, UNIT), Mean.of(torch.from_numpy(floor), UNIT))
        for value, error, floor in zip(values, errors, shuffled.T)
    ]


def _information(bins: np.ndarray, factors: np.ndarray) -> np.ndarray:
    r"""Mutual information of each feature and factor over the factor's entropy, of shape
    `(L, K)`."""
    found = np.zeros((bins.shape[1], factors.shape[1]))
    for k, column in enumerate(factors.T):
        values, codes = np.unique(column, return_inverse=True)
        entropy = _entropy(np.bincount(codes))
        for j, feature in enumerate(bins.T):
            joint = np.bincount(feature * len(values) + codes)
            shared = _entropy(np.bincount(feature)) + entropy - _entropy(joint)
            found[j, k] = shared / entropy if entropy > 0 else 0.0
    return found


def _entropy(counts: np.ndarray) -> float:
    r"""The entropy of a law that is known by counts, in nats."""
    p = counts[counts > 0] / counts.sum()
    return float(-(p * np.log(p)).sum())


def _binned(values: np.ndarray, num_bins: int) -> np.ndarray:
    r"""The bin of each value; bins hold as many data each, and equal values are together."""
    inner = np.quantile(values, np.arange(1, num_bins) / num_bins)
    return np.searchsorted(np.unique(inner), values, side="left")


def _disentangled(importances: np.ndarray) -> tuple[float, float]:
    r"""Disentanglement and completeness of importances of shape `(L, K)`."""

    def certainty(table: np.ndarray) -> np.ndarray:
        size = table.shape[1]
        if size == 1:  # nothing to be mistaken for
            return np.full(len(table), np.nan)
        return np.array([1 - _entropy(r) / np.log(size) if r.sum() > 0 else 0 for r in table])

    shares = importances.sum(1) / max(importances.sum(), 1e-300)
    return float(shares @ certainty(importances)), float(certainty(importances.T).mean())


def _predicted(
    z: np.ndarray, target: np.ndarray, learn: np.ndarray, seed: int
) -> tuple[np.ndarray, float]:
    r"""The importance of each feature for a target, and the share of its variance that is told."""
    from sklearn.ensemble import RandomForestRegressor

    forest = RandomForestRegressor(
        NUM_TREES, min_samples_leaf=SMALLEST_LEAF, random_state=stream(seed, "trees") % 2**32
    )
    forest.fit(z[learn], target[learn])
    error = np.square(target[~learn] - forest.predict(z[~learn])).mean()
    variance = target[~learn].var()
    return forest.feature_importances_, max(0.0, 1 - error / variance) if variance > 0 else 0.0


def _arrays(codes: Any, factors: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    r"""Codes of shape `(N, L)` and factors of shape `(N, K)`, as they are wanted."""
    z = torch.as_tensor(codes).detach().cpu().double().numpy()
    columns = [np.asarray(v.cpu() if isinstance(v, Tensor) else v) for v in factors.values()]
    if not columns or any(column.dtype.kind not in "buif" for column in columns):
        kinds = ", ".join(f"{n} of {c.dtype}" for n, c in zip(factors, columns)) or "none"
        raise ValueError(
            f"Expected a factor or more, all of numbers; got {kinds}. Number other values, "
            "as by np.unique(values, return_inverse=True)[1]."
        )
    if z.ndim != 2 or z.shape[1] < 2 or any(column.shape != z.shape[:1] for column in columns):
        shapes = ", ".join(f"{n} {c.shape}" for n, c in zip(factors, columns))
        raise ValueError(
            "Expected codes of shape (N, L) with two features or more, and one number for each of "
            f"the N data for every factor; got codes {z.shape} and {shapes}."
        )
    for name, column in (("codes", z), *zip(factors, columns)):
        if not np.isfinite(column).all():
            raise ValueError(f"Expected finite numbers in {name}; got some that are not.")
    for name, column in zip(factors, columns):
        count = len(np.unique(column))
        if not 2 <= count <= len(column) / 5:
            raise ValueError(
                f"Expected factors of two values or more, with five data or more for each; got "
                f"{name} with {count} for {len(column)} data. Leave it out, or cut it into bins."
            )
    return z, np.stack(columns, 1)
