r"""Sums over ranks, and means over a batch of which each rank has a part."""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.fx import GraphModule

from .group import Part, here, spoken

# What follows is no part of a recorded program, which would watch plain globals.
_part: ContextVar[Part | None] = ContextVar("part", default=None)
_silent: ContextVar[bool] = ContextVar("silent", default=False)
_sums: ContextVar[list[tuple[torch.Size, torch.dtype]]] = ContextVar("sums")


def total(x: Tensor) -> Tensor:
    r"""The sum over ranks, bit for bit the same at each; no gradient goes through it."""
    if here().alone:
        return x
    _sums.get([]).append((x.shape, x.dtype))
    if _silent.get():
        return torch.ops.pyro_vae.sum_over_ranks(x.detach())
    x = x.detach().clone()
    with spoken():
        dist.all_reduce(x)
    return x


@contextlib.contextmanager
def silently() -> Iterator[None]:
    r"""Lets sums inside be of this rank alone, as while a program is recorded."""
    token = _silent.set(True)
    try:
        yield
    finally:
        _silent.reset(token)


def is_silent() -> bool:
    return _silent.get()


@torch.library.custom_op("pyro_vae::sum_over_ranks", mutates_args=())
def _sum_over_ranks(x: Tensor) -> Tensor:
    return x.clone()


@_sum_over_ranks.register_fake
def _(x: Tensor) -> Tensor:
    return torch.empty_like(x)


def connect(module: GraphModule) -> None:
    r"""Lets the sums of a recorded graph be sums over ranks."""
    import torch.distributed._functional_collectives  # what compilers know of collectives

    world = dist.group.WORLD
    assert world is not None
    ops, group = torch.ops._c10d_functional, world.group_name
    own = torch.ops.pyro_vae.sum_over_ranks.default
    for node in module.graph.find_nodes(op="call_function", target=own):
        with module.graph.inserting_before(node):
            sent = module.graph.call_function(ops.all_reduce.default, (*node.args, "sum", group))
            got = module.graph.call_function(ops.wait_tensor.default, (sent,))
        sent.meta, got.meta = dict(node.meta), dict(node.meta)
        node.replace_all_uses_with(got)
        module.graph.erase_node(node)
    module.recompile()


def pretend(count: int) -> None:
    r"""Lets this process, which compiles for others, know a group of ranks in which nobody speaks;
    compilers ask for it by its name."""
    from torch.testing._internal.distributed.fake_pg import FakeStore

    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=count)


# --- Means over a batch of which each rank has a part -------------------------------------------


@contextlib.contextmanager
def within(part: Part) -> Iterator[list[tuple[torch.Size, torch.dtype]]]:
    r"""Lets means inside be those of the whole batch, of which a rank has a part.

    Yields:
        Shapes and dtypes of what has been summed over ranks inside, which grow.
    """
    sums: list[tuple[torch.Size, torch.dtype]] = []
    tokens = _part.set(part), _sums.set(sums)
    try:
        yield sums
    finally:
        _part.reset(tokens[0])
        _sums.reset(tokens[1])


def batch_mean(mean: Tensor) -> Tensor:
    r"""The mean over the batch of which `mean` is that over this rank's rows, whose gradient it
    has."""
    part = _part.get()
    if part is None:
        return mean
    return total(mean * part.share) + (mean - mean.detach())


def batch_sum(x: Tensor) -> Tensor:
    r"""The sum over the batch of which `x` is that over this rank's rows."""
    part = _part.get()
    return x if part is None else total(x * min(part.rows, 1))


def batch_nanmean(x: Tensor) -> Tensor:
    r"""The mean over what is there, in the batch of which `x` has this rank's rows."""
    part = _part.get()
    if part is None:
        return x.nanmean()
    found = batch_sum(torch.stack([x.nansum(), (~x.isnan()).sum().to(x.dtype)]))
    return found[0] / found[1]


def batch_rows(data: Tensor, places: Tensor) -> Tensor:
    r"""The rows of the batch at places modulo their number; `data` are as many of this rank's for
    each datum."""
    part = _part.get()
    if part is None:
        return data[places % len(data)]
    each = len(data) // max(part.rows, 1)
    own = places % (each * part.size) - each * part.start
    inside = (own >= 0) & (own < len(data))
    found = data[own.clamp(0, len(data) - 1)]
    return batch_sum(torch.where(inside[:, None], found, torch.zeros_like(found)))
