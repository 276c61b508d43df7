r"""Every choice by name, with its options and their meaning. Torch-free.  (layer 0)

A *kind* is a name such as ``"vamp"`` together with the options of the class it stands for; the
class itself is named by its dotted path and imported only when it is built. Recipes, the command
line and the contract tests all read this one registry.
"""

import difflib
import os
import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic import NonNegativeFloat as NonNegative
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt

MAX_RECIPE_BYTES = 1_000_000


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
    hidden_features: tuple[PositiveInt, ...] = (400,)
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


# --- Data ---------------------------------------------------------------------------------------


class DataKind(Kind):
    """`target` is a function from this kind and a place to look to a `pyro_vae.data.Dataset`."""

    binarize: Literal["no", "dynamic", "fixed", "threshold"] = "no"
    """Grey pixels become bits: drawn anew at every visit (test bits once), drawn once, or by x > 1/2."""
    range: Literal["unit", "levels"] = "unit"
    """Grey levels 0..n are divided by n, or kept as whole numbers."""
    seed: NonNegativeInt = 0
    """Seeds random splits and bits that are drawn once."""


class HeldOut(DataKind):
    """Sets that come as one piece: rows are shuffled by `seed`, then cut."""

    valid: NonNegative = 0.1
    """Rows for validation: a number, or a fraction below 1."""
    test: NonNegative = 0.1
    """Rows for the test: a number, or a fraction below 1."""


class Digits(HeldOut):
    """1797 handwritten digits of 8x8 pixels, grey levels 0..16 (comes with scikit-learn)."""

    target = "pyro_vae.data.sets.digits"

    kind: Literal["digits"] = "digits"
    range: Literal["unit", "levels"] = "levels"
    valid: NonNegative = 200
    test: NonNegative = 297


class MNIST(DataKind):
    """70,000 handwritten digits of 28x28 grey pixels."""

    target = "pyro_vae.data.sets.mnist"

    kind: Literal["mnist"] = "mnist"
    binarize: Literal["no", "dynamic", "fixed", "threshold"] = "dynamic"
    valid: NonNegativeInt = 10_000
    """The last rows of the training set, kept for validation."""


class FashionMNIST(DataKind):
    """70,000 pictures of clothes, 28x28 grey pixels."""

    target = "pyro_vae.data.sets.fashion_mnist"

    kind: Literal["fashion-mnist"] = "fashion-mnist"
    valid: NonNegativeInt = 10_000
    """The last rows of the training set, kept for validation."""


class StaticMNIST(DataKind):
    """The fixed binarization of MNIST by Larochelle: 50,000 / 10,000 / 10,000 rows of bits."""

    target = "pyro_vae.data.sets.static_mnist"

    kind: Literal["static-mnist"] = "static-mnist"


class Omniglot(DataKind):
    """32,460 characters of 50 alphabets, resized from 105x105 bits to 28x28 grey pixels."""

    target = "pyro_vae.data.sets.omniglot"

    kind: Literal["omniglot"] = "omniglot"
    binarize: Literal["no", "dynamic", "fixed", "threshold"] = "dynamic"
    valid: NonNegative = 0.1
    """Rows of the background set kept for validation: a number, or a fraction below 1."""


class FreyFaces(HeldOut):
    """1965 frames of one face, 28x20 grey pixels."""

    target = "pyro_vae.data.sets.frey_faces"

    kind: Literal["freyfaces"] = "freyfaces"
    valid: NonNegative = 200
    test: NonNegative = 200


class CIFAR10(DataKind):
    """60,000 photographs of 10 classes, 3x32x32 pixels."""

    target = "pyro_vae.data.sets.cifar10"

    kind: Literal["cifar10"] = "cifar10"
    valid: NonNegativeInt = 5_000
    """The last rows of the training set, kept for validation."""


class CelebA(DataKind):
    """202,599 faces: the central 140x140 pixels, resized to 3x32x32."""

    target = "pyro_vae.data.sets.celeba"

    kind: Literal["celeba"] = "celeba"


class File(HeldOut):
    """One's own data: .npy, .npz, .csv, IDX (.gz), or a folder of images."""

    target = "pyro_vae.data.files.own"

    kind: Literal["file"] = "file"
    path: Path
    """The file or folder."""


Data = Annotated[
    Digits
    | MNIST
    | FashionMNIST
    | StaticMNIST
    | Omniglot
    | FreyFaces
    | CIFAR10
    | CelebA
    | File,
    Field(discriminator="kind"),
]


# --- Training -----------------------------------------------------------------------------------


class Train(Settings):
    """How the parameters are found."""

    epochs: PositiveInt = 40
    """Passes over the training data."""
    batch_size: PositiveInt = 100
    """Data in a step."""
    optimizer: str = "Adam"
    """Any optimizer of torch.optim, by name."""
    lr: PositiveFloat = 1e-3
    """Learning rate, at its highest."""
    optimizer_options: dict[str, float | bool | tuple[float, ...]] = {}
    """Further arguments of the optimizer, such as weight_decay."""
    schedule: Literal["constant", "cosine"] = "constant"
    """The learning rate stays, or falls to zero along a half cosine."""
    warmup_epochs: NonNegative = 0.0
    """Epochs in which the learning rate rises linearly from zero."""
    clip_norm: PositiveFloat | None = None
    """Gradients longer than this are shortened to it."""
    kl_weight: NonNegative = 1.0
    """The weight of the KL term (beta); 1 is the ELBO."""
    kl_warmup_epochs: NonNegative = 0.0
    """Epochs in which the weight of the KL term rises linearly from zero."""
    num_particles: PositiveInt = 1
    """Samples of z per datum in a step."""
    patience: PositiveInt | None = None
    """Stops after this many epochs without a better validation ELBO, and keeps the best epoch."""
    max_bad_steps: PositiveInt = 10
    """Stops after this many consecutive steps whose loss or gradient is not finite."""
    checkpoint_steps: PositiveInt | None = None
    """Steps between checkpoints; one is written after every epoch in any case."""


class Recipe(Settings):
    """A declared VAE, its data and its training."""

    name: str = "recipe"
    """What the recipe is called."""
    seed: NonNegativeInt = 0
    """Seeds the parameters, the order of the data and the noise."""
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")] = "auto"
    """auto, cpu, cuda or cuda:N; auto takes a GPU where there is one."""
    latent_dim: PositiveInt = 16
    """Number of latent features."""
    data: Data
    prior: Prior = StandardNormal()
    likelihood: Likelihood
    posterior: Posterior = MeanFieldNormal()
    train: Train = Train()


# --- Reading and writing ------------------------------------------------------------------------


def kinds(choice: Any) -> dict[str, type[Kind]]:
    """Returns the kinds of a choice such as :data:`Prior`, by name.

    Example:
        >>> list(kinds(Posterior))
        ['mean-field-normal', 'full-covariance-normal']
    """
    union = get_args(choice)[0] if get_origin(choice) is Annotated else choice
    return {kind.model_fields["kind"].default: kind for kind in get_args(union)}


REGISTRY = {
    "prior": kinds(Prior),
    "likelihood": kinds(Likelihood),
    "posterior": kinds(Posterior),
    "network": kinds(Network),
    "data": kinds(Data),
}


def recipes() -> dict[str, Path]:
    """Returns the recipes that come with the package, by name."""
    folder = Path(str(resources.files("pyro_vae") / "recipes"))
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def read_recipe(name: str | os.PathLike[str]) -> dict[str, Any]:
    """Returns the values in a recipe, given by name or as a TOML file, not yet validated.

    Raises:
        ValueError: There is no such recipe, or it is not TOML.
    """
    path = recipes().get(str(name).replace("_", "-"), Path(name))
    if not path.is_file():
        hint = suggestion(str(name), recipes())
        raise ValueError(
            f"Expected a recipe ({', '.join(recipes())}) or a TOML file; got {str(name)!r}{hint}."
        )
    if path.stat().st_size > MAX_RECIPE_BYTES:
        raise ValueError(f"Expected a recipe below 1 MB; got {path}, {path.stat().st_size} bytes.")
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"Expected TOML in {path}; got {error}.") from None
    return {"name": path.stem, **values}


def override(values: Mapping[str, Any], flags: Mapping[str, Any]) -> dict[str, Any]:
    """Returns `values` with dotted keys replaced, as in ``{"prior.kind": "vamp"}``.

    A new kind keeps those of the old kind's options that it also has.

    Example:
        >>> override({"prior": {"kind": "vamp", "num_components": 9}}, {"prior.kind": "standard-normal"})
        {'prior': {'kind': 'standard-normal'}}
    """
    result = _copy(values)
    for dotted in sorted(flags, key=lambda key: not key.endswith("kind")):  # kinds come first
        *parents, key = dotted.replace("-", "_").split(".")
        table = result
        for parent in parents:
            table = table.setdefault(parent, {})
            if not isinstance(table, dict):
                raise ValueError(f"Unknown key {dotted!r}: {parent!r} is a value, not a table.")
        if key == "kind" and (known := REGISTRY.get(_choice(parents))):
            kind = known.get(str(flags[dotted]).replace("_", "-"))
            for name in list(table) if kind else []:
                if name not in kind.model_fields:
                    del table[name]
        table[key] = flags[dotted]
    return result


def validate(values: Mapping[str, Any], model: type[Settings] = Recipe) -> Any:
    """Returns the settings in `values`.

    Raises:
        ValueError: With one line for every value that is wrong, naming key and remedy.
    """
    values = _copy(values)
    try:
        return model.model_validate(values)
    except ValidationError as error:
        lines = [_line(details, model, values) for details in error.errors()]
        raise ValueError("\n".join(dict.fromkeys(lines))) from None


def to_toml(settings: Settings) -> str:
    """Returns `settings` as TOML that :func:`read_recipe` and :func:`validate` turn back.

    Example:
        >>> print(to_toml(Train(epochs=3)).splitlines()[0])
        epochs = 3
    """
    lines: list[str] = []
    _write_table(settings.model_dump(mode="json", exclude_none=True), (), lines)
    return "\n".join(lines).strip() + "\n"


def suggestion(word: str, known: Mapping[str, Any]) -> str:
    """Returns " (did you mean ...?)" where `word` is close to a known one, else nothing."""
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _copy(values: Mapping[str, Any]) -> dict[str, Any]:
    """Copies nested tables, reading `-` and `_` alike in keys and kinds."""
    result = {}
    for key, value in values.items():
        key = key.replace("-", "_")
        if isinstance(value, Mapping):
            value = _copy(value)
        elif key == "kind" and isinstance(value, str):
            value = value.replace("_", "-")
        result[key] = value
    return result


def _choice(parents: list[str]) -> str:
    """The registry's name for the table at the end of a dotted key."""
    name = parents[-1] if parents else ""
    return "network" if name in ("encoder", "decoder") else name


def _line(details: Any, model: type[Settings], values: Mapping[str, Any]) -> str:
    """One line for one of pydantic's errors."""
    path, fields = _resolve(details["loc"], model, values)
    key, got = ".".join(path), details["input"]
    match details["type"]:
        case "extra_forbidden":
            near = suggestion(path[-1], fields) or f"; known here: {', '.join(fields)}"
            return f"{key}: no such setting{near}."
        case "missing":
            return f"{key}: this setting has no default; give it a value."
        case "union_tag_invalid" | "literal_error" | "union_tag_not_found":
            known = REGISTRY.get(_choice(list(path)), {})
            if details["type"] == "union_tag_not_found":
                return f"{key}.kind: missing; choose from {', '.join(known)}."
            if details["type"] == "union_tag_invalid":
                key, got = f"{key}.kind", details["ctx"]["tag"]
                expected = ", ".join(known)
            else:
                expected = details["ctx"]["expected"].replace("'", "")
                known = dict.fromkeys(expected.replace(" or ", ", ").split(", "))
            return f"{key}: expected one of {expected}; got {got!r}{suggestion(str(got), known)}."
        case _:
            return f"{key}: {details['msg'].lower()}; got {got!r}."


def _resolve(
    location: tuple[int | str, ...], model: type[Settings], values: Any
) -> tuple[list[str], dict[str, Any]]:
    """The dotted path of an error without the tags of unions, and the fields where it happened."""
    path: list[str] = []
    fields: dict[str, Any] = dict(model.model_fields)
    for step in location:
        if isinstance(values, Mapping) and step == values.get("kind") and path:
            fields = dict(REGISTRY[_choice(path)][str(step)].model_fields)
            continue  # the tag of a union
        path.append(str(step))
        annotation = fields[str(step)].annotation if str(step) in fields else None
        if isinstance(annotation, type) and issubclass(annotation, Settings):
            fields = dict(annotation.model_fields)
        values = values.get(step) if isinstance(values, Mapping) else None
    return path, fields


def _write_table(table: Mapping[str, Any], path: tuple[str, ...], lines: list[str]) -> None:
    for key, value in sorted(table.items(), key=lambda item: item[0] != "kind"):
        if not isinstance(value, dict):
            lines.append(f"{key} = {_toml_value(value)}")
    for key, value in table.items():
        if isinstance(value, dict) and value:
            lines.extend(["", f"[{'.'.join((*path, key))}]"])
            _write_table(value, (*path, key), lines)


def _toml_value(value: Any) -> str:
    match value:
        case bool():
            return str(value).lower()
        case str():
            quoted = value.replace("\\", "\\\\").replace('"', '\\"')
            return f'"{quoted}"'
        case list() | tuple():
            return f"[{', '.join(map(_toml_value, value))}]"
        case _:
            return repr(value)
