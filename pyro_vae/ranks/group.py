r"""The group of processes: which of them this one is, and how they speak."""

import contextlib
import datetime
import hashlib
import os
import threading
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.utils._pytree import tree_map_only

from ..randomness import stream

TIMEOUT = 120.0  # seconds until a rank that is silent counts as lost
VARIABLE = "PYRO_VAE_RANK_TIMEOUT"
LOST = (
    "Expected an answer of all ranks; one is lost or late ({}). Its own error, if any, stands "
    f"above; {VARIABLE} sets how many seconds are waited for."
)
BEAT = "signs of life of rank {}"
OF_GROUPS = ("gloo", "nccl", "c10d", "timeout", "timed out", "connection")  # words of their errors
Value = TypeVar("Value")


class RankFailed(RuntimeError):
    r"""Another rank could not do its part, or is lost."""


class RankRefused(RankFailed, ValueError):
    r"""Another rank refused what it was given."""


class Part(NamedTuple):
    r"""A rank's rows of a global batch.

    Attributes:
        start: Where they begin in it.
        rows: How many they are. A rank without rows computes on one that counts nothing.
        size: How many rows the batch has.
    """

    start: int
    rows: int
    size: int

    @property
    def share(self) -> float:
        r"""The share of the batch that is this rank's."""
        return self.rows / self.size


@dataclass(frozen=True)
class Ranks:
    r"""The group: which of its processes this one is, and how they speak.

    All ranks call the same methods in the same order; each waits for the others.

    Attributes:
        rank: The number of this process.
        count: How many there are.
        timeout: Seconds after which one that is silent counts as lost.
    """

    rank: int = 0
    count: int = 1
    timeout: float = TIMEOUT

    @property
    def alone(self) -> bool:
        return self.count == 1

    def part(self, size: int) -> Part:
        r"""This rank's rows of a global batch: blocks whose sizes differ by one at most."""
        start = size * self.rank // self.count
        return Part(start, size * (self.rank + 1) // self.count - start, size)

    def seed(self, seed: int) -> int:
        r"""The seed of this rank's own noise; that of the first is the seed itself."""
        return stream(seed, "rank", self.rank) if self.rank else seed

    def refuse(self, what: str) -> None:
        r"""Refuses what is of one process.

        Raises:
            ValueError: There are several.
        """
        if not self.alone:
            raise ValueError(
                f"Expected one process with {what}; got {self.count} ranks, each of which would "
                "train a model of its own. Use pyro_vae.fit, or leave pyro_vae.ranks.joined."
            )

    def gather(self, value: Value) -> list[Value]:
        r"""The values of all ranks, in order."""
        if self.alone:
            return [value]
        found: list[Any] = [None] * self.count
        with spoken():
            dist.all_gather_object(found, value)
        return found

    def own(self, chunks: Sequence[Value]) -> Sequence[Value]:
        r"""The chunks of work that are this rank's: every `count`-th."""
        return chunks[self.rank :: self.count]

    def in_order(self, found: Iterable[Value], device: torch.device) -> list[Value]:
        r"""What was found in all chunks, in their order, with its tensors on a device; `found` are
        the results of this rank's own."""
        with self.agreed():
            mine = [*found]
        if self.alone:
            return mine
        said = self.gather([tree_map_only(Tensor, Tensor.cpu, each) for each in mine])
        whole = [said[i % self.count][i // self.count] for i in range(sum(map(len, said)))]
        return [tree_map_only(Tensor, lambda t: t.to(device), each) for each in whole]

    def first(self, value: Value) -> Value:
        r"""The value of the first rank, whose clock and disk decide for all."""
        return self.gather(value)[0]

    @contextlib.contextmanager
    def agreed(self) -> Iterator[None]:
        r"""Raises at all ranks if what is inside fails at one; waits for all, as long as they
        work."""
        if self.alone:
            yield
            return
        error = None
        try:
            yield
        except Exception as caught:
            error = caught
        self.wait()
        self.agree(error)

    def by_first(self, act: Callable[[], Value]) -> Value:
        r"""Does something at the first rank alone, and returns the value there at all."""
        value = None
        with self.agreed():
            if self.rank == 0:
                value = act()
        return self.first(value)  # type: ignore[return-value]

    def agree(self, error: Exception | None) -> None:
        r"""Raises at all ranks if there is an error at one.

        Raises:
            RankFailed: It is at another one, which raises its own; a ValueError as that is.
        """
        if isinstance(error, RankFailed):  # as all others have
            raise error
        own = "" if error is None else f"{type(error).__name__}: {error}"
        said = self.gather((own, isinstance(error, ValueError)))
        failed = "; ".join(f"rank {rank}: {text}" for rank, (text, _) in enumerate(said) if text)
        if failed:
            self.part_ways()
            refused = all(of_value for text, of_value in said if text)
            raise error or (RankRefused if refused else RankFailed)(failed)

    def verify(self, tensors: Iterable[Tensor], what: str) -> None:
        r"""Makes sure that every rank holds the same bits.

        Raises:
            RankFailed: One holds others.
        """
        if self.alone:
            return
        digest = hashlib.sha256()
        for tensor in tensors:
            plain = tensor.detach().cpu().contiguous().reshape(-1)
            digest.update(plain.view(torch.uint8).numpy().tobytes())
        self.compare(
            digest.hexdigest()[:8],
            what,
            "Use machines with the same processor and PyTorch, and resume from the newest "
            "checkpoint.",
        )

    def compare(self, value: Hashable, what: str, remedy: str) -> None:
        r"""Makes sure that every rank has the same value.

        Raises:
            RankFailed: One has another.
        """
        said = self.gather(value)
        if len({*said}) > 1:
            self.part_ways()
            raise RankFailed(
                f"Expected the same {what} at all ranks; got {', '.join(map(str, said))}. {remedy}"
            )

    def hand_out(self, tensors: Iterable[Tensor]) -> None:
        r"""Sets tensors to those of the first rank."""
        with torch.no_grad():
            for tensor in () if self.alone else tensors:
                own = tensor.contiguous()
                with spoken():
                    dist.broadcast(own, 0)
                tensor.copy_(own)

    def wait(self) -> None:
        r"""Waits for all ranks, however long they work.

        Raises:
            RankFailed: One is lost: it has given no sign of life for the time of the group.
        """
        store = dist.distributed_c10d._get_default_store()
        turn = (store.add("ranks that wait", 1) - 1) // self.count
        keys = [f"wait {turn} of rank {i}" for i in range(self.count)]
        store.set(keys[self.rank], "here")
        store.delete_key(f"wait {turn - 2} of rank {self.rank}")  # which nobody asks for any more
        heard: dict[int, tuple[int, float]] = {}  # the last sign of each, and when it came
        with spoken():
            while not store.check(keys):
                for rank in (i for i, key in enumerate(keys) if not store.check([key])):
                    sign = store.add(BEAT.format(rank), 0)
                    if heard.get(rank, (None,))[0] != sign:
                        heard[rank] = sign, time.monotonic()
                    elif time.monotonic() - heard[rank][1] > self.timeout:
                        raise RankFailed(LOST.format(f"rank {rank} gives no sign of life"))
                time.sleep(0.02)

    def part_ways(self) -> None:
        r"""Waits until no rank speaks any more, so that each may leave."""
        if not self.alone:
            with spoken():
                dist.barrier()


_here = Ranks()


def here() -> Ranks:
    r"""The group of this process."""
    return _here


@contextlib.contextmanager
def joined(timeout: float | None = None) -> Iterator[Ranks]:
    r"""Joins the processes that torchrun started, and leaves them in order.

    Inside, :func:`pyro_vae.fit` and evaluations are of all ranks together: each calls them with
    the same arguments. Outside, and without torchrun, a process is alone.

    Arguments:
        timeout: Seconds after which a rank that is silent counts as lost; by default
            `PYRO_VAE_RANK_TIMEOUT` in the environment, else 120.
    """
    global _here
    if "TORCHELASTIC_RUN_ID" not in os.environ or not _here.alone:
        yield _here
        return
    own, limit = not dist.is_initialized(), timeout or float(os.environ.get(VARIABLE, TIMEOUT))
    if own:
        _connect(limit)
    _here = Ranks(dist.get_rank(), dist.get_world_size(), limit)
    left = threading.Event()
    threading.Thread(target=_beat, args=(_here, left), daemon=True).start()
    try:
        yield _here
        _here.wait()
        _here.part_ways()
    finally:
        left.set()
        _here = Ranks()
        if own:
            dist.destroy_process_group()


def _beat(here: Ranks, left: threading.Event) -> None:
    r"""Gives signs of life, by which others that wait know that this rank is at work."""
    store = dist.distributed_c10d._get_default_store()
    with contextlib.suppress(RuntimeError):  # the store is gone, and with it who would listen
        store.add(BEAT.format(here.rank), 1)
        while not left.wait(here.timeout / 10):
            store.add(BEAT.format(here.rank), 1)


def _connect(timeout: float) -> None:
    r"""Joins the group, by a store whose keys no earlier attempt has written."""
    env, wait = os.environ, datetime.timedelta(seconds=timeout)
    rank, count = int(env["RANK"]), int(env["WORLD_SIZE"])
    agent = env.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    place = env["MASTER_ADDR"], int(env["MASTER_PORT"]), count, not agent and rank == 0
    store = dist.TCPStore(*place, timeout=wait, multi_tenant=not agent)
    attempt = dist.PrefixStore(f"attempt-{env['TORCHELASTIC_RESTART_COUNT']}", store)
    backend = "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(int(env["LOCAL_RANK"]))
        backend = "cpu:gloo,cuda:nccl"
    dist.init_process_group(backend, store=attempt, rank=rank, world_size=count, timeout=wait)


@contextlib.contextmanager
def alone() -> Iterator[None]:
    r"""Lets this process be alone inside, as for models of which it trains some."""
    global _here
    before, _here = _here, Ranks()
    try:
        yield
    finally:
        _here = before


def restarted() -> bool:
    r"""Whether torchrun started these processes anew after one was lost."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0)) > 0


def launch() -> str:
    r"""Names the torchrun that started this process, to know it again."""
    return f"{os.environ.get('TORCHELASTIC_RUN_ID')} {os.getppid()}"


@contextlib.contextmanager
def spoken() -> Iterator[None]:
    r"""Says which kind of error it is if another rank does not answer."""
    try:
        yield
    except RuntimeError as error:
        reason = str(error).strip().partition("\n")[0].partition(". ")[0]
        if isinstance(error, RankFailed) or not any(word in reason.lower() for word in OF_GROUPS):
            raise
        raise RankFailed(LOST.format(reason)) from error
