r"""What is measured after each epoch: of VAEs, and of their relatives."""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..data import Split
from ..evaluate import CollapseWatch, elbo, rate_distortion, site_activities
from ..evaluate.collapse import ACTIVE
from ..programs import undisturbed, wants_rows

if TYPE_CHECKING:
    from .run import Run

ROWS_WATCHED = 1000  # whose posterior means show which latent units are active


class OfVAE:
    r"""The KL term and the active units of each latent site, and the ELBO.

    Attributes:
        terms: The names of the metrics of a step.
        score: The name of what validation measures.
    """

    terms: tuple[str, ...] = ("loss", "reconstruction", "kl", "grad_norm")
    score = "elbo"

    def __init__(self) -> None:
        self.watches: dict[str, CollapseWatch] = {}

    def epoch(self, run: "Run") -> tuple[dict[str, Any], list[str]]:
        r"""Returns metrics of the training data, and warnings."""
        seen = run.data.take(run.data.spread(ROWS_WATCHED))
        if wants_rows(run.vae):
            seen = seen.knowing(index=run.data.spread(ROWS_WATCHED))
        activity = site_activities(run.vae, seen, seed=run.seed)
        alive = {f"active_{n}": int((units > ACTIVE).sum()) for n, units in activity.items()}
        several = {**site_rates(run.vae, seen, run.seed), **alive} if len(alive) > 1 else {}
        warnings = []
        for name, units in activity.items():
            site = name if len(activity) > 1 else ""
            watch = self.watches.setdefault(name, CollapseWatch(site=site))
            if warning := watch.update(units):
                warnings.append(warning)
        return {"active_units": sum(alive.values()), **several}, warnings

    def valid(self, run: "Run", rows: Split) -> Tensor:
        r"""Returns the ELBO of the validation data, of shape `(N,)`."""
        return elbo(run.vae, rows, seed=run.seed, skip_checks=True)


class OfRelative:
    r"""The metrics of a relative's own steps, and its score.

    Attributes:
        terms: The names of the metrics of a step.
        score: The name of what validation measures.
    """

    score = "score"

    def __init__(self, measures: tuple[str, ...]) -> None:
        self.terms = (*measures, "grad_norm")

    def epoch(self, run: "Run") -> tuple[dict[str, Any], list[str]]:
        r"""Returns no more metrics, and no warnings."""
        return {}, []

    def valid(self, run: "Run", rows: Split) -> Tensor:
        r"""Returns the score of the validation data, of shape `(N,)`."""
        with undisturbed(run.vae, run.seed):
            return torch.cat([run.vae.score(x) for x in rows.chunks(ROWS_WATCHED)])


def site_rates(vae: Any, seen: Any, seed: int) -> dict[str, float]:
    r"""The KL term of each of several latent sites, in nats per datum, from one sample; none of
    programs whose terms are not those of single data."""
    try:
        rates = rate_distortion(vae, seen, 1, seed=seed).by_site
    except (ValueError, NotImplementedError):
        return {}
    return {f"kl_{name}": float(rate) for name, rate in rates.items()}
