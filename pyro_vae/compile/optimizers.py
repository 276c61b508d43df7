r"""The updates of :mod:`torch.optim` as functions of tensors, to be recorded in a step's graph.

An optimizer's own ``step`` counts in Python numbers, which a graph would freeze. These take the
learning rate, and each option that is seen to change, as a tensor, and leave their state where
the optimizer keeps it, under its own names, so that its ``state_dict`` is true and it can go on
eagerly.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from math import inf, log
from operator import getitem, itemgetter
from typing import Any, NamedTuple

import torch
from pyro.optim import PyroOptim
from pyro.optim.clipped_adam import ClippedAdam
from torch import Tensor, optim
from torch.optim import Optimizer

from .conditions import Place

SMALL = 100_000  # elements; below, one loop over all of them is faster than many, copies included
HOW = ("foreach", "fused", "capturable", "differentiable")  # options that change no number
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


class Options:
    r"""Keeps the optimizers' options as tensors: the learning rate, and what is seen to change.

    An option is a number in the graph until it changes; from then on it is a tensor, so that a
    cycle of learning rate and momentum needs no further graph.

    Arguments:
        parameters: The parameters.
        device: Where the tensors are.
    """

    def __init__(self, parameters: Sequence[OptimizedParameter], device: torch.device) -> None:
        found = {id(item.group): item for item in parameters if item.update is not None}
        self.members = list(found.values())
        self.bind()
        self.names = [
            tuple(n for n in item.optimizer.defaults if n in item.group and n not in HOW)
            for item in found.values()
        ]
        self.last = self.now()
        self.changing: list[str] = ["lr"]
        self.device = device
        self.make_table()

    def bind(self) -> None:
        r"""Takes the options that the optimizers have now."""
        self.__dict__.pop("unchanged", None)
        self.members = [member.now() for member in self.members]
        self.groups = [member.group for member in self.members]
        self.row = {id(group): i for i, group in enumerate(self.groups)}
        self.decaying = [group for group in self.groups if "lrd" in group]

    def now(self) -> list[tuple]:
        r"""Returns the options of each group."""
        return [itemgetter(*names)(group) for names, group in zip(self.names, self.groups)]

    @cached_property
    def unchanged(self) -> Callable[[list[tuple]], bool]:
        r"""Compares the options with those that they were, in one expression."""
        names: dict[str, Any] = {}
        for i, (options, group) in enumerate(zip(self.names, self.groups)):
            names |= {f"read{i}": itemgetter(*options), f"group{i}": group}
        terms = [f"read{i}(group{i}) == last[{i}]" for i in range(len(self.groups))]
        return eval(f"lambda last: {' and '.join(terms) or True}", names)

    def make_table(self) -> None:
        self.table = torch.zeros(
            len(self.groups), 2 * len(self.changing), dtype=torch.float64, device=self.device
        )
        self.fill()

    def fill(self) -> None:
        r"""Writes the options into the table."""
        rows = [[x for n in self.changing for x in _pair(g.get(n, 0.0))] for g in self.groups]
        if rows:
            self.table.copy_(torch.tensor(rows, dtype=torch.float64))

    def of(self, group: dict[str, Any]) -> Group:
        r"""Returns a group's options, those that change as tensors."""
        row = self.row.get(id(group))
        if row is None:
            return group
        now = {}
        for i, name in enumerate(self.changing):
            first, second = self.table[row, 2 * i], self.table[row, 2 * i + 1]
            now[name] = (first, second) if isinstance(group.get(name), tuple | list) else first
        return {**group, **now}

    def changed(self, parameter_groups: Sequence["ParameterGroup"]) -> bool:
        r"""Takes up what has changed; tells whether parameters are to be grouped anew."""
        if self.last and self.unchanged(self.last):
            return False
        now = self.now()
        if not self.last:  # parameters are to be grouped anew for another reason
            self.last = now
            self.fill()
            return bool(now)
        changed = {
            name
            for names, old, new in zip(self.names, self.last, now)
            for name, a, b in zip(names, old, new)
            if a != b
        }
        self.last = now
        new = [name for name in sorted(changed) if name not in self.changing]
        self.changing += [n for n in new if all(map(_is_number, (g.get(n) for g in self.groups)))]
        if new:
            self.make_table()
            return True
        self.fill()
        rows = {id(group): row for group, row in zip(self.groups, now)}
        return any(len({str(rows[id(m.group)]) for m in b.members}) > 1 for b in parameter_groups)

    def decay(self) -> list[float]:
        r"""Lowers the learning rates that lower themselves, as Pyro's ClippedAdam does."""
        before = self.rates()
        self.set_rates([group["lr"] * group["lrd"] for group in self.decaying])
        return before

    def rates(self) -> list[float]:
        return [group["lr"] for group in self.decaying]

    def set_rates(self, rates: Sequence[float]) -> None:
        r"""Sets the learning rates that lower themselves."""
        for group, rate in zip(self.decaying, rates):
            group["lr"] = rate
        if self.decaying:
            self.last = self.now()
            self.fill()


def _pair(option: Any) -> tuple[float, float]:
    if isinstance(option, tuple | list):
        return float(option[0]), float(option[1])
    return (float(option), 0.0) if _is_number(option) else (0.0, 0.0)


def _is_number(option: Any) -> bool:
    if isinstance(option, tuple | list):
        return len(option) == 2 and all(map(_is_number, option))
    return isinstance(option, int | float | Tensor) and not isinstance(option, bool)


class ParameterGroup:
    r"""Creates a group of parameters of one kind, which are updated together.

    Their optimizer's state lies in one tensor for each of its names, and in the optimizer's
    ``state`` as views of it; a group of one keeps the optimizer's own tensors.

    Arguments:
        members: The parameters.
        update: Their update.
        options: The optimizers' options.
    """

    def __init__(
        self, members: Sequence[OptimizedParameter], update: Update, options: Options
    ) -> None:
        self.members, self.update, self.group = members, update, members[0].group
        self.sizes = [member.parameter.numel() for member in members]
        self.state: State = {}
        self.views: list[tuple[OptimizedParameter, str, Tensor]] = []
        for name in update.buffers(options.of(self.group)):
            old = [member.optimizer.state[member.parameter].get(name) for member in members]
            if name == "step":
                parts = [_scalar(value, member.parameter) for value, member in zip(old, members)]
            else:
                parts = [
                    (torch.zeros_like(member.parameter) if value is None else value).flatten()
                    for value, member in zip(old, members)
                ]
            self.state[name] = torch.cat(parts)
        self.place()

    def place(self) -> None:
        r"""Makes the views that the optimizers keep, of the memory that the state has now."""
        self.views = []
        for name, whole in self.state.items():
            sizes = [1] * len(self.members) if name == "step" else self.sizes
            for member, view in zip(self.members, whole.split(sizes)):
                shape = () if name == "step" else member.parameter.shape
                self.views.append((member, name, view.view(shape)))
        self.adopt()

    def adopt(self) -> None:
        r"""Makes the optimizers' state views of this one, with the values that they have."""
        for member, name, view in self.views:
            state = member.optimizer.state[member.parameter]
            value = state.get(name)
            if value is not view:
                view.copy_(torch.zeros_like(view) if value is None else torch.as_tensor(value))
                state[name] = view

    def bind(self) -> None:
        r"""Takes options and state that the optimizers have now."""
        self.members = [member.now() for member in self.members]
        self.views = [(member.now(), name, view) for member, name, view in self.views]
        self.group = self.members[0].group
        self.adopt()

    def release(self) -> None:
        r"""Gives each optimizer a state of its own."""
        for member, name, view in self.views:
            member.optimizer.state[member.parameter][name] = view.clone()

    def update_parameters(
        self, gradients: Sequence[Tensor], options: Group, finite: Tensor
    ) -> None:
        r"""Moves the parameters along their gradients, if all is finite."""
        old = dict(self.state)
        if "step" in old:
            old["step"] = old["step"][0]
        p = torch.cat([member.parameter.flatten() for member in self.members])
        gradient = torch.cat([g.flatten() for g in gradients])
        value, new = self.update.apply(p, gradient, old, options)
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
    members: Sequence[OptimizedParameter], options: Options, *, together: bool
) -> list[ParameterGroup]:
    r"""Sorts the parameters whose update can be in a graph into groups."""
    kinds: dict[Any, list[OptimizedParameter]] = {}
    small = together and sum(member.parameter.numel() for member in members) < SMALL
    for member in members:
        if member.update is not None:
            kinds.setdefault(member.kind if small else id(member.parameter), []).append(member)
    return [
        ParameterGroup(same, same[0].update, options) for same in kinds.values() if same[0].update
    ]


def clip_factor(norm: Tensor, limit: float) -> Tensor:
    r"""Returns the factor that shortens a gradient of a norm to a limit."""
    return (limit / (norm + 1e-6)).clamp(max=1)


def _scalar(value: Any, p: Tensor) -> Tensor:
    r"""Returns a count as a tensor; as exact as the number that an optimizer counts in."""
    dtype = value.dtype if isinstance(value, Tensor) else torch.float64
    return torch.as_tensor(value or 0, dtype=dtype, device=p.device).reshape(1)
