from typing import Any, NoReturn

import pyro
from torch import Tensor, nn
from torch.distributions import Distribution

from ..base import Likelihood, Posterior, Prior
from ..programs import show_parameters

ROLES = {"prior": Prior, "likelihood": Likelihood, "posterior": Posterior}


class VAE(nn.Module):
    r"""Creates a variational autoencoder from its three assumptions.

    .. math:: p(x, z) = p(z) \, p(x \mid z) \qquad q(z \mid x) \approx p(z \mid x)

    :meth:`model` and :meth:`guide` are ordinary Pyro programs with the sites ``"z"`` and ``"x"``
    in the plate ``"data"``. They know nothing of training: no weights, no scales.

    References:
        | Auto-Encoding Variational Bayes (Kingma & Welling, 2014)
        | https://arxiv.org/abs/1312.6114

    Arguments:
        prior: The prior :math:`p(z)`.
        likelihood: The likelihood :math:`p(x \mid z)`.
        posterior: The amortized posterior :math:`q(z \mid x)`.

    Attributes:
        columns: The columns of the table that it was trained on, by which DataFrames are read.

    Raises:
        ValueError: One of them is a class, a distribution, or has another role.

    Example:
        >>> import pyro_vae as pv
        >>> vae = pv.VAE(
        ...     prior=pv.priors.StandardNormal(2),
        ...     likelihood=pv.likelihoods.Bernoulli(pv.nn.MLP(2, [16], 5)),
        ...     posterior=pv.posteriors.MeanFieldNormal(pv.nn.MLP(5, [16], 2 * 2)),
        ... )
        >>> vae.model(batch_size=3).shape
        torch.Size([3, 5])
    """

    columns: tuple[Any, ...] = ()

    def __init__(self, prior: Prior, likelihood: Likelihood, posterior: Posterior) -> None:
        super().__init__()
        for role, part in zip(ROLES, (prior, likelihood, posterior)):
            _check_role(role, part)
        self.prior = prior
        self.likelihood = likelihood
        self.posterior = posterior

    def model(
        self, x: Tensor | None = None, *, index: Tensor | None = None, batch_size: int = 1
    ) -> Tensor:
        r"""Samples :math:`z \sim p(z)` and :math:`x \sim p(x \mid z)`, or observes :math:`x`.

        Arguments:
            x: The data, of shape `(B, *x_shape)`; without it, `batch_size` data are drawn.
            index: Row numbers, which only the guide may want.
            batch_size: How many data to draw.

        Returns:
            The data, of shape `(B, *x_shape)`.

        Raises:
            ValueError: `x` has not the likelihood's event shape.
        """
        show_parameters(self.prior, "prior")
        show_parameters(self.likelihood, "likelihood")

        with pyro.plate("data", batch_size if x is None else len(x)):
            z = pyro.sample("z", self.prior())
            likelihood = self.likelihood(z)
            if x is not None and x.shape[1:] != likelihood.event_shape:
                more = likelihood.shape() == x.shape
                remedy = f" Give the likelihood event_dim={x.dim() - 1}." if more else ""
                raise ValueError(
                    f"Expected x of shape (batch, {', '.join(map(str, likelihood.event_shape))}), "
                    f"as the likelihood's event shape says; got {tuple(x.shape)}.{remedy}"
                )
            return pyro.sample("x", likelihood, obs=x)

    def guide(self, x: Tensor, *, index: Tensor | None = None) -> Tensor:
        r"""Samples :math:`z \sim q(z \mid x)`.

        Arguments:
            x: The data, of shape `(B, *x_shape)`.
            index: The row numbers of the data, of shape `(B,)`, for posteriors that want them.

        Returns:
            The latent variable, of shape `(B, latent_dim)`.
        """
        show_parameters(self.posterior, "posterior")

        rows = (x, index) if self.posterior.index else (x,)
        with pyro.plate("data", len(x)):
            return pyro.sample("z", self.posterior(*rows))

    def forward(self, *args: Any, **known: Any) -> NoReturn:
        r"""A VAE has two programs, and no one thing that calling it would mean."""
        raise TypeError(
            "Expected vae.model(x), the generative program, or vae.guide(x), which draws z; got "
            "vae(x). For means of x take pv.reconstruct(vae, x), for those of z pv.encode(vae, x)."
        )


def _check_role(role: str, part: Any) -> None:
    r"""Refuses what is no module that returns a distribution of the wanted kind."""
    if isinstance(part, type):
        raise ValueError(
            f"Expected a {role}, made by calling its class; got the class {part.__name__}. Write "
            f"{part.__name__}(...)."
        )
    if isinstance(part, Distribution):
        raise ValueError(
            f"Expected a {role}: a module whose forward returns a distribution; got the "
            f"distribution {type(part).__name__} itself. Take one of pyro_vae.{role}s, or return "
            f"it from the forward of a class of your own ({role.title()} in pyro_vae.base)."
        )
    other = next((name for name, base in ROLES.items() if isinstance(part, base)), role)
    if other != role or not isinstance(part, nn.Module):
        kind = f"a {other}" if other != role else "no module"
        raise ValueError(
            f"Expected VAE(prior, likelihood, posterior); got {type(part).__name__}, {kind}, as "
            f"the {role}."
        )
