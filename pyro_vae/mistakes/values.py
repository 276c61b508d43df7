r"""Parameters and values that distributions do not take."""

import torch
from torch import Tensor
from torch.distributions import constraints

from ..objectives.base import sample_sites
from .case import Case
from .words import base, describe, inside, is_bits


def a_parameter_is_out_of_range(case: Case) -> str | None:
    for program, name, site in case.sites():
        d = base(site["fn"])
        for key, constraint in getattr(d, "arg_constraints", {}).items():
            value = getattr(d, key, None) if key in d.__dict__ else None
            if not isinstance(value, Tensor) or constraints.is_dependent(constraint):
                continue
            if not torch.as_tensor(constraint.check(value)).all():
                return (
                    f"Expected {key} of {name!r} in {describe(constraint)}; got values from "
                    f"{float(value.min()):.3g} to {float(value.max()):.3g} in the {program}. Map "
                    "what the network returns there: exp or softplus for scales and rates, logits="
                    " for probabilities."
                )
    return None


def data_lie_outside_the_support(case: Case) -> str | None:
    for name, site in sample_sites(case.p).items():
        if site["is_observed"] and not inside(site):
            value = site["value"]
            grey = is_bits(site["fn"].support)
            remedy = (
                "Binarize grey pixels, or take a likelihood for them (ContinuousBernoulli, "
                "Binomial of their levels): under a Bernoulli they are no density."
                if grey
                else "Take a likelihood for such data."
            )
            return (
                f"Expected {name} in the support of {type(base(site['fn'])).__name__}, "
                f"{describe(site['fn'].support)}; got values from {float(value.min()):.3g} to "
                f"{float(value.max()):.3g}. {remedy}"
            )
    return None


def the_guide_leaves_the_prior(case: Case) -> str | None:
    guided = sample_sites(case.q)
    for name, site in sample_sites(case.p).items():
        if not site["is_observed"] and name in guided and not inside(site):
            q = type(base(guided[name]["fn"])).__name__
            return (
                f"Expected a guide that samples {name!r} where the prior has it, in "
                f"{describe(site['fn'].support)}; the guide's {q} leaves it. Take a guide with "
                "that support, such as LogNormal for positive numbers."
            )
    return None


def the_loss_is_not_finite(case: Case) -> str | None:
    for program, name, site in case.sites():
        density = site["fn"].log_prob(site["value"])
        if not torch.as_tensor(density).isfinite().all():
            return (
                f"Expected finite log densities; got {float(density.sum())} for {name!r} in the "
                f"{program}. Bound what its network returns: clamp log scales, give logits "
                "instead of probabilities."
            )
    return None
