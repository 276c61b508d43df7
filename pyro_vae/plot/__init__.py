r"""Pictures of a trained VAE. Matplotlib is imported only when one is drawn.  (layer 6)"""

from .data import plot_correlations, plot_reconstructions, plot_samples
from .diagnosis import plot_contraction, plot_curves, plot_gaps, plot_ranks, plot_units
from .latent import plot_latent, plot_manifold, plot_traversal
from .run import draw_run, plot_run

__all__ = [
    "draw_run",
    "plot_contraction",
    "plot_correlations",
    "plot_curves",
    "plot_gaps",
    "plot_latent",
    "plot_manifold",
    "plot_ranks",
    "plot_reconstructions",
    "plot_run",
    "plot_samples",
    "plot_traversal",
    "plot_units",
]
