r"""What estimators need of a model and its guide, and the sentences where it is not there."""

from math import prod
from typing import Any, NamedTuple

from ..distributions import name_of
from .kl import features_of


class Laws(NamedTuple):
    r"""What model and guide draw from for some data.

    Attributes:
        pairs: For each latent site the guide's distribution and the model's.
        closed: Whether its KL term may be in closed form.
        x_shape: The shape of a datum.
        reparameterized: Whether gradients flow through all latent variables.
        density: For which values the guide's ``log_prob`` is available.
        listed: The latent site that alone has no gradient, if its values can be listed.
        guide: What errors call the guide.
        given: What else the programs are given: conditions, values of latent sites.
    """

    pairs: dict[str, tuple[Any, Any]]
    closed: dict[str, bool]
    x_shape: tuple[int, ...]
    reparameterized: bool
    density: str
    listed: str | None
    guide: str
    given: tuple[str, ...] = ()

    @property
    def names(self) -> str:
        r"""The usual names of the pairs; with several sites, with their names, too."""
        shown = {site: f"{name_of(q)} against {name_of(p)}" for site, (q, p) in self.pairs.items()}
        if len(shown) == 1:
            return next(iter(shown.values()))
        return ", ".join(f"{site}: {pair}" for site, pair in shown.items())

    @property
    def latent_dim(self) -> int:
        r"""The number of features of the latent variables, all together."""
        return sum(prod(q.event_shape) for q, _ in self.pairs.values())

    def states(self) -> int:
        r"""How many values the listed site has."""
        if self.listed is None:
            return 0
        q, _ = self.pairs[self.listed]
        return len(q.enumerate_support(expand=False))


def _path(laws: Laws, estimator: str) -> str | None:
    if laws.reparameterized:
        return None
    return (
        f"Expected a reparameterized posterior for {estimator}; got {laws.guide}, through whose "
        "samples no gradient flows. Use score-function, vimco or enumeration, or a relaxed "
        "posterior."
    )


def _density(laws: Laws, estimator: str) -> str | None:
    if laws.density != "none":
        return None
    return (
        f"Expected a posterior with a density for {estimator}; got {laws.guide}, a point. Train "
        "it as an autoencoder (reparameterized), and use AIS from the prior for log p(x)."
    )


def _foreign_density(laws: Laws, estimator: str) -> str | None:
    if laws.density == "anywhere":
        return None
    return (
        f"Expected a posterior whose density is available anywhere for {estimator}; got "
        f"{laws.guide}, which has it for {laws.density}. Use reparameterized or iwae."
    )


def _list(laws: Laws, estimator: str) -> str | None:
    if laws.listed is not None:
        return None
    return (
        f"Expected one latent variable whose values can be listed for enumeration; got "
        f"{laws.guide}. Use reparameterized, or score-function."
    )


def _one_vector(laws: Laws, estimator: str) -> str | None:
    if laws.given:
        return (
            f"Expected a model of x alone for {estimator}, which is about the aggregate posterior "
            f"over all data; got one that is given {', '.join(laws.given)}. Use reparameterized."
        )
    laws_of_z = [q for q, _ in laws.pairs.values()]
    shapes = {name: tuple(q.event_shape) for name, (q, _) in laws.pairs.items()}
    if len(shapes) == 1 and len(laws_of_z[0].batch_shape) == 1:
        [shape] = shapes.values()
        if len(shape) == 1 and shape[0] > 1:
            return None
    got = ", ".join(f"{name} of shape {shape}" for name, shape in shapes.items()) or "none"
    return (
        f"Expected one latent variable, a vector of two features or more for each datum, for "
        f"{estimator}, which is about its aggregate posterior; got {got}. Use reparameterized."
    )


def _features(laws: Laws, estimator: str) -> str | None:
    if all(features_of(law) is not None for pair in laws.pairs.values() for law in pair):
        return None
    return (
        f"Expected a prior and a posterior that factorize over latent features for {estimator}, "
        f"which weighs parts of the KL term by feature; got {laws.names}. Use factor-vae, whose "
        "discriminator needs no density, or a diagonal pair."
    )


def _draws(laws: Laws, estimator: str) -> str | None:
    if all(p.has_rsample for _, p in laws.pairs.values()):
        return None
    return (
        f"Expected a prior whose samples have gradients for {estimator}, which compares them with "
        f"the posterior's; got {laws.names}. Use standard-normal or flow, or reparameterized."
    )


NEEDS = {
    "path": _path,
    "density": _density,
    "foreign density": _foreign_density,
    "list": _list,
    "one vector": _one_vector,
    "features": _features,
    "draws of the prior": _draws,
}
