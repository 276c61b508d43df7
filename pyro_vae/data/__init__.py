r"""Data: from files to x on the device.  (layer 0)

A :class:`Split` stores data small and makes `x` of the rows that are visited; a :class:`Dataset`
is the splits of a set that is known by name or read from a file.
"""

from .dataset import Dataset, load
from .files import find_file, whole_file
from .split import Column, Split, as_split, check, fingerprint, moments

__all__ = [
    "Column",
    "Dataset",
    "Split",
    "as_split",
    "check",
    "find_file",
    "fingerprint",
    "load",
    "moments",
    "whole_file",
]
