r"""The commands and their flags. Torch-free."""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from tyro.conf import Positional, arg

from ..config import REGISTRY, Recipe, override, read_recipe, recipes, suggestion, validate
from ..config import Train as TrainSettings

Device = Annotated[str, arg(help="auto, cpu, cuda or cuda:N.")]
DataDir = Annotated[
    Path | None, arg(help="Where data sets lie (default: $PYRO_VAE_DATA, then a cache).")
]

Split = Literal["train", "valid", "test", "all"]


@dataclass
class Train:
    r"""Trains a recipe. Every setting is a flag, as in --prior.kind vamp --train.epochs 40.

    `pyro-vae train RECIPE --help` lists the settings of that recipe.
    """

    recipe: Positional[str] = ""
    """A name from `pyro-vae list`, or a TOML file; with --resume, that of the run."""
    out: Path | None = None
    """The folder of the run (default: runs/RECIPE-DATE-TIME)."""
    resume: str | None = None
    """Continue the run in this folder, or the newest one of the recipe when none is given."""
    overwrite: bool = False
    """Replace the run that --out holds, once the new one has a checkpoint."""
    data_dir: DataDir = None


@dataclass
class Evaluate:
    r"""Prints the ELBO and log p(x) of a run on its test data, or on data of one's own."""

    run: Positional[Path]
    """The folder of the run."""
    data: str | None = None
    """A data set by name, or a file; the run's own data otherwise."""
    split: Split = "test"
    """Which rows; a file without splits is taken whole."""
    num_samples: int = 500
    """Importance samples per datum."""
    seed: int = 0
    """Seeds the samples."""
    out: Path | None = None
    """A file .csv or .npz for the figures of each datum, with its row number."""
    kept: Path | None = None
    """A file .npz that keeps what is done, for going on after an interruption."""
    simulated: bool = False
    """Add ELBO and EUBO of simulated data, whose mean log p(x) lies between them."""
    json: bool = False
    """Print one JSON object."""
    device: Device = "auto"
    data_dir: DataDir = None


@dataclass
class Diagnose:
    r"""Says how good a run is, how sure that is, what limits it and what to try.

    Prints one page, and writes it with pictures as HTML.
    """

    run: Positional[Path]
    """The folder of the run."""
    split: Split = "test"
    """Which rows."""
    num_samples: int = 500
    """Importance samples per datum, of all these data."""
    num_data: int = 100
    """How many data annealed importance sampling and the gap ledger take."""
    num_temperatures: int = 500
    """Temperatures of annealed importance sampling."""
    num_steps: int = 500
    """Optimization steps of the gap ledger."""
    seed: int = 0
    """Seeds everything."""
    html: Path | None = None
    """Where the HTML goes (default: RUN/diagnosis.html)."""
    json: bool = False
    """Print one JSON object."""
    device: Device = "auto"
    data_dir: DataDir = None


@dataclass
class Compare:
    r"""Says by how many nats one run beats others on the same test data, with the errors."""

    runs: Positional[tuple[Path, ...]]
    """The folders of two or more runs."""
    split: Split = "test"
    """Which rows."""
    num_samples: int = 500
    """Importance samples per datum."""
    seed: int = 0
    """Seeds the samples."""
    json: bool = False
    """Print one JSON object."""
    device: Device = "auto"
    data_dir: DataDir = None


@dataclass
class Encode:
    r"""Writes mean and standard deviation of q(z | x) for each datum, its row and label."""

    run: Positional[Path]
    """The folder of the run."""
    out: Path
    """A file .npz or .csv, with loc, scale, rows (numbers in the file, from 0) and labels."""
    data: str | None = None
    """A data set by name, or a file; the run's own data otherwise."""
    split: Split = "test"
    """Which rows; a file without splits is taken whole."""
    device: Device = "auto"
    data_dir: DataDir = None


@dataclass
class Sample:
    r"""Draws new data from the model: a picture, and the numbers where --out says."""

    run: Positional[Path]
    """The folder of the run."""
    num_samples: int = 64
    """How many data."""
    given: tuple[str, ...] = ()
    """Conditions, and values of latent sites, as in y=3, c=0.5,1 or c=@c.npy."""
    what: Literal["sample", "mean"] = "sample"
    """What the numbers are: draws from p(x | z), or its means."""
    out: Path | None = None
    """A file .npy, .npz or .csv for the numbers."""
    seed: int = 0
    """Seeds the draws."""
    device: Device = "auto"


@dataclass
class Reconstruct:
    r"""Shows data beside their reconstructions; the numbers go where --out says."""

    run: Positional[Path]
    """The folder of the run."""
    num_data: int = 10
    """How many data."""
    what: Literal["mean", "sample"] = "mean"
    """What the numbers are: means of p(x | z), or draws from it."""
    out: Path | None = None
    """A file .npy, .npz or .csv for the numbers."""
    data: str | None = None
    """A data set by name, or a file; the run's own data otherwise."""
    split: Split = "test"
    """Which rows; a file without splits is taken whole."""
    seed: int = 0
    """Seeds the draws."""
    device: Device = "auto"
    data_dir: DataDir = None


@dataclass
class Plot:
    r"""Draws samples, reconstructions, latent space and learning curves of a run."""

    run: Positional[Path]
    """The folder of the run."""
    split: Split = "test"
    """Which rows are shown."""
    device: Device = "auto"
    data_dir: DataDir = None


@dataclass
class List:
    r"""Lists priors, likelihoods, posteriors, networks, data sets and recipes."""

    json: bool = False
    """Print one JSON object."""


@dataclass
class Runs:
    r"""Lists the runs in a folder with their figures."""

    folder: Positional[Path] = Path("runs")
    """Where the runs are."""
    json: bool = False
    """Print one JSON object."""


@dataclass
class Show:
    r"""Prints a recipe in full, as TOML that `train` takes; what may be set besides is a comment.

    Settings are flags, as in `train`.
    """

    recipe: Positional[str]
    """A name from `pyro-vae list`, or a TOML file."""


@dataclass
class Explain:
    r"""Derives a recipe's loss from its three assumptions, and names the estimator."""

    recipe: Positional[str]
    """A name from `pyro-vae list`, or a TOML file. Settings are flags, as in `train`."""
    latex: bool = False
    """Print LaTeX."""
    data_dir: DataDir = None


@dataclass
class Inspect:
    r"""Takes the ELBO of a recipe apart, by one sample: every site, and what it adds."""

    recipe: Positional[str]
    """A name from `pyro-vae list`, or a TOML file. Settings are flags, as in `train`."""
    num_data: int = 32
    """How many training data the step sees."""
    data_dir: DataDir = None


COMMANDS: dict[str, Any] = {
    cls.__name__.lower(): cls
    for cls in (
        Train,
        Evaluate,
        Diagnose,
        Compare,
        Encode,
        Sample,
        Reconstruct,
        Plot,
        Runs,
        List,
        Show,
        Explain,
        Inspect,
    )
}


def parse(args: list[str]) -> tuple[Any, dict[str, Any]]:
    r"""Splits arguments into a command and, for some, the settings of the recipe."""
    if args[:1] in (["explain"], ["inspect"], ["show"]):
        command = COMMANDS[args[0]]
        rest, flags = take_settings(args[1:], command)
        return tyro.cli(command, args=rest, prog=f"pyro-vae {args[0]}"), flags
    if args[:1] != ["train"]:
        parsed = tyro.extras.subcommand_cli_from_dict(
            COMMANDS,
            args=[arg.replace("_", "-") if arg.startswith("--") else arg for arg in args],
            prog="pyro-vae",
            description="Variational autoencoders as probabilistic programs.",
        )
        return parsed, {}

    rest, flags = take_settings(args[1:], Train)
    if {"-h", "--help"} & set(rest) and any(not a.startswith("-") for a in rest):
        return _train_help(rest, flags)
    if "--resume" in rest:
        after = rest.index("--resume") + 1
        if after == len(rest) or rest[after].startswith("-"):
            rest.insert(after, "newest")
    command = tyro.cli(Train, args=rest, prog="pyro-vae train")
    if not command.recipe and command.resume is None:
        raise ValueError(f"Expected a recipe ({', '.join(recipes())}) or a TOML file; got none.")
    return command, flags


def _train_help(rest: list[str], flags: dict[str, Any]) -> Any:
    r"""Prints help with the settings of the recipe in hand, then leaves."""
    name = next(a for a in rest if not a.startswith("-"))
    values = override(read_recipe(name), flags)
    if values["data"].get("kind") == "file":  # help needs no file
        values["data"].setdefault("path", "FILE")
    if values["likelihood"].get("kind") == "product":
        example = {"columns": [0], "likelihood": {"kind": "gaussian"}}
        values["likelihood"].setdefault("parts", [example])
    recipe = validate(values)

    @dataclass
    class WithSettings(Train):
        settings: Annotated[Recipe, arg(name="")] = recipe

    WithSettings.__doc__ = (
        f"{(Train.__doc__ or '').splitlines()[0]} These are the settings of {name!r}."
    )
    default = WithSettings(recipe=name, settings=recipe)
    return tyro.cli(
        WithSettings,
        args=["--help"],
        default=default,
        prog=f"pyro-vae train {name}",
        config=(tyro.conf.AvoidSubcommands,),
    )


def take_settings(args: list[str], command: Any) -> tuple[list[str], dict[str, Any]]:
    r"""Takes the flags that are settings of a recipe, not of `command`, out of `args`.

    Example:
        >>> take_settings(["digits", "--seed", "3", "--prior.kind=vamp", "--out", "a"], Train)
        (['digits', '--out', 'a'], {'seed': 3, 'prior.kind': 'vamp'})
    """
    own = {f"--{name.replace('_', '-')}" for name in command.__dataclass_fields__} | {"--help"}
    own |= {"--no-overwrite"}
    rest: list[str] = []
    flags: dict[str, Any] = {}
    queue = list(args)
    while queue:
        token = queue.pop(0)
        flag, equals, value = token.partition("=")
        key = flag.removeprefix("--").replace("-", "_")
        if flag in ("--compile", "--no-compile"):
            flags["train.compile"] = "no" if flag == "--no-compile" else "yes"
        elif not token.startswith("--") or flag.replace("_", "-") in own:
            rest.append(
                flag.replace("_", "-") + equals + value if token.startswith("--") else token
            )
        elif "." in key or key in Recipe.model_fields:
            values = [value] if equals else []
            while (
                not equals and queue and (not values or _number(queue[0])) and queue[0][:2] != "--"
            ):
                values.append(queue.pop(0))
            if not values and key.rpartition(".")[2] in switches():
                values = ["true"]
            if not values:
                raise ValueError(f"{flag}: expected a value; got none.")
            flags[key] = _value(values[0]) if len(values) == 1 else [_value(v) for v in values]
        else:
            leaves = [n for n in _dotted(Recipe) if n.rpartition(".")[2] == key]
            hint = (
                f" (did you mean --{leaves[0].replace('_', '-')}?)"
                if leaves
                else suggestion(
                    flag,
                    dict.fromkeys([*own, *(f"--{n.replace('_', '-')}" for n in _dotted(Recipe))]),
                )
            )
            raise ValueError(f"{flag}: no such flag{hint}. See pyro-vae train --help.")
    return rest, flags


def switches() -> set[str]:
    r"""The names of settings that are on or off, whose flags need no value."""
    kinds = [kind for choice in REGISTRY.values() for kind in choice.values()]
    models: list[Any] = [Recipe, TrainSettings, *kinds]
    fields = [item for model in models for item in model.model_fields.items()]
    return {name for name, info in fields if info.annotation is bool}


def _dotted(model: Any, prefix: str = "") -> list[str]:
    names = []
    for name, info in model.model_fields.items():
        names.append(prefix + name)
        if hasattr(info.annotation, "model_fields"):
            names += _dotted(info.annotation, f"{prefix}{name}.")
    return names


def _number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _value(text: str) -> Any:
    r"""Reads a value as TOML where it is, as a list where it has commas, else as text."""
    if text.lower() == "none":
        return None
    for literal in (text, f"[{text}]") if "," in text else (text,):
        try:
            return tomllib.loads(f"value = {literal}")["value"]
        except tomllib.TOMLDecodeError:
            continue
    return text
