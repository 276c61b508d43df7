r"""The command line. Thin: it reads flags, calls the package and prints.  (layer 7)

Nothing here imports torch before a command runs, so that help is quick.
"""

import json as json_
import os
import shutil
import sys
import time
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro
from tyro.conf import Positional, arg

from .config import REGISTRY, Recipe, override, read_recipe, recipes, suggestion, to_toml, validate

if TYPE_CHECKING:
    from .data import Split

Device = Annotated[str, arg(help="auto, cpu, cuda or cuda:N.")]
DataDir = Annotated[
    Path | None, arg(help="Where data sets lie (default: $PYRO_VAE_DATA, then a cache).")
]


@dataclass
class Train:
    r"""Trains a recipe. Every setting is a flag, as in --prior.kind vamp --train.epochs 40.

    `pyro-vae train RECIPE --help` lists the settings of that recipe.
    """

    recipe: Positional[str]
    """A name from `pyro-vae list`, or a TOML file."""
    out: Path | None = None
    """The folder of the run (default: runs/RECIPE-DATE-TIME)."""
    resume: str | None = None
    """Continue the run in this folder, or the newest one of the recipe when none is given."""
    overwrite: bool = False
    """Delete the run that --out holds."""
    data_dir: DataDir = None


@dataclass
class Evaluate:
    r"""Prints the ELBO and log p(x) of a run on its test data, or on data of one's own."""

    run: Positional[Path]
    """The folder of the run."""
    data: str | None = None
    """A data set by name, or a file; the run's own data otherwise."""
    split: Literal["train", "valid", "test"] = "test"
    """Which rows; a file without splits is taken whole."""
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
    r"""Writes mean and standard deviation of q(z | x) for each datum, and its label."""

    run: Positional[Path]
    """The folder of the run."""
    out: Path
    """A file .npz, with the arrays loc, scale and labels."""
    data: str | None = None
    """A data set by name, or a file; the run's own data otherwise."""
    split: Literal["train", "valid", "test"] = "test"
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
    what: Literal["sample", "mean"] = "sample"
    """What the numbers are: draws from p(x | z), or its means."""
    out: Path | None = None
    """A file .npy for the numbers."""
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
    """A file .npy for the numbers."""
    data: str | None = None
    """A data set by name, or a file; the run's own data otherwise."""
    split: Literal["train", "valid", "test"] = "test"
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
    split: Literal["train", "valid", "test"] = "test"
    """Which rows are shown."""
    device: Device = "auto"
    data_dir: DataDir = None


@dataclass
class List:
    r"""Lists priors, likelihoods, posteriors, networks, data sets and recipes."""

    json: bool = False
    """Print one JSON object."""


@dataclass
class Show:
    r"""Prints a recipe in full, as TOML that `train` takes."""

    recipe: Positional[str]
    """A name from `pyro-vae list`, or a TOML file."""


def main(argv: list[str] | None = None) -> int:
    r"""Runs a command and returns its exit code.

    0 done, 2 wrong usage, recipe or data, 3 numbers not finite, 4 storage, 5 the run is in use,
    6 out of memory, 130 and 143 stopped by SIGINT and SIGTERM. With ``PYRO_VAE_TRACEBACK=1``
    errors are raised instead.
    """
    args = sys.argv[1:] if argv is None else argv
    try:
        command, flags = parse(args)
        COMMANDS[type(command)](command, flags)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if os.environ.get("PYRO_VAE_TRACEBACK"):
            raise
        code = exit_code(error)
        if code is None:
            raise
        print(f"pyro-vae: {error}", file=sys.stderr)
        return code
    return 0


def exit_code(error: Exception) -> int | None:
    r"""The exit code for an error; none for a defect of the program, which deserves a traceback."""
    names = {cls.__name__ for cls in type(error).__mro__}
    if "NumericsError" in names:
        return 3
    if "RunLocked" in names:
        return 5
    if "OutOfMemoryError" in names or isinstance(error, MemoryError) or "allocate memory" in str(error):
        return 6
    if isinstance(error, OSError):
        return 4
    return 2 if isinstance(error, ValueError) else None


def parse(args: list[str]) -> tuple[Any, dict[str, Any]]:
    r"""Splits arguments into a command and, for `train`, the settings of the recipe."""
    commands = {cls.__name__.lower(): cls for cls in COMMANDS}
    if args[:1] != ["train"]:
        command = tyro.extras.subcommand_cli_from_dict(
            commands,
            args=[arg.replace("_", "-") if arg.startswith("--") else arg for arg in args],
            prog="pyro-vae",
            description="Variational autoencoders as probabilistic programs.",
        )
        return command, {}

    rest, flags = take_settings(args[1:])
    if {"-h", "--help"} & set(rest) and any(not a.startswith("-") for a in rest):
        return _train_help(rest, flags)
    if "--resume" in rest:
        after = rest.index("--resume") + 1
        if after == len(rest) or rest[after].startswith("-"):
            rest.insert(after, "newest")
    return tyro.cli(Train, args=rest, prog="pyro-vae train"), flags


def _train_help(rest: list[str], flags: dict[str, Any]) -> Any:
    r"""Prints help with the settings of the recipe in hand, then leaves."""
    name = next(a for a in rest if not a.startswith("-"))
    recipe = validate(override(read_recipe(name), flags))

    @dataclass
    class WithSettings(Train):
        settings: Annotated[Recipe, arg(name="")] = recipe

    WithSettings.__doc__ = f"{(Train.__doc__ or '').splitlines()[0]} These are the settings of {name!r}."
    default = WithSettings(recipe=name, settings=recipe)
    return tyro.cli(
        WithSettings,
        args=["--help"],
        default=default,
        prog=f"pyro-vae train {name}",
        config=(tyro.conf.AvoidSubcommands,),
    )


def take_settings(args: list[str]) -> tuple[list[str], dict[str, Any]]:
    r"""Takes the flags that are settings of a recipe out of `args`.

    Example:
        >>> take_settings(["digits", "--seed", "3", "--prior.kind=vamp", "--out", "a"])
        (['digits', '--out', 'a'], {'seed': 3, 'prior.kind': 'vamp'})
    """
    own = {f"--{name.replace('_', '-')}" for name in Train.__dataclass_fields__} | {"--help"}
    own |= {"--no-overwrite"}
    rest: list[str] = []
    flags: dict[str, Any] = {}
    queue = list(args)
    while queue:
        token = queue.pop(0)
        flag, equals, value = token.partition("=")
        key = flag.removeprefix("--").replace("-", "_")
        if not token.startswith("--") or flag.replace("_", "-") in own:
            rest.append(flag.replace("_", "-") + equals + value if token.startswith("--") else token)
        elif "." in key or key in Recipe.model_fields:
            values = [value] if equals else []
            while not equals and queue and (not values or _number(queue[0])) and queue[0][:2] != "--":
                values.append(queue.pop(0))
            if not values:
                raise ValueError(f"{flag}: expected a value; got none.")
            flags[key] = _value(values[0]) if len(values) == 1 else [_value(v) for v in values]
        else:
            leaves = [n for n in _dotted(Recipe) if n.rpartition(".")[2] == key]
            hint = f" (did you mean --{leaves[0].replace('_', '-')}?)" if leaves else suggestion(
                flag, dict.fromkeys([*own, *(f"--{n.replace('_', '-')}" for n in _dotted(Recipe))])
            )
            raise ValueError(f"{flag}: no such flag{hint}. See pyro-vae train --help.")
    return rest, flags


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


# --- Commands -----------------------------------------------------------------------------------


def train(command: Train, flags: dict[str, Any]) -> None:
    from . import data
    from .build import build, find_device
    from .train import fit

    if command.resume is None:
        recipe = validate(override(read_recipe(command.recipe), flags))
        out = command.out or Path("runs") / f"{recipe.name}-{time.strftime('%Y%m%d-%H%M%S')}"
    else:
        name = validate(read_recipe(command.recipe)).name
        out = _newest_run(name) if command.resume == "newest" else Path(command.resume)
        recipe = validate(override(_recorded(out), flags))
    device = find_device(recipe.device)
    dataset = data.load(recipe.data, command.data_dir)
    x_shape, scale = dataset.train.x_shape, dataset.train.scale
    vae = build(recipe, x_shape, scale, dataset.train).to(device)

    if command.overwrite and command.resume is None and (out / "config.toml").is_file():
        shutil.rmtree(out)
    if command.resume is None and (out / "checkpoints").exists():
        raise ValueError(
            f"Expected a folder without a run; got {out}, which holds one. Continue it with "
            f"--resume {out}, choose another --out, or delete it with --overwrite."
        )
    out.mkdir(parents=True, exist_ok=True)
    if command.resume is None:
        (out / "config.toml").write_text(to_toml(recipe), encoding="utf-8")
        (out / "data.json").write_text(json_.dumps(dataset.record(), indent=2) + "\n")
    print(f"{recipe.name} on {device}, {len(dataset.train)} data, into {out}", flush=True)
    history = fit(
        vae,
        dataset.train,
        valid=dataset.valid,
        seed=recipe.seed,
        out=out,
        resume=command.resume is not None,
        record={
            "recipe": recipe.model_dump(mode="json"),
            "data": dataset.record(),
            "x_shape": list(x_shape),
            "scale": scale,
        },
        **recipe.train.model_dump(),
    )
    print(
        f"Trained {history['epoch'][-1]} epochs in {history['seconds'][-1]:.0f} s. "
        f"Next: pyro-vae evaluate {out}, pyro-vae plot {out}"
    )


def evaluate(command: Evaluate, flags: dict[str, Any]) -> None:
    from .evaluate import evaluate as figures_of

    vae, split, name = _load(command)
    figures = {
        "data": name,
        "split": command.split,
        **figures_of(vae, split, command.num_samples, seed=command.seed),
    }
    if command.json:
        print(json_.dumps(figures))
        return
    print(
        f"{name}, {command.split}, {figures['num_data']} data, in nats per datum:\n"
        f"  ELBO      {figures['elbo']:10.3f} +- {figures['elbo_se']:.3f}\n"
        f"  log p(x)  {figures['log_marginal']:10.3f} +- {figures['log_marginal_se']:.3f}"
        f"  (Monte Carlo +- {figures['log_marginal_mc_se']:.3f}, "
        f"{figures['num_importance_samples']} samples, median ESS {figures['ess_median']:.0f})"
    )
    if "bits_per_dim" in figures:
        print(f"  {figures['bits_per_dim']:.4f} bits per dimension, from log p(x)")


def encode(command: Encode, flags: dict[str, Any]) -> None:
    import numpy as np

    from .evaluate import encode as moments_of

    vae, split, _ = _load(command)
    moments = moments_of(vae, split)
    arrays = {"loc": moments.loc.cpu().numpy(), "scale": moments.scale.cpu().numpy()}
    if split.labels is not None:
        arrays["labels"] = split.labels.cpu().numpy()
    np.savez(command.out, **arrays)
    print(f"{command.out}: " + ", ".join(f"{k} {v.shape}" for k, v in arrays.items()))


def sample(command: Sample, flags: dict[str, Any]) -> None:
    from .checkpoint import load
    from .evaluate import sample as draw
    from .plot import plot_samples

    vae = load(command.run, command.device)
    _save_picture(plot_samples(vae, command.num_samples, seed=command.seed), command.run, "samples")
    _save_array(draw(vae, command.num_samples, command.what, seed=command.seed), command.out)


def reconstruct(command: Reconstruct, flags: dict[str, Any]) -> None:
    from .evaluate import reconstruct as see
    from .plot import plot_reconstructions

    vae, split, _ = _load(command)
    figure = plot_reconstructions(vae, split, command.num_data, seed=command.seed)
    _save_picture(figure, command.run, "reconstructions")
    x = split.freeze(command.seed).rows(slice(0, command.num_data))
    _save_array(see(vae, x, command.what, seed=command.seed), command.out)


def plot(command: Plot, flags: dict[str, Any]) -> None:
    from .plot import plot_run

    vae, split, _ = _load(command)
    paths = plot_run(vae, split, command.run / "pictures", command.run / "metrics.jsonl")
    print("Pictures: " + ", ".join(map(str, paths)))


def list_(command: List, flags: dict[str, Any]) -> None:
    known = {
        choice: {name: (kind.__doc__ or "").strip() for name, kind in kinds.items()}
        for choice, kinds in REGISTRY.items()
    }
    known["recipe"] = {
        name: path.read_text(encoding="utf-8").splitlines()[0].lstrip("# ")
        for name, path in recipes().items()
    }
    if command.json:
        print(json_.dumps(known, indent=2))
        return
    for choice, rows in known.items():
        print(f"{choice}:")
        for name, text in rows.items():
            print(f"  {name:24s}{text}")


def show(command: Show, flags: dict[str, Any]) -> None:
    print(to_toml(validate(read_recipe(command.recipe))), end="")


COMMANDS: dict[type, Callable[[Any, dict[str, Any]], None]] = {
    Train: train,
    Evaluate: evaluate,
    Encode: encode,
    Sample: sample,
    Reconstruct: reconstruct,
    Plot: plot,
    List: list_,
    Show: show,
}


def _recorded(run: Path) -> dict[str, Any]:
    r"""The recipe of a run."""
    path = run / "config.toml"
    if not path.is_file():
        raise ValueError(f"Expected the folder of a run, with config.toml; got {run}.")
    return read_recipe(path)


def _newest_run(name: str) -> Path:
    r"""The newest run of a recipe below `runs/`."""
    runs = [path for path in Path("runs").glob("*/config.toml") if read_recipe(path)["name"] == name]
    if not runs:
        raise ValueError(f"Expected a run of {name!r} below runs/ to resume; found none.")
    return max(runs, key=lambda path: path.stat().st_mtime).parent


def _load(command: Any) -> tuple[Any, "Split", str]:
    r"""The VAE of a run, the rows asked for, and what the data are called."""
    from . import data
    from .checkpoint import load
    from .evaluate.checks import check_data

    vae = load(command.run, command.device)
    recipe = validate(_recorded(command.run))
    other = getattr(command, "data", None)
    split = data.find_split(recipe.data, other, command.split, command.data_dir)
    check_data(vae, split)
    return vae, split, other or recipe.data.kind


def _save_picture(figure: Any, run: Path, name: str) -> None:
    path = run / "pictures" / f"{name}.png"
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=150)
    print(f"Picture: {path}")


def _save_array(x: Any, out: Path | None) -> None:
    if out is not None:
        import numpy as np

        np.save(out, x.cpu().numpy())
        print(f"{out}: {tuple(x.shape)}")


if __name__ == "__main__":
    sys.exit(main())
