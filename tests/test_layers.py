"""A file imports only from lower layers; heavy packages are imported when they are needed."""

import ast
import os
import subprocess
import sys
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import pyro_vae

ROOT = Path(pyro_vae.__file__).parent
LAYERS = [
    [
        "config",
        "deprecation",
        "statistics",
        "registration",
        "remembered",
        "nn",
        "transforms",
        "distributions",
        "data",
        "randomness",
        "ranks",
        "precision",
        "counted",
        "writing",
    ],
    ["base", "flows", "programs", "gallery"],
    ["priors", "likelihoods", "posteriors"],
    ["models"],
    ["objectives", "compile", "build", "exact"],
    ["runs", "checks", "views", "evaluate", "debug"],
    ["train", "plot", "report", "explore", "relatives"],
    ["cli", "estimator", "__main__"],
]
LAYER = {name: layer for layer, names in enumerate(LAYERS) for name in names}
FILES = [path for path in sorted(ROOT.rglob("*.py")) if path != ROOT / "__init__.py"]


def unit(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def imported_units(path: Path) -> set[str]:
    package = path.relative_to(ROOT).parts[:-1]
    units = set()
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.ImportFrom) and node.level > 0:
            base = package[: len(package) - node.level + 1]
            if node.module:
                units.add((*base, *node.module.split("."))[0])
            else:
                units.update((*base, alias.name)[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pyro_vae."):
            units.add(node.module.split(".")[1])
    return units


def test_imports_go_down_the_layers():
    """Siblings in one layer may import each other if this makes no cycle."""
    up = [
        f"{path.relative_to(ROOT)} (layer {LAYER[unit(path)]}) imports {other} ({LAYER[other]})"
        for path in FILES
        for other in imported_units(path)
        if LAYER[other] > LAYER[unit(path)]
    ]
    assert not up


def test_siblings_do_not_import_each_other_in_a_cycle():
    edges = {u: set() for u in LAYER}
    for path in FILES:
        edges[unit(path)] |= imported_units(path) - {unit(path)}
    [*TopologicalSorter(edges).static_order()]


def imported_files(path: Path) -> set[Path]:
    """Also those that a function imports when it runs, but not those for annotations alone."""
    every = [*ast.walk(parsed(path))]
    blocks = [n for n in every if isinstance(n, ast.If) and "TYPE_CHECKING" in ast.unparse(n.test)]
    annotations = {part for block in blocks for n in block.body for part in ast.walk(n)}
    found = set()
    for node in every:
        if isinstance(node, ast.ImportFrom) and node.level > 0 and node not in annotations:
            place = path.parents[node.level - 1].joinpath(*(node.module or "").split("."))
            for file in [place, *(place / alias.name for alias in node.names)]:
                found |= {file.with_suffix(".py"), file / "__init__.py"} & {*FILES}
    return found - {parent / "__init__.py" for parent in path.parents}


def test_files_do_not_import_each_other_in_a_cycle():
    [*TopologicalSorter({path: imported_files(path) for path in FILES}).static_order()]


def test_compile_imports_no_other_part_than_ranks():
    inside = [path for path in FILES if unit(path) == "compile"]
    assert len(inside) > 5 and all(imported_units(path) <= {"compile", "ranks"} for path in inside)


def test_files_are_small_enough_to_read():
    assert {p.name: n for p in FILES if (n := len(p.read_text().splitlines())) > 480} == {}


@pytest.mark.parametrize(
    "statement,absent",
    [
        (
            "import pyro_vae as pv, pyro_vae.models, pyro_vae.data; pv.VAE; pv.fit; pv.load",
            ["matplotlib", "sklearn", "torchvision"],
        ),
        ("import pyro_vae.cli", ["torch", "pyro", "numpy", "matplotlib"]),
        ("from pyro_vae.cli import main; main(['list'])", ["torch", "pyro", "numpy"]),
        ("from pyro_vae.cli import main; main(['show', 'mnist-vamp'])", ["torch", "pyro"]),
    ],
)
def test_heavy_packages_are_imported_late(statement, absent):
    code = f"import sys\n{statement}\nassert not set({absent!r}) & set(sys.modules), set({absent!r}) & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def children_seconds() -> float:
    """The CPU time of ended child processes, which other work on the machine does not change."""
    times = os.times()
    return times.children_user + times.children_system


@pytest.mark.parametrize("args", [["--help"], ["train", "digits", "--help"]])
def test_help_is_quick_and_torch_free(args):
    code = (
        "import sys, pyro_vae.cli as cli\n"
        f"try: cli.main({args!r})\nexcept SystemExit as e: assert e.code == 0\n"
        "assert 'torch' not in sys.modules"
    )
    start = children_seconds()
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    assert children_seconds() - start < 2  # about 0.3


def test_importing_changes_nothing():
    code = (
        "import logging, torch, pyro\n"
        "def state(): return (torch.get_rng_state().tolist(), torch.get_default_dtype(),"
        " torch.distributions.Distribution._validate_args, logging.root.handlers[:], torch.is_grad_enabled())\n"
        "before = state()\n"
        "import pyro_vae as pv; pv.VAE, pv.fit, pv.load, pv.plot, pv.data\n"
        "assert state() == before"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_stub_matches_the_exports():
    stub = ast.parse((ROOT / "__init__.pyi").read_text())
    imports = [node for node in stub.body if isinstance(node, ast.ImportFrom)]
    homes = {alias.name: node.module for node in imports for alias in node.names}
    assert {n: m for n, m in homes.items() if m} == pyro_vae._HOMES
    assert sorted(n for n, m in homes.items() if not m) == sorted(pyro_vae._MODULES)
