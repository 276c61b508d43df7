r"""Generative models with their guides, as Pyro programs."""

from .holes import allowing_holes
from .vae import VAE

__all__ = ["VAE", "allowing_holes"]
