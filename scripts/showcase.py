"""Trains the models of docs/showcase.md, and takes their pictures and numbers.

`python scripts/showcase.py` runs the commands of every entry of `showcase.toml`, as the page shows
them; `python scripts/showcase.py vq pose` those of some. The page is written of what they leave.
"""

import argparse
import json
import os
import shlex
import time
import tomllib
from pathlib import Path
from typing import Any

from PIL import Image, ImageChops

from pyro_vae.cli import main as command_line

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "showcase"
ENTRIES = tomllib.loads((ROOT / "scripts" / "showcase.toml").read_text(encoding="utf-8"))
FIGURES = FOLDER / "figures.json"
WIDTH = 640  # of a picture, in pixels
COLOURS = 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="entries (default: all)")
    parser.add_argument("--folder", type=Path, default=ROOT / "build", help="where runs/ is made")
    parser.add_argument("--trained", action="store_true", help="only pictures and numbers")
    parser.add_argument("--page", action="store_true", help="only write the page again")
    given = parser.parse_args()
    if unknown := {*given.names} - {*ENTRIES}:
        raise SystemExit(f"Expected some of {', '.join(ENTRIES)}; got {', '.join(unknown)}.")
    FOLDER.mkdir(exist_ok=True)
    given.folder.mkdir(parents=True, exist_ok=True)
    os.chdir(given.folder)  # so that pictures and commands name runs/NAME
    for name in () if given.page else given.names or ENTRIES:
        known = read().get(name) if given.trained else None
        figures = {name: make(name, ENTRIES[name], known)}
        figures = {**read(), **figures}
        FIGURES.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
        print(name, figures[name], flush=True)
    text = "\n".join([HEAD, *(section(n, e) for n, e in ENTRIES.items() if n in read())])
    (ROOT / "docs" / "showcase.md").write_text(text, encoding="utf-8")


def read() -> dict[str, Any]:
    return json.loads(FIGURES.read_text(encoding="utf-8")) if FIGURES.is_file() else {}


def make(name: str, entry: dict[str, Any], known: dict[str, Any] | None) -> dict[str, Any]:
    """Trains and evaluates a model, takes its picture, and returns its numbers."""
    run = Path("runs") / name
    if known is not None:
        draw(name, entry, run)
        return known
    before = time.process_time()
    cli("train", *shlex.split(entry["train"]), "--out", str(run), "--overwrite")
    spent = time.process_time() - before
    samples = str(entry.get("samples", 100))
    cli("evaluate", str(run), "--num-samples", samples)
    [found] = json.loads((run / "figures.json").read_text(encoding="utf-8")).values()
    draw(name, entry, run)
    keys = ["elbo", "elbo_se", "log_marginal", "log_marginal_se", "num_data"]
    return {
        **{key: found[key] for key in keys if key in found},
        "samples": int(samples),
        "cpu_seconds": round(spent),
    }


def draw(name: str, entry: dict[str, Any], run: Path) -> None:
    """Draws a trained model."""
    cli(*shlex.split(entry.get("then", "plot {run}").format(run=run)))
    picture = run / "pictures" / f"{entry['picture']}.png"
    take(picture, FOLDER / f"{name}.png", entry.get("width", WIDTH))


def cli(*arguments: str) -> None:
    """Runs a command as `pyro-vae` does, in this process, as imports are slow."""
    if code := command_line(list(arguments)):
        raise SystemExit(f"pyro-vae {' '.join(arguments)} ended with {code}.")


def take(source: Path, target: Path, width: int) -> None:
    """Makes a small picture of a plot: without its margins, in few colours."""
    image = Image.open(source).convert("RGB")
    white = Image.new("RGB", image.size, "white")
    image = image.crop(ImageChops.difference(image, white).getbbox())
    if image.width > width:
        image = image.resize((width, round(image.height * width / image.width)), Image.LANCZOS)
    image.quantize(COLOURS, Image.Quantize.MAXCOVERAGE).save(target, optimize=True)


HEAD = """\
# Showcase

What each kind of model draws. Everything here is made by `python scripts/showcase.py`, which runs
the commands below: small trainings, of a minute or so each, one seed. Numbers are nats per datum
of the test data, `+-` is the standard error over data; the links lead to what was measured with
more epochs and seeds.
"""


def section(name: str, entry: dict[str, Any]) -> str:
    """The part of the page about a model."""
    figures = read()[name]
    run = f"runs/{name}"
    commands = [f"pyro-vae train {entry['train']} --out {run}"]
    commands.append(f"pyro-vae evaluate {run} --num-samples {figures['samples']}")
    commands.append(f"pyro-vae {entry.get('then', 'plot {run}').format(run=run)}")
    numbers = f"ELBO {figures['elbo']:.2f} +- {figures['elbo_se']:.2f}"
    if "log_marginal" in figures:
        bound = f"{figures['log_marginal']:.2f} +- {figures['log_marginal_se']:.2f}"
        numbers += f", log {entry.get('law', 'p(x)')} > {bound}"
    spent = f"{figures['cpu_seconds']} CPU seconds of training"
    return f"""\
## {entry["title"]}

![{entry["seen"]}](showcase/{name}.png)

{entry["text"].strip()}

{numbers} ({figures["num_data"]} test data, {figures["samples"]} samples; {spent}).
{entry["more"]}

```
{chr(10).join(commands)}
```
"""


if __name__ == "__main__":
    main()
