"""Dependencies: pinned, locked by hashes, and with a licence that is told."""

import re
import runpy
import sys
import tomllib
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, requires
from itertools import chain
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]


def script(name, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    try:
        return runpy.run_path(str(ROOT / "scripts" / f"{name}.py"))
    finally:
        sys.modules.pop("lock", None)


def test_the_lock_has_every_pinned_version(monkeypatch):
    lock = script("lock", monkeypatch)
    wanted = lock["pins"]((ROOT / "constraints.txt").read_text())
    text = (ROOT / "lock.txt").read_text()
    assert lock["pins"](text) == wanted, "run `make lock`"
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+ --hash=sha256:[0-9a-f]{64}", line) for line in lines)
    assert "//" not in text and "index" not in text  # no host


def test_every_dependency_is_pinned(monkeypatch):
    """What pyproject.toml asks for, and what is installed because of it."""
    lock = script("lock", monkeypatch)
    wanted = lock["pins"]((ROOT / "constraints.txt").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [*project["dependencies"], *chain(*project["optional-dependencies"].values())]
    waiting = {lock["normalized"](Requirement(line).name) for line in asked} - {"pyro-vae"}
    found = set()
    while waiting:
        name = waiting.pop()
        found.add(name)
        with suppress(PackageNotFoundError):
            for line in requires(name) or ():
                other = Requirement(line)
                if other.marker is None or other.marker.evaluate({"extra": ""}):
                    waiting |= {lock["normalized"](other.name)} - found
    with_torch = {n for n in found if n.startswith(("nvidia-", "cuda-")) or n == "triton"}
    assert found - with_torch <= wanted.keys()


def test_the_table_of_licences_names_every_package(monkeypatch):
    lock = script("lock", monkeypatch)
    page = (ROOT / "docs" / "dependencies.md").read_text()
    named = set(re.findall(r"[\w.-]+", page.partition("<!-- licences -->")[2]))
    wanted = lock["pins"]((ROOT / "constraints.txt").read_text())
    assert wanted.keys() <= named, "run `make lock`"
