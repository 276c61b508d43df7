r"""Data: from files to x on the device.  (layer 0)

A :class:`Split` stores data small and makes `x` of the rows that are visited; a :class:`Dataset`
is the splits of a set that is known by name (:func:`digits`, :func:`mnist`, ...), read from a file
(:func:`load`) or from a DataFrame (:func:`from_dataframe`). What is in memory becomes a split by
:func:`as_split`.
"""

from .checks import check
from .content import Column
from .dataset import Dataset
from .files import find_file as find_file
from .files import whole_file as whole_file
from .loading import (
    celeba,
    cifar10,
    digits,
    fashion_mnist,
    freyfaces,
    from_dataframe,
    load,
    mnist,
    omniglot,
    static_mnist,
)
from .split import Split, as_split, fingerprint, moments

__all__ = [
    "Column",
    "Dataset",
    "Split",
    "as_split",
    "celeba",
    "check",
    "cifar10",
    "digits",
    "fashion_mnist",
    "fingerprint",
    "freyfaces",
    "from_dataframe",
    "load",
    "mnist",
    "moments",
    "omniglot",
    "static_mnist",
]
