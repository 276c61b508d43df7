r"""Schedules per step: learning rate, KL weight, capacity, temperature."""

import math

from ..config import Train


def linear_warmup(step: int, steps: float) -> float:
    r"""Returns a weight that rises linearly from 0 at step 0 to 1 at `steps`.

    References:
        | Generating Sentences from a Continuous Space (Bowman et al., 2016), Sec. 3.1
        | https://arxiv.org/abs/1511.06349

    Example:
        >>> [linear_warmup(step, 4) for step in (0, 1, 4, 9)]
        [0.0, 0.25, 1.0, 1.0]
    """
    return min(1.0, step / steps) if steps > 0 else 1.0


def cyclical(step: int, steps: int, cycles: int, rise: float = 0.5) -> float:
    r"""Returns a weight that, in each cycle, rises from 0 to 1 and then stays there.

    References:
        | Cyclical Annealing Schedule (Fu et al., 2019), Eq. 6
        | https://arxiv.org/abs/1903.10145

    Arguments:
        step: The step, from 0.
        steps: The number of steps of all cycles together.
        cycles: The number of cycles.
        rise: The fraction of a cycle in which the weight rises.

    Example:
        >>> [cyclical(step, steps=8, cycles=2) for step in range(9)]
        [0.0, 0.5, 1.0, 1.0, 0.0, 0.5, 1.0, 1.0, 1.0]
    """
    if step >= steps:
        return 1.0
    period = steps / cycles
    return min(1.0, (step % period) / (rise * period))


def geometric_decay(step: int, steps: float, start: float, end: float) -> float:
    r"""Returns a number that falls geometrically from `start` at step 0 to `end` at `steps`.

    Example:
        >>> [geometric_decay(step, 2, 1.0, 0.25) for step in (0, 1, 2, 3)]
        [1.0, 0.5, 0.25, 0.25]
    """
    return start * (end / start) ** linear_warmup(step, steps)


def stages(step: int, steps: int, count: int = 8, end: float = 0.1) -> float:
    r"""Returns a factor that falls geometrically from 1 to `end` in stages, each three times as
    long as the one before.

    References:
        | Importance Weighted Autoencoders (Burda et al., 2016), Sec. 5
        | https://arxiv.org/abs/1509.00519

    Arguments:
        step: The step, from 0.
        steps: The number of steps of all stages together; 3280 epochs give stages of whole ones.
        count: The number of stages.
        end: The factor of the last stage.

    Example:
        >>> [round(stages(step, 13, count=3), 3) for step in range(13)]
        [1.0, 0.316, 0.316, 0.316, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1]
    """
    begun = sum(step * (3**count - 1) >= (3**stage - 1) * steps for stage in range(1, count))
    return end ** (begun / (count - 1))


class Schedule:
    r"""Creates the schedules of a training; settings in epochs become functions of the step.

    Arguments:
        settings: The settings.
        steps_per_epoch: The number of steps that visit every datum once.
    """

    def __init__(self, settings: Train, steps_per_epoch: int) -> None:
        self.settings, self.per_epoch = settings, steps_per_epoch

    def lr(self, step: int) -> float:
        r"""Returns the learning rate."""
        settings = self.settings
        last = settings.epochs * self.per_epoch
        factor = linear_warmup(step + 1, settings.warmup_epochs * self.per_epoch)
        factor *= linear_warmup(last - step, settings.cooldown_epochs * self.per_epoch)
        if settings.schedule == "cosine":
            factor *= (1 + math.cos(math.pi * step / last)) / 2
        elif settings.schedule == "stages":
            factor *= stages(step, last)
        return settings.lr * factor

    def kl_weight(self, step: int) -> float:
        r"""Returns the weight of the KL term."""
        settings = self.settings
        steps = settings.kl_warmup_epochs * self.per_epoch
        if settings.kl_cycles > 1:
            return settings.kl_weight * cyclical(step, int(steps), settings.kl_cycles)
        return settings.kl_weight * linear_warmup(step, steps)

    def capacity(self, step: int) -> float | None:
        r"""Returns the capacity of the KL term, in nats, or None without one."""
        settings = self.settings
        if settings.capacity is None:
            return None
        return settings.capacity * linear_warmup(step, settings.capacity_epochs * self.per_epoch)

    def temperature(self, step: int, start: float) -> float:
        r"""Returns the temperature of a relaxed family that starts at `start`."""
        settings = self.settings
        if settings.final_temperature is None:
            return start
        steps = settings.temperature_epochs * self.per_epoch
        return geometric_decay(step, steps, start, settings.final_temperature)
