r"""The commonest mistakes in Pyro programs over data, each with its sentence."""

from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any

from torch import Tensor

from ..programs import as_program
from . import data, programs, sites, values
from .case import Case, untouched

Check = Callable[[Case], Iterator[str]]


def failing(check: Check) -> Check:
    r"""Asks for a mistake only where the step fails: in a program that runs it may be meant."""

    @wraps(check)
    def asked(case: Case) -> Iterator[str]:
        if case.failure is not None:
            yield from check(case)

    return asked


MISTAKES: list[Check] = [
    data.not_a_tensor,
    data.no_rows,
    data.no_batch,
    failing(data.other_layout),
    failing(programs.other_arguments),
    failing(data.integers),
    failing(data.not_finite),
    failing(data.other_dtype_or_device),
    failing(programs.duplicate_site),
    failing(programs.colliding_plates),
    programs.no_distribution,
    failing(programs.observed_not_a_tensor),
    failing(programs.undeclared_event),
    failing(programs.plate_size),
    sites.batch_in_event,
    failing(programs.latent_shapes),
    failing(programs.network_size),
    sites.nothing_observed,
    sites.observed_in_guide,
    sites.missing_in_guide,
    sites.missing_in_model,
    programs.program_error,
    sites.no_parameters,
    sites.hidden_network,
    failing(sites.no_plate),
    failing(sites.undeclared_event),
    sites.other_plates,
    sites.other_rows,
    sites.other_weights,
    sites.other_data_shape,
    values.parameter_range,
    values.data_support,
    values.guide_support,
    failing(values.infinite_density),
    failing(programs.step_error),
]
r"""What :func:`explain_error` looks for, in order: each check may rely on those before it. A check
looks at a :class:`Case` and yields a sentence for what it finds."""


def explain_error(vae: Any, x: Tensor, **known: Any) -> str | None:
    r"""Says in one sentence what is wrong with a program and its data, and what to do.

    Knows the commonest mistakes of shapes, plates, supports and names, and reports the one to fix
    first. For a program that runs, only silent mistakes are reported. Nothing is trained and
    nothing is changed.

    Arguments:
        vae: A VAE, or a pair of Pyro model and guide.
        x: A batch of data, of shape `(B, *x_shape)`.
        known: Further inputs of both programs.

    Returns:
        A sentence, or nothing where no mistake was found.

    Example:
        >>> import torch, pyro_vae as pv
        >>> vae = pv.VAE(
        ...     prior=pv.priors.StandardNormal(2),
        ...     likelihood=pv.likelihoods.Bernoulli(pv.nn.MLP(2, [16], 5)),
        ...     posterior=pv.posteriors.MeanFieldNormal(pv.nn.MLP(5, [16], 2)),
        ... )
        >>> print(explain_error(vae, torch.zeros(8, 5)))
        Expected z of one size in guide and model; got 1 and 2. ...
    """
    program = as_program(vae)
    with untouched(program, seed=0):
        return first_mistake(program, x, **known)


def first_mistake(program: Any, x: Any, **known: Any) -> str | None:
    r"""Returns the sentence of the first mistake in a program and its data, or nothing."""
    case = Case(program, x, known)
    return next((sentence for check in MISTAKES for sentence in check(case)), None)
