r"""Posteriors, by name."""

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from .kinds import MLP, FactorKind, Kind, Network, Size, Sizes
from .priors import BITS, ONE_HOT, REAL, SPHERE, UNIT


class PosteriorKind(FactorKind):
    encoder: Network = MLP()
    """The network from x to the parameters of q(z | x)."""
    latent_dim: Size | None = None
    """Number of latent features where this is a conditional prior; that of the recipe by
    default."""

    def num_outputs(self, latent_dim: int) -> int:
        """How many numbers the encoder gives for a latent variable of `latent_dim` features."""
        raise NotImplementedError


class MeanFieldNormal(PosteriorKind):
    """q(z | x) = N(z; mu(x), diag sigma^2(x))."""

    target = "pyro_vae.posteriors.MeanFieldNormal"
    support = REAL
    advice = "the start"

    kind: Literal["mean-field-normal"] = "mean-field-normal"

    def num_outputs(self, latent_dim: int) -> int:
        return 2 * latent_dim


class LowRankNormal(PosteriorKind):
    """q(z | x) = N(z; mu(x), W(x) W(x)' + diag sigma^2(x))."""

    target = "pyro_vae.posteriors.LowRankNormal"
    support = REAL
    advice = "correlations along few directions"

    kind: Literal["low-rank-normal"] = "low-rank-normal"
    rank: PositiveInt = 2
    """The number of columns of W."""

    def num_outputs(self, latent_dim: int) -> int:
        return (2 + self.rank) * latent_dim


class FullCovarianceNormal(PosteriorKind):
    """q(z | x) = N(z; mu(x), L(x) L(x)')."""

    target = "pyro_vae.posteriors.FullCovarianceNormal"
    support = REAL
    advice = "all correlations; exact for linear-Gaussian models"

    kind: Literal["full-covariance-normal"] = "full-covariance-normal"

    def num_outputs(self, latent_dim: int) -> int:
        return latent_dim + latent_dim * (latent_dim + 1) // 2


class IAF(PosteriorKind):
    """q(z | x): a Normal through inverse autoregressive flows."""

    target = "pyro_vae.posteriors.IAF"
    support = REAL
    advice = "the most bound for the time, where latent_dim is not tiny"

    kind: Literal["iaf"] = "iaf"
    num_transforms: PositiveInt = 2
    """Number of flows, whose order of features alternates."""
    hidden_features: Sizes = (100,)
    """Size of each hidden layer of their networks."""
    context_features: PositiveInt = 32
    """Size of what the encoder tells them besides the Normal."""

    def num_outputs(self, latent_dim: int) -> int:
        return 2 * latent_dim + self.context_features


class NeuralSpline(PosteriorKind):
    """q(z | x): a Normal through autoregressive monotone splines."""

    target = "pyro_vae.posteriors.NeuralSpline"
    support = REAL
    advice = "several modes in few features; slower than iaf"

    kind: Literal["neural-spline"] = "neural-spline"
    num_transforms: PositiveInt = 1
    """Number of flows, whose order of features alternates."""
    num_bins: PositiveInt = 8
    """Number of pieces of a spline."""
    hidden_features: Sizes = (100,)
    """Size of each hidden layer of their networks."""
    context_features: PositiveInt = 32
    """Size of what the encoder tells them besides the Normal."""

    def num_outputs(self, latent_dim: int) -> int:
        return 2 * latent_dim + self.context_features


class Planar(PosteriorKind):
    """q(z | x): a Normal through planar flows z + u tanh(w'z + b)."""

    target = "pyro_vae.posteriors.Planar"
    support = REAL
    advice = "for teaching; each flow bends along one direction"

    kind: Literal["planar"] = "planar"
    num_transforms: PositiveInt = 4
    """Number of flows."""

    def num_outputs(self, latent_dim: int) -> int:
        return 2 * latent_dim + self.num_transforms * (2 * latent_dim + 1)


class Householder(PosteriorKind):
    """q(z | x): a Normal turned by reflections."""

    target = "pyro_vae.posteriors.Householder"
    support = REAL
    advice = "correlations at the price of some reflections"

    kind: Literal["householder"] = "householder"
    num_transforms: PositiveInt = 4
    """Number of reflections."""

    def num_outputs(self, latent_dim: int) -> int:
        return (2 + self.num_transforms) * latent_dim


class Sylvester(PosteriorKind):
    """q(z | x): a Normal through Sylvester flows z + Q R tanh(R~ Q'z + b)."""

    target = "pyro_vae.posteriors.Sylvester"
    support = REAL
    advice = "a planar flow in all directions at once; large encoders"

    kind: Literal["sylvester"] = "sylvester"
    num_transforms: PositiveInt = 2
    """Number of flows."""
    num_reflections: PositiveInt = 4
    """Number of reflections in each Q."""

    def num_outputs(self, latent_dim: int) -> int:
        each = latent_dim * (self.num_reflections + latent_dim + 2)
        return 2 * latent_dim + self.num_transforms * each


class GaussianMixture(PosteriorKind):
    """q(z | x) = sum_k pi_k(x) N(z; mu_k(x), diag sigma_k^2(x))."""

    target = "pyro_vae.posteriors.GaussianMixture"
    support = REAL
    advice = "several modes"

    kind: Literal["gaussian-mixture"] = "gaussian-mixture"
    num_components: PositiveInt = 4
    """Number of components."""

    def num_outputs(self, latent_dim: int) -> int:
        return self.num_components * (1 + 2 * latent_dim)


class Laplace(PosteriorKind):
    """q(z | x) = prod_l Laplace(z_l; mu_l(x), b_l(x))."""

    target = "pyro_vae.posteriors.Laplace"
    support = REAL
    advice = "heavier tails, with the laplace prior"

    kind: Literal["laplace"] = "laplace"

    def num_outputs(self, latent_dim: int) -> int:
        return 2 * latent_dim


class CommittedRateNormal(PosteriorKind):
    """q(z | x) = N(z; mu(x), diag sigma^2(x)) with KL to N(0, I) of at least rate * latent_dim."""

    target = "pyro_vae.posteriors.CommittedRateNormal"
    support = REAL
    advice = "a delta-VAE: no feature can collapse; with the standard-normal prior"

    kind: Literal["committed-rate-normal"] = "committed-rate-normal"
    rate: PositiveFloat = 0.1
    """The least KL of a latent feature, in nats."""

    def num_outputs(self, latent_dim: int) -> int:
        return 2 * latent_dim


class VonMisesFisher(PosteriorKind):
    """q(z | x) = exp(kappa(x) mu(x)'z) / C on the unit sphere."""

    target = "pyro_vae.posteriors.VonMisesFisher"
    support = SPHERE
    advice = "for directions, with the hypersphere-uniform prior"

    kind: Literal["von-mises-fisher"] = "von-mises-fisher"

    def num_outputs(self, latent_dim: int) -> int:
        return latent_dim + 1


class Bernoulli(PosteriorKind):
    """q(z | x) = prod_l Bernoulli(z_l; p_l(x))."""

    target = "pyro_vae.posteriors.Bernoulli"
    support = BITS
    advice = "bits; enumerated if few, else by the score function"

    kind: Literal["bernoulli"] = "bernoulli"

    def num_outputs(self, latent_dim: int) -> int:
        return latent_dim


class Categorical(PosteriorKind):
    """q(z | x) = prod_n Categorical(z_n; p_n(x)), one-hot blocks end to end."""

    target = "pyro_vae.posteriors.Categorical"
    support = ONE_HOT
    advice = "classes; enumerated if few, else by the score function"

    kind: Literal["categorical"] = "categorical"
    num_categories: PositiveInt | None = None
    """Size of a block, which divides latent_dim; by default all is one block."""

    def num_outputs(self, latent_dim: int) -> int:
        return latent_dim


class RelaxedBernoulli(PosteriorKind):
    """q(z | x): Bernoulli features relaxed to [0, 1]; straight through, bits."""

    target = "pyro_vae.posteriors.RelaxedBernoulli"
    support = f"{UNIT}, or {BITS} straight through"
    advice = "many bits by reparameterization; straight-through gradients are biased"

    kind: Literal["relaxed-bernoulli"] = "relaxed-bernoulli"
    temperature: PositiveFloat = 0.67
    """Where the temperature starts."""
    straight_through: bool = False
    """Whether samples are rounded, under the bernoulli prior."""

    def num_outputs(self, latent_dim: int) -> int:
        return latent_dim


class RelaxedCategorical(PosteriorKind):
    """q(z | x): one-hot blocks relaxed to the simplex; straight through, one-hot."""

    target = "pyro_vae.posteriors.RelaxedCategorical"
    support = f"{UNIT}, or {ONE_HOT} straight through"
    advice = "many classes by reparameterization; straight-through gradients are biased"

    kind: Literal["relaxed-categorical"] = "relaxed-categorical"
    num_categories: PositiveInt | None = None
    """Size of a block, which divides latent_dim; by default all is one block."""
    temperature: PositiveFloat = 0.67
    """Where the temperature starts."""
    straight_through: bool = False
    """Whether samples are rounded, under the categorical prior."""

    def num_outputs(self, latent_dim: int) -> int:
        return latent_dim


class Delta(PosteriorKind):
    """q(z | x): the point z = f(x)."""

    target = "pyro_vae.posteriors.Delta"
    support = REAL
    advice = "a plain autoencoder, for comparison: no bound on log p(x)"

    kind: Literal["delta"] = "delta"

    def num_outputs(self, latent_dim: int) -> int:
        return latent_dim


class PerDatum(Kind):
    """q(z | x_i) = q(z; lambda_i), free parameters for every datum."""

    target = "pyro_vae.posteriors.PerDatum"
    support = REAL
    advice = "no amortization: the reference for the amortization gap; no unseen data"

    kind: Literal["per-datum"] = "per-datum"
    family: Literal["mean-field-normal", "full-covariance-normal"] = "mean-field-normal"
    """Whose parameters every datum has."""


Posterior = Annotated[
    MeanFieldNormal
    | LowRankNormal
    | FullCovarianceNormal
    | IAF
    | NeuralSpline
    | Planar
    | Householder
    | Sylvester
    | GaussianMixture
    | Laplace
    | CommittedRateNormal
    | VonMisesFisher
    | Bernoulli
    | Categorical
    | RelaxedBernoulli
    | RelaxedCategorical
    | Delta
    | PerDatum,
    Field(discriminator="kind"),
]
