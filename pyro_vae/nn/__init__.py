r"""Networks: tensors in, tensors out, with any leading batch shape."""

from .causal import CausalCNN as CausalCNN
from .codebook import Codebook as Codebook
from .codebook import Grid as Grid
from .init import Init as Init
from .init import find_activation as find_activation
from .init import initialize as initialize
from .inputs import At as At
from .inputs import Batched as Batched
from .inputs import Divide as Divide
from .inputs import Join as Join
from .inputs import Observed as Observed
from .inputs import Standardize as Standardize
from .made import MADE as MADE
from .networks import MLP as MLP
from .networks import ConvDecoder as ConvDecoder
from .networks import ConvEncoder as ConvEncoder
from .networks import PooledEncoder as PooledEncoder
from .offset import Offset as Offset
from .pixels import PixelCNN as PixelCNN
from .posed import Posed as Posed
from .posed import moved as moved
from .sequences import Backward as Backward
from .sequences import Gated as Gated
from .sequences import followed as followed
from .views import Views as Views
from .views import views_of as views_of
