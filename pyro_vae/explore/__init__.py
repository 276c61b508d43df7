r"""A page on which the latent space of a trained VAE is explored."""

from .page import explorer_page as explorer_page
