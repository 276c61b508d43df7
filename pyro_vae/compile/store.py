r"""Pyro's parameter store around a step."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyro
import torch
from pyro import poutine
from torch import Tensor


def owned(trace: poutine.Trace) -> dict[str, Tensor]:
    r"""Returns the unconstrained tensor behind each ``param`` site, by name."""
    store = pyro.get_param_store()._params
    sites = trace.nodes.items()
    return {name: store.get(name, site["value"].unconstrained()) for name, site in sites}


@contextmanager
def store_updated_in_place(keep_new: bool = True) -> Iterator[set[str]]:
    r"""Lets what a program assigns to the param store overwrite the tensor that is there.

    Pyro's decaying-average baseline assigns a new tensor in every step; a graph changes one.

    Arguments:
        keep_new: Whether parameters that the program makes stay in the store.

    Yields:
        The names of what was assigned; an optimizer does not move that.
    """
    store = pyro.get_param_store()
    before = dict(store._params)
    assigned: set[str] = set()
    try:
        yield assigned
    finally:
        for name, old in before.items():
            new = store._params.get(name)
            if new is not None and new is not old and new.shape == old.shape:
                with torch.no_grad():
                    old.copy_(new)
                store._params[name] = old
                del store._param_to_name[new]
                assigned.add(name)
        for name in [] if keep_new else store._params.keys() - before.keys():
            del store[name]


_PARTS = ("_params", "_param_to_name", "_constraints")
Contents = dict[str, dict[Any, Any]]


def contents() -> Contents:
    r"""Returns what the parameter store holds."""
    store = pyro.get_param_store()
    return {name: dict(getattr(store, name)) for name in _PARTS}


def fill(held: Contents) -> None:
    r"""Lets the parameter store hold something else, in the dictionaries that it has."""
    store = pyro.get_param_store()
    for name in _PARTS:
        getattr(store, name).clear()
        getattr(store, name).update(held[name])


@contextmanager
def store_of(held: Contents) -> Iterator[None]:
    r"""Lets the parameter store hold something else inside, and keeps what it then holds."""
    before = contents()
    fill(held)
    try:
        yield
    finally:
        held.update(contents())
        fill(before)
