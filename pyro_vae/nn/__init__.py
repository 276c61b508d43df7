r"""Networks: tensors in, tensors out, with any leading batch shape.  (layer 0)"""

from .init import Init, find_activation, initialize
from .inputs import At, Batched, Divide, Join, Observed, Standardize
from .made import MADE
from .networks import MLP, ConvDecoder, ConvEncoder
from .sequences import Backward

__all__ = [
    "MADE",
    "MLP",
    "At",
    "Backward",
    "Batched",
    "ConvDecoder",
    "ConvEncoder",
    "Divide",
    "Init",
    "Join",
    "Observed",
    "Standardize",
    "find_activation",
    "initialize",
]
