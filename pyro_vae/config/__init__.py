r"""Every choice by name, with its options and their meaning; without torch.  (layer 0)

Recipes, the command line and the contract tests all read this registry.
"""

from .data import CIFAR10 as CIFAR10
from .data import MNIST as MNIST
from .data import CelebA as CelebA
from .data import Data as Data
from .data import DataKind as DataKind
from .data import Diabetes as Diabetes
from .data import Digits as Digits
from .data import FashionMNIST as FashionMNIST
from .data import File as File
from .data import FreyFaces as FreyFaces
from .data import HeldOut as HeldOut
from .data import Holes as Holes
from .data import Omniglot as Omniglot
from .data import StaticMNIST as StaticMNIST
from .families import ESTIMATORS as ESTIMATORS
from .families import Likelihood as Likelihood
from .families import Part as Part
from .families import Posterior as Posterior
from .families import Prior as Prior
from .grid import Point as Point
from .grid import checked_seeds as checked_seeds
from .grid import grid_points as grid_points
from .grid import points_of as points_of
from .grid import read_settings as read_settings
from .grid import read_values as read_values
from .grid import short_names as short_names
from .kinds import MLP as MLP
from .kinds import Conv as Conv
from .kinds import Kind as Kind
from .kinds import LikelihoodKind as LikelihoodKind
from .kinds import Network as Network
from .kinds import PosteriorKind as PosteriorKind
from .kinds import Settings as Settings
from .messages import suggestion as suggestion
from .reading import override as override
from .reading import read_recipe as read_recipe
from .reading import recipes as recipes
from .reading import validate as validate
from .recipe import Recipe as Recipe
from .recipe import Train as Train
from .registry import REGISTRY as REGISTRY
from .registry import kinds as kinds
from .sites import allows_holes as allows_holes
from .sites import is_plain as is_plain
from .sites import sites_of as sites_of
from .space import Range as Range
from .space import Space as Space
from .space import probes as probes
from .space import read_space as read_space
from .toml import to_toml as to_toml
