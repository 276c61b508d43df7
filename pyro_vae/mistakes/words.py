r"""How shapes, supports and plates are said."""

import re
from typing import Any

import torch
from torch import Tensor
from torch.distributions import constraints


def forgotten_event(program: str, name: str, site: Any) -> str:
    plates = ", ".join(frame.name for frame in site["cond_indep_stack"])
    return (
        f"Expected a batch_shape with one dimension for each plate around {name!r} ({plates}); "
        f"got {listed(site['fn'].batch_shape)} in the {program}. Declare the others one event: "
        ".to_event(1)."
    )


def blamed(error: Exception | None) -> Any:
    r"""The site at which plates and shapes did not fit, from the frames of an exception."""
    if error is None or "Shape mismatch inside plate" not in str(error):
        return None
    trace, found = error.__traceback__, None
    while trace is not None:
        found = trace.tb_frame.f_locals.get("msg", found)
        trace = trace.tb_next
    return found


def datum_shape(vae: Any) -> tuple[int, ...] | None:
    r"""The shape of one datum, where a VAE's model can say it."""
    if not hasattr(vae, "likelihood"):
        return None
    try:
        return tuple(vae.model(batch_size=1).shape[1:])
    except Exception:  # what is wrong with it is asked later
        return None


def base(d: Any) -> Any:
    while isinstance(d, torch.distributions.Independent):
        d = d.base_dist
    return d


def inside(site: Any) -> bool:
    r"""Whether the value of a site lies in its support; holes (NaN) do not count."""
    support, value = site["fn"].support, site["value"]
    elementwise = getattr(support, "base_constraint", support)
    if value.isnan().any() and elementwise.event_dim == 0:
        return bool((elementwise.check(value) | value.isnan()).all())
    return bool(torch.as_tensor(support.check(value)).all())


def is_bits(support: Any) -> bool:
    return getattr(support, "base_constraint", support) is constraints.boolean


def describe(constraint: Any) -> str:
    inner = getattr(constraint, "base_constraint", constraint)
    if inner is constraints.boolean:
        return "{0, 1}"
    return re.sub(r"([a-z])([A-Z])", r"\1 \2", str(inner)).replace("_", " ").lower()


def plates(frames: list[tuple[str, int]]) -> str:
    return ", ".join(f"{name!r} (dim={dim})" for name, dim in frames) or "none"


def listed(shape: Any) -> str:
    return f"[{', '.join(map(str, shape))}]"


def plain(shape: tuple[int, ...]) -> str:
    return str(shape[0]) if len(shape) == 1 else listed(shape)


def dtype(x: Tensor) -> str:
    return str(x.dtype)


def first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0].rstrip(".") + "." if str(error).strip() else ""
