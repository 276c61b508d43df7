r"""The ways that gradients take through the samples of a guide, as handlers around it."""

from typing import Any

import torch
from pyro.distributions.util import sum_rightmost
from pyro.poutine.messenger import Messenger
from torch import Tensor


class detach_samples(Messenger):
    r"""Takes the gradient of each sample away before later sites see it.

    Samples that are detached after the guide has run leave :math:`\log q(z_2 \mid z_1)` a path
    through :math:`z_1` of which the score function knows nothing.
    """

    def _pyro_post_sample(self, msg: Any) -> None:
        if not msg["is_observed"]:
            msg["value"] = msg["value"].detach()


class gate_samples(Messenger):
    r"""Passes each sample through a gate that can stop gradients on their way back.

    Later sites of the guide see the gate; densities see a view behind it (:meth:`show`), so that
    what they send back can be distinguished from what comes along the guide.
    """

    def __init__(self) -> None:
        super().__init__()
        self.open = True
        self.gates: dict[str, Tensor] = {}
        self.shown: dict[str, tuple[Tensor, int]] = {}

    def _pyro_post_sample(self, msg: Any) -> None:
        if msg["is_observed"] or not msg["value"].requires_grad:
            return
        inner = msg["value"].view_as(msg["value"])  # the hook goes when this view goes
        inner.register_hook(lambda g: g if self.open else torch.zeros_like(g))
        msg["value"] = self.gates[msg["name"]] = inner.view_as(inner)

    def show(self, sites: dict[str, Any]) -> None:
        r"""Gives the sites of the guide's trace their views."""
        for name, gate in self.gates.items():
            sites[name]["value"] = view = gate.view_as(gate)
            self.shown[name] = view, len(sites[name]["fn"].event_shape)

    def along_path(self, log_q: Tensor, layout: torch.Size) -> Tensor:
        r"""Returns :math:`\log q` with a gradient that reaches parameters through samples alone.

        .. math:: \log q + \sum_i (z_i - \bar{z}_i)^\top \frac{\partial \log q}{\partial z_i}

        with :math:`\bar{z}_i` constant: the partial derivative of each sample, all else fixed, is
        taken with closed gates.
        """
        if not self.gates or not log_q.requires_grad:
            return log_q.detach()
        self.open = False
        slopes = torch.autograd.grad(
            log_q.sum(), [*self.gates.values()], retain_graph=True, materialize_grads=True
        )
        self.open = True
        total = log_q.detach()
        for (z, event_dim), slope in zip(self.shown.values(), slopes):
            moved = (z - z.detach()) * slope
            total = total + reduce(sum_rightmost(moved, event_dim), layout)
        return total

    def multiply(self, factor: Tensor, layout: torch.Size) -> None:
        r"""Multiplies what densities send back to samples by a factor of shape `(K, E)`."""
        for z, event_dim in self.shown.values():
            each = factor.reshape(layout)
            while each.dim() > z.dim() - event_dim:
                each = each.squeeze(0)
            each = each[(..., *[None] * event_dim)]
            z.register_hook(lambda gradient, each=each: gradient * each)


def reduce(value: Tensor, layout: torch.Size) -> Tensor:
    r"""Sums over plates that are not shared by all sites, to the shape `(K, E)`.

    Arguments:
        value: Of a batch shape.
        layout: The number of particles, and the sizes of the shared plates at their dimensions;
            1 elsewhere.
    """
    value = value[(None,) * (len(layout) - value.dim())]
    others = [i for i, size in enumerate(layout) if size == 1 and value.shape[i] > 1]
    value = value.sum(others, keepdim=True) if others else value
    return value.expand(layout).reshape(layout[0], -1)
