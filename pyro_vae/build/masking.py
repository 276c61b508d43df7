r"""Builds the factor that says which elements are missing."""

import torch

from ..data import Split, moments
from ..likelihoods import SelfMasking
from .parts import Units


def build_masking(
    x_shape: tuple[int, ...], train: Split | None, units: Units | None
) -> SelfMasking:
    r"""Builds it so that at first, where the data are, as many elements are missing as in the
    data, and large values a little more often.

    Arguments:
        x_shape: The shape of one datum.
        train: The training data; without them parameters start at zero and one.
        units: Mean and standard deviation of the data, if networks see them standardized.
    """
    if train is None:
        masking = SelfMasking(x_shape)
    else:
        mean, spread = moments(train)
        count = sum(x.isnan().sum(0) for x in train.chunks())
        logit = torch.logit((torch.as_tensor(count) + 0.5).double() / (len(train) + 1))
        mean, spread = (v.to(torch.get_default_dtype()) for v in (mean, spread))
        sd = torch.where(spread > 0, spread, 1.0)
        if units is not None:
            mean, sd = (mean - units[0]) / units[1], sd / units[1]
        masking = SelfMasking(x_shape, 1 / sd, mean - sd * logit.to(sd))
    if units is not None:
        masking.standardize(*units)
    return masking
