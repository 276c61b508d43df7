r"""Whether a posterior stays on the support of its prior."""

from typing import Any

from torch.distributions import constraints

from ..distributions import describe_support, inside, same, support_of


def check_supports(prior: Any, posterior: Any, p: Any, q: Any) -> None:
    r"""Refuses a posterior that can leave the support of the prior: its ELBO is minus infinity.

    A relaxed posterior is evaluated as the discrete one that it stands for: its prior has to be
    relaxed too, else a density would be divided by a probability.

    Arguments:
        prior: The prior.
        posterior: The posterior.
        p: A distribution that the prior returned.
        q: One that the posterior returned.
    """
    here, there = support_of(posterior, q), support_of(prior, p)
    if not inside(here, there):
        remedies = (_families(here, "prior"), _families(there, "posterior"))
        remedy = ", or ".join(filter(None, remedies)) or "a prior and a posterior with one support"
        raise ValueError(
            f"Expected the posterior's support inside the prior's, else the ELBO is minus "
            f"infinity; got {type(posterior).__name__} on {describe_support(here)} and "
            f"{type(prior).__name__} on {describe_support(there)}. Use {remedy}."
        )
    if hasattr(posterior, "temperature") and not same(here, there):
        raise ValueError(
            "Expected a relaxed prior for a relaxed posterior, which is evaluated as the discrete "
            f"variable that it relaxes; got {type(prior).__name__} on {describe_support(there)}, "
            "a density for a probability. Use the relaxed prior of the same name."
        )


def _families(support: Any, role: str) -> str:
    r"""Families of priors or posteriors on a support, in words."""
    if same(support, constraints.boolean):
        return f"the Bernoulli {role}"
    if same(support, constraints.unit_interval):
        return f"the relaxed {role} of the same name"
    if same(support, constraints.real):
        example = "StandardNormal" if role == "prior" else "MeanFieldNormal"
        return f"a {role} on the real numbers, such as {example}"
    if "one-hot" in describe_support(support):
        return f"the categorical {role}"
    if hasattr(support, "codebook"):
        return f"the {'codes prior' if role == 'prior' else 'vector-quantized posterior'}"
    return ""
