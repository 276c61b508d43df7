from collections.abc import Mapping
from typing import Any, NoReturn

import pyro
from torch import Tensor, nn

from ..base import Factor, Net, Sites, factors_of
from ..distributions import Known
from ..programs import show_parameters
from ..remembered import Remembers
from .wiring import check_roles, completes, parents_of, wire


class VAE(Remembers, nn.Module):
    r"""Creates a variational autoencoder from its three assumptions.

    .. math:: p(x, z) = p(z) \, p(x \mid z) \qquad q(z \mid x) \approx p(z \mid x)

    Each is a factor, or :class:`pyro_vae.Sites`, an ordered product of factors. A factor names
    what it is given, ``.given("z2", "c")``: sites before it, and what the programs are called
    with. By default the prior is the site ``"z"``, the likelihood the site ``"x"`` given all
    latent sites, the posterior the site ``"z"`` given ``"x"``.

    :meth:`model` and :meth:`guide` are ordinary Pyro programs in the plate ``"data"``. They know
    nothing of training: no weights, no scales.

    References:
        | Auto-Encoding Variational Bayes (Kingma & Welling, 2014)
        | https://arxiv.org/abs/1312.6114

    Arguments:
        prior: The prior :math:`p(z)`.
        likelihood: The likelihood :math:`p(x \mid z)`.
        posterior: The amortized posterior :math:`q(z \mid x)`.

    Attributes:
        latents: The names of the latent sites, in the model's order.
        conditions: The names of what factors are given and no factor makes, which the programs
            have to be called with.
        drawn_under: Those of them that the model is given.
        columns: The columns of the table that it was trained on, by which DataFrames are read.

    Raises:
        ValueError: One of them is a class, a distribution, or has another role; a factor is given
            what comes after it; or the posterior lacks a latent site.

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

    def __init__(
        self, prior: Factor | Sites, likelihood: Factor | Sites, posterior: Factor | Sites
    ) -> None:
        super().__init__()
        check_roles(prior=prior, likelihood=likelihood, posterior=posterior)
        self.prior: Any = prior
        self.likelihood: Any = likelihood
        self.posterior: Any = posterior
        wiring = wire(prior, likelihood, posterior)
        self.latents, self.observed = wiring.latents, wiring.observed
        self.conditions, self.drawn_under = wiring.conditions, wiring.drawn_under
        self._ancestors = wiring.ancestors

    def model(self, x: Tensor | None = None, *, batch_size: int = 1, **known: Tensor) -> Tensor:
        r"""Samples latent variables, and samples or observes data.

        Arguments:
            x: The data, of shape `(B, *x_shape)`; without it, `batch_size` data are drawn.
            batch_size: How many data to draw.
            known: Conditions, and values of other observed sites, a row for each datum. What the
                guide alone wants, row numbers (`index`) and known values of latent sites, may be
                among them.

        Returns:
            The data, of shape `(B, *x_shape)`.

        Raises:
            ValueError: `x` has not the likelihood's event shape, or a condition is missing.
        """
        show_parameters(self.prior, "prior")
        show_parameters(self.likelihood, "likelihood")

        values: dict[str, Any] = self._outside(known, self.drawn_under)
        rows = [x, *values.values(), *known.values()]
        count = next((len(v) for v in rows if isinstance(v, Tensor) and v.dim()), batch_size)
        with pyro.plate("data", count):
            values["x"] = x  # whose length a chain has
            self._sample(self.prior, "z", values)
            return self._observe(values, x, known)

    def guide(self, x: Tensor, **known: Tensor) -> Tensor:
        r"""Samples latent variables given the data.

        Arguments:
            x: The data, of shape `(B, *x_shape)`.
            known: Conditions; the row numbers `index`, of shape `(B,)`, for posteriors that want
                them; and values of latent sites where they are known, NaN where they are not.

        Returns:
            The value of the last latent variable, of shape `(B, *z_shape)`.
        """
        show_parameters(self.posterior, "posterior")

        values: dict[str, Any] = {"x": x, **self._outside(known, self.conditions)}
        with pyro.plate("data", len(x)):
            last = self._sample(self.posterior, "z", values, known)
            if self.completes:  # what x misses is drawn as the model draws it
                parts = [*factors_of(self.prior, "z"), *factors_of(self.likelihood, "x")]
                for site, factor in parts:
                    if isinstance(factor, Net):
                        values[site] = self._law(factor, values, self.latents)
                    elif site == "x":
                        pyro.sample("x_missing", self._law(factor, values, self.latents).rest(x))
                        break
            return last

    def forward(self, *args: Any, **known: Any) -> NoReturn:
        r"""A VAE has two programs, and no one thing that calling it would mean."""
        raise TypeError(
            "Expected vae.model(x), the generative program, or vae.guide(x), which draws z; got "
            "vae(x). For means of x take pv.reconstruct(vae, x), for those of z pv.encode(vae, x)."
        )

    @property
    def completes(self) -> bool:
        r"""Whether another observed site is given `x`, which may have holes."""
        return completes(self.likelihood)

    # --- Parts ----------------------------------------------------------------------------------

    def _outside(self, known: Mapping[str, Tensor], needed: tuple[str, ...]) -> dict[str, Any]:
        r"""What factors may be given in addition to sites: conditions and row numbers."""
        missing = [name for name in needed if known.get(name) is None]
        if missing:
            raise ValueError(
                f"Expected {', '.join(f'{name}=' for name in missing)} for every datum, which "
                f"factors are given; got none. The sites are {', '.join(self.latents)} and "
                f"{', '.join(self.observed)}."
            )
        sites = (*self.latents, *self.observed, "index")
        if strange := [name for name in known if name not in (*self.conditions, *sites)]:
            shown = ", ".join((*self.conditions, *sites))
            raise ValueError(
                f"Expected what factors are given, or sites ({shown}); got {', '.join(strange)}, "
                "which no factor is given and no site is called."
            )
        names = (*self.conditions, "index")
        return {name: known[name] for name in names if known.get(name) is not None}

    def _law(self, factor: Any, values: Mapping[str, Any], default: tuple[str, ...]) -> Any:
        r"""What a factor returns, given what it names."""
        names = parents_of(factor, default)
        inputs: list[Any] = [values[name] for name in names]
        inputs = [tuple(inputs)] if len(inputs) > 1 else inputs
        if getattr(factor, "index", False):
            inputs.append(values.get("index"))
        if getattr(factor, "sequential", False):
            x = values.get("x")
            inputs.append(None if x is None else x.shape[1])
        try:
            return factor(*inputs)
        except (AttributeError, TypeError) as error:
            if len(names) < 2 or "tuple" not in str(error):
                raise
            raise ValueError(
                f"Expected a network of several inputs for {type(factor).__name__}, which is "
                f"given {', '.join(names)}; got one of a single tensor. Wrap it: "
                "pv.nn.Join(net, event_dims)."
            ) from error

    def _sample(
        self,
        part: nn.Module,
        name: str,
        values: dict[str, Any],
        known: Mapping[str, Tensor] | None = None,
    ) -> Any:
        r"""Samples the factors of prior or posterior, in order; returns the last value."""
        default = () if known is None else ("x",)
        for site, factor in factors_of(part, name):
            law = self._law(factor, values, default)
            if isinstance(factor, Net):
                values[site] = law
                continue
            if known is not None and known.get(site) is not None:
                value = known[site]
                if value.shape[1:] != law.event_shape:
                    raise ValueError(
                        f"Expected {site} of shape (batch, "
                        f"{', '.join(map(str, law.event_shape))}), as the posterior has it; got "
                        f"{tuple(value.shape)}. Pass classes as one-hot rows, NaN where not known."
                    )
                law = Known(law, value)
            infer = {"given": self._ancestors[site]} if known is None else {}
            values[site] = pyro.sample(site, law, infer=infer)
        return values[self.latents[-1]]

    def _observe(
        self, values: dict[str, Any], x: Tensor | None, known: Mapping[str, Tensor]
    ) -> Any:
        data: dict[str, Any] = {**known, "x": x}
        seen = x
        for site, factor in factors_of(self.likelihood, "x"):
            law = self._law(factor, values, self.latents)
            if isinstance(factor, Net):
                values[site] = law
                continue
            value = data.get(site)
            if value is not None and value.shape[1:] != law.event_shape:
                raise ValueError(_wrong_shape(site, value, law))
            values[site] = pyro.sample(site, law, obs=value)
            if site == "x":
                seen = values["x"]
                if self.completes and x is not None:
                    values["x"] = x.where(~x.isnan(), pyro.sample("x_missing", law.rest(x)))
        return seen


def _wrong_shape(site: str, value: Tensor, law: Any) -> str:
    more = site == "x" and law.shape() == value.shape
    remedy = f" Set event_dim of the likelihood to {value.dim() - 1}." if more else ""
    return (
        f"Expected {site} of shape (batch, {', '.join(map(str, law.event_shape))}), as the "
        f"likelihood's event shape says; got {tuple(value.shape)}.{remedy}"
    )
