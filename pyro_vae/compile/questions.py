r"""What a program asks its tensors while it is recorded, and what it is told.

Pyro's objectives call ``.item()`` on the loss and ask whether it is NaN. Both end a recording, and
on a GPU both wait for the device. While a program is recorded they are answered in another way;
no function of Pyro is changed, and none is known by name.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.fx import Node, Proxy
from torch.fx.experimental.proxy_tensor import (
    disable_proxy_modes_tracing,
    get_proxy_mode,
    get_proxy_slot,
)
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from .arguments import Array
from .draws import Draws
from .guards import PUTS, Flow, Kind, Masked, Question
from .refusals import PYRO, NotStatic, asker, only_checks, refusal, where

aten = torch.ops.aten

_MAKERS = ("as_tensor", "asarray", "tensor")
_READERS = (Tensor.tolist, Tensor.numpy, Tensor.__array__)
_LENGTHS = {"_pack_padded_sequence": 1, "tensor_split": 1, "lstm": 1, "gru": 1, "rnn_tanh": 1}
_LENGTHS |= {"rnn_relu": 1, "ctc_loss": 3}


class Recorder:
    r"""Answers a program that is recorded, and remembers what it asked.

    - ``tensor.item()`` is ``tensor.detach()``: arithmetic goes on with the tensor.
    - Pyro's ``tensor.isnan().any()`` is False: what is not finite is found when the graph runs.
    - The checks of a distribution's arguments and values pass: they passed a moment ago.
    - Pyro's ``(tensor.exp() > 0).all()`` is True: enumeration asks it to leave out terms that
      underflow to zero, which add zero anyhow.
    - Any other number, such as that of ``if tensor > 0``, is given and becomes a guard, unless a
      random draw or a parameter decides it.

    Arguments:
        inputs: How many inputs the graph has.
        parameters: Which of them change with every step.
        copied: Whether draws are copied, for a program that turns a generator back.
        exact: Whether ``tensor.item()`` is a number wherever it can be one.

    Attributes:
        questions: What became a guard.
        refused: The first refusal, even if the program has caught it.
    """

    def __init__(self, parameters: Sequence[int], copied: bool, exact: bool = False) -> None:
        self.flow, self.exact = Flow(parameters), exact
        self.draws = Draws(copied)
        self.questions: list[Question] = []
        self.masked: list[Masked] = []
        self.refused: NotStatic | None = None

    @contextmanager
    def recording(self) -> Iterator[None]:
        r"""Answers what the program asks inside."""
        with distributions_are_traced(), _Items(self), _Numbers(self):
            yield
            self.draws.check_end()

    def guard(self, tensor: Tensor, kind: Kind, what: str) -> None:
        r"""Takes what is asked of a tensor for granted.

        Raises:
            NotStatic: A random draw or a parameter decides it.
        """
        node = recorded(tensor)
        if node is None or any(q.node is node and q.kind == kind for q in self.questions):
            return
        origin = self.flow.origin(node)
        if not origin.inputs and origin.draw < 0:
            return  # a literal of the program's
        whole = not (tensor.is_floating_point() or tensor.is_complex())
        reason = self.decided_by(node, draws=whole or kind == "shape")
        if reason is not None:
            self.refuse(f"reads {what} of a tensor that {reason}")
        self.questions.append(Question(node, kind, where()))

    def decided_by(self, node: Node, draws: bool = False) -> str | None:
        r"""Tells which changing thing decides a node, if one does.

        Arguments:
            node: The node.
            draws: Whether draws that can be made before the step are none.
        """
        origin = self.flow.origin(node)
        if origin.moves:
            return "parameters decide"
        early = origin.draw < 0 or (draws and self.flow.is_early(origin.draw))
        return None if early else "a random draw decides"

    def refuse(self, reads: str) -> None:
        self.give_up(refusal(reads))

    def give_up(self, sentence: str) -> None:
        self.refused = self.refused or NotStatic(sentence)
        raise self.refused

    def only_put_back(self, func: Any, args: Any, kwargs: Any) -> None:
        r"""Refuses to use what a changing mask let through but to put it back."""
        for leaf in tree_leaves((args, kwargs)):
            for masked in self.masked if isinstance(leaf, Tensor) else ():
                if masked.tensor is leaf and not (
                    func is Tensor.__setitem__ and args[2] is leaf and args[0] is not leaf
                ):
                    self.give_up(masked.sentence)

    def is_fixed(self, tensor: Tensor) -> bool:
        r"""Tells whether a number can be given and guarded: a whole one that no step changes."""
        node = recorded(tensor)
        whole = self.exact or not (tensor.is_floating_point() or tensor.is_complex())
        return node is not None and whole and self.decided_by(node) is None


class Arrays(TorchFunctionMode):
    r"""Makes tensors of the arrays among the arguments: the inputs that they stand for."""

    def __enter__(self) -> Any:
        self.from_numpy = torch.from_numpy
        torch.from_numpy = self.shared  # type: ignore[assignment]  # no mode hears of it
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        torch.from_numpy = self.from_numpy
        super().__exit__(*error)

    def shared(self, array: np.ndarray) -> Tensor:
        if isinstance(array, Array):
            return array.tensor if "tensor" in array.__dict__ else self.from_numpy(array.plain())
        return self.from_numpy(array)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name in _MAKERS and args and isinstance(args[0], Array):
            array = args[0]
            if "tensor" not in array.__dict__:
                return func(array.plain(), *args[1:], **kwargs)
            tensor: Tensor = array.tensor
            dtype = kwargs.get("dtype") or (args[1] if len(args) > 1 else None)
            return tensor.to(
                dtype=dtype or tensor.dtype,
                device=kwargs.get("device") or tensor.device,
                copy=name == "tensor",
            )
        return func(*args, **kwargs)


class _Items(Arrays):
    r"""Calls of Python that read a tensor."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self.recorder = recorder

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if self.recorder.masked:
            self.recorder.only_put_back(func, args, kwargs)
        if func is Tensor.item and recorded(args[0]) is not None:
            if asker()[1] or not self.recorder.is_fixed(args[0]):
                return args[0].detach()
        elif func is torch.nn.functional.one_hot and not self.recorder.is_fixed(args[0]):
            return self.one_hot(*args, **kwargs)  # its checks ask for numbers
        elif func in _READERS:
            self.recorder.guard(args[0], "contents", "the values")
        elif func is Tensor.__getitem__ and _is_scalar(args[1]):
            return _picked(*args)
        elif func is Tensor.__setitem__ and _is_scalar(args[1]):
            index = args[1] if args[1].dim() else args[1][None]
            return func(args[0], index, args[2])
        else:
            place = _LENGTHS.get(getattr(func, "__name__", ""))
            for lengths in tree_leaves(args[place : place + 2] if place is not None else ()):
                if isinstance(lengths, Tensor) and lengths.dtype == torch.int64:
                    self.recorder.guard(lengths, "contents", "the values")
        return super().__torch_function__(func, types, args, kwargs)

    def one_hot(self, tensor: Tensor, num_classes: int = -1) -> Tensor:
        if num_classes < 0:
            self.recorder.guard(tensor, "contents", "the highest value")
            return torch.nn.functional.one_hot(tensor)
        return (tensor[..., None] == torch.arange(num_classes, device=tensor.device)).long()


def _is_scalar(index: Any) -> bool:
    whole = isinstance(index, Tensor) and index.dtype in (torch.int64, torch.int32, torch.int16)
    return whole and not index.dim() and recorded(index) is not None


def _picked(tensor: Tensor, index: Tensor) -> Tensor:
    r"""Returns ``tensor[index]`` for a 0-dim index without asking for its number."""
    index = torch.where(index < 0, index + len(tensor), index)
    return tensor.index_select(0, index.long()[None]).squeeze(0)


class _Numbers(TorchDispatchMode):
    r"""Operations that read the value of a tensor, wherever they come from, and random draws."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self.recorder = recorder

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is aten._local_scalar_dense.default:
            return self.number(func, args[0])
        if torch.Tag.nondeterministic_seeded in func.tags:
            return self.recorder.draws(func, args, kwargs)
        if func is aten.equal.default:
            return self.equal(func, *args)
        if func is aten._linalg_check_errors.default:
            return self.checked(func, args, kwargs)
        if torch.Tag.dynamic_output_shape in func.tags:
            return self.shaped(func, args, kwargs)
        if func in PUTS and _has_mask(args[1]):
            return self.put(func, *args, **kwargs)
        return func(*args, **kwargs)

    def number(self, func: Any, tensor: Tensor) -> Any:
        frame, library = asker()
        if library:
            asked = operations(recorded(tensor))
            if asked[:2] == ["aten.any", "aten.isnan"]:
                return False
            if asked[:3] == ["aten.all", "aten.gt", "aten.exp"]:
                return True
        if not (library and only_checks(frame)):
            self.recorder.guard(tensor, "value", "the value")
        with disable_proxy_modes_tracing():
            return func(tensor)

    def equal(self, func: Any, a: Tensor, b: Tensor) -> bool:
        r"""Compares tensors."""
        if a.shape == b.shape:
            self.recorder.guard((a == b).all(), "value", "the value")
        with disable_proxy_modes_tracing():
            return func(a, b)

    def checked(self, func: Any, args: Any, kwargs: Any) -> Any:
        r"""Raises for a matrix that cannot be decomposed, if it is known before the step."""
        node = recorded(args[0])
        if node is not None and self.recorder.decided_by(node) is None:
            self.recorder.guard(args[0], "contents", "the success")
            with disable_proxy_modes_tracing():
                return func(*args, **kwargs)
        try:
            return func(*args, **kwargs)
        except RuntimeError:
            self.recorder.refuse("fails by values that random draws or parameters decide")

    def shaped(self, func: Any, args: Any, kwargs: Any) -> Any:
        r"""Runs an operation whose shape data decide: it becomes an input of the graph."""
        if func is aten.masked_select.default:
            tensor, mask = (part.reshape(-1) for part in torch.broadcast_tensors(*args))
            return self.shaped(aten.index.Tensor, (tensor, [mask]), {})
        if func in _GETTERS:
            return self.masked(func, *args) if _has_mask(args[1]) else func(*args)
        out = func(*args, **kwargs)
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor):
                self.recorder.guard(tensor, "shape", "the structure")
        return out

    def masked(self, func: Any, tensor: Tensor, indices: Any) -> Tensor:
        r"""Takes what a mask lets through: by number, or to be put back by the same mask."""
        masks = [recorded(index) for index in indices if _is_mask(index)]
        reasons = [node and self.recorder.decided_by(node, draws=True) for node in masks]
        if not any(reasons):
            return func(tensor, self.numbered(indices))
        out = func(tensor, indices)
        reason = next(filter(None, reasons))
        sentence = refusal(f"reads the structure of a tensor that {reason}")
        self.recorder.masked.append(Masked(out, recorded(out), sentence))
        return out

    def put(self, func: Any, tensor: Tensor, indices: Any, values: Tensor, *rest: Any) -> Any:
        r"""Writes where a mask lets through."""
        mask = indices[0]
        if len(indices) == 1 and values.numel() == 1 and not any(rest):  # as PyTorch itself does
            mask = mask.bool().view(*mask.shape, *[1] * (tensor.dim() - mask.dim()))
            fill = aten.masked_fill_ if func._schema.is_mutable else aten.masked_fill
            return fill.Tensor(tensor, mask, values.view(()))
        masks = [recorded(index) for index in indices if _is_mask(index)]
        if not any(node and self.recorder.decided_by(node, draws=True) for node in masks):
            indices = self.numbered(indices)
        return func(tensor, indices, values, *rest)

    def numbered(self, indices: Sequence[Tensor | None]) -> list[Tensor | None]:
        r"""Replaces masks among indices by the numbers of the elements that they let through."""
        found: list[Tensor | None] = []
        for index in indices:
            if _is_mask(index):
                numbers = aten.nonzero.default(index)
                self.recorder.guard(numbers, "shape", "the structure")
                found += numbers.unbind(1)
            else:
                found.append(index)
        return found


_GETTERS = {aten.index.Tensor, aten._unsafe_index.Tensor}


def _is_mask(index: Tensor | None) -> bool:
    return index is not None and index.dtype in (torch.bool, torch.uint8) and index.dim() > 0


def _has_mask(indices: Sequence[Tensor | None]) -> bool:
    return any(map(_is_mask, indices))


def recorded(tensor: Tensor) -> Node | None:
    r"""Returns the node of the graph being recorded that a tensor stands for."""
    mode = get_proxy_mode()
    slot = get_proxy_slot(tensor, mode.tracer, None) if mode is not None else None
    proxy = getattr(slot, "proxy", None)
    return proxy.node if isinstance(proxy, Proxy) else None


def operations(node: Node | None) -> list[str]:
    r"""Names the operations that led to a node, the last one first, while each has one input."""
    names = []
    while node is not None and node.op == "call_function":
        names.append(str(node.target).rpartition(".")[0])
        node = node.all_input_nodes[0] if len(node.all_input_nodes) == 1 else None
    return names


@contextmanager
def distributions_are_traced() -> Iterator[None]:
    r"""Tells Pyro's distributions, and nobody else, that PyTorch is tracing.

    They ask this where they have a short cut that looks at values.
    """
    asked: Callable[[], Any] = torch._C._get_tracing_state

    def state() -> Any:
        file = sys._getframe(1).f_code.co_filename
        return asked() or file.startswith(_DISTRIBUTIONS) or None

    torch._C._get_tracing_state = state
    try:
        yield
    finally:
        torch._C._get_tracing_state = asked


_DISTRIBUTIONS = PYRO + "distributions"


def stand_in(value: Any, tensor: Tensor, recorder: Recorder | None) -> Any:
    r"""Returns what a recorded program gets for an argument: the tensor, or an array of it."""
    if not isinstance(value, np.ndarray):
        return tensor

    def read(tensor: Tensor) -> None:
        if recorder is not None:
            recorder.guard(tensor, "contents", "the values")

    return Array.of(value, tensor, read)
