r"""Evaluation of the relatives of VAEs: what each has, by calling it."""

from typing import Any

import torch
from torch import Tensor

from ..checks import take
from ..data import Split
from ..gallery import Relative, abilities
from ..programs import undisturbed
from ..statistics import Mean

ROWS_AT_ONCE = 1000
CALLED = 8  # data that every method is called with


def evaluate_relative(
    model: Relative,
    x: Any,
    *,
    seed: int = 0,
    by_datum: dict[str, Any] | None = None,
) -> dict[str, Any]:
    r"""Measures what a relative can be measured by.

    Arguments:
        model: The relative.
        x: The data, of shape `(B, *x_shape)`.
        seed: Seeds all draws; a model is left as it was.
        by_datum: Receives the figures of each datum, by name.

    Returns:
        `num_data`; `can`, what it has (:func:`pyro_vae.gallery.abilities`); and with standard
        errors what applies of `log_prob`, in nats per datum, and `squared_error`, of a
        reconstruction, per element. Where a normalizer is estimated, `log_prob_mc_se` is the
        error that all data share by it, which `log_prob_se` does not have.
    """
    with undisturbed(model, seed):
        split = take(model, x).freeze(seed)
        can = abilities(model, split.rows(slice(0, CALLED)))
        found: dict[str, Any] = {"num_data": len(split), "can": can}
        columns = {}
        if model.density != "none":
            columns["log_prob"], shared = model.log_probs(split.chunks(ROWS_AT_ONCE))
            if shared:
                found["log_prob_mc_se"] = shared
        if can["reconstruct"] == "yes":
            errors = [_squared_error(model, rows) for rows in split.chunks(ROWS_AT_ONCE)]
            columns["squared_error"] = torch.cat(errors)
    for name, values in columns.items():
        found |= Mean.of(values.double()).record(name)
        if by_datum is not None:
            by_datum[name] = values.cpu().numpy()
    return found


def log_probs(model: Relative, split: Split, *, seed: int = 0) -> Tensor:
    r"""Returns :math:`\log p(x)` of each datum under a relative, of shape `(N,)`.

    Raises:
        Lacking: It has no density.
    """
    with undisturbed(model, seed):
        return model.log_probs(split.chunks(ROWS_AT_ONCE))[0].double()


def _squared_error(model: Relative, x: Tensor) -> Tensor:
    return (model.reconstruct(x) - x).flatten(1).square().mean(1)
