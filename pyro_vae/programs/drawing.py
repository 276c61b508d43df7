r"""Data that a model draws: new ones, replications, simulations with what is behind them."""

from collections.abc import Mapping
from typing import Any

import torch
from pyro import poutine
from pyro.poutine.messenger import Messenger
from torch import Tensor

from ..data import Split
from .program import plainly
from .state import device_of, dtype_of
from .tracing import sample_sites


def drawn(vae: Any, count: int, known: Mapping[str, Tensor]) -> poutine.Trace:
    r"""The trace of a model that draws data, with latent sites set where they are known."""
    latents = getattr(vae, "latents", ())
    fixed = {n: v for n, v in known.items() if n in latents}
    rest = {n: v for n, v in known.items() if n not in latents}
    with _Set(fixed):
        return poutine.trace(vae.model).get_trace(batch_size=count, **rest)


def latent_names(vae: Any, trace: Any) -> tuple[str, ...]:
    r"""The latent sites of a model that drew its data: all but what it returns."""
    if hasattr(vae, "latents"):
        return tuple(vae.latents)
    seen = trace.nodes["_RETURN"]["value"]
    sites = sample_sites(trace)
    return tuple(n for n, s in sites.items() if s["value"] is not seen and n != "x")


def replicated(
    vae: Any,
    x: Tensor,
    known: Mapping[str, Any],
    given: str,
    instead: Mapping[str, Tensor] | None = None,
) -> poutine.Trace:
    r"""The trace of a model that draws data like `x` again, with latent variables from the
    ``"prior"``, or from the ``"posterior"`` of each datum; then with conditions and latent sites
    that are `instead` of those of the data."""
    if given not in ("prior", "posterior"):
        raise ValueError(f"Expected 'prior' or 'posterior'; got {given!r}.")
    observed = getattr(vae, "observed", ("x",))
    outside = {n: v for n, v in known.items() if n not in observed}
    if given == "prior":
        return drawn(vae, len(x), outside)
    q = poutine.trace(vae.guide).get_trace(x, **known)
    model, changed = poutine.replay(vae.model, trace=q), dict(instead or {})
    fixed = {n: changed.pop(n) for n in getattr(vae, "latents", ()) if n in changed}
    with _Set(fixed):
        return poutine.trace(model).get_trace(batch_size=len(x), **{**outside, **changed})


class _Set(Messenger):
    r"""Sets latent sites to values, where these are known."""

    def __init__(self, values: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.values = values

    def _pyro_post_sample(self, msg: Any) -> None:
        if msg["name"] not in self.values:
            return
        value = self.values[msg["name"]]
        if value.shape[1:] != msg["fn"].event_shape:
            raise ValueError(
                f"Expected {msg['name']} of shape {tuple(msg['fn'].event_shape)}; got "
                f"{tuple(value.shape[1:])}. Pass classes as one-hot rows."
            )
        msg["value"] = torch.where(value.isnan(), msg["value"], value)


def rows_of(vae: Any, name: str, value: Any, count: int) -> Tensor:
    r"""Further inputs of `count` data: one value for all, or one row per datum.

    Raises:
        ValueError: It has another number of rows.
    """
    tensor = torch.as_tensor(value).to(device_of(vae))
    tensor = tensor.to(dtype_of(vae)) if tensor.is_floating_point() else tensor
    if tensor.dim() and len(tensor) == count:
        return tensor
    if tensor.dim() < 2:
        return tensor.expand(count, *tensor.shape)
    if len(tensor) == 1:
        return tensor.expand(count, *tensor.shape[1:])
    raise ValueError(
        f"Expected {name} as one value, or one row, or {count}; got shape {tuple(tensor.shape)}."
    )


def simulate(
    vae: Any, num_data: int, known: Mapping[str, Any] | None = None
) -> tuple[dict[str, Tensor], Split]:
    r"""Draws latent variables and data from the model.

    Returns:
        The values of its latent sites; and `x`, with conditions and the values of other observed
        sites as what is known.
    """
    dtype, latents = dtype_of(vae), getattr(vae, "latents", ())
    if shown := [name for name in known or {} if name in latents]:
        raise ValueError(
            f"Expected conditions only, as latent variables are simulated; got {', '.join(shown)}."
        )
    given = {n: rows_of(vae, n, v, num_data) for n, v in (known or {}).items() if v is not None}
    with plainly():
        trace = poutine.trace(vae.model).get_trace(batch_size=num_data, **given)
    x = trace.nodes["_RETURN"]["value"]
    others = [name for name in getattr(vae, "observed", ()) if name != "x"]
    seen = {**given, **{name: trace.nodes[name]["value"] for name in others}}
    again = poutine.trace(poutine.replay(vae.model, trace=trace)).get_trace(x, **seen)
    sites = sample_sites(again)
    latent = {name: site["value"] for name, site in sites.items() if not site["is_observed"]}
    split = Split(x, device=x.device, dtype=dtype, source="simulated data", known=seen)
    return latent, split
