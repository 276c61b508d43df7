r"""What evaluation says of data that were made of known factors."""

from typing import TYPE_CHECKING, Any

from .output import announce

if TYPE_CHECKING:
    from ..data import Split

SCORES = {"mig": "MIG", **{n: n for n in ("disentanglement", "completeness", "informativeness")}}
PARTS = ("mutual_information", "total_correlation", "dimension_kl")


def scored(vae: Any, split: "Split", seed: int) -> dict[str, Any]:
    r"""MIG and DCI, and the parts of the KL term where it has some; nothing of other data."""
    if not split.factors:
        return {}
    from ..evaluate import factor_scores, kl_terms

    found: dict[str, Any] = {}
    try:
        found |= factor_scores(vae, split, seed=seed).record()
    except ValueError as error:  # too few data or features
        announce(f"MIG and DCI are left out. {error}")
        return {}
    try:
        found |= kl_terms(vae, split, seed=seed).record()
    except ValueError:  # latent features that are not independent given x, or several sites
        return found
    return found


def lines(metrics: dict[str, Any]) -> list[str]:
    r"""The scores as text."""
    if "mig" not in metrics:
        return []
    said = [f"  {name:18s}{_score(metrics, key)}" for key, name in SCORES.items()]
    if PARTS[0] in metrics:
        each = [
            f"{name.replace('_', ' ')} {metrics[name]:.3f} +- {metrics[f'{name}_se']:.3f}"
            for name in PARTS
        ]
        each[0] += f" (at most {metrics['mutual_information_cap']:.3f})"
        said.append(f"  KL term   {', '.join(each)}")
    return said


def _score(metrics: dict[str, Any], name: str) -> str:
    return (
        f"{metrics[name]:.3f} +- {metrics[f'{name}_se']:.3f} "
        f"({metrics[f'{name}_by_chance']:.3f} by chance)"
    )
