r"""The updates of :mod:`torch.optim` as functions of tensors, to be recorded in a step's graph.

An optimizer's own ``step`` counts in Python numbers, which a graph would freeze. These take the
learning rate as a tensor and leave their state where the optimizer keeps it, under its own names,
so that its ``state_dict`` is true and it can go on eagerly.
"""

from collections.abc import Callable, Mapping, Sequence
from math import inf, log
from typing import Any, NamedTuple

import torch
from pyro.optim import PyroOptim
from pyro.optim.clipped_adam import ClippedAdam
from torch import Tensor, optim
from torch.optim import Optimizer

SMALL = 100_000  # elements; below, one loop over all of them is faster than many, copies included
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
    r"""Stochastic gradient descent, with momentum if it is set."""
    grad, new = _decayed(grad, p, group), {}
    if group["momentum"]:
        buffer = state["momentum_buffer"] * group["momentum"] + grad
        new["momentum_buffer"] = buffer
        grad = grad + group["momentum"] * buffer if group["nesterov"] else buffer
    return p - _held(lr, p) * grad, new


def rmsprop(
    p: Tensor, grad: Tensor, state: State, group: Group, lr: Tensor
) -> tuple[Tensor, State]:
    r"""RMSprop, centered and with momentum if it is set.

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

    A compiler computes a reduction once; a plain number it would compute again in the loop over
    the elements of each parameter that it enters.
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
        update = UPDATES.get(type(self.optimizer))
        return None if update is None or update.unsupported(self.group) else update

    @property
    def kind(self) -> tuple:
        r"""What members must have in common to be moved together."""
        options = {k: v for k, v in self.group.items() if k not in ("params", "initial_lr")}
        p = self.parameter
        state = self.optimizer.state.get(p) or {}  # none where there was never a gradient
        steps = float(state.get("step", 0))
        return type(self.optimizer), str(sorted(options.items())), bool(state), steps, p.dtype

    def clip(self, gradient: Tensor) -> Tensor:
        r"""Shortens the parameter's own gradient."""
        if self.clip_norm is not None:
            gradient = gradient * clip_factor(gradient.square().sum().sqrt(), self.clip_norm)
        if self.clip_value is not None:
            gradient = gradient.clamp(-self.clip_value, self.clip_value)
        return gradient


class ParameterGroup:
    r"""Creates a group of parameters of one kind, which are updated together.

    Their optimizer's state lies in one tensor for each of its names, and in the optimizer's
    ``state`` as views of it; a group of one keeps the optimizer's own tensors.

    Arguments:
        members: The parameters.
        update: Their update.
    """

    def __init__(self, members: Sequence[OptimizedParameter], update: Update) -> None:
        self.members, self.update, self.group = members, update, members[0].group
        self.sizes = [member.parameter.numel() for member in members]
        self.state: State = {}
        self.views: list[tuple[OptimizedParameter, str, Tensor]] = []
        for name in update.buffers(self.group):
            old = [member.optimizer.state[member.parameter].get(name) for member in members]
            if name == "step":
                parts = [_scalar(value, member.parameter) for value, member in zip(old, members)]
            else:
                parts = [
                    (torch.zeros_like(member.parameter) if value is None else value).flatten()
                    for value, member in zip(old, members)
                ]
            whole = self.state[name] = torch.cat(parts)
            sizes = [1] * len(members) if name == "step" else self.sizes
            for member, view in zip(members, whole.split(sizes)):
                shape = () if name == "step" else member.parameter.shape
                self.views.append((member, name, view.view(shape)))
        self.adopt()

    def adopt(self) -> None:
        r"""Makes the optimizers' state views of this one, with the values that they have."""
        for member, name, view in self.views:
            state = member.optimizer.state[member.parameter]
            value = state.get(name)
            if value is not view:
                if value is not None:
                    view.copy_(torch.as_tensor(value))
                state[name] = view

    def is_adopted(self) -> bool:
        r"""Tells whether the optimizers still hold this state; loading another ends that."""
        if not self.views:
            return True
        member, name, view = self.views[-1]
        return member.optimizer.state[member.parameter].get(name) is view

    def release(self) -> None:
        r"""Gives each optimizer a state of its own."""
        for member, name, view in self.views:
            member.optimizer.state[member.parameter][name] = view.clone()

    def update_parameters(self, gradients: Sequence[Tensor], lr: Tensor, finite: Tensor) -> None:
        r"""Moves the parameters along their gradients, if all is finite."""
        old = dict(self.state)
        if "step" in old:
            old["step"] = old["step"][0]
        p = torch.cat([member.parameter.flatten() for member in self.members])
        gradient = torch.cat([g.flatten() for g in gradients])
        value, new = self.update.apply(p, gradient, old, self.group, lr)
        value = torch.where(finite, value, p)
        for member, part in zip(self.members, value.split(self.sizes)):
            member.parameter.copy_(part.view(member.parameter.shape))
        for name, state in new.items():
            self.state[name].copy_(torch.where(finite, state, old[name]))


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


def group_parameters(
    members: Sequence[OptimizedParameter], *, together: bool
) -> list[ParameterGroup]:
    r"""Sorts the parameters whose update can be in a graph into groups."""
    kinds: dict[Any, list[OptimizedParameter]] = {}
    small = together and sum(member.parameter.numel() for member in members) < SMALL
    for member in members:
        if member.update is not None:
            kinds.setdefault(member.kind if small else id(member.parameter), []).append(member)
    return [ParameterGroup(same, same[0].update) for same in kinds.values() if same[0].update]


def clip_factor(norm: Tensor, limit: float) -> Tensor:
    r"""Returns the factor that shortens a gradient of a norm to a limit."""
    return (limit / (norm + 1e-6)).clamp(max=1)


def _scalar(value: Any, p: Tensor) -> Tensor:
    return torch.as_tensor(value or 0, dtype=torch.float32, device=p.device).reshape(1)
