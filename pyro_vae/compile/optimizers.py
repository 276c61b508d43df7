r"""The updates of :mod:`torch.optim` as functions of tensors, to be recorded in a step's graph.

An optimizer's own ``step`` counts in Python numbers, which a graph would freeze. These take the
learning rate, and each option that is seen to change, as a tensor, and leave their state where
the optimizer keeps it, under its own names, so that its ``state_dict`` is true and it can go on
eagerly.
"""

from collections.abc import Callable, Mapping, Sequence
from math import inf, log
from operator import getitem
from typing import Any, NamedTuple

import torch
from pyro.optim import PyroOptim
from pyro.optim.clipped_adam import ClippedAdam
from torch import Tensor, optim
from torch.optim import Optimizer

from .conditions import Place

Group = Mapping[str, Any]
State = dict[str, Tensor]


class Update(NamedTuple):
    r"""How an optimizer moves one parameter.

    Attributes:
        buffers: Names the tensors of its state, which begin at zero, for a group of options.
        apply: Maps parameter, gradient, state and options to the new parameter and the new state.
        unsupported: Options that this function has not.
    """

    buffers: Callable[[Group], list[str]]
    apply: Callable[[Tensor, Tensor, State, Group], tuple[Tensor, State]]
    unsupported: Callable[[Group], bool] = lambda group: False


def adam(
    p: Tensor, grad: Tensor, state: State, group: Group, decoupled: bool = False
) -> tuple[Tensor, State]:
    r"""Adam, or AdamW if the weight decay is `decoupled`.

    References:
        | Adam: A Method for Stochastic Optimization (Kingma & Ba, 2015), Algorithm 1
        | https://arxiv.org/abs/1412.6980
        | Decoupled Weight Decay Regularization (Loshchilov & Hutter, 2019), Algorithm 2
        | https://arxiv.org/abs/1711.05101
    """
    lr, beta1, beta2 = group["lr"], _number(group["betas"][0], p), _number(group["betas"][1], p)
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
    size = _held(lr / _rise(new["step"], group["betas"][0]), p)
    correction = _held(_rise(new["step"], group["betas"][1]).rsqrt(), p)
    eps = _number(group["eps"], p)
    return p - size * new["exp_avg"] / (second.sqrt() * correction + eps), new


def adamw(p: Tensor, grad: Tensor, state: State, group: Group) -> tuple[Tensor, State]:
    return adam(p, grad, state, group, decoupled=True)


def clipped_adam(p: Tensor, grad: Tensor, state: State, group: Group) -> tuple[Tensor, State]:
    r"""Pyro's Adam, which clips each element of the gradient (:meth:`OptimizedParameter.clip`)."""
    beta1, beta2 = (_number(beta, p) for beta in group["betas"])
    grad = _decayed(grad, p, group)
    new = {"step": state["step"] + 1}
    new["exp_avg"] = state["exp_avg"] * beta1 + (1 - beta1) * grad
    deviation = grad - new["exp_avg"] if group.get("centered_variance") else grad
    new["exp_avg_sq"] = state["exp_avg_sq"] * beta2 + (1 - beta2) * deviation * deviation
    rise1, rise2 = (_rise(new["step"], beta) for beta in group["betas"])
    size = _held(group["lr"] * rise2.sqrt() / rise1, p)
    return p - size * new["exp_avg"] / (new["exp_avg_sq"].sqrt() + _number(group["eps"], p)), new


def sgd(p: Tensor, grad: Tensor, state: State, group: Group) -> tuple[Tensor, State]:
    r"""Stochastic gradient descent, with momentum if it is set."""
    grad, new = _decayed(grad, p, group), {}
    if _is_on(group["momentum"]):
        momentum = _number(group["momentum"], p)
        buffer = state["momentum_buffer"] * momentum + grad
        new["momentum_buffer"] = buffer
        grad = grad + momentum * buffer if group["nesterov"] else buffer
    return p - _held(group["lr"], p) * grad, new


def rmsprop(p: Tensor, grad: Tensor, state: State, group: Group) -> tuple[Tensor, State]:
    r"""RMSprop, centered and with momentum if it is set.

    References:
        | Lecture 6.5 of Neural Networks for Machine Learning (Tieleman & Hinton, 2012)
    """
    alpha, grad = _number(group["alpha"], p), _decayed(grad, p, group)
    new = {"step": state["step"] + 1}
    new["square_avg"] = state["square_avg"] * alpha + (1 - alpha) * grad * grad
    variance = new["square_avg"]
    if group["centered"]:
        new["grad_avg"] = state["grad_avg"] * alpha + (1 - alpha) * grad
        variance = variance - new["grad_avg"] * new["grad_avg"]
    move = grad / (variance.sqrt() + _number(group["eps"], p))
    if _is_on(group["momentum"]):
        buffer = state["momentum_buffer"] * _number(group["momentum"], p) + move
        new["momentum_buffer"] = move = buffer
    return p - _held(group["lr"], p) * move, new


def _decayed(grad: Tensor, p: Tensor, group: Group) -> Tensor:
    grad = -grad if group.get("maximize") else grad
    decay = group["weight_decay"]
    return grad + _number(decay, p) * p if _is_on(decay) else grad


def _is_on(option: float | Tensor) -> bool:
    r"""Tells whether an option is at work; one that changes is, though it may be zero now."""
    return isinstance(option, Tensor) or bool(option)


def _number(option: Any, p: Tensor) -> Any:
    r"""Returns an option as a number for a loop over a parameter's elements."""
    return _held(option, p) if isinstance(option, Tensor) else option


def _rise(step: Tensor, beta: float | Tensor) -> Tensor:
    r"""Returns :math:`1 - \beta^t`, the weight that a running mean has gathered."""
    if isinstance(beta, Tensor):
        return -torch.expm1(step.double() * beta.log())
    return -torch.expm1(step.double() * (log(beta) if beta else -inf))


def _held(number: Tensor, p: Tensor) -> Tensor:
    r"""Keeps a number in memory, in a parameter's dtype.

    A compiler computes a reduction once; a plain number it would compute again in the loop over
    the elements of each parameter that it enters.
    """
    return number.expand(16).amax().to(p.dtype)


def _adam_buffers(group: Group) -> list[str]:
    names = ["step", "exp_avg", "exp_avg_sq"]
    return [*names, "max_exp_avg_sq"] if group.get("amsgrad") else names


def _rmsprop_buffers(group: Group) -> list[str]:
    optional = {"momentum_buffer": _is_on(group["momentum"]), "grad_avg": group["centered"]}
    return ["step", "square_avg", *(name for name, wanted in optional.items() if wanted)]


UPDATES: dict[type[Optimizer], Update] = {
    optim.Adam: Update(_adam_buffers, adam),
    optim.AdamW: Update(_adam_buffers, adamw),
    ClippedAdam: Update(_adam_buffers, clipped_adam),
    optim.SGD: Update(
        lambda group: ["momentum_buffer"] if _is_on(group["momentum"]) else [],
        sgd,
        lambda group: bool(group["dampening"]),  # its first step is another one
    ),
    optim.RMSprop: Update(_rmsprop_buffers, rmsprop),
}


class OptimizedParameter(NamedTuple):
    r"""A parameter, the optimizer that moves it, and how its own gradient is clipped."""

    parameter: Tensor
    optimizer: Optimizer
    group: dict[str, Any]
    clip_norm: float | None = None
    clip_value: float | None = None

    @property
    def update(self) -> Update | None:
        r"""The optimizer's update as a function of tensors, if there is one."""
        update, optimizer = UPDATES.get(type(self.optimizer)), self.optimizer
        if optimizer._optimizer_step_pre_hooks or optimizer._optimizer_step_post_hooks:
            return None
        return None if update is None or update.unsupported(self.group) else update

    def now(self) -> "OptimizedParameter":
        r"""Returns the same with the options that the optimizer has now."""
        groups = self.optimizer.param_groups
        return self._replace(
            group=next(g for g in groups if any(p is self.parameter for p in g["params"]))
        )

    def places(self) -> list[tuple[Place, Any]]:
        r"""Where the optimizer keeps options and state; loading others ends that."""
        optimizer, p = self.optimizer, self.parameter
        number = next(i for i, group in enumerate(optimizer.param_groups) if group is self.group)
        state = optimizer.state.get(p)  # there is none before its first gradient
        kept = [] if state is None else [(Place(getitem, optimizer.state, p), state)]
        return [
            (Place(getattr, optimizer, "param_groups"), optimizer.param_groups),
            (Place(getitem, optimizer.param_groups, number), self.group),
            (Place(getattr, optimizer, "state"), optimizer.state),
            *kept,
            *((Place(getitem, state, name), value) for name, value in (state or {}).items()),
        ]

    @property
    def kind(self) -> tuple:
        r"""What members must have in common to be moved together."""
        options = {k: v for k, v in self.group.items() if k not in ("params", "initial_lr")}
        p = self.parameter
        state = self.optimizer.state.get(p) or {}  # none where there was never a gradient
        steps = float(state.get("step", 0))
        return type(self.optimizer), str(sorted(options.items())), bool(state), steps, p.dtype

    def clip(self, gradient: Tensor, group: Group) -> Tensor:
        r"""Shortens the parameter's own gradient; the options may be tensors."""
        if self.clip_norm is not None:
            gradient = gradient * clip_factor(gradient.square().sum().sqrt(), self.clip_norm)
        if self.clip_value is not None:
            gradient = gradient.clamp(-self.clip_value, self.clip_value)
        if isinstance(self.optimizer, ClippedAdam):
            limit = _number(group["clip_norm"], gradient)
            gradient = gradient.clamp(-limit, limit)
        return gradient


def optimized_parameters(
    optimizer: PyroOptim | Optimizer, parameters: Sequence[Tensor] = ()
) -> list[OptimizedParameter]:
    r"""Returns parameters with the optimizers that move them.

    Arguments:
        optimizer: An optimizer of :mod:`torch.optim`, all of whose parameters are taken, or one of
            :mod:`pyro.optim` that has met the `parameters`.
        parameters: Those that are wanted.
    """
    if isinstance(optimizer, Optimizer):
        return [
            OptimizedParameter(p, optimizer, group)
            for group in optimizer.param_groups
            for p in group["params"]
        ]
    members = []
    for p in parameters:
        own = optimizer.optim_objs[p]
        own = getattr(own, "optimizer", own)  # a schedule's
        clip = optimizer._get_grad_clip_args(p) or {}
        limits = clip.get("clip_norm"), clip.get("clip_value")
        members.append(OptimizedParameter(p, own, own.param_groups[0], *limits))
    return members


def clip_factor(norm: Tensor, limit: float) -> Tensor:
    r"""Returns the factor that shortens a gradient of a norm to a limit."""
    return (limit / (norm + 1e-6)).clamp(max=1)
