r"""All plots of a run."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ..data import Split
from ..distributions import describe_support
from ..gallery import Relative
from ..programs import is_vae
from ..runs.records import read_metrics
from .canvas import is_image, save
from .conditions import class_condition, plot_classes, plot_completions, plot_held
from .data import plot_correlations, plot_reconstructions, plot_samples
from .diagnosis import plot_curves
from .latent import plot_latent, plot_manifold, plot_traversal
from .relatives import draw_relative
from .walks import latent_laws

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_run(
    vae: Any, split: Split, folder: Path, metrics: Path | None = None, title: str = ""
) -> list[Path]:
    r"""Draws every picture of a trained VAE, or of a relative, into `folder`.

    Arguments:
        vae: The VAE.
        split: Data to reconstruct and to place in latent space; those of training for a posterior
            that has parameters for these alone.
        folder: Where the plots go.
        metrics: A ``metrics.jsonl``, for learning curves.
        title: What stands above each picture, such as the run and its recipe.

    Returns:
        The files written, each whole.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, figure in draw_run(vae, split, metrics).items():
        paths.append(folder / f"{name}.png")
        save(figure, paths[-1], title)
    return paths


def draw_run(vae: Any, split: Split, metrics: Path | None = None) -> "dict[str, Figure]":
    r"""Draws every picture of a trained VAE, or of a relative, by name."""
    if isinstance(vae, Relative):
        return draw_relative(vae, split, metrics)
    if is_vae(vae) and vae.posterior.index and "index" not in split.known:
        split = split.knowing(index=torch.arange(len(split)))
    figures = {
        "samples": plot_samples(vae, split=split),
        "reconstructions": plot_reconstructions(vae, split),
        "latent": plot_latent(vae, split),
    }
    if split.picture is not None:
        figures["samples"] = plot_completions(vae, split)
    elif len(split.x_shape) == 1:
        figures["correlations"] = plot_correlations(vae, split)
    if name := class_condition(vae, split):
        count = split.known[name].shape[1]
        names = split.classes or [str(i) for i in range(count)]
        figures["classes"] = plot_classes(vae, name, names[:count], split=split)
    latents = getattr(vae, "latents", ())
    if len(latents) > 1 and not getattr(vae, "drawn_under", ()):
        figures["layers"] = plot_held(vae, latents[: len(latents) // 2], split=split)
    image = is_image(split.rows(slice(0, 1))) and not getattr(vae, "conditions", ())
    laws = [*latent_laws(vae, 2, {}).values()] if image else []
    if [law.event_shape for law in laws] == [(2,)] and (
        describe_support(laws[0].support) == "the real numbers"
    ):
        figures["decoded"] = plot_manifold(vae, split=split)
    else:
        figures["decoded"] = plot_traversal(vae, split)
    if metrics is not None and metrics.is_file():
        figures["curves"] = plot_curves(read_metrics(metrics))
    return figures
