"""Bundles the source of the explorer's page, by esbuild, into what the package brings along.

    python scripts/page.py [--esbuild PATH]

Needs node. Writes `bundle.js`, `bundle.css` and `operations.txt` in `pyro_vae/explore/`; the first
line of the bundle has the SHA-256 of the source that it was made of.
"""

import argparse
import hashlib
import subprocess
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "pyro_vae" / "explore"
SOURCE = FOLDER / "src"
VERSION = "0.28.2"
OPTIONS = ["--bundle", "--minify", "--target=es2022", "--charset=utf8", "--log-level=warning"]


def digest() -> str:
    """The SHA-256 of all source files, with their names."""
    total = hashlib.sha256()
    for path in sorted(SOURCE.iterdir()):
        total.update(f"{path.name}\n{path.read_text(encoding='utf-8')}".encode())
    return total.hexdigest()


def bundle(esbuild: list[str], entry: str, *more: str) -> str:
    command = [*esbuild, str(SOURCE / entry), *OPTIONS, *more]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def parts(esbuild: list[str]) -> dict[str, str]:
    """The files by name."""
    about = f"/*! pyro_vae, Apache-2.0; source {digest()} */\n"
    names = subprocess.run(
        ["node", str(SOURCE / "names.js")], check=True, capture_output=True, text=True
    )
    return {
        "bundle.js": about + bundle(esbuild, "main.js", "--format=iife"),
        "bundle.css": bundle(esbuild, "page.css"),
        "operations.txt": names.stdout,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--esbuild", help="The program; by default npx fetches it.")
    given = parser.parse_args().esbuild
    for name, text in parts([given] if given else ["npx", "--yes", f"esbuild@{VERSION}"]).items():
        (FOLDER / name).write_text(text, encoding="utf-8")
        print(FOLDER / name)


if __name__ == "__main__":
    main()
