from dataclasses import dataclass
from typing import Any

from ..output import at_least_one
from ..shared import DataDir, OnRecipe


@dataclass(kw_only=True)
class Inspect(OnRecipe):
    r"""Splits the ELBO of a recipe, from one sample, into the contributions of its sites."""

    num_data: int = 32
    """Number of training data to use."""
    data_dir: DataDir = None

    def __call__(self, flags: dict[str, Any]) -> None:
        from ...debug import inspect_step
        from ...objectives import plan, planned
        from ...programs import wants_rows

        recipe, vae, train = self.built(flags, self.data_dir)
        rows = train.spread(at_least_one(self.num_data))
        x, known = train.freeze(recipe.seed).take(rows).batch(slice(None))
        if wants_rows(vae):
            known["index"] = rows
        print(f"The ELBO of {len(x)} training data of {recipe.name}, before training, one sample:")
        print(inspect_step(vae, x, seed=recipe.seed, **known))
        settings = recipe.train
        weight = f"KL weight {settings.kl_weight:g}"
        if settings.kl_warmup_epochs:
            weight += f" after {settings.kl_warmup_epochs:g} epochs from 0"
        print(f"Training uses {plan(vae, x, known=known, **planned(settings)).why} {weight}.")
