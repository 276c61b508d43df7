r"""Likelihoods, by name."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from .kinds import MLP, FactorKind, Kind, Network, Settings

BITS, COUNTS, LEVELS = "{0, 1}", "{0, 1, 2, ...}", "{0, ..., n}"
REAL, UNIT, OPEN_UNIT = "the real numbers", "[0, 1]", "(0, 1)"


class LikelihoodKind(FactorKind):
    outputs_per_element: ClassVar[int] = 1

    decoder: Network = MLP()
    """The network from z to the parameters of p(x | z)."""
    output_bias: Literal["data-mean", "zero"] = "data-mean"
    """Where the decoder's output starts: at the mean of the training data, or at zero."""

    @property
    def num_outputs(self) -> int:
        """How many numbers the decoder gives for each element of x."""
        return self.outputs_per_element


class Bernoulli(LikelihoodKind):
    """p(x | z) = prod_i Bernoulli(x_i; logit = f_i(z))."""

    target = "pyro_vae.likelihoods.Bernoulli"
    support = BITS
    advice = "for bits; grey pixels are binarized first, or take another"

    kind: Literal["bernoulli"] = "bernoulli"


class ContinuousBernoulli(LikelihoodKind):
    """p(x | z) = prod_i f_i e^(f_i x_i) / (e^f_i - 1)."""

    target = "pyro_vae.likelihoods.ContinuousBernoulli"
    support = UNIT
    advice = "for grey in [0, 1]: the cross-entropy, made a density"

    kind: Literal["continuous-bernoulli"] = "continuous-bernoulli"


class Gaussian(LikelihoodKind):
    """p(x | z) = prod_i N(x_i; f_i(z), sigma^2)."""

    target = "pyro_vae.likelihoods.Gaussian"
    support = REAL
    advice = "for real numbers; learn sigma, which squared error fixes"

    kind: Literal["gaussian"] = "gaussian"
    sigma: Literal["shared", "fixed", "per-element", "per-column", "optimal"] = "shared"
    """One learned number, a given one, an output of the decoder, one learned number for each
    element of x, or that of the residuals."""
    scale: PositiveFloat | None = None
    """The given sigma (1 by default), or where a learned one starts (the data's by default)."""

    @property
    def num_outputs(self) -> int:
        return 2 if self.sigma == "per-element" else 1


class Laplace(LikelihoodKind):
    """p(x | z) = prod_i Laplace(x_i; f_i(z), b), b learned."""

    target = "pyro_vae.likelihoods.Laplace"
    support = REAL
    advice = "for real numbers with heavy tails: absolute error"

    kind: Literal["laplace"] = "laplace"
    scale: PositiveFloat = 1.0
    """Where the scale b starts."""


class StudentT(LikelihoodKind):
    """p(x | z) = prod_i t_nu(x_i; f_i(z), sigma), nu and sigma learned."""

    target = "pyro_vae.likelihoods.StudentT"
    support = REAL
    advice = "for real numbers with outliers"

    kind: Literal["student-t"] = "student-t"
    df: PositiveFloat = 4.0
    """Where the degrees of freedom start."""
    scale: PositiveFloat = 1.0
    """Where the scale starts."""


class Beta(LikelihoodKind):
    """p(x | z) = prod_i Beta(x_i; m_i c_i, (1 - m_i) c_i)."""

    target = "pyro_vae.likelihoods.Beta"
    support = OPEN_UNIT
    advice = "for rates strictly between 0 and 1"
    outputs_per_element = 2

    kind: Literal["beta"] = "beta"


class Binomial(LikelihoodKind):
    """p(x | z) = prod_i Binomial(x_i; n, logit = f_i(z))."""

    target = "pyro_vae.likelihoods.Binomial"
    support = LEVELS
    advice = "for grey levels of few bits, or counts out of n"

    kind: Literal["binomial"] = "binomial"
    total_count: PositiveInt = 255
    """The number n of trials, the highest grey level."""


class Categorical(LikelihoodKind):
    """p(x | z) = prod_i Categorical(x_i; f_i(z)), a logit for each level."""

    target = "pyro_vae.likelihoods.Categorical"
    support = LEVELS
    advice = "for codes without an order, or few levels"

    kind: Literal["categorical"] = "categorical"
    num_levels: PositiveInt = 256
    """The number of levels, which are 0 ... num_levels - 1."""

    @property
    def num_outputs(self) -> int:
        return self.num_levels


class DiscretizedLogistic(LikelihoodKind):
    """p(x | z) = prod_i sum_m pi_m [S((x_i + 1/2 - mu_m) / s_m) - S((x_i - 1/2 - mu_m) / s_m)]."""

    target = "pyro_vae.likelihoods.DiscretizedLogistic"
    support = LEVELS
    advice = "for grey levels of photographs"

    kind: Literal["discretized-logistic"] = "discretized-logistic"
    num_levels: PositiveInt = 256
    """The number of levels, which are 0 ... num_levels - 1."""
    num_components: PositiveInt = 1
    """The number of components of the mixture."""

    @property
    def num_outputs(self) -> int:
        return 2 if self.num_components == 1 else 3 * self.num_components


class Poisson(LikelihoodKind):
    """p(x | z) = prod_i Poisson(x_i; e^f_i(z))."""

    target = "pyro_vae.likelihoods.Poisson"
    support = COUNTS
    advice = "for counts whose variance is their mean"

    kind: Literal["poisson"] = "poisson"


class NegativeBinomial(LikelihoodKind):
    """p(x | z) = prod_i NB(x_i; mean e^f_i(z), r), r learned."""

    target = "pyro_vae.likelihoods.NegativeBinomial"
    support = COUNTS
    advice = "for counts that spread more than a Poisson's"

    kind: Literal["negative-binomial"] = "negative-binomial"
    total_count: PositiveFloat = 1.0
    """Where r starts; the variance is m + m^2 / r."""


class ZeroInflatedNegativeBinomial(LikelihoodKind):
    """p(x | z) = prod_i [g_i 1(x_i = 0) + (1 - g_i) NB(x_i; m_i, r)]."""

    target = "pyro_vae.likelihoods.ZeroInflatedNegativeBinomial"
    support = COUNTS
    advice = "for counts with more zeros than that"
    outputs_per_element = 2

    kind: Literal["zero-inflated-negative-binomial"] = "zero-inflated-negative-binomial"
    total_count: PositiveFloat = 1.0
    """Where r starts."""


ElementLikelihood = Annotated[
    Bernoulli
    | ContinuousBernoulli
    | Gaussian
    | Laplace
    | StudentT
    | Beta
    | Binomial
    | Categorical
    | DiscretizedLogistic
    | Poisson
    | NegativeBinomial
    | ZeroInflatedNegativeBinomial,
    Field(discriminator="kind"),
]


class Part(Settings):
    """Columns of a table and their likelihood."""

    columns: tuple[NonNegativeInt | str, ...]
    """The columns, by name or by number from 0; those of all parts together are all, each once."""
    likelihood: ElementLikelihood
    """Their likelihood, with a decoder of its own."""


class Product(Kind):
    """p(x | z) = prod_g p_g(x_C(g) | z), a likelihood for each group of columns."""

    target = "pyro_vae.likelihoods.Product"
    support = "that of each column"
    advice = "for tables of mixed types, with holes (empty cells)"

    kind: Literal["product"] = "product"
    parts: tuple[Part, ...] = Field(min_length=1)
    """For each group its columns and likelihood."""


Likelihood = Annotated[
    Bernoulli
    | ContinuousBernoulli
    | Gaussian
    | Laplace
    | StudentT
    | Beta
    | Binomial
    | Categorical
    | DiscretizedLogistic
    | Poisson
    | NegativeBinomial
    | ZeroInflatedNegativeBinomial
    | Product,
    Field(discriminator="kind"),
]
