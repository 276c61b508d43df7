r"""What a graph must know of Pyro's param store: whose tensors it trains, and what it replaces."""

from collections.abc import Iterator
from contextlib import contextmanager

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
def values_kept_in_place() -> Iterator[None]:
    r"""Lets what a program assigns to the param store overwrite the tensor that is there.

    Pyro's decaying-average baseline assigns a new tensor in every step; a graph changes one.
    """
    store = pyro.get_param_store()
    before = dict(store._params)
    try:
        yield
    finally:
        for name, old in before.items():
            new = store._params.get(name)
            if new is not None and new is not old and new.shape == old.shape:
                with torch.no_grad():
                    old.copy_(new)
                store._params[name] = old
                del store._param_to_name[new]
