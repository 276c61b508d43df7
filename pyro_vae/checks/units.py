r"""Are data and model in one unit? A warning before hours are lost."""

from math import log10
from typing import Any

import torch
from pyro import poutine
from torch import Tensor
from torch.distributions import constraints

from ..data import Split, moments
from ..distributions import Partial, same, support_of
from ..programs import family_of, undisturbed

FAR = 10**2.5  # half of the way, in logarithms, from 10^2 to 10^3
DRAWS = 100


def unit_warning(vae: Any, split: Split) -> str | None:
    r"""A sentence where the scale of real data is far from that of the model's predictions, or
    where codes of categories are taken for real numbers.

    Scales of pixels or standardized columns are near 1, and so are those that networks start
    with. Columns in the thousands are fitted for hours before sigma has found them, and a shared
    sigma then hides all columns of a smaller scale.

    Arguments:
        vae: The VAE, as it starts.
        split: The training data.
    """
    family = family_of(vae, "likelihood", "x")
    if family is None or not same(family.support, constraints.real):
        return None
    with undisturbed(vae, 0):
        known = split.known_at(slice(0, DRAWS))
        drawn = poutine.trace(vae.model).get_trace(**(known or {"batch_size": DRAWS}))
        law = drawn.nodes["x"]["fn"]
        if not same(support_of(family, law), constraints.real):
            return None
        if coded := [column.name for column in split.columns if column.categories]:
            own = getattr(family, "family", family)  # inside of one with holes
            return (
                f"{type(own).__name__} takes the codes of categories for real numbers, "
                f"in {', '.join(coded[:5])}. Use a product of likelihoods, with bernoulli or "
                "categorical for these columns, or leave them out (data.drop)."
            )
        element = law.base if isinstance(law, Partial) else law
        while hasattr(element, "base_dist"):
            element = element.base_dist
        noise = getattr(element, "scale", None)
        if not isinstance(noise, Tensor):
            return None
        centre = law.mean.double().mean(0).cpu()
        sigma = noise.double().expand(law.shape()).square().mean(0).sqrt().cpu()
    mean, spread = (part.cpu() for part in moments(split))
    off = torch.maximum(spread, (mean - centre).abs())
    model = float(sigma.square().mean().sqrt())
    large, small = (float(part.square().nanmean().sqrt()) for part in (off, spread))
    if large > FAR * model or 0 < small < model / FAR:
        return _sentence("all data", large if large > FAR * model else small, model)
    if len(split.x_shape) != 1:
        return None
    farthest = torch.zeros(split.x_shape, dtype=torch.float64)
    for x in split.chunks():
        distance = (x.double().cpu() - mean).abs().nan_to_num(nan=0.0).amax(0)
        farthest = torch.maximum(farthest, distance)
    for column in range(split.x_shape[0]):
        own, there = float(sigma[column]), float(farthest[column])
        if float(off[column]) > FAR * own or 0 < there < own / FAR:
            shown = float(off[column]) if float(off[column]) > FAR * own else there
            return _sentence(f"column {column}", shown, own)
    return None


def _sentence(name: str, data: float, model: float) -> str:
    return (
        f"The scale of {name} is {data:.3g}, that of the model's predictions {model:.3g}: 10^"
        f"{abs(log10(data / model)):.0f} apart. Standardize the data (data.standardize), or start "
        'the model there (scale=, sigma="per-column"): as it is, training will be slow and what '
        "is small will not be seen."
    )
