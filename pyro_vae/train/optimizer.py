r"""Optimizers by name."""

from typing import Any

from torch import nn, optim
from torch.optim import Optimizer

from ..config import Train, suggestion


def make_optimizer(settings: Train, *modules: nn.Module) -> Optimizer:
    r"""Creates an optimizer of :mod:`torch.optim` by name, for the parameters of `modules`.

    Raises:
        ValueError: There is no such optimizer, or it does not take the options.
    """
    known: dict[str, Any] = {
        name: cls
        for name, cls in vars(optim).items()
        if isinstance(cls, type) and issubclass(cls, Optimizer) and cls is not Optimizer
    }
    cls = known.get(settings.optimizer)
    if settings.optimizer in ("LBFGS", "SparseAdam"):
        raise ValueError(
            "Expected a first-order optimizer, one step for one dense gradient; got "
            f"{settings.optimizer}. Use Adam, AdamW or SGD."
        )
    if cls is None:
        hint = suggestion(settings.optimizer, known) or " (Adam is a good start)"
        raise ValueError(
            f"Expected a first-order optimizer of torch.optim; got {settings.optimizer!r}{hint}."
        )
    parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
    try:
        return cls(parameters, lr=settings.lr, **settings.optimizer_options)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"Expected options of torch.optim.{settings.optimizer}; got "
            f"{settings.optimizer_options}: {error}."
        ) from None
