r"""Programs that end with an exception, in words."""

import inspect
import re
from math import prod

import torch
from torch import Tensor

from .case import Case, of_failures
from .words import culprit, depth, first_line, forgotten_event, listed, plain


@of_failures
def a_program_does_not_take_the_data(case: Case) -> str | None:
    r"""``def guide():``, or a model of (x, y) beside a guide of (x)."""
    for where, program in (("model", case.vae.model), ("guide", case.vae.guide)):
        try:
            inspect.signature(program).bind(case.x, **case.known)
        except TypeError as error:
            arguments = ", ".join(["x", *case.known])
            return (
                f"Expected model and guide to take the same arguments, the data first; the "
                f"{where} did not ({error}). Write def {where}({arguments})."
            )
        except ValueError:  # a program without a signature
            continue
    return None


@of_failures
def a_site_is_named_twice(case: Case) -> str | None:
    r"""``pyro.sample("z", ...)`` in a loop."""
    found = re.search(r"Multiple (?:sample|param) sites named '(\w+)'", str(case.failure))
    if found:
        name = found.group(1)
        return (
            f"Expected names of sites that differ; got two sites {name!r} in the {case.where}. "
            f'Name them apart, as in f"{name}_{{i}}" in a loop.'
        )
    return None


@of_failures
def two_plates_have_one_dimension(case: Case) -> str | None:
    r"""Two nested plates with ``dim=-1``."""
    if "collide" in str(case.failure):
        return (
            "Expected nested plates of different dimensions; got two of one in the "
            f"{case.where} ({first_line(case.failure)}). Leave dim out, or give them dim=-1 and "
            "dim=-2."
        )
    return None


def a_site_has_no_distribution(case: Case) -> str | None:
    r"""``pyro.sample("x", likelihood)`` for a function, or a distribution of PyTorch's own."""
    site = culprit(case.failure)
    found = [(name, s["fn"]) for _, name, s in case.sites()]
    found += [(site["name"], site["fn"])] if site and site["type"] == "sample" else []
    for name, fn in found:
        if not isinstance(fn, torch.distributions.Distribution):
            return (
                f"Expected a distribution at site {name!r}; got a {type(fn).__name__}. Call what "
                "makes the distribution, and give pyro.sample its result."
            )
        if not callable(fn):
            kind = type(fn).__name__
            return (
                f"Expected a distribution of Pyro's at site {name!r}; got {kind} of "
                "torch.distributions. Write import pyro.distributions as dist, and dist.Normal."
            )
    return None


@of_failures
def data_are_no_tensor_at_their_site(case: Case) -> str | None:
    r"""``obs=x.numpy()``."""
    for _, name, site in case.sites():
        if not isinstance(site["value"], Tensor):
            return (
                f"Expected the observed {name!r} as a tensor; got a "
                f"{type(site['value']).__name__}. Write obs=torch.as_tensor(...)."
            )
    return None


@of_failures
def an_event_is_not_declared(case: Case) -> str | None:
    r"""``Normal(loc, scale)`` of vectors without ``.to_event(1)``."""
    site = _of_another_size(case)
    if site is None:
        return None
    batch, around = site["fn"].batch_shape, depth(site)
    rows = len(batch) == around == 1 and site["cond_indep_stack"][-1].size == len(case.x)
    if len(batch) > around or (rows and batch[0] != len(case.x)):
        return forgotten_event(case.where, site["name"], site)
    return None


@of_failures
def a_plate_has_another_size(case: Case) -> str | None:
    r"""``plate("data", 60_000)`` around a batch of 100."""
    site = _of_another_size(case)
    if site is None:
        return None
    batch = site["fn"].batch_shape
    for frame in site["cond_indep_stack"]:
        found = batch[frame.dim] if frame.dim and len(batch) >= -frame.dim else 1
        if found not in (1, frame.size):
            size = "len(x)" if found == len(case.x) else str(found)
            return (
                f"Expected plates of the size of what is in them; got plate {frame.name!r} of "
                f"{frame.size} around {site['name']!r} of batch_shape {listed(batch)} in the "
                f'{case.where}. Write pyro.plate("{frame.name}", {size}).'
            )
    return None


def _of_another_size(case: Case) -> dict | None:
    fits = "Shape mismatch inside plate" not in str(case.failure)
    return None if fits else culprit(case.failure)


@of_failures
def latent_shapes_differ(case: Case) -> str | None:
    r"""``latent_dim`` of the prior against the outputs of the encoder."""
    for name, guided, modelled in case.latents():
        here, there = (tuple(site["fn"].event_shape) for site in (guided, modelled))
        if len(here) != len(there):
            return (
                f"Expected {name} to be one event in guide and model; got the event shapes "
                f"{listed(here)} and {listed(there)}. Give both a tensor of one size for each "
                "datum, and write .to_event(1)."
            )
        if here != there:
            return (
                f"Expected {name} of one size in guide and model; got {plain(here)} and "
                f"{plain(there)}. The encoder's number of outputs (two a feature for a "
                "mean-field Normal) decides the first, latent_dim of the prior the second."
            )
    return None


@of_failures
def a_network_takes_another_size(case: Case) -> str | None:
    r"""A first layer that was built for other data, or data of another layout."""
    found = re.search(r"cannot be multiplied \((\d+)x(\d+) and (\d+)x(\d+)\)", str(case.failure))
    if found is None:
        return None
    given, wanted = int(found.group(2)), int(found.group(3))
    if case.where == "model":
        what, remedy = "a decoder that takes z", f"Build its first layer for latent_dim = {given}"
    elif prod(case.x.shape[1:]) == wanted:
        what, remedy = "an encoder that takes x", "Write x.flatten(1)"
    elif len(case.x) == wanted and case.x.dim() == 2:
        what, remedy = "an encoder that takes x", "Rows are data: write x.T"
    else:
        what, remedy = "an encoder that takes x", f"Build its first layer for {given}"
    return (
        f"Expected {what} of {given} numbers; got a layer that takes {wanted}, and x of shape "
        f"{listed(case.x.shape)}. {remedy}."
    )


@of_failures
def a_program_fails(case: Case) -> str | None:
    r"""Any other exception of model or guide."""
    error = case.q.error or case.p.error
    if error is None or str(error).startswith("Expected"):
        return None if error is None else first_line(error)
    return (
        f"Expected a {case.where} that runs; it ended with {type(error).__name__}: "
        f"{first_line(error)} Run {case.where}(x) alone to see where."
    )


@of_failures
def a_step_fails(case: Case) -> str | None:
    r"""Any other reason for which Pyro does not take a step."""
    return (
        f"Expected a step that Pyro can take; it ended with {type(case.failure).__name__}: "
        f"{first_line(case.failure)}"
    )
