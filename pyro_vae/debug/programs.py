r"""Programs that end with an exception, in words."""

import inspect
import re
from collections.abc import Iterator
from math import prod

import torch
from torch import Tensor

from .case import Case
from .words import culprit, depth, first_line, forgotten_event, listed, plain


def other_arguments(case: Case) -> Iterator[str]:
    r"""``def guide():``, or a model of (x, y) beside a guide of (x)."""
    for where, program in (("model", case.vae.model), ("guide", case.vae.guide)):
        try:
            inspect.signature(program).bind(case.x, **case.known)
        except TypeError as error:
            yield (
                f"Expected model and guide to take the same arguments, the data first; the "
                f"{where} did not ({error}). Write def {where}({', '.join(['x', *case.known])})."
            )
        except ValueError:  # a program without a signature
            continue


def duplicate_site(case: Case) -> Iterator[str]:
    r"""``pyro.sample("z", ...)`` in a loop."""
    found = re.search(r"Multiple (?:sample|param) sites named '(\w+)'", str(case.failure))
    if found:
        name = found.group(1)
        yield (
            f"Expected names of sites that differ; got two sites {name!r} in the {case.where}. "
            f'Give each its own name, such as f"{name}_{{i}}" in a loop.'
        )


def colliding_plates(case: Case) -> Iterator[str]:
    r"""Two nested plates with ``dim=-1``."""
    if "collide" in str(case.failure):
        yield (
            "Expected nested plates of different dimensions; got two of one in the "
            f"{case.where} ({first_line(case.failure)}). Leave dim out, or use dim=-1 and dim=-2."
        )


def no_distribution(case: Case) -> Iterator[str]:
    r"""``pyro.sample("x", likelihood)`` for a function, or a distribution of PyTorch's own."""
    site = culprit(case.failure)
    found = [(name, s["fn"]) for _, name, s in case.sites()]
    found += [(site["name"], site["fn"])] if site and site["type"] == "sample" else []
    for name, fn in found:
        kind = type(fn).__name__
        if not isinstance(fn, torch.distributions.Distribution):
            yield (
                f"Expected a distribution at site {name!r}; got an object of type {kind}. Call "
                "what makes the distribution, and pass its result to pyro.sample."
            )
        elif not callable(fn):
            yield (
                f"Expected a distribution of Pyro's at site {name!r}; got {kind} of "
                "torch.distributions. Write import pyro.distributions as dist, and dist.Normal."
            )


def observed_not_a_tensor(case: Case) -> Iterator[str]:
    r"""``obs=x.numpy()``."""
    for _, name, site in case.sites():
        if not isinstance(site["value"], Tensor):
            yield (
                f"Expected the observed {name!r} as a tensor; got an object of type "
                f"{type(site['value']).__name__}. Write obs=torch.as_tensor(...)."
            )


def undeclared_event(case: Case) -> Iterator[str]:
    r"""``Normal(loc, scale)`` of vectors without ``.to_event(1)``."""
    if (site := _misfit(case)) is None:
        return
    batch, around = site["fn"].batch_shape, depth(site)
    rows = len(batch) == around == 1 and site["cond_indep_stack"][-1].size == len(case.x)
    if len(batch) > around or (rows and batch[0] != len(case.x)):
        yield forgotten_event(case.where, site["name"], site)


def plate_size(case: Case) -> Iterator[str]:
    r"""``plate("data", 60_000)`` around a batch of 100."""
    if (site := _misfit(case)) is None:
        return
    batch = site["fn"].batch_shape
    for frame in site["cond_indep_stack"]:
        found = batch[frame.dim] if frame.dim and len(batch) >= -frame.dim else 1
        if found not in (1, frame.size):
            size = "len(x)" if found == len(case.x) else str(found)
            yield (
                f"Expected plates of the size of what is in them; got plate {frame.name!r} of "
                f"{frame.size} around {site['name']!r} of batch_shape {listed(batch)} in the "
                f'{case.where}. Write pyro.plate("{frame.name}", {size}).'
            )


def _misfit(case: Case) -> dict | None:
    r"""The site that does not fit its plates, if that is why the step fails."""
    fits = "Shape mismatch inside plate" not in str(case.failure)
    return None if fits else culprit(case.failure)


def latent_shapes(case: Case) -> Iterator[str]:
    r"""``latent_dim`` of the prior against the outputs of the encoder."""
    for name, guided, modelled in case.latents():
        here, there = (tuple(site["fn"].event_shape) for site in (guided, modelled))
        if len(here) != len(there):
            yield (
                f"Expected {name} to be one event in guide and model; got the event shapes "
                f"{listed(here)} and {listed(there)}. Give both a tensor of one size for each "
                "datum, and write .to_event(1)."
            )
        elif here != there:
            yield (
                f"Expected {name} of one size in guide and model; got {plain(here)} and "
                f"{plain(there)}. The encoder's number of outputs (two per feature for a "
                "mean-field Normal) decides the first, latent_dim of the prior the second."
            )


def network_size(case: Case) -> Iterator[str]:
    r"""A first layer that was built for other data, or data of another layout."""
    found = re.search(r"cannot be multiplied \((\d+)x(\d+) and (\d+)x(\d+)\)", str(case.failure))
    if found is None:
        return
    given, wanted = int(found.group(2)), int(found.group(3))
    what = "an encoder that takes x"
    if case.where == "model":
        what, remedy = "a decoder that takes z", f"Build its first layer for latent_dim = {given}"
    elif prod(case.x.shape[1:]) == wanted:
        remedy = "Write x.flatten(1)"
    elif len(case.x) == wanted and case.x.dim() == 2:
        remedy = "Rows are data: write x.T"
    else:
        remedy = f"Build its first layer for {given}"
    yield (
        f"Expected {what} of {given} numbers; got a layer that takes {wanted}, and x of shape "
        f"{listed(case.x.shape)}. {remedy}."
    )


def program_error(case: Case) -> Iterator[str]:
    r"""Any other exception of model or guide."""
    error = case.q.error or case.p.error
    if str(error).startswith("Expected"):
        yield first_line(error)
    elif error is not None:
        yield (
            f"Expected a {case.where} that runs; it ended with {type(error).__name__}: "
            f"{first_line(error)} Run {case.where}(x) alone to see where."
        )


def step_error(case: Case) -> Iterator[str]:
    r"""Any other reason for which Pyro does not take a step."""
    yield (
        f"Expected a step that Pyro can take; it ended with {type(case.failure).__name__}: "
        f"{first_line(case.failure)}"
    )
