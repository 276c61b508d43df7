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
from .kinds import MLP, Conv, Kind, Network, Settings
from .likelihoods import Likelihood, LikelihoodKind, Part
from .posteriors import Posterior, PosteriorKind
from .priors import Prior
from .reading import (
    REGISTRY,
    kinds,
    override,
    read_recipe,
    recipes,
    suggestion,
    to_toml,
    validate,
)
from .recipe import ESTIMATORS, Recipe, Train
from .sites import is_plain, sites_of

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
