r"""Files of Pyro's parameter store, read without running code from them."""

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch.distributions import constraints


def read_param_store(path: Path | str) -> dict[str, Any]:
    r"""Reads what ``pyro.get_param_store().save(path)`` wrote.

    Pyro's own ``load`` unpickles the file, which runs whatever code it holds. Here it may hold
    tensors, and constraints of :mod:`torch.distributions`, and nothing else.

    Arguments:
        path: The file.

    Returns:
        The state, for ``pyro.get_param_store().set_state(state)``: the unconstrained ``params``
        by name, and their ``constraints``.

    Raises:
        ValueError: The file is damaged, or holds something else. Nothing of it has been run.
    """
    path = Path(path)
    try:
        _check_sizes(path)
        with torch.serialization.safe_globals([*_constraint_classes()]):
            state = torch.load(path, map_location="cpu", weights_only=True)
        params, kinds = state["params"], state["constraints"]
        whole = params.keys() == kinds.keys() and all(
            isinstance(name, str) and isinstance(value, torch.Tensor)
            for name, value in params.items()
        )
        if not whole or not all(isinstance(k, constraints.Constraint) for k in kinds.values()):
            raise ValueError("other contents")
    except OSError:
        raise
    except Exception as error:  # whatever a file of somebody else can make a reader raise
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise ValueError(
            f"Expected parameters and constraints, as Pyro's store saves them, in {path}; got "
            f"{reason}. Nothing of the file has been run."
        ) from None
    return state


def _check_sizes(path: Path) -> None:
    r"""Refuses an archive whose members are larger than itself."""
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
    if any(m.compress_type != zipfile.ZIP_STORED for m in members) or (
        sum(m.file_size for m in members) > path.stat().st_size
    ):
        raise ValueError("an archive that is compressed")


def _constraint_classes() -> Iterator[type]:
    r"""The classes of constraints that torch and Pyro have."""
    from pyro.distributions import constraints as of_pyro

    for module in (constraints, of_pyro):
        for value in vars(module).values():
            if isinstance(value, type) and issubclass(value, constraints.Constraint):
                yield value
