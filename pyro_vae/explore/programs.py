r"""What a page computes of a model: functions of one datum or one point, to be recorded."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from pyro import poutine
from torch import Tensor

from ..programs import density, sample_sites, traces

Values = dict[str, Tensor]
Function = Callable[[Values], Mapping[str, Tensor]]


def decoder(vae: Any, drawn: tuple[str, ...]) -> Function:
    r"""Returns the function of latent variables and conditions that decodes them.

    It returns the ``mean`` :math:`\mathbb{E}[x \mid z]` and a ``draw`` from :math:`p(x \mid z)`.

    Arguments:
        vae: The model.
        drawn: The latent sites that are drawn given the others, which are its inputs.
    """
    held = [name for name in vae.latents if name not in drawn]

    def decode(values: Values) -> Mapping[str, Tensor]:
        known = {name: value for name, value in values.items() if name not in held}
        with poutine.condition(data={name: values[name] for name in held}):
            trace = poutine.trace(vae.model).get_trace(batch_size=1, **known)
        site = trace.nodes["x"]
        return {"mean": site["fn"].mean, "draw": site["value"]}

    return decode


def means_alone(function: Function) -> Function:
    r"""The same without a draw, for laws whose draws cannot be recorded."""
    return lambda values: {"mean": function(values)["mean"]}


def looker(vae: Any) -> Function:
    r"""Returns the function of `x` and conditions that encodes it once.

    For each latent site it returns a draw (``value.z``), mean and scale of what it was drawn from
    (``loc.z`` and ``scale.z``, if they have a closed form), and the log densities of the draw
    (``q.z`` and ``p.z``); besides ``p.x``, that of `x`, and the ``mean`` of :math:`p(x \mid z)`.

    Arguments:
        vae: The model.
    """

    def look(values: Values) -> Mapping[str, Tensor]:
        known: dict[str, Any] = {n: v for n, v in values.items() if n != "x"}
        q, p = traces(vae.model, vae.guide, values["x"], 1, **known)
        found: dict[str, Tensor] = {}
        for name in vae.latents:
            found[f"value.{name}"] = q[name]["value"]
            found |= {f"{n}.{name}": v for n, v in closed_moments(q[name]["fn"]).items()}
            found[f"q.{name}"], found[f"p.{name}"] = density(q[name]), density(p[name])
        seen = [density(site) for site in p.values() if site["is_observed"]]
        found["p.x"] = torch.stack(seen).sum(0)
        found["mean"] = p["x"]["fn"].mean
        return found

    return look


def closed_moments(law: Any) -> dict[str, Tensor]:
    r"""Mean and standard deviation of a law, if they have a closed form."""
    try:
        return {"loc": law.mean, "scale": law.stddev}
    except (NotImplementedError, AttributeError):
        return {}


def below(vae: Any, site: str, known: Mapping[str, Tensor]) -> tuple[str, ...]:
    r"""The latent sites that the model draws given a site, or given one that is."""
    trace = poutine.trace(vae.model).get_trace(batch_size=1, **known)
    sites, found = sample_sites(trace), [site]
    for name in vae.latents:
        given = sites[name]["infer"].get("given", ())
        if any(parent in found for parent in given):
            found.append(name)
    return tuple(found[1:])
