r"""Generative models with their guides, as Pyro programs.  (layer 3)"""

from .vae import VAE

__all__ = ["VAE"]
