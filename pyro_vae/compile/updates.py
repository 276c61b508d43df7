r"""The updates of :mod:`torch.optim` as functions of tensors, to be recorded in a step's graph.

An optimizer's own ``step`` counts in Python numbers, which a graph would freeze. These take the
learning rate as a tensor and leave their state where the optimizer keeps it, under its own names,
so that its ``state_dict`` is true and it can go on eagerly.
"""

from collections.abc import Callable, Mapping
from math import inf, log
from typing import Any, NamedTuple

import torch
from pyro.optim.clipped_adam import ClippedAdam
from torch import Tensor, optim
from torch.optim import Optimizer

Group = Mapping[str, Any]
State = dict[str, Tensor]


class Update(NamedTuple):
    r"""How an optimizer moves one parameter.

    Attributes:
        buffers: Names the tensors of its state, which begin at zero, for a group of options.
        apply: Maps parameter, gradient, state, options and learning rate to the new parameter and
            the new state.
        unsupported: Options that this function has not.
    """

    buffers: Callable[[Group], list[str]]
    apply: Callable[[Tensor, Tensor, State, Group, Tensor], tuple[Tensor, State]]
    unsupported: Callable[[Group], bool] = lambda group: False


def adam(
    p: Tensor, grad: Tensor, state: State, group: Group, lr: Tensor, decoupled: bool = False
) -> tuple[Tensor, State]:
    r"""Adam, or AdamW if the weight decay is `decoupled`.

    References:
        | Adam: A Method for Stochastic Optimization (Kingma & Ba, 2015), Algorithm 1
        | https://arxiv.org/abs/1412.6980
        | Decoupled Weight Decay Regularization (Loshchilov & Hutter, 2019), Algorithm 2
        | https://arxiv.org/abs/1711.05101
    """
    beta1, beta2 = group["betas"]
    if decoupled or group.get("decoupled_weight_decay"):
        p = p * _held(1 - lr * group["weight_decay"], p)
        grad = -grad if group["maximize"] else grad
    else:
        grad = _decayed(grad, p, group)
    new = {"step": state["step"] + 1}
    new["exp_avg"] = state["exp_avg"].lerp(grad, 1 - beta1)
    new["exp_avg_sq"] = state["exp_avg_sq"] * beta2 + (1 - beta2) * grad * grad
    second = new["exp_avg_sq"]
    if group.get("amsgrad"):
        second = new["max_exp_avg_sq"] = torch.maximum(state["max_exp_avg_sq"], second)
    size = _held(lr / _rise(new["step"], beta1), p)
    correction = _held(_rise(new["step"], beta2).rsqrt(), p)
    return p - size * new["exp_avg"] / (second.sqrt() * correction + group["eps"]), new


def adamw(p: Tensor, grad: Tensor, state: State, group: Group, lr: Tensor) -> tuple[Tensor, State]:
    return adam(p, grad, state, group, lr, decoupled=True)


def clipped_adam(
    p: Tensor, grad: Tensor, state: State, group: Group, lr: Tensor
) -> tuple[Tensor, State]:
    r"""Pyro's Adam, which clips each element of the gradient."""
    grad = grad.clamp(-group["clip_norm"], group["clip_norm"])
    beta1, beta2 = group["betas"]
    grad = _decayed(grad, p, group)
    new = {"step": state["step"] + 1}
    new["exp_avg"] = state["exp_avg"] * beta1 + (1 - beta1) * grad
    deviation = grad - new["exp_avg"] if group.get("centered_variance") else grad
    new["exp_avg_sq"] = state["exp_avg_sq"] * beta2 + (1 - beta2) * deviation * deviation
    rise1, rise2 = _rise(new["step"], beta1), _rise(new["step"], beta2)
    size = _held(lr * rise2.sqrt() / rise1, p)
    return p - size * new["exp_avg"] / (new["exp_avg_sq"].sqrt() + group["eps"]), new


def sgd(p: Tensor, grad: Tensor, state: State, group: Group, lr: Tensor) -> tuple[Tensor, State]:
    r"""Stochastic gradient descent, with momentum if asked for."""
    grad, new = _decayed(grad, p, group), {}
    if group["momentum"]:
        buffer = state["momentum_buffer"] * group["momentum"] + grad
        new["momentum_buffer"] = buffer
        grad = grad + group["momentum"] * buffer if group["nesterov"] else buffer
    return p - _held(lr, p) * grad, new


def rmsprop(
    p: Tensor, grad: Tensor, state: State, group: Group, lr: Tensor
) -> tuple[Tensor, State]:
    r"""RMSprop, centered and with momentum if asked for.

    References:
        | Lecture 6.5 of Neural Networks for Machine Learning (Tieleman & Hinton, 2012)
    """
    alpha, grad = group["alpha"], _decayed(grad, p, group)
    new = {"step": state["step"] + 1}
    new["square_avg"] = state["square_avg"] * alpha + (1 - alpha) * grad * grad
    variance = new["square_avg"]
    if group["centered"]:
        new["grad_avg"] = state["grad_avg"].lerp(grad, 1 - alpha)
        variance = variance - new["grad_avg"] * new["grad_avg"]
    move = grad / (variance.sqrt() + group["eps"])
    if group["momentum"]:
        new["momentum_buffer"] = move = state["momentum_buffer"] * group["momentum"] + move
    return p - _held(lr, p) * move, new


def _decayed(grad: Tensor, p: Tensor, group: Group) -> Tensor:
    grad = -grad if group.get("maximize") else grad
    return grad + group["weight_decay"] * p if group["weight_decay"] else grad


def _rise(step: Tensor, beta: float) -> Tensor:
    r"""Returns :math:`1 - \beta^t`, the weight that a running mean has gathered."""
    return -torch.expm1(step.double() * (log(beta) if beta else -inf))


def _held(number: Tensor, p: Tensor) -> Tensor:
    r"""Keeps a number in memory, in a parameter's dtype.

    A compiler computes a reduction once; a mere number it would compute anew in the loop over the
    elements of each parameter that it enters.
    """
    return number.expand(16).amax().to(p.dtype)


def _adam_buffers(group: Group) -> list[str]:
    names = ["step", "exp_avg", "exp_avg_sq"]
    return [*names, "max_exp_avg_sq"] if group.get("amsgrad") else names


def _rmsprop_buffers(group: Group) -> list[str]:
    optional = {"momentum_buffer": group["momentum"], "grad_avg": group["centered"]}
    return ["step", "square_avg", *(name for name, wanted in optional.items() if wanted)]


UPDATES: dict[type[Optimizer], Update] = {
    optim.Adam: Update(_adam_buffers, adam),
    optim.AdamW: Update(_adam_buffers, adamw),
    ClippedAdam: Update(_adam_buffers, clipped_adam),
    optim.SGD: Update(
        lambda group: ["momentum_buffer"] if group["momentum"] else [],
        sgd,
        lambda group: bool(group["dampening"]),  # its first step is another one
    ),
    optim.RMSprop: Update(_rmsprop_buffers, rmsprop),
}
