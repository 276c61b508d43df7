r"""Running any pair of model and guide: traces, weights, latents on the line.  (layer 1)

Whoever trains or evaluates stands on this room, and asks programs, not their parts.
"""

from .alike import note_rows, rows_differ, weights_differ
from .chunks import batches, rows_at_once
from .drawing import drawn, latent_names, replicated, rows_of, simulate
from .listed import ascend, evidence, expected, joint_table, states
from .params import show_parameters
from .paths import detach_samples, gate_samples, reduce
from .program import (
    Program,
    as_program,
    density_of,
    families,
    family_of,
    guide_name,
    is_vae,
    plainly,
    prior_guide,
    refused,
    wants_rows,
)
from .state import device_of, dtype_of, undisturbed
from .tracing import (
    Sites,
    check_gradients,
    check_plates,
    density,
    equal,
    log_density,
    sample_sites,
    traces,
)
from .unconstrained import Start, Unconstrained, bijection
from .weights import Gradient, Terms, Weights, weigh

__all__ = [
    "Gradient",
    "Program",
    "Sites",
    "Start",
    "Terms",
    "Unconstrained",
    "Weights",
    "as_program",
    "ascend",
    "batches",
    "bijection",
    "check_gradients",
    "check_plates",
    "density",
    "density_of",
    "detach_samples",
    "device_of",
    "drawn",
    "dtype_of",
    "equal",
    "evidence",
    "expected",
    "families",
    "family_of",
    "gate_samples",
    "guide_name",
    "is_vae",
    "joint_table",
    "latent_names",
    "log_density",
    "note_rows",
    "plainly",
    "prior_guide",
    "reduce",
    "refused",
    "replicated",
    "rows_at_once",
    "rows_differ",
    "rows_of",
    "sample_sites",
    "show_parameters",
    "simulate",
    "states",
    "traces",
    "undisturbed",
    "wants_rows",
    "weigh",
    "weights_differ",
]
