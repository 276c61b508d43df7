r"""Pictures of a trained VAE. Matplotlib is imported only when one is drawn."""

from .completions import plot_imputed as plot_imputed
from .conditions import plot_classes as plot_classes
from .conditions import plot_completions as plot_completions
from .conditions import plot_held as plot_held
from .data import plot_correlations as plot_correlations
from .data import plot_reconstructions as plot_reconstructions
from .data import plot_samples as plot_samples
from .diagnosis import plot_contraction as plot_contraction
from .diagnosis import plot_curves as plot_curves
from .diagnosis import plot_gaps as plot_gaps
from .diagnosis import plot_ranks as plot_ranks
from .diagnosis import plot_reliability as plot_reliability
from .diagnosis import plot_units as plot_units
from .latent import plot_latent as plot_latent
from .latent import plot_manifold as plot_manifold
from .latent import plot_traversal as plot_traversal
from .run import draw_run as draw_run
from .run import plot_run as plot_run
