r"""The members of the gallery: small models of bits, with networks of one size."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..build import build_model
from ..config import validate
from ..data import Dataset, load
from ..evaluate import encode, log_marginal, reconstruct, sample
from ..gallery import Relative
from ..gallery.base import Density
from ..models import VAE
from ..train.fit import fit

IMPORTANCE_SAMPLES = 200
HIDDEN = [200]
NET = {"kind": "mlp", "hidden_features": HIDDEN}
VAE_PARTS = {
    "latent_dim": 12,
    "likelihood": {"kind": "bernoulli", "decoder": NET},
    "posterior": {"kind": "mean-field-normal", "encoder": NET},
}


@dataclass(frozen=True)
class Member:
    r"""A model of the gallery.

    Attributes:
        model: The table of the recipe; None is the VAE.
        lr: The learning rate.
        effort: How many times as many epochs it gets.
        pixels: Whether it is of pixels as real numbers from 0 to 1: what it draws are then the
            probabilities of bits, as the data's own pixels are.
    """

    model: dict[str, Any] | None
    lr: float = 2e-3
    effort: int = 1
    pixels: bool = False


def _autoencoder(**options: Any) -> Member:
    table = {"kind": "autoencoder", "error": "cross-entropy", "hidden_features": HIDDEN}
    return Member({**table, **options})


MEMBERS: dict[str, Member] = {
    "VAE": Member(None),
    "autoencoder": _autoencoder(),
    "sparse autoencoder": _autoencoder(code_dim=100, sparsity=0.02),
    "denoising autoencoder": _autoencoder(noise=0.2),
    "contractive autoencoder": _autoencoder(contraction=0.02),
    "GSN": Member({"kind": "gsn", "hidden_features": HIDDEN}, lr=4e-3),
    "RBM": Member({"kind": "rbm", "num_hidden": 100}, lr=2e-2),
    "DBM": Member({"kind": "dbm", "num_temperatures": 200}, lr=2e-2),
    "GAN": Member({"kind": "gan", "bounded": True, "hidden_features": HIDDEN}, 1e-3, 3, True),
    "MADE": Member({"kind": "made", "hidden_features": HIDDEN}),
    "PixelCNN": Member({"kind": "pixel-cnn", "channels": 16}),
    "flow": Member({"kind": "normalizing-flow", "num_levels": 2, "num_transforms": 2}),
    "diffusion": Member({"kind": "diffusion", "hidden_features": [200, 200]}, 2e-3, 3, True),
}
r"""The models by name."""


class AsRelative(Relative):
    r"""Creates from a VAE what the gallery asks of every model.

    Its :math:`\log p(x)` is estimated by importance sampling, and is too low on average.

    Arguments:
        vae: The VAE, of data that are their own conditions.
        x_shape: The shape of one datum.
    """

    density: Density = "lower bound"

    def __init__(self, vae: VAE, x_shape: tuple[int, ...]) -> None:
        super().__init__(x_shape)
        self.vae, self.support = vae, vae.likelihood.support

    def loss(self, x: Tensor) -> Tensor:
        raise NotImplementedError("A VAE is trained by fit itself.")

    def sample(self, num_samples: int) -> Tensor:
        return sample(self.vae, num_samples, "sample", seed=_seed())

    def log_prob(self, x: Tensor) -> Tensor:
        return log_marginal(self.vae, x, IMPORTANCE_SAMPLES, seed=_seed()).log_marginal

    def encode(self, x: Tensor) -> Tensor:
        return encode(self.vae, x).loc

    def reconstruct(self, x: Tensor) -> Tensor:
        return reconstruct(self.vae, x, "mean", seed=_seed())


def _seed() -> int:
    return int(torch.randint(2**31, ()))


def data_of(name: str, pixels: bool, data_dir: Any = None) -> Dataset:
    r"""Loads a data set as bits that are drawn at every visit, or as pixels from 0 to 1."""
    rules = {"range": "unit"} if pixels else {"binarize": "dynamic"}
    return load(name, data_dir, quiet=True, **rules)


def train(member: Member, dataset: Dataset, epochs: int, seed: int) -> Relative:
    r"""Trains a member of the gallery.

    Arguments:
        member: The member.
        dataset: The data, as :func:`data_of` has them for it.
        epochs: The epochs of most members.
        seed: Seeds everything.
    """
    rows = dataset.train
    epochs = epochs * member.effort
    values: dict[str, Any] = {"data": {"kind": "digits"}, "seed": seed}
    values["train"] = {"epochs": epochs, "lr": member.lr, "schedule": "cosine"}
    values |= VAE_PARTS if member.model is None else {"model": member.model}
    recipe = validate(values)
    made = build_model(recipe, rows.x_shape, rows.scale, rows)
    fit(made, rows, seed=seed, progress=False, **recipe.train.model_dump())
    return AsRelative(made, rows.x_shape) if member.model is None else made
