r"""Programs that end with an exception, in words."""

import re

from ..objectives.base import sample_sites
from .case import Case
from .words import blamed, first_line, forgotten_event, listed, plain


def a_program_does_not_take_the_data(case: Case) -> str | None:
    if isinstance(case.failed, TypeError) and "argument" in str(case.failed):
        return (
            f"Expected model and guide to take the same arguments, the data first; the "
            f"{case.where} did not ({case.failed}). Write def {case.where}(x)."
        )
    return None


def a_site_is_named_twice(case: Case) -> str | None:
    found = re.search(r"Multiple (?:sample|param) sites named '(\w+)'", str(case.failed))
    if found:
        name = found.group(1)
        return (
            f"Expected names of sites that differ; got two sites {name!r} in the {case.where}. "
            f'Name them apart, as in f"{name}_{{i}}" in a loop.'
        )
    return None


def two_plates_have_one_dimension(case: Case) -> str | None:
    if case.failed is not None and "collide" in str(case.failed):
        return (
            "Expected nested plates of different dimensions; got two of one in the "
            f"{case.where} ({first_line(case.failed)}). Leave dim out, or give them dim=-1 and "
            "dim=-2."
        )
    return None


def an_event_is_not_declared(case: Case) -> str | None:
    site = blamed(case.failed)
    if site is not None and len(site["fn"].batch_shape) > len(site["cond_indep_stack"]):
        return forgotten_event(case.where, site["name"], site)
    return None


def a_plate_has_another_size(case: Case) -> str | None:
    site = blamed(case.failed)
    if site is not None:
        frame = site["cond_indep_stack"][0]
        return (
            f"Expected plates of the size of what is in them; got plate {frame.name!r} of "
            f"{frame.size} around {site['name']!r} of batch_shape "
            f"{listed(site['fn'].batch_shape)} in the {case.where}. Write "
            f'pyro.plate("{frame.name}", len(x)).'
        )
    return None


def latent_sizes_differ(case: Case) -> str | None:
    if isinstance(case.q, Exception) or isinstance(case.alone, Exception):
        return None
    model = sample_sites(case.alone)
    for name, site in sample_sites(case.q).items():
        if name not in model or model[name]["is_observed"]:
            continue
        here, there = tuple(site["fn"].event_shape), tuple(model[name]["fn"].event_shape)
        if here != there and len(here) == len(there):
            return (
                f"Expected {name} of one size in guide and model; got {plain(here)} and "
                f"{plain(there)}. The encoder's number of outputs (two a feature for a "
                "mean-field Normal) decides the first, latent_dim of the prior the second."
            )
    return None


def a_network_takes_another_size(case: Case) -> str | None:
    found = re.search(r"cannot be multiplied \((\d+)x(\d+) and (\d+)x(\d+)\)", str(case.failed))
    if found:
        given, wanted = found.group(2), found.group(3)
        guide = case.where == "guide"
        what = "an encoder that takes x" if guide else "a decoder that takes z"
        size = given if guide else f"latent_dim = {given}"
        return (
            f"Expected {what} of {given} numbers; got a layer that takes {wanted}. Build its "
            f"first layer for {size}."
        )
    return None


def a_program_fails(case: Case) -> str | None:
    if case.failed is not None:
        kind, line = type(case.failed).__name__, first_line(case.failed)
        return f"Expected a {case.where} that runs; it ended with {kind}: {line}"
    return None
