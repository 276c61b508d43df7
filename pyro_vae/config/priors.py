r"""Priors, by name."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, PositiveFloat, PositiveInt

from .kinds import PriorKind, Sizes

Numbers = Annotated[
    tuple[float, ...], BeforeValidator(lambda v: (v,) if isinstance(v, int | float) else v)
]
REAL, BITS, ONE_HOT = "the real numbers", "{0, 1}", "one-hot blocks"
UNIT, SPHERE = "[0, 1]", "the unit sphere"


class StandardNormal(PriorKind):
    """p(z) = N(0, I)."""

    target = "pyro_vae.priors.StandardNormal"
    support = REAL
    advice = "the start: nothing to learn, closed-form KL"

    kind: Literal["standard-normal"] = "standard-normal"


class Normal(PriorKind):
    """p(z) = N(mu, diag sigma^2), given or learned."""

    target = "pyro_vae.priors.Normal"
    support = REAL
    advice = "when something is known of z beforehand"

    kind: Literal["normal"] = "normal"
    loc: Numbers = (0.0,)
    """The mean: one number, or one for each latent feature."""
    scale: Numbers = (1.0,)
    """The standard deviation: one number, or one for each latent feature."""
    learned: bool = False
    """Whether both are parameters, which start there."""


class Laplace(PriorKind):
    """p(z) = prod_l Laplace(z_l; 0, b)."""

    target = "pyro_vae.priors.Laplace"
    support = REAL
    advice = "for sparse features whose axes mean something"

    kind: Literal["laplace"] = "laplace"
    scale: PositiveFloat = 1.0
    """The scale b; the standard deviation is sqrt(2) b."""


class GaussianMixture(PriorKind):
    """p(z) = sum_k pi_k N(z; mu_k, diag sigma_k^2), learned."""

    target = "pyro_vae.priors.GaussianMixture"
    support = REAL
    advice = "for data in clusters; cheap"

    kind: Literal["gaussian-mixture"] = "gaussian-mixture"
    num_components: PositiveInt = 10
    """Number K of components."""


class Vamp(PriorKind):
    """p(z) = 1/K sum_k q(z | u_k), the posterior averaged over K pseudo-inputs."""

    target = "pyro_vae.priors.Vamp"
    support = "the posterior's"
    advice = "a multimodal prior that cannot stray from the posterior; K encoder passes a step"

    kind: Literal["vamp"] = "vamp"
    num_components: PositiveInt = 500
    """Number K of pseudo-inputs, which start at K training data."""
    learned: bool = True
    """Whether the pseudo-inputs are parameters, or stay training data."""


class Flow(PriorKind):
    """p(z): N(0, I) through learned autoregressive maps."""

    target = "pyro_vae.priors.Flow"
    support = REAL
    advice = "the most flexible; sampling takes latent_dim passes"

    kind: Literal["flow"] = "flow"
    num_transforms: PositiveInt = 2
    """Number of maps, whose order of features alternates."""
    hidden_features: Sizes = (100,)
    """Size of each hidden layer of their networks."""
    transform: Literal["affine", "spline"] = "affine"
    """What each map does to a feature."""


class HypersphereUniform(PriorKind):
    """p(z) = 1 / surface of the unit sphere."""

    target = "pyro_vae.priors.HypersphereUniform"
    support = SPHERE
    advice = "for directions, with the von-mises-fisher posterior"

    kind: Literal["hypersphere-uniform"] = "hypersphere-uniform"


class Bernoulli(PriorKind):
    """p(z) = prod_l Bernoulli(z_l; p_l)."""

    target = "pyro_vae.priors.Bernoulli"
    support = BITS
    advice = "for features that are on or off; exact by enumeration up to 12"

    kind: Literal["bernoulli"] = "bernoulli"
    learned: bool = False
    """Whether probabilities are parameters, which start at 1/2."""


class Categorical(PriorKind):
    """p(z) = prod_n Categorical(z_n; p_n), one-hot blocks end to end."""

    target = "pyro_vae.priors.Categorical"
    support = ONE_HOT
    advice = "for classes; one block enumerates cheaply"

    kind: Literal["categorical"] = "categorical"
    num_categories: PositiveInt | None = None
    """Size of a block, which divides latent_dim; by default all is one block."""
    learned: bool = False
    """Whether probabilities are parameters, which start alike."""


class RelaxedBernoulli(PriorKind):
    """p(z): Bernoulli features relaxed to [0, 1]."""

    target = "pyro_vae.priors.RelaxedBernoulli"
    support = UNIT
    advice = "trains bits by reparameterization; evaluated as bits"

    kind: Literal["relaxed-bernoulli"] = "relaxed-bernoulli"
    temperature: PositiveFloat = 0.5
    """Where the temperature starts."""
    learned: bool = False
    """Whether probabilities are parameters, which start at 1/2."""


class RelaxedCategorical(PriorKind):
    """p(z): one-hot blocks relaxed to the simplex."""

    target = "pyro_vae.priors.RelaxedCategorical"
    support = UNIT
    advice = "trains classes by reparameterization; evaluated one-hot"

    kind: Literal["relaxed-categorical"] = "relaxed-categorical"
    num_categories: PositiveInt | None = None
    """Size of a block, which divides latent_dim; by default all is one block."""
    temperature: PositiveFloat = 0.67
    """Where the temperature starts."""
    learned: bool = False
    """Whether probabilities are parameters, which start alike."""


Prior = Annotated[
    StandardNormal
    | Normal
    | Laplace
    | GaussianMixture
    | Vamp
    | Flow
    | HypersphereUniform
    | Bernoulli
    | Categorical
    | RelaxedBernoulli
    | RelaxedCategorical,
    Field(discriminator="kind"),
]
