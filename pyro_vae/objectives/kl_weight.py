r"""The weight of the KL term, as a handler around any Pyro objective, and schedules."""

from typing import Any

from pyro.poutine.messenger import Messenger
from torch import Tensor


class scale_kl(Messenger):
    r"""Scales the log density of every latent site by `weight`, and with it the KL term.

    .. math:: \mathbb{E}_q \log p(x \mid z) - \beta \, \mathrm{KL}(q(z \mid x) \,\|\, p(z))

    References:
        | beta-VAE (Higgins et al., 2017), Eq. 4
        | https://openreview.net/forum?id=Sy2fzU9gl

    Arguments:
        weight: The weight :math:`\beta \geq 0`.
    """

    def __init__(self, weight: float | Tensor) -> None:
        super().__init__()
        self.weight = weight

    def _pyro_sample(self, msg: Any) -> None:
        if not msg["is_observed"]:
            scale, weight = msg["scale"], self.weight
            msg["scale"] = weight if isinstance(scale, float) and scale == 1 else scale * weight


def warm_up(step: int, steps: float) -> float:
    r"""Returns a weight that rises linearly from 0 at step 0 to 1 at `steps`.

    References:
        | Generating Sentences from a Continuous Space (Bowman et al., 2016), Sec. 3.1
        | https://arxiv.org/abs/1511.06349

    Example:
        >>> [warm_up(step, 4) for step in (0, 1, 4, 9)]
        [0.0, 0.25, 1.0, 1.0]
    """
    return min(1.0, step / steps) if steps > 0 else 1.0


def cycle(step: int, steps: int, cycles: int, rise: float = 0.5) -> float:
    r"""Returns a weight that rises from 0 to 1 and stays there, again in each of `cycles`.

    References:
        | Cyclical Annealing Schedule (Fu et al., 2019), Eq. 6
        | https://arxiv.org/abs/1903.10145

    Arguments:
        step: The step, from 0.
        steps: How many steps all cycles take together.
        cycles: The number of cycles.
        rise: The fraction of a cycle in which the weight rises.

    Example:
        >>> [cycle(step, steps=8, cycles=2) for step in range(9)]
        [0.0, 0.5, 1.0, 1.0, 0.0, 0.5, 1.0, 1.0, 1.0]
    """
    if step >= steps:
        return 1.0
    period = steps / cycles
    return min(1.0, (step % period) / (rise * period))


def fall(step: int, steps: float, start: float, end: float) -> float:
    r"""Returns a number that falls geometrically from `start` at step 0 to `end` at `steps`.

    Example:
        >>> [fall(step, 2, 1.0, 0.25) for step in (0, 1, 2, 3)]
        [1.0, 0.5, 0.25, 0.25]
    """
    return start * (end / start) ** warm_up(step, steps)
