r"""What would the posterior be? Long chains for a few data, beside the guide."""

from math import ceil
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..checks import Data, opened
from ..counted import counted
from ..deprecation import renamed
from ..programs import Unconstrained, mixing, nuts_chain, own_batches
from ..ranks import here

FOLDS = 5


class NUTSPosterior(NamedTuple):
    r"""The guide beside NUTS for some data; `B` data, `dim` latent features on the real line.

    Attributes:
        samples: Draws of NUTS, of shape `(num_samples, B, dim)`.
        loc_shift: (Mean of guide - mean of NUTS) / standard deviation of NUTS, `(B, dim)`.
        scale_ratio: Standard deviation of guide / that of NUTS, `(B, dim)`.
        c2st: The accuracy of a classifier that tells the guide's draws from as many independent
            ones of NUTS, `(B,)`: 1/2 where they cannot be told apart.
        z: How many standard errors it lies above 1/2, `(B,)`.
        rhat: The largest split R-hat of the chain, `(B,)`; above 1.05 it has not converged.
        ess: The smallest effective sample size of a mean or a second moment, `(B,)`.
    """

    samples: Tensor
    loc_shift: Tensor
    scale_ratio: Tensor
    c2st: Tensor
    z: Tensor
    rhat: Tensor
    ess: Tensor


@counted
def nuts_posterior(
    vae: Any,
    x: Data,
    num_samples: int = 1000,
    *,
    num_warmup: int = 300,
    seed: int = 0,
    **known: Any,
) -> NUTSPosterior:
    r"""Samples :math:`p(z \mid x)` by NUTS on the same Pyro model, and compares the guide.

    References:
        | The No-U-Turn Sampler (Hoffman & Gelman, 2014)
        | https://arxiv.org/abs/1111.4246
        | Revisiting Classifier Two-Sample Tests (Lopez-Paz & Oquab, 2017), Sec. 3
        | https://arxiv.org/abs/1610.06545

    Arguments:
        vae: A VAE, or a pair of Pyro model and guide, with continuous latent variables.
        x: A few data, of shape `(B, *x_shape)`; each has a chain of its own.
        num_samples: The number of draws of each chain.
        num_warmup: The number of steps before them, in which step sizes are found.
        seed: Seeds the chains.
        known: Further inputs of the programs, one row per datum: row numbers as `index`,
            conditions, values of other sites.

    Raises:
        ValueError: A latent variable is discrete or has a support without a bijection.
    """

    def compare(datum: Tensor, more: dict[str, Any]) -> list[Tensor]:
        latents = Unconstrained(program, datum, **more)
        chain = nuts_chain(program, datum, more, latents, num_samples, num_warmup)
        guide = latents.draw(num_samples, "guide", datum, **more)[:, 0]
        return _compare(chain, guide, seed)

    with opened(vae, x, known, seed, freeze=True) as (program, split):
        found = (compare(*batch) for batch in own_batches(split, 1))
        rows = here().in_order(found, split.device)
    stacked = [torch.stack(field) for field in zip(*rows)]
    return NUTSPosterior(stacked[0].transpose(0, 1), *stacked[1:])


def _compare(chain: Tensor, guide: Tensor, seed: int) -> list[Tensor]:
    rhat, size = mixing(chain[None])
    ess = max(2 * FOLDS, float(size))
    thin = chain[:: ceil(len(chain) / ess)]
    accuracy, z = c2st(thin, guide[: len(thin)], seed)
    return [
        chain,
        (guide.mean(0) - chain.mean(0)) / chain.std(0),
        guide.std(0) / chain.std(0),
        torch.tensor(accuracy),
        torch.tensor(z),
        rhat,
        torch.tensor(ess),
    ]


def c2st(a: Tensor, b: Tensor, seed: int = 0) -> tuple[float, float]:
    r"""Returns how well a classifier tells two samples apart, and its z score.

    Logistic regression on features and their squares and products, which sees means, variances
    and correlations; by five-fold cross-validation.

    Arguments:
        a: Independent draws, of shape `(N, dim)`.
        b: Other such, of shape `(N, dim)`.
        seed: Seeds the folds.

    Returns:
        The accuracy, and its distance from 1/2 in standard errors :math:`1 / \sqrt{4 \cdot 2N}`.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import PolynomialFeatures, StandardScaler

    both = torch.cat([a, b]).double().cpu().numpy()
    labels = np.repeat([0, 1], [len(a), len(b)])
    classifier = make_pipeline(
        StandardScaler(),
        PolynomialFeatures(2, include_bias=False),
        StandardScaler(),
        LogisticRegression(C=0.1, max_iter=1000),
    )
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    accuracy = float(cross_val_score(classifier, both, labels, cv=folds).mean())
    return accuracy, (accuracy - 0.5) * (4 * len(labels)) ** 0.5


__getattr__ = renamed(__name__, {"Gold": "NUTSPosterior", "gold_posterior": "nuts_posterior"})
