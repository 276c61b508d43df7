r"""How likely is one part of the data given another? A difference of two estimates."""

from collections.abc import Sequence
from math import hypot
from typing import Any, NamedTuple

from torch import Tensor

from ..checks import Data, take
from ..counted import counted
from ..data import elements_of, only
from ..programs import as_program, guide_name, is_vae
from ..randomness import stream
from .importance import LogMarginal, log_marginal


class LogConditional(NamedTuple):
    r"""An estimate of :math:`\log p(x_\text{rest} \mid x_\text{given})` for every datum.

    Attributes:
        log_conditional: The estimate in nats, of shape `(B,)`. Each part is biased low, so that it
            is no bound, neither from below nor from above.
        mc_se: Its Monte Carlo standard error in nats, of shape `(B,)`; too small where few large
            weights matter, as that of :func:`pyro_vae.log_marginal`.
        lower: The lower end of a 95 % interval, in nats, of shape `(B,)`.
        upper: Its upper end. Both are NaN where a part has no interval.
        whole: The estimate of :math:`\log p(x)`.
        given: That of :math:`\log p(x_\text{given})`, from samples of its own.
    """

    log_conditional: Tensor
    mc_se: Tensor
    lower: Tensor
    upper: Tensor
    whole: LogMarginal
    given: LogMarginal

    @property
    def mean_se(self) -> float:
        r"""The Monte Carlo standard error of the mean over data, in nats."""
        return hypot(self.whole.mean_se, self.given.mean_se)


@counted
def log_conditional(
    vae: Any,
    x: Data,
    given: str | Sequence[str | int] | Tensor,
    num_samples: int = 500,
    *,
    seed: int = 0,
    skip_checks: bool = False,
    **known: Any,
) -> LogConditional:
    r"""Estimates how likely the rest of each datum is given a part of it.

    .. math:: \log p(x_\text{rest} \mid x_\text{given}) = \log p(x) - \log p(x_\text{given})

    Both are estimated by importance sampling from the guide, of the whole datum and of one whose
    other elements are missing (NaN), with samples of their own, so that their errors are
    independent. :func:`pyro_vae.evaluate.verdict` says whether the difference can be trusted.

    References:
        | Importance Weighted Autoencoders (Burda et al., 2016), Eq. 8
        | https://arxiv.org/abs/1509.00519
        | Construction of Confidence Limits about Effect Measures: A General Approach
        | (Zou & Donner, 2008), Eq. 4, the interval of a difference

    Arguments:
        vae: A VAE whose likelihood takes data with holes and whose guide sees what is there, or a
            pair of such Pyro programs.
        x: The data, of shape `(B, *x_shape)`; what is missing in them is in no part.
        given: Regions of an image, as in ``"left"``; columns of a table, by name or number; or
            which elements, as bools of shape `x_shape`.
        num_samples: The number of samples per datum and estimate.
        seed: Seeds the samples.
        skip_checks: As in :func:`pyro_vae.log_marginal`.
        known: Further inputs of the programs, one row per datum: row numbers as `index`,
            conditions, values of other sites.

    Raises:
        ValueError: There is no such part, or it is all of x; the programs take no data with holes;
            or as :func:`pyro_vae.log_marginal`.
    """
    program = as_program(vae)
    if is_vae(program) and not program.likelihood.missing:
        raise ValueError(
            "Expected a likelihood of data with holes, which what is not given leaves; got "
            f"{type(program.likelihood).__name__}. Wrap it: pv.likelihoods.MissingAtRandom."
        )
    split = take(program, x, known, skip_checks=skip_checks).freeze(seed)
    part = only(split, elements_of(split, given))
    whole = log_marginal(program, split, num_samples, seed=seed, skip_checks=True)
    own = stream(seed, "given")
    some = log_marginal(program, part, num_samples, seed=own, skip_checks=skip_checks)
    if bool(some.log_marginal.isnan().any()):
        raise ValueError(
            f"Expected a guide that sees which elements are there; got NaN from "
            f"{guide_name(program)}. Put pv.nn.Observed before its encoder, or take "
            "ProductOfExperts of pv.nn.Views."
        )
    difference = whole.log_marginal - some.log_marginal
    return LogConditional(
        difference,
        (whole.mc_se.square() + some.mc_se.square()).sqrt(),
        difference - _sides(whole, some),
        difference + _sides(some, whole),
        whole,
        some,
    )


def _sides(low: LogMarginal, high: LogMarginal) -> Tensor:
    r"""How far the interval of a difference reaches where one part is low and the other high."""
    below = low.log_marginal - low.lower
    return (below.square() + (high.upper - high.log_marginal).square()).sqrt()
