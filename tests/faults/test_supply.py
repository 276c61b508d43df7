"""Dependencies: pinned, locked by hashes, and with a licence that is told."""

import re
import runpy
import sys
from importlib.metadata import packages_distributions, requires
from pathlib import Path

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
    """What pyproject.toml asks for is in constraints.txt."""
    lock = script("lock", monkeypatch)
    wanted = lock["pins"]((ROOT / "constraints.txt").read_text())
    asked = {re.match(r"[\w.-]+", line)[0] for line in requires("pyro_vae") or ()} - {"pyro_vae"}
    assert {lock["normalized"](name) for name in asked} <= wanted.keys()
    assert "pyro_vae" in packages_distributions()


def test_the_table_of_licences_names_every_package(monkeypatch):
    lock = script("lock", monkeypatch)
    page = (ROOT / "docs" / "dependencies.md").read_text()
    named = set(re.findall(r"[\w.-]+", page.partition("<!-- licences -->")[2]))
    wanted = lock["pins"]((ROOT / "constraints.txt").read_text())
    assert wanted.keys() <= named, "run `make lock`"
