r"""Data as stored, and the rule that turns them into x."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from ..randomness import stream
from .arrays import native, plain
from .content import Column
from .frames import is_frame, read_frame
from .moving import at_random, moved_once

Binarize = Literal["no", "dynamic", "threshold"]
Range = Literal["unit", "levels"]

CPU = torch.device("cpu")
ROWS_AT_ONCE = 4096
FINGERPRINT_BYTES = 64_000_000


@dataclass(frozen=True)
class Split:
    r"""Rows of a data set, stored compactly and turned into `x` when they are visited.

    Attributes:
        stored: A tensor of shape `(N, *x_shape)` on some device, or a memory-mapped array for
            data larger than memory.
        labels: A label for each row, of shape `(N,)`: a class, -1 where it is missing, or a real
            number, NaN where it is missing.
        binarize: ``"dynamic"`` draws bits at every visit, with pixels as probabilities, from
            torch's global generator; ``"threshold"`` is 1 for pixels above 1/2.
        levels: The highest grey level `n` of stored integers; None for real numbers.
        range: Grey levels are divided by `n` (``"unit"``) or not (``"levels"``).
        source: The name of the data in error messages.
        device: The device of `x`, for a memory-mapped array.
        dtype: The dtype of `x`; by default torch's default dtype.
        numbers: The number of each row in its file, from 0, of shape `(N,)`; None if all
            rows are there, in order.
        columns: The columns of a table.
        classes: The names of the labels 0, 1, ...
        known: Additional inputs of model and guide, by name: conditions, values of other sites
            (NaN where unknown), row numbers; each has one row per datum.
        factors: What the data were made of, by name, one number for each row; models are not
            given them, evaluation is.
        holes: Which elements of `x` are hidden, of the shape of `stored`; they are NaN in `x`.
        hole_rate: The share of elements that are hidden at every visit, drawn from torch's global
            generator.
        pose: How far images are turned (in radians) and shifted to the right and downwards (in
            pixels) at most, at every visit, drawn from torch's global generator; nothing is empty.
        picture: Where `x` and conditions lie in an image, if they are parts of one
            (:class:`pyro_vae.data.Picture`).
        checked: The model for which the data were last checked.
        violation: What that check found, if the data are used nevertheless.
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
    factors: dict[str, Tensor] = field(default_factory=dict)
    holes: Tensor | None = None
    hole_rate: float = 0.0
    pose: tuple[float, ...] = ()
    picture: Any = None
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
        r"""What an encoder divides `x` by so that it is about 0..1."""
        kept = self.binarize == "no" and self.range == "levels"
        return float(self.levels) if kept and self.levels else 1.0

    def rows(self, index: Tensor | slice) -> Tensor:
        r"""Returns `x` of the rows `index`, of shape `(B, *x_shape)`, NaN where it is missing."""
        x = self._visible(index)
        if self.holes is not None:
            x = x.masked_fill(_pick(self.holes, index), torch.nan)
        if self.hole_rate:
            x = x.masked_fill(torch.rand_like(x) < self.hole_rate, torch.nan)
        return x

    def _visible(self, index: Tensor | slice) -> Tensor:
        r"""Returns `x` of the rows `index`, with what is hidden."""
        stored = self._stored_rows(index)
        x = stored.to(self.dtype or torch.get_default_dtype())
        if self.pose:
            x = at_random(x, self.pose, whole=not stored.is_floating_point())
        if self.binarize == "no":
            return x / self.levels if self.levels and self.range == "unit" else x
        p = x / (self.levels or 1)
        if self.binarize == "threshold":
            return (p > 0.5).to(p.dtype)
        return (torch.rand_like(p) < p).to(p.dtype)

    def known_at(self, index: Tensor | slice) -> dict[str, Any]:
        r"""Returns the additional inputs of the rows `index`, by name."""
        dtype = self.dtype or torch.get_default_dtype()
        rows = {name: _pick(value, index) for name, value in self.known.items()}
        return {n: v.to(dtype) if v.is_floating_point() else v for n, v in rows.items()}

    def batch(self, index: Tensor | slice) -> tuple[Tensor, dict[str, Any]]:
        r"""Returns `x` of the rows `index`, and their additional inputs."""
        return self.rows(index), self.known_at(index)

    def knowing(self, **known: Any) -> "Split":
        r"""Returns the split with more additional inputs, one row per datum.

        Raises:
            ValueError: An input is not a tensor or array, or has another number of rows.
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
        r"""Returns the split without some of its additional inputs."""
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
            holes=None if self.holes is None else _pick(self.holes, index),
            known={name: _pick(value, index) for name, value in self.known.items()},
            factors={name: _pick(value, index) for name, value in self.factors.items()},
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
        holes = None if self.holes is None else self.holes.to(device)
        moved = replace(self, device=device, known=known, holes=holes)
        if isinstance(self.stored, Tensor):
            return replace(moved, stored=self.stored.to(device))
        return moved

    def hiding(self, holes: Tensor | None) -> "Split":
        r"""Returns the split with these elements hidden, of shape `(N, *x_shape)`; with None, all
        that is stored can be seen."""
        return replace(self, holes=holes, hole_rate=0.0, checked="")

    def freeze(self, seed: int) -> "Split":
        r"""Returns the split with what is drawn at every visit, poses, bits and holes, drawn once,
        by `seed`."""
        if self.pose:
            return moved_once(self, stream(seed, "pose")).freeze(seed)
        if self.hole_rate:
            drawn = draw_holes(self, self.hole_rate, seed)
            holes = drawn if self.holes is None else drawn | self.holes.cpu()
            return self.hiding(holes.to(self.device)).freeze(seed)
        if self.binarize != "dynamic":
            return self
        generator = torch.Generator().manual_seed(stream(seed, "bits"))
        bits = [
            torch.rand(p.shape, generator=generator, dtype=p.dtype, device="cpu") < p.cpu()
            for p in replace(self, binarize="no", range="unit", holes=None).chunks()
        ]
        stored = torch.cat(bits).to(torch.uint8).to(self.device)
        return replace(self, stored=stored, binarize="no", levels=1)

    def chunks(
        self, size: int = ROWS_AT_ONCE, start: int = 0, stop: int | None = None
    ) -> Iterator[Tensor]:
        r"""Yields `x` in order, `size` rows at a time, of all rows or from `start` to `stop`."""
        end = len(self) if stop is None else stop
        for first in range(start, end, size):
            yield self.rows(slice(first, min(first + size, end)))

    def _stored_rows(self, index: Tensor | slice) -> Tensor:
        if isinstance(self.stored, Tensor):
            return _pick(self.stored, index)
        rows = self.stored[index.cpu().numpy() if isinstance(index, Tensor) else index]
        return torch.from_numpy(native(np.array(rows), self.source)).to(self.device)


def _pick(values: Tensor, index: Tensor | slice) -> Tensor:
    return values[index.to(values.device) if isinstance(index, Tensor) else index]


def draw_holes(split: Split, rate: float, seed: int) -> Tensor:
    r"""Draws which elements of `x` are missing, each with probability `rate` whatever its value,
    of shape `(N, *x_shape)`."""
    generator = torch.Generator().manual_seed(stream(seed, "holes"))
    return torch.rand((len(split), *split.x_shape), generator=generator) < rate


def as_split(
    x: Any, source: str = "data", like: Sequence[Column] | None = None, **known: Any
) -> Split:
    r"""Returns `x` as a :class:`Split`; values are never rescaled.

    Arguments:
        x: The data, of shape `(N, *x_shape)`: a tensor or an array of numbers (sparse ones become
            dense, masked elements NaN), a DataFrame, every column of which is a feature (text
            becomes codes), a Dataset or DataLoader of pairs `(x, label)` or of `x` alone, or
            nested lists.
        source: The name of the data in error messages.
        like: The columns of the table that a model was trained on, which a DataFrame must have:
            they are selected by name, and text is coded as in training. If empty, text is
            refused.
        known: Additional inputs of model and guide, one row per datum: conditions, values of other
            sites with NaN where unknown, row numbers as `index`.

    Raises:
        ValueError: `x` is not an array of numbers with at least one row.
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
            f"{tuple(array.shape)}. Use x[None] for one datum x, x[:, None] for one column x."
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

    Missing elements are left out; a column with only missing elements has mean and standard
    deviation zero. Dynamic bits enter with their probabilities, elements that are hidden at every
    visit as they are, images that move as they are stored; no random numbers are drawn.
    """
    split = replace(split, hole_rate=0.0, pose=())
    if split.binarize == "dynamic":
        split = replace(split, binarize="no", range="unit")
    total = torch.stack([x.double().nansum(0) for x in split.chunks()]).sum(0)
    count = torch.stack([(~x.isnan()).sum(0) for x in split.chunks()]).sum(0).clamp(min=1)
    mean = total / count
    squares = [(x.double() - mean).square().nansum(0) for x in split.chunks()]
    return mean, (torch.stack(squares).sum(0) / count).sqrt()


def share_there(split: Split) -> Tensor:
    r"""Returns the share of the rows in which an element of `x` is there, of shape `x_shape`, in
    double precision."""
    whole = replace(split, hole_rate=0.0, pose=())
    there = torch.stack([(~x.isnan()).double().sum(0) for x in whole.chunks()]).sum(0)
    return there / len(split) * (1 - split.hole_rate)


def fingerprint(split: Split) -> str:
    r"""Returns the SHA-256 of shape, dtype and stored bytes, of holes and of additional inputs.

    Of a memory-mapped array above 64 MB, only evenly spaced rows of about that size are hashed.
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
    if split.holes is not None:
        digest.update(b"holes")
        digest.update(np.packbits(split.holes.cpu().numpy()).data)
    if split.hole_rate:
        digest.update(f"holes {split.hole_rate} at every visit".encode())
    if split.pose:
        digest.update(f"poses {split.pose} at every visit".encode())
    for name, value in sorted(split.known.items()):
        digest.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
        digest.update(np.ascontiguousarray(value.cpu().numpy()).data)
    return digest.hexdigest()
