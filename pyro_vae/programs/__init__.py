r"""Running any pair of model and guide: traces, weights, latents on the line.

Training and evaluation build on this: they run programs and never look at their parts.
"""

from .alike import note_rows as note_rows
from .alike import rows_differ as rows_differ
from .alike import weights_differ as weights_differ
from .chains import mixing as mixing
from .chains import nuts_chain as nuts_chain
from .chunks import batches as batches
from .chunks import own_batches as own_batches
from .chunks import rows_at_once as rows_at_once
from .drawing import drawn as drawn
from .drawing import latent_names as latent_names
from .drawing import replicated as replicated
from .drawing import rows_of as rows_of
from .drawing import simulate as simulate
from .listed import ascend as ascend
from .listed import evidence as evidence
from .listed import expected as expected
from .listed import joint_table as joint_table
from .listed import states as states
from .params import show_parameters as show_parameters
from .paths import detach_samples as detach_samples
from .paths import gate_samples as gate_samples
from .paths import reduce as reduce
from .program import Program as Program
from .program import as_program as as_program
from .program import density_of as density_of
from .program import families as families
from .program import family_of as family_of
from .program import guide_name as guide_name
from .program import is_scored as is_scored
from .program import is_vae as is_vae
from .program import plainly as plainly
from .program import prior_guide as prior_guide
from .program import refused as refused
from .program import wants_rows as wants_rows
from .state import device_of as device_of
from .state import dtype_of as dtype_of
from .state import undisturbed as undisturbed
from .tracing import Sites as Sites
from .tracing import check_gradients as check_gradients
from .tracing import check_plates as check_plates
from .tracing import density as density
from .tracing import equal as equal
from .tracing import log_density as log_density
from .tracing import sample_sites as sample_sites
from .tracing import taught as taught
from .tracing import traces as traces
from .unconstrained import Start as Start
from .unconstrained import Unconstrained as Unconstrained
from .unconstrained import bijection as bijection
from .weights import Gradient as Gradient
from .weights import Terms as Terms
from .weights import Weights as Weights
from .weights import weigh as weigh
