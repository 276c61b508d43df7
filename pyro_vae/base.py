r"""The grammar: a VAE is a prior, a likelihood and a posterior.

Each is a factor, or a product of factors. A factor is a module whose ``forward`` returns a
distribution with its full event shape, given what it names. Class attributes say what planner,
building and evaluation need to know of a family. Read besides are `temperature` of relaxed
families, `sigma` and `log_scale` of the Gaussian likelihood, and the `encoder` of posteriors.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, Self

from pyro.distributions import Distribution
from torch import Tensor, nn
from torch.distributions import constraints
from torch.distributions.constraints import Constraint

from .registration import entry_of
from .remembered import Remembers

Density = Literal["anywhere", "own samples", "none"]
r"""Whether ``log_prob`` is available for any value, for values just drawn, or not at all."""


class Factor(Remembers, nn.Module):
    r"""One factor of a model or guide: a conditional distribution, or a tensor that is computed.

    Attributes:
        parents: The names of what it is given: sites and nets before it, or what the data bring.
            None stands for what its role is given: a prior nothing, a likelihood all latent
            variables, a posterior `x`.
        formula: Its density in plain characters, for lists and help.
        advice: When to use it, in one line.
        support_name: What its support is called; by default that of the class attribute `support`.
    """

    parents: tuple[str, ...] | None = None
    formula: str = ""
    advice: str = ""
    support_name: str = ""

    @classmethod
    def entry(cls) -> dict[str, Any] | None:
        r"""What the class says of itself to recipes (:func:`pyro_vae.registration.entry_of`)."""
        return entry_of(cls)

    def given(self, *parents: str) -> Self:
        r"""Names what the factor is given, and returns the factor itself.

        Several values reach its network as one tuple; :class:`pyro_vae.nn.Join` takes it.

        Example:
            >>> import pyro_vae as pv
            >>> pv.posteriors.MeanFieldNormal(pv.nn.MLP(2, [8], 2 * 4)).given("z2").parents
            ('z2',)
        """
        if strange := [name for name in parents if not isinstance(name, str)]:
            raise ValueError(
                f'Expected names of what a factor is given, as in .given("z", "c"); got '
                f"{type(strange[0]).__name__}."
            )
        self.parents = parents
        return self


class Net(Factor):
    r"""Creates a node without noise: its network returns a tensor, which is no random variable.

    Arguments:
        net: A network of what the node is given.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, values: Any) -> Tensor:
        r"""Returns the tensor, of shape `(*batch, ...)`."""
        return self.net(values)


class Prior(Factor, ABC):
    r"""Abstract prior :math:`p(z)`. Define ``forward``.

    Attributes:
        support: Where :math:`z` lies.
        sequential: Whether there is a :math:`z_t` for each step of :math:`x`, and ``forward``
            takes their number, as ``forward(num_steps)``; None where there are no data.
    """

    support: Constraint = constraints.real
    sequential: bool = False

    @abstractmethod
    def forward(self) -> Distribution:
        r"""
        Returns:
            A distribution with ``batch_shape`` `()` and ``event_shape`` `(latent_dim,)`.
        """


class Decoded(NamedTuple):
    r"""What a decoder has returned, for a likelihood in the place of :math:`z`."""

    outputs: Tensor


class Likelihood(Factor, ABC):
    r"""Abstract likelihood :math:`p(x \mid z)`. Define ``forward``.

    Arguments:
        decoder: Maps :math:`z` of shape `(batch, latent_dim)` to `(batch, *x_shape)`; where an
            element of :math:`x` needs several numbers, they are joined in the first of these
            dimensions. It is called by :meth:`decode`.
        event_dim: The number of dimensions of one datum: 1 for vectors, 3 for images.

    Attributes:
        support: Where the elements of :math:`x` lie.
        missing: Whether elements of :math:`x` may be missing (NaN).
        independent: Whether elements of :math:`x` are independent given :math:`z`, so that any may
            be left out.
        tells_holes: Whether it is of what is missing of `x`, which the data tell by themselves.
        outputs_per_element: How many numbers the decoder returns for each element of :math:`x`.
    """

    support: Constraint = constraints.real
    missing: bool = False
    independent: bool = True
    tells_holes: bool = False
    outputs_per_element: int = 1

    def __init__(self, decoder: nn.Module, event_dim: int = 1) -> None:
        super().__init__()
        self.decoder = decoder
        self.event_dim = event_dim

    def decode(self, z: Tensor) -> Tensor:
        r"""Calls the decoder, which sees one batch dimension whatever the shape of :math:`z`.

        Arguments:
            z: The latent variable, of shape `(*batch, latent_dim)`.

        Returns:
            The decoder's output, of shape `(*batch, ...)`.
        """
        if isinstance(z, Decoded):
            return z.outputs
        if not isinstance(z, Tensor) or z.dim() in (0, 2):  # several values: Join's to flatten
            return self.decoder(z)
        y = self.decoder(z.reshape(-1, z.shape[-1]))
        return y.reshape(*z.shape[:-1], *y.shape[1:])

    @classmethod
    def num_outputs(cls, **options: Any) -> int:
        r"""How many numbers the decoder returns for each element of `x`.

        Arguments:
            options: Those of the constructor.
        """
        return cls.outputs_per_element

    def outputs_at(self, mean: Tensor) -> Tensor | None:
        r"""Returns the decoder's first outputs at which `x` has this mean, or None if no outputs
        are known that have; recipes start there. By default they are the mean itself.

        Arguments:
            mean: The mean of each element of `x`, in one dimension.
        """
        return mean

    @abstractmethod
    def forward(self, z: Tensor) -> Distribution:
        r"""
        Arguments:
            z: The latent variable, of shape `(*batch, latent_dim)`.

        Returns:
            A distribution with ``batch_shape`` `batch` and ``event_shape`` `x_shape`.
        """


class Posterior(Factor, ABC):
    r"""Abstract amortized posterior :math:`q(z \mid x)`. Define ``forward``.

    Arguments:
        encoder: Maps :math:`x` of shape `(*batch, *x_shape)` to the parameters of the
            distribution, of shape `(*batch, num_outputs)`.

    Attributes:
        support: Where :math:`z` lies.
        density: For which values ``log_prob`` is available.
        reparameterized: Whether gradients of the parameters flow through samples.
        enumerable: Whether all values of :math:`z` can be listed.
        index: Whether ``forward`` takes row numbers, as ``forward(x, index)``.
        passes: How many passes of its networks the density of a value takes that it did not draw.
        outputs_per_feature: How many numbers the encoder returns for each latent feature.
    """

    support: Constraint = constraints.real
    density: Density = "anywhere"
    reparameterized: bool = True
    enumerable: bool = False
    index: bool = False
    passes: int = 1
    outputs_per_feature: int = 2

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    @classmethod
    def num_outputs(cls, latent_dim: int, *args: Any, **options: Any) -> int:
        r"""How many numbers the encoder returns for a latent variable.

        Arguments:
            latent_dim: The number of latent features.
            args: Options of the constructor that some families need.
            options: The same by name.
        """
        return cls.outputs_per_feature * latent_dim

    @abstractmethod
    def forward(self, x: Tensor) -> Distribution:
        r"""
        Arguments:
            x: The data, of shape `(*batch, *x_shape)`.

        Returns:
            A distribution with ``batch_shape`` `batch` and ``event_shape`` `(latent_dim,)`.
        """


class Sites(Remembers, nn.ModuleDict):
    r"""Creates a product of factors, :math:`\prod_s p(s \mid \text{parents of } s)`, in order.

    A conditional prior is a family of posteriors: both are conditional distributions of a network.
    The attributes are those of a single factor, for all together.

    Arguments:
        factors: The factors by the name of their site, in the order of sampling.
        named: More of them.

    Raises:
        ValueError: There are none, or a name is one of a method of modules.

    Example:
        >>> import pyro_vae as pv
        >>> prior = pv.Sites(
        ...     z2=pv.priors.StandardNormal(2),
        ...     z1=pv.posteriors.MeanFieldNormal(pv.nn.MLP(2, [8], 2 * 4)).given("z2"),
        ... )
        >>> prior.reparameterized, list(prior)
        (True, ['z2', 'z1'])
    """

    def __init__(self, factors: Mapping[str, Factor] | None = None, /, **named: Factor) -> None:
        super().__init__()
        every = {**(factors or {}), **named}
        if not every:
            raise ValueError("Expected factors by the name of their site; got none.")
        for name, factor in every.items():
            if not isinstance(factor, Factor):
                raise ValueError(
                    f"Expected factors: priors, likelihoods, posteriors or pv.Net(network); got "
                    f"{type(factor).__name__} as {name!r}."
                )
            if hasattr(self, name) or not name.isidentifier():
                raise ValueError(
                    f"Expected names of sites such as z1; got {name!r}, which "
                    f"{'is no name' if not name.isidentifier() else 'modules use themselves'}."
                )
            self[name] = factor

    def laws(self) -> dict[str, Any]:
        r"""The factors that are distributions, by name."""
        return {name: factor for name, factor in self.items() if not isinstance(factor, Net)}

    def _each(self, name: str, default: Any) -> list[Any]:
        return [getattr(factor, name, default) for factor in self.laws().values()]

    @property
    def support(self) -> Constraint:
        r"""That of `x` in a likelihood, else that of the last site."""
        laws = self.laws()
        return laws["x"].support if "x" in laws else [*laws.values()][-1].support

    @property
    def missing(self) -> bool:
        return any(self._each("missing", False))

    @property
    def reparameterized(self) -> bool:
        return all(self._each("reparameterized", True))

    @property
    def enumerable(self) -> bool:
        return any(self._each("enumerable", False))

    @property
    def index(self) -> bool:
        return any(self._each("index", False))

    @property
    def sequential(self) -> bool:
        return any(self._each("sequential", False))

    @property
    def density(self) -> Density:
        found = self._each("density", "anywhere")
        return next((d for d in ("none", "own samples") if d in found), "anywhere")

    @property
    def passes(self) -> int:
        return sum(self._each("passes", 1))


def factors_of(part: nn.Module, name: str) -> list[tuple[str, Any]]:
    r"""The factors of a part by the names of their sites; a single one is the site `name`."""
    return [*part.items()] if isinstance(part, Sites) else [(name, part)]
