r"""Kinds, and networks by name.

A *kind* is a name such as ``"vamp"`` with the options of the class that it stands for. The class
is named by its dotted path and imported only when it is built.
"""

from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PositiveInt, field_validator

Size = Annotated[PositiveInt, Field(le=1_000_000)]
Deviation = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Sizes = Annotated[tuple[Size, ...], BeforeValidator(lambda v: (v,) if isinstance(v, int) else v)]


class Settings(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        allow_inf_nan=False,
        protected_namespaces=(),
    )

    @field_validator("*", mode="after")
    @classmethod
    def _within_range(cls, value: object) -> object:
        """Refuses numbers beyond single precision or 64 bits."""
        bound = 1e30 if isinstance(value, float) else 2**63
        if isinstance(value, float | int) and abs(value) >= bound:
            raise ValueError(f"expected a number below {bound:g}")
        return value


class Kind(Settings):
    target: ClassVar[str]
    """The dotted path of the class that this kind builds."""
    support: ClassVar[str] = ""
    """The support of its variable, in words."""
    advice: ClassVar[str] = ""
    """When to use it, in one line."""


Names = Annotated[tuple[str, ...], BeforeValidator(lambda v: (v,) if isinstance(v, str) else v)]


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
    init: Literal["xavier", "kaiming"] | Deviation = "xavier"
    """How weights start: xavier for saturating activations, kaiming for rectifiers, or normal
    with this standard deviation."""


class Conv(Kind):
    """Convolutions of stride 2, for images of 28x28 or 32x32."""

    encoder: ClassVar[str] = "pyro_vae.nn.ConvEncoder"
    decoder: ClassVar[str] = "pyro_vae.nn.ConvDecoder"

    kind: Literal["conv"] = "conv"
    channels: tuple[Size, Size] = (32, 64)
    """Channels after the first and after the second halving of the image."""
    hidden_features: Size = 256
    """Size of the fully connected layer between the image and the latent variable."""
    activation: str = "SiLU"
    """Any activation of torch.nn, by name."""
    init: Literal["xavier", "kaiming"] | Deviation = "kaiming"
    """How weights start: xavier for saturating activations, kaiming for rectifiers, or normal
    with this standard deviation."""


class Pooled(Kind):
    """Convolutions with max-pooling, and dropout before the last layer, for q(y | x) of images of
    which few labels are known."""

    encoder: ClassVar[str] = "pyro_vae.nn.PooledEncoder"

    kind: Literal["pooled"] = "pooled"
    channels: tuple[Size, Size] = (16, 32)
    """Channels before and after the second halving of the image."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """The share of features that the last layer does not see in training."""
    activation: str = "SiLU"
    """Any activation of torch.nn, by name."""
    init: Literal["xavier", "kaiming"] | Deviation = "kaiming"
    """How weights start: xavier for saturating activations, kaiming for rectifiers, or normal
    with this standard deviation."""


Network = Annotated[MLP | Conv, Field(discriminator="kind")]
Encoder = Annotated[MLP | Conv | Pooled, Field(discriminator="kind")]


class Posed(Kind):
    """A decoder of images whose first three latent features turn and shift what another one
    draws: angle in radians, pixels to the right and downwards."""

    decoder: ClassVar[str] = "pyro_vae.nn.Posed"

    kind: Literal["posed"] = "posed"
    net: Network = MLP()
    """The network that draws, from the other features."""
    magnified: bool = False
    """Whether a fourth feature, the logarithm of the magnification, follows."""


Decoder = Annotated[MLP | Conv | Posed, Field(discriminator="kind")]


# --- Factors -------------------------------------------------------------------------------------


class PriorKind(Kind):
    latent_dim: Size | None = None
    """Number of latent features of this site; by default that of the recipe."""


class FactorKind(Kind):
    given: Names | None = None
    """Earlier sites and data that it depends on; by default all latent variables for a likelihood,
    x for a posterior."""


class LikelihoodKind(FactorKind):
    missing: Literal["auto", "at-random"] = "auto"
    """Whether elements may be missing, which then add nothing; auto: if data.holes hides some."""
    decoder: Decoder = MLP()
    """The network from z to the parameters of p(x | z)."""
    output_bias: Literal["data-mean", "zero"] = "data-mean"
    """Where the decoder's output starts: at the mean of the training data, or at zero."""


class PosteriorKind(FactorKind):
    encoder: Encoder = MLP()
    """The network from x to the parameters of q(z | x)."""
    latent_dim: Size | None = None
    """Number of latent features if this is a conditional prior; by default that of the recipe."""


class Corrected(PosteriorKind):
    """The prior of the same site, corrected by Normal evidence: the posterior of a ladder."""

    target = "pyro_vae.posteriors.Corrected"
    support = "the real numbers"
    advice = "for a site whose prior is a diagonal Normal given the sites above it"

    kind: Literal["corrected"] = "corrected"


class SelfMasking(FactorKind):
    """Which elements of x are missing, given their values: the more likely, the larger (smaller)
    they are."""

    target = "pyro_vae.likelihoods.SelfMasking"
    support = "bits"
    advice = "for holes that depend on what is missing, beside the likelihood of x"

    kind: Literal["self-masking"] = "self-masking"


class Markov(PriorKind):
    """A chain z_1, ..., z_T, each Normal given the one before, by a gated transition."""

    target = "pyro_vae.priors.Markov"
    support = "the real numbers"
    advice = "for sequences, with the corrected-markov posterior"

    kind: Literal["markov"] = "markov"
    hidden_features: Size = 100
    """Size of the hidden layers of the transition."""
    num_steps: Size | None = None
    """Number of steps of the sequences that are drawn; by default that of the training data."""


class CorrectedMarkov(FactorKind):
    """The chain of the prior, each step corrected by Normal evidence of a backward GRU."""

    target = "pyro_vae.posteriors.CorrectedMarkov"
    support = "the real numbers"
    advice = "for sequences, with the markov prior"

    kind: Literal["corrected-markov"] = "corrected-markov"
    hidden_features: Size = 200
    """Size of the state of the GRU."""


class Net(FactorKind):
    """A deterministic node: a network whose output is an input of other factors."""

    target = "pyro_vae.base.Net"

    kind: Literal["net"] = "net"
    net: Network = MLP()
    """The network."""
    latent_dim: Size
    """Size of its output."""
