r"""The planner: from prior, likelihood and posterior to a sound estimator, and one line of why."""

from typing import Any, NamedTuple

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import constraints

from ..config import ESTIMATORS, Train
from ..distributions import IndependentBernoulli, describe, inside, same, support_of
from ..randomness import apart
from .base import Objective
from .dreg import DReG
from .elbo import ELBO
from .enumeration import Enumeration
from .iwae import IWAE
from .kl import kl_by_feature, kl_divergence
from .renyi import Renyi
from .score_function import ScoreFunction
from .stl import STL
from .vimco import VIMCO

FEW_STATES = 64
IMPORTANCE_WEIGHTED = ("iwae", "dreg", "vimco", "renyi")
PATHWISE = ("reparameterized", "stl", "dreg", "renyi", "iwae")


class Plan(NamedTuple):
    r"""An estimator for a VAE, and why.

    Attributes:
        estimator: Its name in a recipe.
        objective: The objective itself.
        why: One line for people.
        exact: Whether the KL term is in closed form.
    """

    estimator: str
    objective: Objective
    why: str
    exact: bool = False


def plan(
    vae: Any,
    x: Tensor | None = None,
    estimator: str = "auto",
    *,
    num_particles: int = 1,
    kl: str = "closed-form",
    kl_weight: float = 1.0,
    free_bits: float = 0.0,
    capacity: float | None = None,
    alpha: float = 0.5,
    baseline: str = "average",
) -> Plan:
    r"""Chooses a sound estimator for a VAE, or checks the one that is named.

    Arguments:
        vae: The VAE.
        x: Some data, of shape `(B, *x_shape)`; without them the model draws two.
        estimator: ``"auto"`` or a name such as ``"iwae"``.
        num_particles: The number of samples of :math:`z` per datum.
        kl: ``"closed-form"`` where it is known, or ``"sampled"``.
        kl_weight: The weight of the KL term, any but 1 if it changes.
        free_bits: Nats below which a latent feature's KL term is free.
        capacity: The nats that the KL term is drawn to.
        alpha: The order of the Renyi bound.
        baseline: The baseline of the score function.

    Returns:
        The plan.

    Raises:
        ValueError: The choice is unsound; the sentence gives the reason and the remedy.
    """
    posterior = vae.posterior
    q, p, x_shape = _distributions(vae, x)
    check_supports(vae.prior, posterior, p, q)
    names = f"{name(q)} against {name(p)}"
    bent = free_bits != 0 or capacity is not None
    exact = False

    if estimator == "auto":
        estimator = _choose(posterior, q, num_particles)
    if estimator not in ESTIMATORS:
        raise ValueError(f"Expected an estimator ({', '.join(ESTIMATORS)}); got {estimator!r}.")
    _check_posterior(posterior, estimator)
    _check_bending(estimator, kl_weight, bent, num_particles)

    samples = f"{num_particles} sample{'s' if num_particles > 1 else ''}"
    if estimator == "reparameterized":
        exact = kl == "closed-form" and kl_divergence(q, p) is not None
        if free_bits and kl_by_feature(q, p, q.sample(), exact) is None:
            raise ValueError(
                "Expected a prior and a posterior that factorize over latent features, as free "
                f"bits count by feature; got {names}. Use capacity, or a diagonal pair."
            )
        objective: Objective = ELBO(
            num_particles,
            "closed-form" if exact else "sampled",
            free_bits=free_bits,
            capacity=capacity,
        )
        if posterior.density == "none":
            why = (
                "a point has no density: this trains a plain autoencoder, log p(x, z) at "
                "z = f(x), not a bound; for log p(x) use AIS from the prior"
            )
        elif exact:
            why = f"closed-form KL: {names}; reconstruction by {samples}"
        elif kl == "closed-form":
            why = f"no closed-form KL is known for {names}: both terms by {samples}"
        else:
            why = f"KL and reconstruction by {samples}"
        if type(q).__name__ == "StraightThrough":
            why += "; straight-through gradients are biased"
    elif estimator == "score-function":
        objective = ScoreFunction(num_particles, baseline, x_shape)  # type: ignore[arg-type]
        why = f"{name(q)} is not reparameterized: score function by {samples}, {baseline} baseline"
    elif estimator == "enumeration":
        objective = Enumeration()
        why = f"sum over all {len(q.enumerate_support(expand=False))} values of z: no sampling"
    elif estimator == "stl":
        objective = STL(num_particles)
        why = f"path derivative of the ELBO, by {samples}"
    elif estimator == "vimco":
        objective = VIMCO(num_particles)
        why = f"importance weighted bound of {samples}, by the score function"
    elif estimator == "renyi":
        objective = Renyi(num_particles, alpha)
        why = f"Renyi bound of order {alpha:g}, by {samples}"
    else:
        objective = {"iwae": IWAE, "dreg": DReG}[estimator](num_particles)
        why = f"importance weighted bound of {samples}"
    return Plan(estimator, objective, f"{estimator}: {why}.", exact)


def planned(settings: Train) -> dict[str, Any]:
    r"""What the settings of a training say to :func:`plan`."""
    names = ("estimator", "num_particles", "kl", "free_bits", "capacity", "alpha", "baseline")
    changes = settings.kl_warmup_epochs > 0
    return {
        **{name: getattr(settings, name) for name in names},
        "kl_weight": 0.0 if changes else settings.kl_weight,
    }


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
            f"infinity; got {type(posterior).__name__} on {describe(here)} and "
            f"{type(prior).__name__} on {describe(there)}. Take {remedy}."
        )
    if hasattr(posterior, "temperature") and not same(here, there):
        raise ValueError(
            "Expected a relaxed prior for a relaxed posterior, which is evaluated as the discrete "
            f"variable that it relaxes; got {type(prior).__name__} on {describe(there)}, "
            "a density for a probability. Take the relaxed prior of the same name."
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
    if "one-hot" in describe(support):
        return f"the categorical {role}"
    return ""


def _choose(posterior: Any, q: Any, num_particles: int) -> str:
    if posterior.reparameterized:
        return "reparameterized"
    few = posterior.enumerable and q.has_enumerate_support
    if few and len(q.enumerate_support(expand=False)) <= FEW_STATES and num_particles == 1:
        return "enumeration"
    return "score-function"


def _check_posterior(posterior: Any, estimator: str) -> None:
    name = type(posterior).__name__
    if estimator in PATHWISE and not posterior.reparameterized:
        raise ValueError(
            f"Expected a reparameterized posterior for {estimator}; got {name}, through whose "
            "samples no gradient flows. Use score-function, vimco or enumeration, or a relaxed "
            "posterior."
        )
    if estimator != "reparameterized" and posterior.density == "none":
        raise ValueError(
            f"Expected a posterior with a density for {estimator}; got {name}, a point. Train it "
            "as an autoencoder (reparameterized), and use AIS from the prior for log p(x)."
        )
    if estimator in ("stl", "dreg") and posterior.density != "anywhere":
        raise ValueError(
            f"Expected a posterior whose density can be asked anywhere for {estimator}; got "
            f"{name}, which has it for {posterior.density}. Use reparameterized or iwae."
        )
    if estimator == "enumeration" and not posterior.enumerable:
        raise ValueError(
            f"Expected a posterior whose values can be listed for enumeration; got {name}. Use "
            "reparameterized, or score-function."
        )


def _check_bending(estimator: str, kl_weight: float, bent: bool, num_particles: int) -> None:
    if estimator in IMPORTANCE_WEIGHTED and kl_weight != 1:
        raise ValueError(
            f"Expected a KL weight of 1 for {estimator}, whose bound has no KL term; got "
            f"{kl_weight:g}. Set train.kl_weight 1 and "
            "train.kl_warmup_epochs 0, or use an estimator of the ELBO."
        )
    if bent and estimator != "reparameterized":
        raise ValueError(
            "Expected the reparameterized ELBO for free bits or capacity, which bend its KL term; "
            f"got {estimator}."
        )
    if estimator == "vimco" and num_particles < 2:
        raise ValueError(
            f"Expected at least 2 particles for VIMCO; got {num_particles}. Set num_particles."
        )


def _distributions(vae: Any, x: Tensor | None) -> tuple[Any, Any, tuple[int, ...]]:
    r"""The posterior of some data, the prior, and the shape of a datum."""
    device = next((p.device for p in vae.parameters()), torch.device("cpu"))
    with apart(device), torch.no_grad():
        try:
            x = vae.model(batch_size=2) if x is None else x
            index = torch.arange(len(x), device=device)
            q = vae.posterior(x, index) if vae.posterior.index else vae.posterior(x)
            p = vae.prior()
            vae.likelihood(p.expand((2,)).sample())
        except (RuntimeError, TypeError, AttributeError, IndexError) as error:
            raise ValueError(
                f"Expected networks that fit each other and x; got {type(error).__name__}: "
                f"{error}. pv.explain_error(vae, x) says which."
            ) from error
        if q.event_shape != p.event_shape:
            raise ValueError(
                f"Expected z of one size in prior and posterior; got {tuple(p.event_shape)} and "
                f"{tuple(q.event_shape)}. The encoder's number of outputs (two a feature for a "
                "mean-field Normal) decides the second."
            )
        return q, p, tuple(x.shape[1:])


def name(d: Any) -> str:
    r"""What people call a distribution."""
    if isinstance(d, dist.MaskedDistribution | dist.ExpandedDistribution):
        return name(d.base_dist)
    if hasattr(d, "discrete"):
        return f"straight-through {name(d.discrete)}"
    if isinstance(d, IndependentBernoulli):
        return "Bernoulli"
    if isinstance(d, torch.distributions.Independent):
        inner = name(d.base_dist)
        return f"diagonal {inner}" if inner == "Normal" and d.event_shape else inner
    if isinstance(d, torch.distributions.TransformedDistribution):
        steps = {
            type(getattr(t, "inv", t) if "Inverse" in type(t).__name__ else t).__name__
            for t in d.transforms
        }
        return f"{name(d.base_dist)} through {', '.join(sorted(steps))}"
    return type(d).__name__
