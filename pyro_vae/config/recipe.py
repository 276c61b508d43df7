r"""A recipe declares a VAE, or a relative of it, its data and its training."""

import re
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from .data import Data
from .families import ESTIMATORS, FAMILIES, Model
from .kinds import Settings, Size
from .sites import LikelihoodPart, PosteriorPart, PriorPart, check_sites

if TYPE_CHECKING:
    Estimator = str
else:
    Estimator = Literal[("auto", *ESTIMATORS)]


def _name(value: str) -> str:
    if not re.fullmatch(r"\w[\w .+-]{0,99}", value) or ".." in value:
        raise ValueError("expected up to 100 letters, digits, spaces, dots, + and -")
    return value


def _device(value: object) -> object:
    if str(value).lower().startswith("mps"):
        raise ValueError(
            "expected auto, cpu, cuda or cuda:N; sums are in double precision, which mps has not"
        )
    if not re.fullmatch(r"auto|cpu|cuda(:\d{1,3})?", str(value)):
        near = {"gpu": "cuda"}.get(str(value).lower(), "auto")
        raise ValueError(f"expected auto, cpu, cuda or cuda:N (did you mean {near!r}?)")
    return value


class Train(Settings):
    """How the parameters are found."""

    @model_validator(mode="before")
    @classmethod
    def _spread(cls, values: Any) -> Any:
        """A table `estimator = { kind = "renyi", alpha = 0.5 }` sets its options."""
        if isinstance(values, dict) and isinstance(values.get("estimator"), dict):
            own = dict(values["estimator"])
            values = {k: v for k, v in values.items() if k != "estimator"}
            if twice := [name for name in own if name in values]:
                raise ValueError(f"estimator: set twice, here and in train: {', '.join(twice)}")
            values = {**values, **own, "estimator": own.pop("kind", "auto")}
            values.pop("kind", None)
        return values

    epochs: PositiveInt = 40
    """Passes over the training data."""
    batch_size: PositiveInt = 100
    """Data per step."""
    optimizer: str = "Adam"
    """Any optimizer of torch.optim, by name."""
    lr: PositiveFloat = 1e-3
    """The peak learning rate."""
    optimizer_options: dict[str, float | bool | tuple[float, ...]] = Field(default_factory=dict)
    """Other arguments of the optimizer, such as weight_decay."""
    schedule: Literal["constant", "cosine", "stages"] = "constant"
    """The learning rate stays constant; falls to zero along a half cosine; or falls to a tenth in
    eight stages, each three times as long as the one before."""
    warmup_epochs: NonNegativeFloat = 0.0
    """Epochs in which the learning rate rises linearly from zero."""
    cooldown_epochs: NonNegativeFloat = 0.0
    """Final epochs in which the learning rate falls linearly to zero."""
    clip_norm: PositiveFloat | None = None
    """Gradients with a larger norm are scaled down to it."""
    kl_weight: NonNegativeFloat = 1.0
    """The weight of the KL term (beta); 1 is the ELBO."""
    kl_warmup_epochs: NonNegativeFloat = 0.0
    """Epochs in which the weight of the KL term rises linearly from zero."""
    kl_cycles: PositiveInt = 1
    """Number of such rises, each over half a cycle; the cycles fill kl_warmup_epochs."""
    free_bits: NonNegativeFloat = 0.0
    """Nats below which the KL term of a latent feature is not penalized."""
    free_bits_per: Literal["feature", "site"] = "feature"
    """Whether free_bits applies to each latent feature or to each latent site."""
    capacity: NonNegativeFloat | None = None
    """Target of the KL term in nats, instead of zero; kl_weight penalizes the distance to it."""
    capacity_epochs: NonNegativeFloat = 0.0
    """Epochs in which the capacity rises linearly from zero."""
    estimator: Estimator = "auto"
    """The estimator of bound and gradient; auto lets the planner choose."""
    alpha: NonNegativeFloat = 0.5
    """The order of the Renyi bound."""
    baseline: Literal["average", "neural", "none"] = "average"
    """The baseline of the score function: a running mean, a network, or none."""
    supervision: NonNegativeFloat = 0.0
    """The weight of log q(y | x) where a latent y is known, for estimators of the ELBO."""
    label_visits: PositiveInt = 1
    """How often an epoch visits each datum whose latent y is known; the others once."""
    tc_weight: NonNegativeFloat = 6.0
    """The weight of the total correlation, for beta-tcvae and factor-vae; 1 is the ELBO."""
    mi_weight: NonNegativeFloat = 1.0
    """The weight of the mutual information of x and z, for beta-tcvae; 1 is the ELBO."""
    dimension_weight: NonNegativeFloat = 1.0
    """The weight of the KL terms of q(z_j) of single features, for beta-tcvae; 1 is the ELBO."""
    tc_sampling: Literal["stratified", "weighted"] = "stratified"
    """How beta-tcvae estimates q(z) from a minibatch."""
    mmd_weight: NonNegativeFloat = 100.0
    """The weight of the squared distance (MMD) of q(z) from p(z), for info-vae; kl_weight is that
    of the KL term."""
    mmd_width: PositiveFloat = 1.0
    """The width of its kernel, in units of the root of latent_dim."""
    drop_views: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """The probability that a step does not see a view of a datum, one of which always stays: so
    experts also learn what they say alone."""
    final_temperature: PositiveFloat | None = None
    """Final temperature of relaxed families."""
    temperature_epochs: NonNegativeFloat = 0.0
    """Epochs in which the temperature falls geometrically to it."""
    kl: Literal["closed-form", "sampled"] = "closed-form"
    """The KL term: exact if a closed form is known, or from the samples of z."""
    num_particles: PositiveInt = 1
    """Samples of z per datum and step."""
    patience: PositiveInt | None = None
    """Stops after this many epochs without a better validation ELBO, and keeps the best epoch."""
    max_bad_steps: PositiveInt = 10
    """Stops after this many consecutive steps whose loss or gradient is not finite."""
    skip_checks: bool = False
    """Trains on data outside the likelihood's support, too: metrics are then not densities."""
    compile: Literal["auto", "yes", "no"] = "auto"
    """Whether steps run as one compiled graph; auto does so for 10,000 steps or more,
    from the 1001st on."""
    precision: Literal["float32", "float64", "tf32", "bfloat16"] = "float32"
    """float64: model and data in double precision. Only for matrix products: tf32 on a GPU,
    bfloat16 by autocast; evaluation then is float32."""
    checkpoint_steps: PositiveInt | None = None
    """Steps between checkpoints within an epoch, at most one per second."""


OF_VAES = (
    *("kl_weight", "kl_warmup_epochs", "kl_cycles", "free_bits", "free_bits_per", "capacity"),
    *("capacity_epochs", "estimator", "alpha", "baseline", "supervision", "drop_views"),
    "label_visits",
    *("final_temperature", "temperature_epochs", "kl", "num_particles"),
)
"""Settings of training that concern the bound of a VAE."""


def check_relative_training(train: Train) -> None:
    """Refuses settings that have no meaning for a relative of the VAE.

    Raises:
        ValueError: One of them is set.
    """
    defaults = Train()
    changed = [name for name in OF_VAES if getattr(train, name) != getattr(defaults, name)]
    if changed:
        raise ValueError(
            f"train.{changed[0]}: expected settings without the bound of a VAE, which a relative "
            f"does not have; got {', '.join(changed)}. Leave it out"
        )
    if train.compile == "yes":
        raise ValueError("train.compile: expected auto or no, as only VAEs are compiled; got yes")


class _Declared(Settings):
    name: Annotated[str, AfterValidator(_name)] = "recipe"
    """The name of the recipe."""
    seed: NonNegativeInt = 0
    """Seeds the parameters, the order of the data and the noise."""
    device: Annotated[str, BeforeValidator(_device)] = "auto"
    """auto, cpu, cuda or cuda:N; auto uses a GPU if there is one."""


class Recipe(_Declared):
    """The declaration of a VAE, its data and its training."""

    latent_dim: Size = 16
    """Number of latent features."""
    data: Data
    prior: PriorPart = FAMILIES["prior"]["standard-normal"]()
    likelihood: LikelihoodPart
    posterior: PosteriorPart = FAMILIES["posterior"]["mean-field-normal"]()
    train: Train = Train()

    @model_validator(mode="after")
    def _whole(self) -> Self:
        check_sites(self)
        return self


class RelativeRecipe(_Declared):
    """The declaration of a relative of the VAE, its data and its training."""

    data: Data
    model: Model
    train: Train = Train()

    @model_validator(mode="before")
    @classmethod
    def _no_parts(cls, values: Any) -> Any:
        """A relative stands in the place of the three parts of a VAE."""
        parts = [n for n in ("prior", "likelihood", "posterior", "latent_dim") if n in values]
        if parts:
            raise ValueError(
                "model: expected in the place of prior, likelihood, posterior and latent_dim; got "
                f"{', '.join(parts)} beside it. Start from a recipe such as digits-rbm, or leave "
                f"{'it' if len(parts) == 1 else 'them'} out"
            )
        return values

    @model_validator(mode="after")
    def _whole(self) -> Self:
        check_relative_training(self.train)
        return self
