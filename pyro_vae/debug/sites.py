r"""Sites of model and guide that do not fit each other, or the data."""

from collections.abc import Iterator

from ..programs import rows_differ, sample_sites, weights_differ
from .case import Case
from .words import depth, forgotten_event, listed, plates


def nothing_observed(case: Case) -> Iterator[str]:
    r"""A likelihood without ``obs=x``."""
    sites = sample_sites(case.p.trace)
    real = [site for site in sites.values() if not site["infer"].get("_deterministic")]
    if not case.p.error and not any(site["is_observed"] for site in real):
        yield (
            f"Expected a model that observes the data; got none observed among "
            f'{", ".join(sites) or "no sites"}. Write pyro.sample("x", ..., obs=x).'
        )


def observed_in_guide(case: Case) -> Iterator[str]:
    r"""``obs=`` in the guide."""
    for name, site in case.guided.items():
        if site["is_observed"] and not site["infer"].get("is_auxiliary"):
            yield (
                f"Expected a guide that samples latent variables only; got the observed site "
                f"{name!r}. Use obs= in the model alone."
            )


def missing_in_guide(case: Case) -> Iterator[str]:
    r"""Sites of other names, or of none: Pyro would draw them from the prior."""
    if case.q.error:
        return
    for name, site in case.modelled.items():
        summed = site["infer"].get("enumerate")
        if not site["is_observed"] and name not in case.guided and not summed:
            yield (
                f"Expected a guide for every latent variable; got none for {name!r}: the guide "
                f"samples {', '.join(case.guided) or 'nothing'}. Use the model's names, and obs= "
                "for data."
            )


def missing_in_model(case: Case) -> Iterator[str]:
    r"""A site too many."""
    if case.p.error:
        return
    known = sample_sites(case.p.trace)
    for name, site in case.guided.items():
        observed = name in known and known[name]["is_observed"]
        if (name not in known or observed) and not site["infer"].get("is_auxiliary"):
            what = "which the model observes" if observed else "which the model does not have"
            yield (
                f"Expected the guide to sample the model's latent variables; got {name!r}, "
                f'{what}. Remove it, or mark it infer={{"is_auxiliary": True}}.'
            )


def no_parameters(case: Case) -> Iterator[str]:
    r"""Networks in plain functions."""
    if not case.parameters:
        yield (
            "Expected parameters to train; got none from model and guide: networks are invisible "
            "to Pyro until they are shown. Use pyro.module, PyroModule, or pyro_vae.VAE."
        )


def hidden_network(case: Case) -> Iterator[str]:
    r"""One network that is shown beside one that is not, or that Pyro knows by other weights."""
    if case.failure is not None:
        return
    shown = {id(tensor) for tensor in [*case.parameters, case.x]}
    hidden = [leaf for leaf in case.leaves if id(leaf) not in shown]
    if hidden:
        shapes = ", ".join(listed(leaf.shape) for leaf in hidden[:3])
        more = ", ..." if len(hidden) > 3 else ""
        yield (
            f"Expected every tensor with gradients to be shown to Pyro; got {len(hidden)} that "
            f"no step would move, of shapes {shapes}{more}. Call pyro.module for its network; if "
            "you do, pyro.clear_param_store() before, which holds others of that name; if it is "
            "to stay, requires_grad_(False)."
        )


def no_plate(case: Case) -> Iterator[str]:
    r"""A batch without ``pyro.plate``."""
    for program, name, site in case.sites():
        if len(site["fn"].batch_shape) and not site["cond_indep_stack"]:
            yield (
                f"Expected {name!r} inside a plate, as its batch_shape "
                f"{listed(site['fn'].batch_shape)} says that data are independent; got none in "
                f'the {program}. Write with pyro.plate("data", len(x)).'
            )


def undeclared_event(case: Case) -> Iterator[str]:
    r"""A forgotten ``.to_event`` where sizes happen to fit."""
    for program, name, site in case.sites():
        if len(site["fn"].batch_shape) > depth(site):
            yield forgotten_event(program, name, site)


def batch_in_event(case: Case) -> Iterator[str]:
    r"""``.to_event(2)`` of a batch of vectors."""
    count = len(case.x)
    for program, name, site in case.sites():
        shape = site["fn"].event_shape
        other = (case.modelled if program == "guide" else case.guided).get(name)
        wanted = tuple(other["fn"].event_shape) if other is not None else tuple(case.x.shape[1:])
        if len(shape) > len(wanted) and shape[0] == count:
            yield (
                f"Expected data in the batch of {name!r}, one event each; got the event "
                f"{listed(shape)} in the {program}, which holds the whole batch of {count}. Use "
                "a smaller number in .to_event()."
            )


def other_plates(case: Case) -> Iterator[str]:
    r"""Plates of other names, dimensions or sizes: a site would get two different weights."""
    for name, guided, modelled in case.latents():
        here, there = (
            sorted((f.name, f.dim or 0, f.size, f.full_size) for f in site["cond_indep_stack"])
            for site in (guided, modelled)
        )
        if here != there:
            yield (
                f"Expected {name!r} in the same plates in guide and model; got {plates(here)} "
                f"and {plates(there)}. Give them the same names, sizes and dimensions."
            )


def other_rows(case: Case) -> Iterator[str]:
    r"""A model that draws its rows itself, under an autoguide that draws others."""
    _ = case.p  # its run notes the rows
    if sentence := rows_differ(case.q.trace, case.rows.rows):
        yield sentence


def other_weights(case: Case) -> Iterator[str]:
    r"""A KL weight, or a mask, around the model alone."""
    sentences = (
        weights_differ(name, guided, modelled) for name, guided, modelled in case.latents()
    )
    yield from filter(None, sentences)


def other_data_shape(case: Case) -> Iterator[str]:
    r"""A decoder for other data; sizes of 1 would be broadcast silently."""
    for name, site in case.modelled.items():
        fn, got = site["fn"], tuple(site["value"].shape)
        event = tuple(fn.event_shape)
        wrong = len(got) < len(event) or got[len(got) - len(event) :] != event
        if case.failure is not None:
            wrong |= got != tuple(fn.shape())
        if site["is_observed"] and wrong:
            expected = (*fn.batch_shape, *event)
            yield (
                f"Expected {name} of shape {listed(expected)}, as the likelihood says; got "
                f"{listed(got)}. Reshape the data, or build the decoder for them."
            )
