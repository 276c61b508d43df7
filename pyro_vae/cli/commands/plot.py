from dataclasses import dataclass
from typing import ClassVar

from ..shared import OnRows


@dataclass(kw_only=True)
class Plot(OnRows):
    r"""Plots samples, reconstructions, latent space and learning curves of a run."""

    takes_relatives: ClassVar[bool] = True

    def __call__(self) -> None:
        from ...plot import plot_run

        run = self.opened()
        vae = run.model(self.device)
        split, *_ = self.rows(run, vae)
        folder, metrics = run.path / "pictures", run.path / "metrics.jsonl"
        paths = plot_run(vae, split, folder, metrics, run.title)
        print("Plots: " + ", ".join(map(str, paths)))
