r"""Shapes, values and plates in words."""

from typing import Any

import torch
from pyro.distributions import ExpandedDistribution, MaskedDistribution
from torch import Tensor


def forgotten_event(program: str, name: str, site: Any) -> str:
    r"""What to say of dimensions that are neither plates nor an event."""
    fn, around = site["fn"], ", ".join(frame.name for frame in site["cond_indep_stack"])
    declared = len(fn.event_shape)
    more = max(1, len(fn.batch_shape) - depth(site))
    return (
        f"Expected a batch_shape with one dimension for each plate around {name!r} ({around}); "
        f"got {listed(fn.batch_shape)} in the {program}. Declare the others one event: "
        f".to_event({declared + more})."
    )


def depth(site: Any) -> int:
    r"""How many batch dimensions the plates around a site make."""
    return max((-f.dim for f in site["cond_indep_stack"] if f.vectorized), default=0)


def culprit(error: Exception | None) -> Any:
    r"""The site at which an exception was raised, from its frames."""
    trace, found = error.__traceback__ if error is not None else None, None
    while trace is not None:
        message = trace.tb_frame.f_locals.get("msg")
        found = message if isinstance(message, dict) and "fn" in message else found
        trace = trace.tb_next
    return found


def datum_shape(vae: Any) -> tuple[int, ...] | None:
    r"""The shape of one datum, where a VAE's model can say it."""
    if not hasattr(vae, "likelihood"):
        return None
    try:
        return tuple(vae.model(batch_size=1).shape[1:])
    except Exception:  # what is wrong with it is reported later
        return None


def base(d: Any) -> Any:
    r"""What is inside masks, expansions and declared events."""
    wrappers = (torch.distributions.Independent, MaskedDistribution, ExpandedDistribution)
    while isinstance(d, wrappers):
        d = d.base_dist
    return d


def support(d: Any) -> Any:
    r"""The support of a distribution, or None where it says none."""
    try:
        return d.support
    except NotImplementedError:
        return None


def plates(frames: list[tuple[str, int, int, int]]) -> str:
    r"""Names, dimensions, sizes and whole sizes of plates, in words."""
    return (
        ", ".join(
            f"{name!r} of {size}{f' of {whole}' if whole not in (None, size) else ''} (dim={dim})"
            for name, dim, size, whole in frames
        )
        or "none"
    )


def listed(shape: Any) -> str:
    r"""A shape, in brackets."""
    return f"[{', '.join(map(str, shape))}]"


def span(value: Tensor) -> str:
    r"""From where to where values go."""
    low, high = value.detach().aminmax()
    return f"{float(low):.3g} to {float(high):.3g}"


def plain(shape: tuple[int, ...]) -> str:
    r"""A shape, or the one number that it is."""
    return str(shape[0]) if len(shape) == 1 else listed(shape)


def first_line(error: Exception | None) -> str:
    r"""The first line of an exception, as a sentence."""
    text = str(error).strip()
    return text.splitlines()[0].rstrip(".") + "." if text else "no words."
