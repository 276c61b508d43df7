r"""Shows a module's parameters to Pyro without the global param store."""

from collections.abc import Callable

from pyro.poutine.runtime import am_i_wrapped, effectful
from torch import Tensor, nn
from torch.distributions import constraints
from torch.distributions.constraints import Constraint


@effectful(type="param")
def _param(value: Tensor, constraint: Constraint) -> Tensor:
    return value


def _owner(parameter: nn.Parameter) -> Callable[[], nn.Parameter]:
    return lambda: parameter


def show_parameters(module: nn.Module, prefix: str) -> None:
    r"""Emits one Pyro ``param`` site for each trainable parameter of `module`.

    :class:`pyro.infer.SVI` trains the ``param`` sites it meets. :func:`pyro.module` emits them
    too, and stores each tensor globally under its name, so that a second model with the same
    names trains the tensors of the first. Here the module stays the only owner: every site points
    back to its parameter through ``unconstrained``, the attribute that Pyro's optimizers read.

    Arguments:
        module: The owner of the parameters.
        prefix: What the names start with, as in ``"posterior.encoder.0.weight"``.
    """
    if not am_i_wrapped():  # no handler listens
        return

    for name, parameter in module.named_parameters(prefix):
        if parameter.requires_grad:
            value = parameter.detach()  # shares memory; an attribute set on it ends with the trace
            value.unconstrained = _owner(parameter)  # type: ignore[attr-defined]
            _param(value, constraint=constraints.real, name=name)
