r"""Views of data: blocks of their elements, each with a network of its own."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..remembered import Remembers


class Views(Remembers, nn.Module):
    r"""Creates a network of several views of :math:`x`, each seen by a network of its own, whose
    outputs are location and log scale of what it says of :math:`z`.

    Of a view that is not there, all of whose elements are NaN, the scale is infinite: it says
    nothing. If some elements of a view are missing, its network must see which
    (:class:`Observed`).

    Arguments:
        views: For each view the positions of its elements in the flattened datum, and its network
            of these; together they have every element once.
        event_dim: The number of dimensions of a datum.

    Raises:
        ValueError: The positions are not :math:`0 \ldots D - 1`, each once.

    Example:
        >>> views = Views([([0, 1], nn.Linear(2, 4)), ([2], nn.Linear(1, 4))])
        >>> outputs = views(torch.tensor([1.0, 2.0, float("nan")]))
        >>> outputs.shape, outputs[-2:]
        (torch.Size([8]), tensor([inf, inf], grad_fn=<SliceBackward0>))
    """

    owner: Tensor

    def __init__(
        self, views: Sequence[tuple[Sequence[int], nn.Module]], event_dim: int = 1
    ) -> None:
        super().__init__()
        blocks = [[int(place) for place in places] for places, _ in views]
        every = sorted(place for places in blocks for place in places)
        if every != list(range(len(every))) or not all(blocks) or not blocks:
            raise ValueError(
                f"Expected every element of x in one view; got the positions {_short(every)}."
            )
        self.nets = nn.ModuleList(net for _, net in views)
        self.event_dim = event_dim
        owner = torch.zeros(len(every), dtype=torch.long)
        for i, places in enumerate(blocks):
            owner[places] = i
            self.register_buffer(f"places{i}", torch.tensor(places), persistent=False)
        self.register_buffer("owner", owner, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        r"""
        Arguments:
            x: The data, of shape `(*batch, *x_shape)`, NaN where nothing is.

        Returns:
            The outputs of all networks, one after the other, of shape `(*batch, outputs)`.
        """
        outputs = []
        for net, view in zip(self.nets, self.split(x)):
            there = ~view.isnan().all(-1, keepdim=True)
            loc, log_scale = net(torch.where(there, view, 0.0)).chunk(2, -1)
            outputs.append(torch.where(there, loc, 0.0))
            outputs.append(torch.where(there, log_scale, torch.inf))
        return torch.cat(outputs, -1)

    def split(self, x: Tensor) -> list[Tensor]:
        r"""Returns the views of data, each of shape `(*batch, size)`."""
        flat = x.flatten(-self.event_dim)
        if flat.shape[-1] != len(self.owner):
            raise ValueError(
                f"Expected data of {len(self.owner)} elements in {self.event_dim} dimensions, "
                f"as the views have them; got shape {tuple(x.shape)}."
            )
        return [flat[..., getattr(self, f"places{i}")] for i in range(len(self.nets))]

    def hide(self, x: Tensor, rate: float) -> Tensor:
        r"""Returns data whose views are missing (NaN), each with a probability; of every datum one
        of those that are there stays.

        Arguments:
            x: The data, of shape `(B, *x_shape)`.
            rate: The probability.
        """
        absent = torch.stack([view.isnan().all(-1) for view in self.split(x)], -1)
        u = torch.where(absent, -1.0, torch.rand(absent.shape, dtype=x.dtype, device=x.device))
        hidden = (u < rate) & (u < u.amax(-1, keepdim=True))
        return torch.where(hidden[:, self.owner].reshape(x.shape), torch.nan, x)


def views_of(model: Any) -> Views | None:
    r"""Returns the views that the networks of a model see, if there are any."""
    return next((m for m in model.modules() if isinstance(m, Views)), None)


def _short(places: list[int]) -> str:
    return f"{places[:20]}{' and more' if len(places) > 20 else ''}"
