r"""What changes from step to step: learning rate, KL weight, capacity, temperature."""

import math
from typing import Any

import torch

from ..config import Train
from ..objectives import cycle, fall, warm_up

STEPS_TO_COMPILE = 10_000  # fewer are done before a compiler is


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
        factor = warm_up(step + 1, settings.warmup_epochs * self.per_epoch)
        factor *= warm_up(last - step, settings.cooldown_epochs * self.per_epoch)
        if settings.schedule == "cosine":
            factor *= (1 + math.cos(math.pi * step / last)) / 2
        return settings.lr * factor

    def kl_weight(self, step: int) -> float:
        r"""Returns the weight of the KL term."""
        settings = self.settings
        steps = settings.kl_warmup_epochs * self.per_epoch
        if settings.kl_cycles > 1:
            return settings.kl_weight * cycle(step, int(steps), settings.kl_cycles)
        return settings.kl_weight * warm_up(step, steps)

    def capacity(self, step: int) -> float | None:
        r"""Returns the capacity of the KL term, in nats, or None where there is none."""
        settings = self.settings
        if settings.capacity is None:
            return None
        return settings.capacity * warm_up(step, settings.capacity_epochs * self.per_epoch)

    def temperature(self, step: int, start: float) -> float:
        r"""Returns the temperature of a relaxed family that started with `start`."""
        settings = self.settings
        if settings.final_temperature is None:
            return start
        steps = settings.temperature_epochs * self.per_epoch
        return fall(step, steps, start, settings.final_temperature)


def lone_rows(vae: Any, count: int, batch_size: int) -> int:
    r"""How many rows are left over that could not be normalized over the batch: one or none.

    Raises:
        ValueError: Every batch is of one row.
    """
    normalizes = any(isinstance(m, torch.nn.modules.batchnorm._BatchNorm) for m in vae.modules())
    if not normalizes:
        return 0
    if min(count, batch_size) == 1:
        raise ValueError(
            f"Expected batches of two or more rows with a network that normalizes over the batch; "
            f"got batch_size {batch_size} and {count} rows. Raise batch_size, or take LayerNorm."
        )
    return int(count % batch_size == 1)


def compiles(settings: Train, steps_per_epoch: int) -> bool:
    r"""Decides from the recipe alone whether steps are compiled."""
    if settings.compile == "auto":
        return settings.epochs * steps_per_epoch >= STEPS_TO_COMPILE
    return settings.compile == "yes"
