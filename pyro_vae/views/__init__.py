r"""What a model makes of data, and what it makes up: not evaluation, but use.  (layer 5)"""

from .export import to_datatree
from .generated import decode, reconstruct, sample
from .imputation import Imputed, impute
from .latent import Encoding, encode, encode_sites

__all__ = [
    "Encoding",
    "Imputed",
    "decode",
    "encode",
    "encode_sites",
    "impute",
    "reconstruct",
    "sample",
    "to_datatree",
]
