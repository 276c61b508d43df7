r"""Every choice by name, with its options and their meaning. Torch-free.  (layer 0)

Recipes, the command line and the contract tests all read this one registry.
"""

from .data import (
    CIFAR10,
    MNIST,
    CelebA,
    Data,
    DataKind,
    Digits,
    FashionMNIST,
    File,
    FreyFaces,
    HeldOut,
    Omniglot,
    StaticMNIST,
)
from .families import ESTIMATORS, Likelihood, Part, Posterior, Prior
from .kinds import MLP, Conv, Kind, LikelihoodKind, Network, PosteriorKind, Settings
from .messages import suggestion
from .reading import override, read_recipe, recipes, validate
from .recipe import Recipe, Train
from .registry import REGISTRY, kinds
from .sites import is_plain, sites_of
from .toml import to_toml

__all__ = [
    "CIFAR10",
    "ESTIMATORS",
    "MLP",
    "MNIST",
    "REGISTRY",
    "CelebA",
    "Conv",
    "Data",
    "DataKind",
    "Digits",
    "FashionMNIST",
    "File",
    "FreyFaces",
    "HeldOut",
    "Kind",
    "Likelihood",
    "LikelihoodKind",
    "Network",
    "Omniglot",
    "Part",
    "Posterior",
    "PosteriorKind",
    "Prior",
    "Recipe",
    "Settings",
    "StaticMNIST",
    "Train",
    "is_plain",
    "kinds",
    "override",
    "read_recipe",
    "recipes",
    "sites_of",
    "suggestion",
    "to_toml",
    "validate",
]
