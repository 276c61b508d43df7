r"""What distributions are called."""

from typing import Any

import torch
from pyro.distributions import ExpandedDistribution, MaskedDistribution

from .discrete import IndependentBernoulli
from .known import Known
from .partial import Partial


def name_of(d: Any) -> str:
    r"""Returns the usual name of a distribution.

    Example:
        >>> import pyro.distributions as dist
        >>> name_of(dist.Normal(torch.zeros(8, 2), 1.0).to_event(1))
        'diagonal Normal'
    """
    if isinstance(d, MaskedDistribution | ExpandedDistribution):
        return name_of(d.base_dist)
    if isinstance(d, Partial):
        return f"{name_of(d.base)} of what is there"
    if isinstance(d, Known):
        return f"{name_of(d.base)}, known for some data"
    if hasattr(d, "discrete"):
        return f"straight-through {name_of(d.discrete)}"
    if isinstance(d, IndependentBernoulli):
        return "Bernoulli"
    if isinstance(d, torch.distributions.Independent):
        inner = name_of(d.base_dist)
        return f"diagonal {inner}" if inner == "Normal" and d.event_shape else inner
    if isinstance(d, torch.distributions.TransformedDistribution):
        steps = {
            type(getattr(t, "inv", t) if "Inverse" in type(t).__name__ else t).__name__
            for t in d.transforms
        }
        return f"{name_of(d.base_dist)} through {', '.join(sorted(steps))}"
    return type(d).__name__
