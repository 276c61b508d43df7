r"""Sites of model and guide that do not fit each other, or the data."""

from ..programs import rows_differ, sample_sites, weights_differ
from .case import Case, of_failures
from .words import depth, forgotten_event, listed, plates


def nothing_is_observed(case: Case) -> str | None:
    r"""A likelihood without ``obs=x``."""
    sites = sample_sites(case.p.trace)
    noted = [name for name, site in sites.items() if site["infer"].get("_deterministic")]
    if not case.p.error and not any(
        site["is_observed"] for name, site in sites.items() if name not in noted
    ):
        return (
            f"Expected a model that observes the data; got none observed among "
            f'{", ".join(sites) or "no sites"}. Write pyro.sample("x", ..., obs=x).'
        )
    return None


def the_guide_observes(case: Case) -> str | None:
    r"""``obs=`` in the guide."""
    for name, site in case.guided.items():
        if site["is_observed"] and not site["infer"].get("is_auxiliary"):
            return (
                f"Expected a guide that samples latent variables only; got the observed site "
                f"{name!r}. Leave obs to the model."
            )
    return None


def a_latent_variable_has_no_guide(case: Case) -> str | None:
    r"""Sites of other names, or of none: Pyro would draw them from the prior."""
    if case.q.error:
        return None
    for name, site in case.modelled.items():
        summed = site["infer"].get("enumerate")
        if not site["is_observed"] and name not in case.guided and not summed:
            return (
                f"Expected a guide for every latent variable; got none for {name!r}: the guide "
                f"samples {', '.join(case.guided) or 'nothing'}. Use the model's names, and obs= "
                "for data."
            )
    return None


def the_guide_samples_what_the_model_lacks(case: Case) -> str | None:
    r"""A site too many."""
    if case.p.error:
        return None
    known = sample_sites(case.p.trace)
    for name, site in case.guided.items():
        observed = name in known and known[name]["is_observed"]
        if (name not in known or observed) and not site["infer"].get("is_auxiliary"):
            what = "which the model observes" if observed else "which the model has not"
            return (
                f"Expected the guide to sample the model's latent variables; got {name!r}, "
                f'{what}. Remove it, or mark it infer={{"is_auxiliary": True}}.'
            )
    return None


def nothing_can_be_trained(case: Case) -> str | None:
    r"""Networks in plain functions."""
    if not case.parameters:
        return (
            "Expected parameters to train; got none from model and guide: networks are invisible "
            "to Pyro until they are shown. Use pyro.module, PyroModule, or pyro_vae.VAE."
        )
    return None


def a_network_is_hidden(case: Case) -> str | None:
    r"""One network that is shown beside one that is not, or that Pyro knows by other weights."""
    if case.failure is not None:
        return None
    shown = {id(tensor) for tensor in [*case.parameters, case.x]}
    hidden = [leaf for leaf in case.leaves if id(leaf) not in shown]
    if hidden:
        shapes = ", ".join(listed(leaf.shape) for leaf in hidden[:3])
        more = ", ..." if len(hidden) > 3 else ""
        return (
            f"Expected every tensor with gradients to be shown to Pyro; got {len(hidden)} that "
            f"no step would move, of shapes {shapes}{more}. Call pyro.module for its network; if "
            "you do, pyro.clear_param_store() before, which holds others of that name; if it is "
            "to stay, requires_grad_(False)."
        )
    return None


@of_failures
def sites_have_no_plate(case: Case) -> str | None:
    r"""A batch without ``pyro.plate``."""
    for program, name, site in case.sites():
        if len(site["fn"].batch_shape) and not site["cond_indep_stack"]:
            return (
                f"Expected {name!r} inside a plate, as its batch_shape "
                f"{listed(site['fn'].batch_shape)} says that data are independent; got none in "
                f'the {program}. Write with pyro.plate("data", len(x)).'
            )
    return None


@of_failures
def an_event_is_not_declared_by_chance(case: Case) -> str | None:
    r"""A forgotten ``.to_event`` where sizes happen to fit."""
    for program, name, site in case.sites():
        if len(site["fn"].batch_shape) > depth(site):
            return forgotten_event(program, name, site)
    return None


def an_event_swallows_the_batch(case: Case) -> str | None:
    r"""``.to_event(2)`` of a batch of vectors."""
    count = len(case.x)
    for program, name, site in case.sites():
        shape = site["fn"].event_shape
        other = (case.modelled if program == "guide" else case.guided).get(name)
        wanted = tuple(other["fn"].event_shape) if other is not None else tuple(case.x.shape[1:])
        if len(shape) > len(wanted) and shape[0] == count:
            return (
                f"Expected data in the batch of {name!r}, one event each; got the event "
                f"{listed(shape)} in the {program}, which holds the whole batch of {count}. Take "
                "a smaller number in .to_event()."
            )
    return None


def plates_differ(case: Case) -> str | None:
    r"""Plates of other names, dimensions or sizes: a site would be weighed twice differently."""
    for name, guided, modelled in case.latents():
        here, there = (
            sorted((f.name, f.dim or 0, f.size, f.full_size) for f in site["cond_indep_stack"])
            for site in (guided, modelled)
        )
        if here != there:
            return (
                f"Expected {name!r} in the same plates in guide and model; got {plates(here)} "
                f"and {plates(there)}. Give them the same names, sizes and dimensions."
            )
    return None


def a_plate_has_other_rows(case: Case) -> str | None:
    r"""A model that draws its rows itself, under an autoguide that draws others."""
    _ = case.p  # its run notes the rows
    return rows_differ(case.q.trace, case.rows.rows)


def a_weight_acts_in_one_program(case: Case) -> str | None:
    r"""A KL weight, or a mask, around the model alone."""
    told = (weights_differ(name, guided, modelled) for name, guided, modelled in case.latents())
    return next((sentence for sentence in told if sentence is not None), None)


def data_have_another_shape(case: Case) -> str | None:
    r"""A decoder for other data; sizes of 1 would be broadcast in silence."""
    for name, site in case.modelled.items():
        fn, got = site["fn"], tuple(site["value"].shape)
        event = tuple(fn.event_shape)
        wrong = len(got) < len(event) or got[len(got) - len(event) :] != event
        if case.failure is not None:
            wrong |= got != tuple(fn.shape())
        if site["is_observed"] and wrong:
            expected = (*fn.batch_shape, *event)
            return (
                f"Expected {name} of shape {listed(expected)}, as the likelihood says; got "
                f"{listed(got)}. Reshape the data, or build the decoder for them."
            )
    return None
