r"""Data as they are stored, and the rule that turns them into x."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.constraints import Constraint

from ..distributions.support import describe_support, open_unit_interval, same
from ..randomness import stream
from .arrays import native, plain
from .cells import Column, is_frame, read_frame

Binarize = Literal["no", "dynamic", "threshold"]
Range = Literal["unit", "levels"]

CPU = torch.device("cpu")
ROWS_AT_ONCE = 4096
FINGERPRINT_BYTES = 64_000_000
SHARE_OF_SD = 1e-3  # steps between neighbours that a distribution does not feel


@dataclass(frozen=True)
class Split:
    r"""Rows of a data set: stored small, turned into `x` when they are visited.

    Attributes:
        stored: A tensor of shape `(N, *x_shape)` on some device, or a memory-mapped array for
            data larger than memory.
        labels: A label for each row, of shape `(N,)`: a class, -1 where it is missing, or a real
            number, NaN where it is missing.
        binarize: ``"dynamic"`` draws bits with the pixels' probabilities at every visit, from
            torch's global generator; ``"threshold"`` takes pixels above 1/2.
        levels: The highest grey level `n` of stored integers; none for real numbers.
        range: Grey levels are divided by `n` (``"unit"``) or kept (``"levels"``).
        source: What errors call the data.
        device: Where `x` goes, for a memory-mapped array.
        dtype: That of `x`; the default dtype of torch where none is given.
        numbers: The number of each row in its file, from 0, of shape `(N,)`; none where rows are
            all there, in order.
        columns: The columns of a table.
        classes: What the labels 0, 1, ... are called.
        known: What model and guide take besides `x`, by name: conditions, values of other sites
            (NaN where they are not known), row numbers; each has a row for every datum.
        checked: For which model the data were checked last.
        violation: What that check found, where data are evaluated all the same.
    """

    stored: Any
    labels: Tensor | None = None
    binarize: Binarize = "no"
    levels: int | None = None
    range: Range = "levels"
    source: str = "data"
    device: torch.device = CPU
    dtype: torch.dtype | None = None
    numbers: Tensor | None = None
    columns: tuple[Column, ...] = ()
    classes: tuple[str, ...] = ()
    known: dict[str, Tensor] = field(default_factory=dict)
    checked: str = ""
    violation: str = ""

    def __len__(self) -> int:
        return len(self.stored)

    @property
    def x_shape(self) -> tuple[int, ...]:
        r"""The shape of one datum."""
        return tuple(self.stored.shape[1:])

    @property
    def scale(self) -> float:
        r"""What brings `x` to about 0..1 when it is divided by it."""
        kept = self.binarize == "no" and self.range == "levels"
        return float(self.levels) if kept and self.levels else 1.0

    def rows(self, index: Tensor | slice) -> Tensor:
        r"""Returns `x` of the rows `index`, of shape `(B, *x_shape)`."""
        x = self._stored_rows(index).to(self.dtype or torch.get_default_dtype())
        if self.binarize == "no":
            return x / self.levels if self.levels and self.range == "unit" else x
        p = x / (self.levels or 1)
        if self.binarize == "threshold":
            return (p > 0.5).to(p.dtype)
        return (torch.rand_like(p) < p).to(p.dtype)

    def known_at(self, index: Tensor | slice) -> dict[str, Any]:
        r"""Returns what is known of the rows `index` besides `x`, by name."""
        dtype = self.dtype or torch.get_default_dtype()
        rows = {name: _pick(value, index) for name, value in self.known.items()}
        return {n: v.to(dtype) if v.is_floating_point() else v for n, v in rows.items()}

    def batch(self, index: Tensor | slice) -> tuple[Tensor, dict[str, Any]]:
        r"""Returns `x` of the rows `index`, and what else is known of them."""
        return self.rows(index), self.known_at(index)

    def knowing(self, **known: Any) -> "Split":
        r"""Returns the split with more that is known of its data, a row for each.

        Raises:
            ValueError: It is no tensor or array, or has another number of rows.
        """
        found = dict(self.known)
        for name, value in known.items():
            if value is None:
                continue
            array, _ = plain(value, name)
            tensor = array if isinstance(array, Tensor) else torch.from_numpy(np.array(array))
            if tensor.dim() == 0 or len(tensor) != len(self):
                raise ValueError(
                    f"Expected {name} with a row for each of {len(self)} data in {self.source}; "
                    f"got {tuple(tensor.shape)}."
                )
            found[name] = tensor.to(self.device)
        return replace(self, known=found, checked="") if known else self

    def forgetting(self, names: Iterable[str]) -> "Split":
        r"""Returns the split without some of what is known of its data besides `x`."""
        known = {name: value for name, value in self.known.items() if name not in {*names}}
        return replace(self, known=known, checked="") if len(known) < len(self.known) else self

    def take(self, index: Tensor | slice) -> "Split":
        r"""Returns the split of the rows `index`; a slice of a mapped array stays mapped."""
        mapped = isinstance(index, slice) and not isinstance(self.stored, Tensor)
        return replace(
            self,
            stored=self.stored[index] if mapped else self._stored_rows(index),
            labels=None if self.labels is None else _pick(self.labels, index),
            numbers=_pick(self.row_numbers, index),
            known={name: _pick(value, index) for name, value in self.known.items()},
        )

    @property
    def row_numbers(self) -> Tensor:
        r"""The number of each row in its file, from 0, of shape `(N,)`."""
        return torch.arange(len(self)) if self.numbers is None else self.numbers

    def spread(self, count: int) -> Tensor:
        r"""Returns row numbers spread evenly over the split, which may be sorted by label."""
        return torch.linspace(0, len(self) - 1, min(count, len(self))).long()

    def to(self, device: torch.device) -> "Split":
        r"""Returns the split on `device`: a tensor moves as a whole, a mapped array by rows."""
        known = {name: value.to(device) for name, value in self.known.items()}
        if isinstance(self.stored, Tensor):
            return replace(self, stored=self.stored.to(device), device=device, known=known)
        return replace(self, device=device, known=known)

    def freeze(self, seed: int) -> "Split":
        r"""Returns the split with bits drawn once by `seed`, where they were drawn at visits."""
        if self.binarize != "dynamic":
            return self
        generator = torch.Generator().manual_seed(stream(seed, "bits"))
        bits = [
            torch.rand(p.shape, generator=generator, dtype=p.dtype, device="cpu") < p.cpu()
            for p in replace(self, binarize="no", range="unit").chunks()
        ]
        stored = torch.cat(bits).to(torch.uint8).to(self.device)
        return replace(self, stored=stored, binarize="no", levels=1)

    def chunks(self, size: int = ROWS_AT_ONCE) -> Iterator[Tensor]:
        r"""Yields `x` in order, `size` rows at a time."""
        for start in range(0, len(self), size):
            yield self.rows(slice(start, start + size))

    def _stored_rows(self, index: Tensor | slice) -> Tensor:
        if isinstance(self.stored, Tensor):
            return _pick(self.stored, index)
        rows = self.stored[index.cpu().numpy() if isinstance(index, Tensor) else index]
        return torch.from_numpy(native(np.array(rows), self.source)).to(self.device)


def _pick(values: Tensor, index: Tensor | slice) -> Tensor:
    return values[index.to(values.device) if isinstance(index, Tensor) else index]


def as_split(
    x: Any, source: str = "data", like: Sequence[Column] | None = None, **known: Any
) -> Split:
    r"""Returns `x` as a :class:`Split` whose values are taken as they are, never rescaled.

    Arguments:
        x: The data, of shape `(N, *x_shape)`: a tensor or an array of numbers (sparse ones become
            dense, masked elements NaN), a DataFrame whose every column is a feature (text becomes
            codes), a Dataset or DataLoader of pairs `(x, label)` or of `x` alone, nested lists.
        source: What errors call the data.
        like: The columns of the table that a model was trained on, which a DataFrame has to have:
            they are taken by name, and text by their codes. Without any, text is refused.
        known: What model and guide take besides, a row for each datum: conditions, values of
            other sites with NaN where they are not known, row numbers as `index`.

    Raises:
        ValueError: `x` is no array of numbers with at least one row.
    """
    if isinstance(x, Split):
        return x.knowing(**known)
    columns: tuple[Column, ...] = ()
    if is_frame(x):
        x, columns = read_frame(x, source, like)
    array, labels = plain(x, source)
    if array.ndim < 2 or 0 in array.shape:
        raise ValueError(
            f"Expected {source} of shape (N, *x_shape) with at least one row and one element; got "
            f"{tuple(array.shape)}. A single datum x is x[None], a single column x[:, None]."
        )
    if isinstance(array, Tensor):
        whole, device = not array.dtype.is_floating_point, array.device
    else:
        whole, device = array.dtype.kind in "bui", CPU
    whole = whole and int(array.min()) >= 0
    return Split(
        array,
        labels,
        levels=max(1, int(array.max())) if whole else None,
        source=source,
        device=device,
        columns=columns,
    ).knowing(**known)


def moments(split: Split) -> tuple[Tensor, Tensor]:
    r"""Returns mean and standard deviation of `x` over the rows, of shape `x_shape`, in double
    precision.

    Missing elements do not count, and a column without any other has mean and standard deviation
    zero; bits drawn at visits count with their probabilities; no random number is used.
    """
    if split.binarize == "dynamic":
        split = replace(split, binarize="no", range="unit")
    total = torch.stack([x.double().nansum(0) for x in split.chunks()]).sum(0)
    count = torch.stack([(~x.isnan()).sum(0) for x in split.chunks()]).sum(0).clamp(min=1)
    mean = total / count
    squares = [(x.double() - mean).square().nansum(0) for x in split.chunks()]
    return mean, (torch.stack(squares).sum(0) / count).sqrt()


def fingerprint(split: Split) -> str:
    r"""Returns the SHA-256 of shape, dtype and stored bytes, and of what else is known.

    Of a memory-mapped array above 64 MB, evenly spaced rows of about that size stand for all.
    """
    stored = split.stored.cpu().numpy() if isinstance(split.stored, Tensor) else split.stored
    digest = hashlib.sha256(f"{stored.shape} {stored.dtype}".encode())
    step = 1
    if isinstance(stored, np.memmap):
        step = max(1, stored.nbytes // FINGERPRINT_BYTES)
    for start in range(0, len(stored), ROWS_AT_ONCE * step):
        digest.update(
            np.ascontiguousarray(stored[start : start + ROWS_AT_ONCE * step : step]).data
        )
    for name, value in sorted(split.known.items()):
        digest.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
        digest.update(np.ascontiguousarray(value.cpu().numpy()).data)
    return digest.hexdigest()


def check(split: Split, support: Constraint, family: str, missing: bool = False) -> None:
    r"""Checks every datum: finite, or missing where it may, and in the support of the likelihood.

    Arguments:
        split: The data.
        support: The support of one element of `x`.
        family: The likelihood, for the message.
        missing: Whether elements may be missing (NaN).

    Raises:
        ValueError: Naming source, row, position, value, support and remedies.
    """
    if split.binarize != "no":  # bits, if the pixels are probabilities
        as_grey = replace(split, binarize="no", range="unit")
        _check_rows(as_grey, constraints.unit_interval, "Binarization", False, split)
        split = Split(torch.tensor([[0.0], [1.0]]), source=split.source)
    else:
        _check_spacing(split)
    _check_rows(split, support, family, missing, split)


def _check_spacing(split: Split) -> None:
    r"""Refuses numbers whose differences are lost between neighbours of single precision."""
    dtype = split.dtype or torch.get_default_dtype()
    if str(split.stored.dtype).rpartition(".")[2] not in ("float64", "int32", "int64"):
        return
    if dtype is torch.float64 or (split.range == "unit" and split.levels):
        return
    exact = replace(split, dtype=torch.float64)
    highest = torch.stack([x.abs().nan_to_num(0, 0, 0).amax(0) for x in exact.chunks()]).amax(0)
    spacing = highest * torch.finfo(dtype).eps
    mean, spread = moments(exact)
    lost = (spacing > SHARE_OF_SD * spread) & (spread > 0)
    if not lost.any():
        return
    place = lost.nonzero()[0].tolist()
    name = f"column {split.columns[place[0]].name!r}" if split.columns else f"position {place}"
    at, sd, step = (float(values[tuple(place)]) for values in (mean, spread, spacing))
    raise ValueError(
        f"Expected values that single precision tells apart; got {name} of {split.source} around "
        f"{at:.6g} with standard deviation {sd:.3g}, where neighbours lie {step:.2g} apart. "
        "Subtract a constant from it first (count time from its start), or compute in double: "
        "--train.precision float64 (in Python, vae.double())."
    )


def _check_rows(
    split: Split, support: Constraint, family: str, missing: bool, original: Split
) -> None:
    start = 0
    for x in split.chunks():
        good = support.check(x) & x.isfinite()
        if support.is_discrete:
            good &= (x.abs() <= _largest(x)) | ~x.isfinite()
        if missing:
            good |= x.isnan()
        if not good.all():
            row, *place = (~good).nonzero()[0].tolist()
            value = float(x[(row, *place)])
            raise ValueError(
                f"Expected values in {describe_support(support)}, the support of {family}; got "
                f"{value:g} in {split.source}, row {start + row}, position {tuple(place)}."
                f"{_remedy(value, support, original)}"
            )
        start += len(x)


def _largest(x: Tensor) -> float:
    r"""The largest whole number up to which all are held exactly: 2^24 in single precision."""
    return 2.0 / torch.finfo(x.dtype).eps if x.dtype.is_floating_point else float("inf")


def _remedy(value: float, support: Constraint, split: Split) -> str:
    r"""What to do about a value outside of the support; each way that is named works."""
    table, levels = len(split.x_shape) == 1, split.levels
    if np.isnan(value):
        product = ", or take a likelihood for tables with holes (product)" if table else ""
        return f" Fill such values first{product}."
    if not np.isfinite(value):
        return " Remove or replace such values first."
    if support.is_discrete and abs(value) > 2**24:
        return (
            f" Whole numbers above {2**24} have no place of their own in single precision: count "
            "in larger units (thousands), or set torch.set_default_dtype(torch.float64)."
        )
    real = "take a likelihood for real numbers (--likelihood.kind gaussian)"
    low, high = _extremes(split)
    shares = levels is not None or (low >= 0 and high <= 1)
    if same(support, open_unit_interval) and shares and split.range == "unit":
        return " Move such values inside, or take --likelihood.kind continuous-bernoulli."
    if same(support, constraints.boolean) and shares:
        count = f" --likelihood.kind binomial --likelihood.total-count {levels}" if levels else ""
        count = f", or{count} --data.range levels" if count else ""
        return f" Binarize the pixels (--data.binarize dynamic), or {real}{count}."
    if levels and support.is_discrete and split.range == "unit" and split.binarize == "no":
        return f" Keep the grey levels as they are (--data.range levels), or {real}."
    if levels and not support.is_discrete and split.range == "levels" and high > 1:
        return f" Divide the grey levels (--data.range unit), or {real}."
    return f" Correct such values, or {real}."


def _extremes(split: Split) -> tuple[float, float]:
    r"""The lowest and the highest of all finite values."""
    split = replace(split, binarize="no")
    ends = [x[x.isfinite()] for x in split.chunks()]
    return min(float(x.min()) for x in ends if len(x)), max(float(x.max()) for x in ends if len(x))
