r"""Random numbers as a function of seed, step, site and element: by counter, on the device."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import prod, tau
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten
COUNTED = {"cuda"}  # kinds of device on which training draws by counter; tests add the CPU
WORD = 0xFFFFFFFF
ROUNDS = 10
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
INCREMENTS = (0x9E3779B9, 0xBB67AE85)
BITS = {torch.float64: 52, torch.float32: 23, torch.float16: 10, torch.bfloat16: 7}
DATA, PROGRAM = 1, 2  # streams of a step; PyTorch's own generator on a GPU has stream 0 of a seed

Words = tuple[Tensor, Tensor, Tensor, Tensor]


class NoCounterForm(ValueError):
    r"""A program draws in a way that cannot be computed from a counter."""


def philox(counter: Sequence[Any], keys: Sequence[Any]) -> Words:
    r"""Returns the four random words of a counter: the block cipher Philox-4x32-10.

    The operations are on 64-bit integers and never overflow, so that any compiler may fuse them.

    Arguments:
        counter: Four words, whole numbers or tensors of them that broadcast.
        keys: The two keys of each round.

    References:
        J. K. Salmon, M. A. Moraes, R. O. Dror, D. E. Shaw (2011), Parallel random numbers: as easy
        as 1, 2, 3. https://doi.org/10.1145/2063384.2063405
    """
    a, b, c, d = counter
    for first, second in zip(keys[::2], keys[1::2]):
        (high0, low0), (high1, low1) = product(MULTIPLIERS[0], a), product(MULTIPLIERS[1], c)
        a, b, c, d = high1 ^ b ^ first, low1, high0 ^ d ^ second, low0
    return a, b, c, d


def product(multiplier: int, word: Any) -> tuple[Any, Any]:
    r"""Returns the high and the low word of a product of two words.

    The multiplier less :math:`2^{32}` gives a product between :math:`-2^{63}` and zero.
    """
    less = word * (multiplier - WORD - 1)
    return (less >> 32) + word, less & WORD


def round_keys(seed: int) -> list[int]:
    r"""Returns the keys of all rounds."""
    halves = seed & WORD, seed >> 32 & WORD
    return [
        (key + i * increment) & WORD
        for i in range(ROUNDS)
        for key, increment in zip(halves, INCREMENTS)
    ]


class CounterNoise(TorchDispatchMode):
    r"""Creates a source of random numbers that are a function of seed, step, site and element.

    Inside of :meth:`program` and :meth:`data`, random operations draw from it: the first is site
    0, the next site 1, and so on. Nothing depends on a generator, on the order of computation or
    on the device. The number of the step is a tensor, which counts itself; a recorded program has
    it, and its draws, in its graph. So many models can draw in one step, each as it draws alone.

    Arguments:
        seed: The seed.
        device: Where the numbers are drawn.
        step: The number of the next step.

    Raises:
        NoCounterForm: Inside, for a random operation that cannot be computed from a counter.

    Example:
        >>> noise = CounterNoise(0, torch.device("cpu"))
        >>> with noise.program():
        ...     first = torch.randn(3)
        >>> again = CounterNoise(0, torch.device("cpu"))
        >>> with again.program():
        ...     second = torch.empty(3).normal_()
        >>> torch.equal(first, second), int(again.step)
        (True, 1)
    """

    def __init__(self, seed: int, device: torch.device, step: int = 0) -> None:
        super().__init__()
        self.keys = torch.tensor(round_keys(seed), device=device)
        self.step = torch.tensor(step, device=device)
        self.stream = self.site = 0

    def tensors(self) -> list[Tensor]:
        r"""Returns what it keeps: the keys, and the number of the step."""
        return [self.keys, self.step]

    def data(self) -> Any:
        r"""Lets what is drawn inside, for the data of a step, be drawn from it."""
        return self.drawing(DATA)

    @contextmanager
    def program(self) -> Iterator[None]:
        r"""Lets what is drawn inside be drawn from it; then the step is over."""
        with self.drawing(PROGRAM):
            yield
        with torch.no_grad():
            self.step.add_(1)

    @contextmanager
    def drawing(self, stream: int) -> Iterator[None]:
        self.stream, self.site = stream, 0
        with self:
            yield

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if torch.Tag.nondeterministic_seeded not in func.tags:
            return func(*args, **kwargs)
        given = named(func, args, kwargs)
        if any(given.get(name) == 0 for name in ("dropout", "dropout_p", "train")):
            return func(*args, **kwargs)
        form = FORMS.get(func.overloadpacket)
        if form is None or any(given.get(name) is not None for name in ("generator", "out")):
            raise NoCounterForm(f"{func} has no form by counter{' here' if form else ''}.")
        if torch._C._current_graph_task_id() != -1:
            raise NoCounterForm(f"{func} is called in the backward pass.")
        with torch.no_grad():
            drawn = form(self, like(given), given)
            if not func._schema.is_mutable:
                return drawn
            return given["self"].copy_(drawn)

    def words(self, form: "Like") -> Words:
        r"""Returns the words of the next site, four for each element."""
        device = self.keys.device
        if form.dtype not in BITS:
            raise NoCounterForm(f"Numbers of type {form.dtype} have no form by counter.")
        if form.device.type != device.type:
            raise NoCounterForm(f"A draw on {form.device} is not on {device}.")
        elements = torch.arange(prod(form.shape), device=device).reshape(form.shape)
        elements = elements & WORD  # no longer an index, which compilers keep in 32 bits
        self.site += 1
        return philox((elements, self.site - 1, self.step, self.stream), self.keys.unbind())

    def uniform(self, form: "Like") -> Tensor:
        r"""Draws between 0 and 1, both excluded."""
        first, second, *_ = self.words(form)
        return fraction(first, second, form.dtype)

    def normal(self, form: "Like") -> Tensor:
        r"""Draws from the standard normal distribution (Box and Muller)."""
        a, b, c, d = self.words(form)
        if form.dtype == torch.float64:
            radius, angle = fraction(a, b, form.dtype), fraction(c, d, form.dtype)
        else:
            radius, angle = (a.float() + 0.5) * 2.0**-32, fraction(b, c, torch.float32)
        return ((-2 * radius.log()).sqrt() * (tau * angle).cos()).to(form.dtype)

    def exponential(self, form: "Like") -> Tensor:
        r"""Draws from the exponential distribution of rate 1; no draw is zero."""
        return -self.uniform(form).log()


class Like(NamedTuple):
    r"""The form of a tensor."""

    shape: Sequence[int]
    dtype: torch.dtype
    device: torch.device


def named(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> dict[str, Any]:
    r"""Returns the arguments of an operation by name, with those that have a default."""
    arguments = func._schema.arguments
    found = {a.name: a.default_value for a in arguments if a.has_default_value()}
    return {**found, **dict(zip((a.name for a in arguments), args)), **kwargs}


def like(given: dict[str, Any]) -> Like:
    r"""Returns the form of what an operation draws."""
    tensors = [value for value in given.values() if isinstance(value, Tensor)]
    shape = given.get("size") or torch.broadcast_shapes(*(t.shape for t in tensors))
    dtype = given.get("dtype") or (tensors[0].dtype if tensors else torch.get_default_dtype())
    device = given.get("device") or (tensors[0].device if tensors else "cpu")
    return Like(shape, dtype, torch.device(device))


def fraction(first: Tensor, second: Tensor, dtype: torch.dtype) -> Tensor:
    r"""Returns random words as numbers between 0 and 1, both excluded."""
    bits = BITS[dtype]
    word = first >> (32 - bits) if bits < 32 else first << (bits - 32) | second >> (64 - bits)
    exact = torch.float64 if bits > 32 else torch.float32
    return ((word.to(exact) + 0.5) * 2.0**-bits).to(dtype)


def _bernoulli(noise: CounterNoise, form: Like, given: dict[str, Any]) -> Tensor:
    p = given.get("p")
    p = given["self"] if p is None else p
    dtype = p.dtype if isinstance(p, Tensor) else torch.float32
    return (noise.uniform(form._replace(dtype=dtype)) < p).to(given["self"].dtype)


def _dropout(noise: CounterNoise, form: Like, given: dict[str, Any]) -> tuple[Tensor, Tensor]:
    keep = noise.uniform(form._replace(dtype=torch.float32)) >= given["p"]
    scale = 0.0 if given["p"] == 1 else 1 / (1 - given["p"])
    return given["input"] * keep * scale, keep


def _multinomial(noise: CounterNoise, form: Like, given: dict[str, Any]) -> Tensor:
    p, count = given["self"], given["num_samples"]
    if count > 1 and not given["replacement"]:
        raise NoCounterForm("Several draws without replacement have no form by counter.")
    race = noise.exponential(form._replace(shape=(*p.shape[:-1], count, p.shape[-1])))
    return (p[..., None, :] / race).argmax(-1)


Form = Callable[[CounterNoise, Like, dict[str, Any]], Any]
FORMS: dict[Any, Form] = {
    aten.rand: lambda noise, form, _: noise.uniform(form),
    aten.rand_like: lambda noise, form, _: noise.uniform(form),
    aten.randn: lambda noise, form, _: noise.normal(form),
    aten.randn_like: lambda noise, form, _: noise.normal(form),
    aten.normal: lambda noise, form, a: noise.normal(form) * a["std"] + a["mean"],
    aten.normal_: lambda noise, form, a: noise.normal(form) * a["std"] + a["mean"],
    aten.uniform_: lambda noise, form, a: noise.uniform(form) * (a["to"] - a["from"]) + a["from"],
    aten.exponential_: lambda noise, form, a: noise.exponential(form) / a["lambd"],
    aten.bernoulli: _bernoulli,
    aten.bernoulli_: _bernoulli,
    aten.native_dropout: _dropout,
    aten.multinomial: _multinomial,
}
