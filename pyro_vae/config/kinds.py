r"""Networks, priors, likelihoods and posteriors, by name.

A *kind* is a name such as ``"vamp"`` with the options of the class that it stands for; the class
itself is named by its dotted path and imported only when it is built.
"""

from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PositiveFloat, PositiveInt

Sizes = Annotated[
    tuple[PositiveInt, ...], BeforeValidator(lambda v: (v,) if isinstance(v, int) else v)
]


class Settings(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        allow_inf_nan=False,
        protected_namespaces=(),
    )


class Kind(Settings):
    target: ClassVar[str]
    """The dotted path of the class that this kind builds."""


# --- Networks -----------------------------------------------------------------------------------


class MLP(Kind):
    """Fully connected layers."""

    encoder: ClassVar[str] = "pyro_vae.nn.MLP"
    decoder: ClassVar[str] = "pyro_vae.nn.MLP"

    kind: Literal["mlp"] = "mlp"
    hidden_features: Sizes = (400,)
    """Size of each hidden layer."""
    activation: str = "Tanh"
    """Any activation of torch.nn, by name."""
    init: Literal["xavier", "kaiming"] = "xavier"
    """How weights start: xavier for saturating activations, kaiming for rectifiers."""


class Conv(Kind):
    """Convolutions of stride 2, for images of 28x28 or 32x32."""

    encoder: ClassVar[str] = "pyro_vae.nn.ConvEncoder"
    decoder: ClassVar[str] = "pyro_vae.nn.ConvDecoder"

    kind: Literal["conv"] = "conv"
    channels: tuple[PositiveInt, PositiveInt] = (32, 64)
    """Channels after the first and after the second halving of the image."""
    hidden_features: PositiveInt = 256
    """Size of the fully connected layer between the image and the latent variable."""
    activation: str = "SiLU"
    """Any activation of torch.nn, by name."""
    init: Literal["xavier", "kaiming"] = "kaiming"
    """How weights start: xavier for saturating activations, kaiming for rectifiers."""


Network = Annotated[MLP | Conv, Field(discriminator="kind")]


# --- The three assumptions ----------------------------------------------------------------------


class StandardNormal(Kind):
    """p(z) = N(0, I)."""

    target = "pyro_vae.priors.StandardNormal"

    kind: Literal["standard-normal"] = "standard-normal"


class Vamp(Kind):
    """p(z) = 1/K sum_k q(z | u_k), the posterior averaged over K learned pseudo-inputs."""

    target = "pyro_vae.priors.Vamp"

    kind: Literal["vamp"] = "vamp"
    num_components: PositiveInt = 500
    """Number K of pseudo-inputs, which start at K training data."""


class LikelihoodKind(Kind):
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
    """p(x | z) = prod_i Bernoulli(x_i; logit = f_i(z)), for bits."""

    target = "pyro_vae.likelihoods.Bernoulli"

    kind: Literal["bernoulli"] = "bernoulli"


class Binomial(LikelihoodKind):
    """p(x | z) = prod_i Binomial(x_i; n, logit = f_i(z)), for grey levels 0..n."""

    target = "pyro_vae.likelihoods.Binomial"

    kind: Literal["binomial"] = "binomial"
    total_count: PositiveInt = 255
    """The number n of trials, the highest grey level."""


class Gaussian(LikelihoodKind):
    """p(x | z) = prod_i N(x_i; f_i(z), sigma^2), for real numbers."""

    target = "pyro_vae.likelihoods.Gaussian"

    kind: Literal["gaussian"] = "gaussian"
    sigma: Literal["shared", "fixed", "per-element"] = "shared"
    """One learned number, one given number, or an output of the decoder for every element."""
    scale: PositiveFloat = 1.0
    """The given sigma, or where a shared one starts."""

    @property
    def num_outputs(self) -> int:
        return 2 if self.sigma == "per-element" else 1


class PosteriorKind(Kind):
    encoder: Network = MLP()
    """The network from x to the parameters of q(z | x)."""

    def num_outputs(self, latent_dim: int) -> int:
        """How many numbers the encoder gives for a latent variable of `latent_dim` features."""
        raise NotImplementedError


class MeanFieldNormal(PosteriorKind):
    """q(z | x) = N(z; mu(x), diag sigma^2(x))."""

    target = "pyro_vae.posteriors.MeanFieldNormal"

    kind: Literal["mean-field-normal"] = "mean-field-normal"

    def num_outputs(self, latent_dim: int) -> int:
        return 2 * latent_dim


class FullCovarianceNormal(PosteriorKind):
    """q(z | x) = N(z; mu(x), L(x) L(x)')."""

    target = "pyro_vae.posteriors.FullCovarianceNormal"

    kind: Literal["full-covariance-normal"] = "full-covariance-normal"

    def num_outputs(self, latent_dim: int) -> int:
        return latent_dim + latent_dim * (latent_dim + 1) // 2


Prior = Annotated[StandardNormal | Vamp, Field(discriminator="kind")]
Likelihood = Annotated[Bernoulli | Binomial | Gaussian, Field(discriminator="kind")]
Posterior = Annotated[MeanFieldNormal | FullCovarianceNormal, Field(discriminator="kind")]
