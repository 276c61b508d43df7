r"""What evaluation says of data of another kind."""

from typing import TYPE_CHECKING, Any

from .shared import mean

if TYPE_CHECKING:
    from ..data import Split

SCORES = {"likelihood": "-log p(x)", "regret": "likelihood regret", "typicality": "typicality"}


def detected(
    vae: Any, inside: "Split", outside: "Split", reference: "Split", most: int, seed: int
) -> dict[str, Any]:
    r"""How well scores tell data of another kind from those of a run, of at most so many each."""
    from ..evaluate import ood_detection

    few = (split.take(split.spread(most)) for split in (inside, outside, reference))
    found = ood_detection(vae, *few, seed=seed)
    counts = {"num_inside": len(found.inside[0]), "num_outside": len(found.outside[0])}
    return {**found.record(), **counts}


def lines(metrics: dict[str, Any]) -> list[str]:
    r"""The areas as text."""
    if "against" not in metrics:
        return []
    said = [
        f"  {metrics['num_outside']} data of {metrics['against']} told from "
        f"{metrics['num_inside']} of {metrics['data']}, AUROC (0.5 is chance):"
    ]
    strange, own = (metrics[f"log_p_{side}"] for side in ("outside", "inside"))
    said.append(f"    mean log p(x)      {strange:.1f} and {own:.1f} nats")
    return said + [
        f"    {name:19s}{mean(metrics, f'auroc_{key}').strip()}" for key, name in SCORES.items()
    ]
