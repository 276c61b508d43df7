r"""What is evaluated: a VAE, or any Pyro model with its guide."""

from collections.abc import Callable
from inspect import ismethod
from typing import Any

from pyro import poutine
from torch import Tensor, nn


class Program(nn.Module):
    r"""Creates from a Pyro model and its guide what evaluations take.

    Both see their data first, in a plate of dimension -1, as :class:`pyro_vae.VAE` has it. The
    modules that they are, or are methods of, are known by their owner: evaluation puts them into
    evaluation mode and back.

    Arguments:
        model: The model.
        guide: Its guide.
    """

    def __init__(self, model: Callable, guide: Callable) -> None:
        super().__init__()
        owners = [p.__self__ if ismethod(p) else p for p in (model, guide)]
        self.owners = nn.ModuleList([o for o in owners if isinstance(o, nn.Module)])
        self.__dict__.update(model=model, guide=guide)  # not registered a second time


def as_program(vae: Any) -> Any:
    r"""Returns a VAE as it is, and a pair of model and guide as a :class:`Program`.

    Raises:
        ValueError: `vae` is neither.
    """
    if isinstance(vae, tuple) and len(vae) == 2 and all(map(callable, vae)):
        return Program(*vae)
    if not (hasattr(vae, "model") and hasattr(vae, "guide")):
        raise ValueError(f"Expected a VAE, or a pair (model, guide); got {type(vae).__name__}.")
    return vae


def prior_guide(model: Callable) -> Callable:
    r"""Returns the guide :math:`q(z \mid x) = p(z)`, which samples what the model samples.

    With it, importance sampling is naive Monte Carlo,
    :math:`p(x) \approx \frac{1}{K} \sum_k p(x \mid z_k)`: unbiased, and useless as soon as a
    datum tells much about its :math:`z`.

    Arguments:
        model: A Pyro model.
    """

    def guide(x: Tensor, **known: Any) -> None:
        with poutine.block(hide_fn=lambda site: site["type"] == "sample" and site["is_observed"]):
            model(x, **known)

    return guide
