r"""Pyro's SVI, compiled, in its place."""

from typing import Any

import pyro
from pyro import poutine
from torch import Tensor

from .svi import CompiledSVI


class SVI(CompiledSVI):
    r"""Creates stochastic variational inference as :class:`pyro.infer.SVI`, in its place.

    ``from pyro_vae import SVI`` in a script is all that changes: losses are floats, and a program
    that is not static goes on eagerly. See :class:`CompiledSVI` for the arguments.

    Example:
        >>> import torch, pyro, pyro.distributions as dist
        >>> from pyro.infer import Trace_ELBO
        >>> pyro.clear_param_store()
        >>> def model(): pyro.sample("x", dist.Normal(pyro.param("loc", torch.tensor(0.0)), 1.0),
        ...                          obs=torch.tensor(2.0))
        >>> svi = SVI(model, lambda: None, pyro.optim.Adam({"lr": 0.1}), Trace_ELBO())
        >>> round(svi.step(), 3)
        2.919
        >>> pyro.clear_param_store()
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"not_static": "eager", **kwargs})

    def step(self, *args: Any, **kwargs: Any) -> float | tuple[float, ...]:
        r"""Takes a gradient step; returns the loss."""
        return _floats(super().step(*args, **kwargs))

    def evaluate_loss(self, *args: Any, **kwargs: Any) -> float | tuple[float, ...]:
        r"""Returns an estimate of the loss; no parameter moves."""
        return _floats(super().evaluate_loss(*args, **kwargs))

    def run(self, *args: Any, **kwargs: Any) -> Any:
        r"""Takes ``num_steps`` steps and draws ``num_samples`` traces, as Pyro's SVI does.

        Returns:
            Pyro's own object, which holds the traces.
        """
        with poutine.block():
            for _ in range(self.num_steps):
                self.step(*args, **kwargs)
        stock = pyro.infer.SVI(
            self.model, self.guide, self.optim, self.objective, num_samples=self.num_samples
        )
        return stock.run(*args, **kwargs)


def _floats(losses: Tensor) -> float | tuple[float, ...]:
    return losses.item() if losses.dim() == 0 else tuple(losses.tolist())
