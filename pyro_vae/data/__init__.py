r"""Data, from files to `x` on the device.

A :class:`Split` stores data compactly and computes `x` for the rows that are visited. A
:class:`Dataset` holds the splits of a data set that has a name (:func:`digits`, :func:`mnist`,
...), of a file (:func:`load`) or of a DataFrame (:func:`from_dataframe`). :func:`as_split` makes a
split from data in memory.
"""

from .batches import from_batches as from_batches
from .checks import check as check
from .content import Column as Column
from .dataset import Dataset as Dataset
from .files import find_file as find_file
from .files import is_text_table as is_text_table
from .files import whole_file as whole_file
from .holes import hidden_by as hidden_by
from .loading import celeba as celeba
from .loading import cifar10 as cifar10
from .loading import diabetes as diabetes
from .loading import digits as digits
from .loading import fashion_mnist as fashion_mnist
from .loading import freyfaces as freyfaces
from .loading import from_dataframe as from_dataframe
from .loading import fsdd as fsdd
from .loading import fsdd_waves as fsdd_waves
from .loading import grid as grid
from .loading import jsb_chorales as jsb_chorales
from .loading import load as load
from .loading import mnist as mnist
from .loading import omniglot as omniglot
from .loading import photo_patches as photo_patches
from .loading import ring as ring
from .loading import sprites as sprites
from .loading import static_mnist as static_mnist
from .midi import write_midi as write_midi
from .mixtures import centres_of as centres_of
from .original import Original as Original
from .original import read_original as read_original
from .recordings import from_levels as from_levels
from .recordings import to_levels as to_levels
from .regions import Picture as Picture
from .regions import elements_of as elements_of
from .regions import only as only
from .regions import places_of as places_of
from .retyped import to_dataframe as to_dataframe
from .sequences import pad as pad
from .sound import log_mel as log_mel
from .sound import to_waves as to_waves
from .sound import write_wav as write_wav
from .split import Split as Split
from .split import as_split as as_split
from .split import fingerprint as fingerprint
from .split import moments as moments
from .split import share_there as share_there
