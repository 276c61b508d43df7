r"""Saves a run to a checkpoint and restores it, so that training continues bit for bit."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ..programs import device_of, families
from ..randomness import reseed, stream
from ..ranks import here
from ..runs import storage
from ..runs.records import differences
from ..runs.saved import declared_in
from ..runs.state import (
    environment,
    get_rng_state,
    load_parameters,
    pack_optimizer,
    set_rng_state,
    unpack_optimizer,
)
from ..runs.storage import understood
from .history import Position

if TYPE_CHECKING:
    from .run import Run


def save(run: "Run") -> None:
    r"""Writes a checkpoint from which :func:`restore` continues bit for bit.

    Among ranks, all make sure that they hold the same, and the first writes.

    Raises:
        OSError: It could not be written, at all ranks alike.
    """
    ranks = here()
    held = [*run.vae.state_dict().values(), *run.objective.state_dict().values()]
    ranks.verify(held, "parameters")
    states = ranks.gather(get_rng_state(device_of(run.vae)))
    error = ranks.by_first(partial(_attempt, run, states))
    if error is not None:
        ranks.part_ways()  # in case they stop here
        raise error


def _attempt(run: "Run", states: Sequence[Mapping[str, Tensor]]) -> OSError | None:
    try:
        _write(run, states)
    except OSError as error:
        return error
    return None


def _write(run: "Run", states: Sequence[Mapping[str, Tensor]]) -> None:
    assert run.folder is not None
    optimizer, numbers = pack_optimizer(run.optimizer, _names(run))
    device = device_of(run.vae)
    how, declaration = run.declaration
    run.folder.save(
        run.position.step,
        tensors={
            **how,
            "model": run.vae.state_dict(),
            "best": run.best,
            "objective": run.objective.state_dict(),
            "optimizer": optimizer,
            "rng": {_of_rank(n, i): t for i, one in enumerate(states) for n, t in one.items()},
        },
        state={
            "position": asdict(run.position),
            "optimizer": numbers,
            "settings": run.settings.model_dump(mode="json"),
            "seed": run.seed,
            "data": run.fingerprint,
            "families": families(run.vae),
            "compiled": run.take_step.compiled,
            "uncompiled_steps": run.take_step.first,
            "noise": "counter" if run.loss.noise else "generator",
            "environment": environment(device),
            "ranks": len(states),
            "record": run.record,
            "columns": [[c.name, list(c.categories)] for c in run.data.columns],
            **declaration,
        },
    )


def restore(run: "Run") -> None:
    r"""Restores the newest checkpoint in the run's folder.

    Raises:
        ValueError: It belongs to a different training.
        CheckpointError: There is no complete checkpoint.
    """
    assert run.folder is not None
    ranks = here()
    source = ranks.by_first(partial(storage.newest, run.folder.path))
    with ranks.agreed():
        tensors, state = storage.read(source)
        with understood(source):
            if "settings" not in state:
                raise ValueError(
                    f"Expected a training in {run.folder.path} to resume; got a model that was "
                    "saved by pv.save. Load it, and train it with another `out`."
                )
            _check_same(run, source, state)
            _take_up(run, source, tensors, state)
    ranks.by_first(partial(run.folder.cut_metrics, run.position.metrics_bytes))
    run.history.rows = run.folder.metrics()
    run.saving.rows = len(run.history.rows)


def _take_up(run: "Run", source: Path, tensors: Any, state: Mapping[str, Any]) -> None:
    r"""Restores parameters, optimizer, position and random state from a checkpoint."""
    device = device_of(run.vae)
    load_parameters(run.vae, tensors["model"], source)
    if tensors["objective"]:
        load_parameters(run.objective, tensors["objective"], source)
    unpack_optimizer(run.optimizer, tensors["optimizer"], state["optimizer"])
    run.best = {name: value.to(device) for name, value in tensors["best"].items()}
    run.position = Position(**state["position"])
    run.declaration = declared_in(tensors, state) or run.declaration
    run.use_steps(state.get("compiled", False), state.get("uncompiled_steps", 0))
    run.use_noise(state.get("noise") == "counter")
    stopped_early = run.position.epoch < state["settings"]["epochs"]
    run.position.finished &= stopped_early  # else there may be more epochs now
    _take_up_noise(run, tensors["rng"], state.get("ranks", 1))


def _take_up_noise(run: "Run", states: Mapping[str, Tensor], before: int) -> None:
    r"""Restores the random generators of this rank, or begins other streams if there were another
    number of ranks."""
    ranks, device = here(), device_of(run.vae)
    if before == ranks.count:
        own = {name: _of_rank(name, ranks.rank) for name in get_rng_state(device)}
        set_rng_state({n: states[kept] for n, kept in own.items() if kept in states}, device)
        return
    if ranks.rank == 0:
        print(
            f"Resuming with {ranks.count} rank{'s' * (ranks.count > 1)}, which were {before}: the "
            "batches and their order are the same, their noise is not.",
            file=sys.stderr,
        )
    reseed(device, ranks.seed(stream(run.seed, "resumed", run.position.step)))


def _of_rank(name: str, rank: int) -> str:
    r"""The name of a generator of a rank in a checkpoint."""
    return f"{name}.{rank}" if rank else name


def _check_same(run: "Run", source: Path, state: Mapping[str, Any]) -> None:
    r"""Refuses to continue with other settings or data; reports differences of the machine."""
    here = run.settings.model_dump(mode="json")
    old = {name: value for name, value in state["settings"].items() if name != "epochs"}
    changed = differences(old, {name: here.get(name) for name in old})
    changed += differences({"seed": state["seed"]}, {"seed": run.seed})
    if state["data"] != run.fingerprint:
        changed.append("the training data differ")
    for before, now in zip(state.get("families", ()), families(run.vae)):
        changed += [f"{before} is now {now}"] if before != now else []
    if changed:
        raise ValueError(
            f"Expected the training in {source.parent.parent}; got a different one: "
            f"{'; '.join(changed)}. Only epochs may change."
        )
    machine = environment(device_of(run.vae))
    for key, there in state["environment"].items():
        if machine.get(key) != there:
            print(
                f"Resuming with {key} {machine.get(key)}, which was {there}: the numbers may "
                "differ from an uninterrupted training.",
                file=sys.stderr,
            )


def _names(run: "Run") -> list[str]:
    r"""The names of the optimizer's parameters, in its order."""
    return [
        f"{prefix}{name}"
        for prefix, module in (("", run.vae), ("objective.", run.objective))
        for name, p in module.named_parameters()
        if p.requires_grad
    ]
