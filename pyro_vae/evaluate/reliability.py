r"""Can the number be trusted? A verdict (green, amber, red) with its reason."""

from math import log10
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from ..deprecation import renamed, renamed_attributes
from ..statistics import EVEN, Mean
from .annealed import Annealed
from .conditional import LogConditional
from .importance import LogMarginal

KHAT = 0.7
ESS = 400.0
GREEN_SHARE = 0.99
Z = 4.26  # exceeded by chance once in 10^5

Colour = Literal["green", "amber", "red"]


@renamed_attributes(light="colour", sentence="reason", rise_se="rise.se")
class Verdict(NamedTuple):
    r"""Whether an estimate of :math:`\log p(x)` can be trusted.

    Attributes:
        colour: ``"green"``, ``"amber"`` or ``"red"``.
        reason: Why, and what to do.
        green: For each datum, whether its own estimate can be trusted, of shape `(B,)`.
        rise: By how many nats the estimate still rises per doubling of samples, on average.
    """

    colour: Colour
    reason: str
    green: Tensor
    rise: Mean


def verdict(
    estimate: LogMarginal | LogConditional,
    annealed: Annealed | None = None,
    rows: Tensor | slice | None = None,
    *,
    can_anneal: bool = True,
) -> Verdict:
    r"""Judges an importance sampling estimate, better with annealed importance sampling beside it.

    - A datum is green if its weights have :math:`\hat{k} \leq \min(1 - 1 / \log_{10} K, 0.7)`, or
      are all the same, as those of the exact posterior, and an effective sample size of 400 at
      least. On images hardly any is. Where all values of the latent variables are summed, all
      data are green.
    - Data are green if 99 % of them are. Else they are amber: the mean is a valid lower bound on
      average, and still rises with the number of samples.
    - They are red if annealed importance sampling, also a lower bound on average, gives
      significantly more.

    References:
        | Pareto Smoothed Importance Sampling (Vehtari et al., 2024), Sec. 3.2.4, the threshold
        | https://arxiv.org/abs/1507.02646

    Arguments:
        estimate: What :func:`pyro_vae.log_marginal` returned, or
            :func:`pyro_vae.evaluate.log_conditional`: then a datum is green if both parts are.
        annealed: What :func:`pyro_vae.ais` returned for the same data, or for some of them.
        rows: Which of the data these are; the first ones by default.
        can_anneal: Whether the latent variables allow annealed importance sampling.
    """
    if isinstance(estimate, LogConditional):
        return _of_both(estimate)
    if estimate.exact:
        every = torch.ones_like(estimate.ess, dtype=torch.bool)
        reason = "log p(x) is exact: a sum over all values of the latent variables."
        return Verdict("green", reason, every, Mean(0.0, 0.0))
    samples = float(estimate.num_samples.min())
    limit = min(1 - 1 / log10(samples), KHAT) if samples > 1 else 0.0
    even = estimate.mc_se * samples**0.5 < EVEN
    green = ((estimate.khat <= limit) | even) & (estimate.ess >= ESS)
    share = float(green.double().mean())
    rise = Mean.of(estimate.rise)
    too_low, shown = (False, "") if annealed is None else _against(estimate, annealed, rows)
    if too_low:
        return Verdict("red", shown, green, rise)
    beside = f" {shown}" if shown else ""
    if share >= GREEN_SHARE:
        reason = f"{share:.0%} of the data have k-hat <= {limit:.2g} and ESS >= {ESS:.0f}.{beside}"
        return Verdict("green", reason, green, rise)
    advice = " Run AIS on some of the data to see by how much." if can_anneal else ""
    advice = "" if annealed is not None else advice
    if samples < ESS:
        advice = f" {samples:.0f} samples cannot show more; take {ESS:.0f} at least.{advice}"
    reason = (
        f"A lower bound, not yet log p(x): {share:.0%} of the data have k-hat <= {limit:.2g} and "
        f"ESS >= {ESS:.0f}, and it still rises by {rise:.3f} {rise.error} nats per doubling "
        f"of the number of samples.{beside}{advice}"
    )
    return Verdict("amber", reason, green, rise)


def _of_both(estimate: LogConditional) -> Verdict:
    r"""The verdict on a difference: green where both of its parts are."""
    whole, given = verdict(estimate.whole), verdict(estimate.given)
    green = whole.green & given.green
    share = float(green.double().mean())
    rise = Mean.of(estimate.whole.rise - estimate.given.rise)
    both = f"{share:.0%} of the data can be trusted in both, log p(x) and log p(given)"
    if share >= GREEN_SHARE:
        return Verdict("green", f"{both}.", green, rise)
    reason = (
        f"A difference of lower bounds, and so no bound: {both}. Per doubling of the number of "
        f"samples, log p(x) still rises by {whole.rise:.3f} {whole.rise.error} nats, log p(given) "
        f"by {given.rise:.3f} {given.rise.error}."
    )
    return Verdict("amber", reason, green, rise)


def _against(
    estimate: LogMarginal, annealed: Annealed, rows: Tensor | slice | None
) -> tuple[bool, str]:
    r"""Whether annealed importance sampling contradicts the estimate, and a sentence."""
    rows = slice(0, len(annealed.log_marginal)) if rows is None else rows
    here = estimate.log_marginal[rows]
    more = (annealed.log_marginal.to(here) - here).double()
    if len(more) < 2:
        raise ValueError(f"Expected annealed estimates of two data at least; got {len(more)}.")
    difference = Mean.of(more)
    gain = f"{difference:+.3f} {difference.error} nats per datum on {len(more)} data"
    moved = float(torch.as_tensor(annealed.acceptance).mean())
    if difference.exceeds(0.0, Z):
        return True, (
            f"Too low: annealed importance sampling gives {gain}. Report its number, or train "
            "a richer posterior."
        )
    if -difference > Z * difference.se:
        return False, (
            f"Annealed importance sampling gives {gain}: it has not converged (acceptance "
            f"{moved:.2f}); take more temperatures."
        )
    return False, f"Annealed importance sampling agrees: {gain}."


__getattr__ = renamed(__name__, {"Trust": "Verdict", "trust": "verdict"})
