r"""What a model makes of data, and what it makes up: not evaluation, but use."""

from .completion import Imputed as Imputed
from .completion import single as single
from .export import to_datatree as to_datatree
from .generated import decode as decode
from .generated import reconstruct as reconstruct
from .generated import sample as sample
from .held import Held as Held
from .held import sample_held as sample_held
from .held import sample_under as sample_under
from .imputation import impute as impute
from .interpolation import between as between
from .interpolation import interpolate as interpolate
from .latent import Encoding as Encoding
from .latent import encode as encode
from .latent import encode_sites as encode_sites
from .onnx import export_onnx as export_onnx
