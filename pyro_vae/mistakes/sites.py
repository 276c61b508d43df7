r"""Sites of model and guide that do not fit each other."""

from ..objectives.base import sample_sites
from .case import Case
from .words import forgotten_event, listed, plates


def nothing_is_observed(case: Case) -> str | None:
    if not any(site["is_observed"] for site in sample_sites(case.p).values()):
        names = ", ".join(sample_sites(case.p))
        return (
            f"Expected a model that observes the data; got none observed among {names}. Write "
            'pyro.sample("x", ..., obs=x).'
        )
    return None


def the_guide_observes(case: Case) -> str | None:
    for name, site in sample_sites(case.q).items():
        if site["is_observed"]:
            return (
                f"Expected a guide that samples latent variables only; got the observed site "
                f"{name!r}. Leave obs to the model."
            )
    return None


def a_latent_variable_has_no_guide(case: Case) -> str | None:
    guided = sample_sites(case.q)
    for name, site in sample_sites(case.p).items():
        if not site["is_observed"] and name not in guided:
            return (
                f"Expected a guide for every latent variable; got none for {name!r}: the guide "
                f"samples {', '.join(guided) or 'nothing'}. Use the model's names, and obs= for "
                "data."
            )
    return None


def the_guide_samples_what_the_model_lacks(case: Case) -> str | None:
    known = sample_sites(case.p)
    for name, site in sample_sites(case.q).items():
        observed = name in known and known[name]["is_observed"]
        if (name not in known or observed) and not site["infer"].get("is_auxiliary"):
            what = "which the model observes" if observed else "which the model has not"
            return (
                f"Expected the guide to sample the model's latent variables; got {name!r}, "
                f"{what}. "
                'Remove it, or mark it infer={"is_auxiliary": True}.'
            )
    return None


def nothing_can_be_trained(case: Case) -> str | None:
    if not case.parameters:
        return (
            "Expected parameters to train; got none from model and guide: networks are invisible "
            "to Pyro until they are shown. Use pyro.module, PyroModule, or pyro_vae.VAE."
        )
    return None


def sites_have_no_plate(case: Case) -> str | None:
    for program, name, site in case.sites():
        if len(site["fn"].batch_shape) and not site["cond_indep_stack"]:
            return (
                f"Expected {name!r} inside a plate, as its batch_shape "
                f"{listed(site['fn'].batch_shape)} says that data are independent; got none in "
                f'the {program}. Write with pyro.plate("data", len(x)).'
            )
    return None


def an_event_is_not_declared_by_chance(case: Case) -> str | None:
    for program, name, site in case.sites():
        if len(site["fn"].batch_shape) > len(site["cond_indep_stack"]):
            return forgotten_event(program, name, site)
    return None


def an_event_swallows_the_batch(case: Case) -> str | None:
    count = len(case.x)
    for program, name, site in case.sites():
        shape = site["fn"].event_shape
        other = sample_sites(case.p if program == "guide" else case.q).get(name)
        wanted = tuple(other["fn"].event_shape) if other is not None else tuple(case.x.shape[1:])
        if len(shape) > len(wanted) and shape[0] == count:
            return (
                f"Expected data in the batch of {name!r}, one event each; got the event "
                f"{listed(shape)} in the {program}, which holds the whole batch of {count}. Take "
                "a smaller number in .to_event()."
            )
    return None


def plates_differ(case: Case) -> str | None:
    model = sample_sites(case.p)
    for name, site in sample_sites(case.q).items():
        if name not in model:
            continue
        here, there = (
            [(f.name, f.dim) for f in s["cond_indep_stack"]] for s in (site, model[name])
        )
        if sorted(here) != sorted(there):
            return (
                f"Expected {name!r} in the same plates in guide and model; got {plates(here)} "
                f"and {plates(there)}. Give them the same names and dimensions."
            )
    return None


def data_have_another_shape(case: Case) -> str | None:
    for name, site in sample_sites(case.p).items():
        expected = (len(case.x), *site["fn"].event_shape)
        if site["is_observed"] and len(site["fn"].batch_shape) <= 1:
            got = tuple(site["value"].shape)
            if got != expected and len(site["fn"].event_shape):
                return (
                    f"Expected {name} of shape {listed(expected)}, as the likelihood's event "
                    f"shape says; got {listed(got)}. Reshape the data, or build the decoder for "
                    "them."
                )
    return None
