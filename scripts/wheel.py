"""Builds the wheel, and uses it as a new user does, in an empty environment: `make wheel`.

The environment is made outside the checkout and has only what the wheel asks for, at the versions
of `constraints.txt`.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "pyro_vae"
CODE = (".py", ".pyi")
COMMANDS = """\
list
train digits --out runs/digits --train.epochs 2
evaluate runs/digits --num-samples 20
explore runs/digits
sample runs/digits --out new.csv"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="where the wheel is left")
    out = parser.parse_args().out.resolve()
    wheel = build(out)
    check_contents(wheel)
    with tempfile.TemporaryDirectory(prefix="wheel-") as folder:
        use(wheel, Path(folder))


def build(out: Path) -> Path:
    """Builds source archive and wheel, and returns the wheel."""
    run(sys.executable, "-m", "build", "--outdir", str(out), str(ROOT), quiet=True)
    wheel = max(out.glob("*.whl"), key=lambda path: path.stat().st_mtime)
    print(f"{wheel.name}: {wheel.stat().st_size / 1e6:.2f} MB")
    return wheel


def check_contents(wheel: Path) -> None:
    """Code, registry, recipes, the page with its source, types and licence are in it."""
    inside = set(zipfile.ZipFile(wheel).namelist())
    own = (path for path in PACKAGE.rglob("*") if path.is_file())
    wanted = {p.relative_to(ROOT).as_posix() for p in own if "__pycache__" not in p.parts}
    wanted.add(f"{wheel.name.removesuffix('-py3-none-any.whl')}.dist-info/licenses/LICENSE")
    if missing := sorted(wanted - inside):
        raise SystemExit(f"Expected {len(wanted)} files in {wheel.name}; {missing} are missing.")
    extra = [name for name in inside - wanted if ".dist-info/" not in name]
    if extra:
        raise SystemExit(f"Expected files of the package in {wheel.name}; got also {extra}.")
    others = sum(not name.endswith(CODE) for name in wanted)
    print(f"{len(wanted)} files, {others} of them no code: registry, recipes, the page, LICENSE")


def use(wheel: Path, folder: Path) -> None:
    """Installs the wheel into a new environment, and runs commands where nothing else is."""
    run(sys.executable, "-m", "venv", str(folder / "venv"))
    binaries = folder / "venv" / "bin"
    options = ["-q", "-c", str(ROOT / "constraints.txt")]
    run(str(binaries / "pip"), "install", *options, str(wheel), quiet=True)
    empty = folder / "empty"
    empty.mkdir()
    ask = "import pyro_vae; print(pyro_vae.__file__)"
    where = run(str(binaries / "python"), "-c", ask, cwd=empty)
    if not Path(where.strip()).is_relative_to(folder):
        raise SystemExit(f"Expected the installed package; got {where.strip()}.")
    for command in COMMANDS.splitlines():
        lines = run(str(binaries / "pyro-vae"), *command.split(), cwd=empty).splitlines()
        print(f"pyro-vae {command}: {lines[-1]}", flush=True)
    page, rows = empty / "runs/digits/explore.html", empty / "new.csv"
    print(f"explore.html {page.stat().st_size / 1e6:.2f} MB, new.csv {rows.stat().st_size} B")


def run(*command: str, cwd: Path = ROOT, quiet: bool = False) -> str:
    """Runs a command without the variables that lead to a checkout, and returns what it prints."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    own.pop("PYRO_VAE_DATA", None)
    done = subprocess.run(command, cwd=cwd, env=own, capture_output=True, text=True, check=False)
    if done.returncode:
        end = (done.stdout + done.stderr)[-2000:]
        raise SystemExit(f"{' '.join(command)} failed:\n{end}")
    return "" if quiet else done.stdout


if __name__ == "__main__":
    main()
