from dataclasses import dataclass
from typing import Any

from ..shared import DataDir, OnRecipe


@dataclass(kw_only=True)
class Explain(OnRecipe):
    r"""Derives a recipe's loss from its three assumptions, and names the estimator."""

    latex: bool = False
    """Print LaTeX."""
    data_dir: DataDir = None

    def __call__(self, flags: dict[str, Any]) -> None:
        from ...objectives import explain, planned

        recipe, vae, train = self.built(flags, self.data_dir)
        x, known = train.batch(slice(0, 2))
        derivation = explain(vae, x, known=known, **planned(recipe.train))
        print(derivation.latex if self.latex else derivation.text)
