r"""Parameters and values that distributions do not take."""

from collections.abc import Iterator

import torch
from pyro import distributions as dist
from torch import Tensor
from torch.distributions import constraints

from ..distributions import (
    describe_support,
    elementwise,
    inside,
    name_of,
    open_unit_interval,
    same,
    support_of,
)
from ..objectives.supports import check_supports
from .case import Case
from .words import base, span, support


def parameter_range(case: Case) -> Iterator[str]:
    r"""A scale straight from a network."""
    for program, name, site in case.sites():
        d = base(site["fn"])
        for key, constraint in getattr(d, "arg_constraints", {}).items():
            value = getattr(d, key, None) if key in d.__dict__ else None
            if not isinstance(value, Tensor) or constraints.is_dependent(constraint):
                continue
            if not torch.as_tensor(constraint.check(value)).all():
                remedy = (
                    "Something overflowed before: clamp log scales, lower the learning rate."
                    if value.isnan().any()
                    else "Map what the network returns there: exp or softplus for scales and "
                    "rates, logits= for probabilities."
                )
                yield (
                    f"Expected {key} of {name!r} in {describe_support(constraint)}; got values "
                    f"from {span(value)} in the {program}. {remedy}"
                )


def data_support(case: Case) -> Iterator[str]:
    r"""Grey pixels under a Bernoulli."""
    likelihood = getattr(case.vae, "likelihood", None)
    for name, site in case.modelled.items():
        if not site["is_observed"]:
            continue
        allowed = elementwise(support(site["fn"]))
        if likelihood is not None:
            allowed = elementwise(support_of(likelihood, site["fn"]))
        value = site["value"]
        if allowed is None or _holds(allowed, value):
            continue
        family = type(likelihood).__name__ if likelihood else name_of(site["fn"])
        yield (
            f"Expected {name} in the support of {family}, {describe_support(allowed)}; got values "
            f"from {span(value)}. {_remedy(allowed, value)}"
        )


def guide_support(case: Case) -> Iterator[str]:
    r"""A Normal guide of a positive variable."""
    if hasattr(case.vae, "prior") and "z" in case.guided and "z" in case.modelled:
        try:
            laws = case.modelled["z"]["fn"], case.guided["z"]["fn"]
            check_supports(case.vae.prior, case.vae.posterior, *laws)
        except ValueError as error:
            yield str(error)
        return
    for name, guided, modelled in case.latents():
        q, p = elementwise(support(guided["fn"])), elementwise(support(modelled["fn"]))
        if q is None or p is None:
            continue
        point = isinstance(base(guided["fn"]), dist.Delta)
        if not (_holds(p, guided["value"]) if point else inside(q, p)):
            yield (
                f"Expected a guide that samples {name!r} where the prior has it, in "
                f"{describe_support(p)}; the guide's {name_of(guided['fn'])} is on "
                f"{describe_support(q)}. Use a guide on the prior's support, such as LogNormal "
                "for positive numbers."
            )


def infinite_density(case: Case) -> Iterator[str]:
    r"""A density that underflows."""
    for program, name, site in case.sites():
        density = torch.as_tensor(site["fn"].log_prob(site["value"])).detach()
        if not density.isfinite().all():
            yield (
                f"Expected finite log densities; got {float(density.sum())} for {name!r} in the "
                f"{program}. Bound what its network returns: clamp log scales, pass logits "
                "instead of probabilities."
            )


def _holds(allowed: constraints.Constraint, value: Tensor) -> bool:
    r"""Whether values lie in a support; holes (NaN) do not count."""
    good = torch.as_tensor(allowed.check(value))
    if good.shape == value.shape:
        good = good | value.isnan()
    return bool(good.all())


def _remedy(allowed: constraints.Constraint, value: Tensor) -> str:
    if same(allowed, constraints.boolean):
        return (
            "Binarize grey pixels, or use a likelihood for them (ContinuousBernoulli, Binomial "
            "of their levels): under a Bernoulli they are no density."
        )
    if same(allowed, open_unit_interval) and value.min() >= 0 and value.max() <= 1:
        return "Move the ends inside, or use ContinuousBernoulli, which has them."
    if value.min() >= 0 and value.max() > 1 and not allowed.is_discrete:
        return "Divide the data by the highest value that they can have, such as 255."
    return "Use a likelihood for such data."
