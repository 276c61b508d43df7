r"""A page on which the latent space of a trained VAE is explored.  (layer 6)"""

from .page import explorer_page as explorer_page
