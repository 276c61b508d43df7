"""Every file that is written is the earlier one or the new one, wherever the writer is stopped."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import pyro_vae

ROOT = Path(pyro_vae.__file__).parent
PROGRAM = Path(__file__).parent / "writers.py"


@pytest.mark.parametrize(
    "names",
    [["page", "csv", "npz", "run"], pytest.param([], marks=pytest.mark.slow)],
    ids=["some", "all"],
)
def test_files_are_whole_at_every_crash_point(tmp_path, names):
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(PROGRAM), str(tmp_path), *names],
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    tried = int(done.stdout.splitlines()[-1])
    assert tried > 20 * (len(names) or 12)


# --- There is one door --------------------------------------------------------------------------

OTHERS = {  # places that write without it, and why a part of their file does no harm
    "runs/storage.py": "checkpoints are folders, which are renamed when complete",
    "runs/folder.py": "rows are appended, and a part of a row is cut off",
    "data/places.py": "downloads have a folder of their own until they are complete",
    "compile/ahead.py": "a mark without contents",
    "report.py": "a picture is written into memory",
    "cli/__init__.py": "what further ranks print goes nowhere",
}
WRITING = {"write_text", "write_bytes", "savefig", "savez", "savez_compressed", "to_csv", "touch"}
WRITING |= {"open_memmap", "memmap", "tofile", "savetxt", "dump"}


def writes(node: ast.AST) -> bool:
    """Whether a call opens a file to write."""
    if not isinstance(node, ast.Call):
        return False
    name = getattr(node.func, "attr", getattr(node.func, "id", ""))
    values = [a.value for a in [*node.args, *(k.value for k in node.keywords)] if isinstance(a, ast.Constant)]  # fmt: skip
    if name in ("open", "fdopen", "open_memmap", "memmap"):
        return any(isinstance(v, str) and v[:1] in "wax" or v in ("rb+", "r+", "w+", "a+b") for v in values)  # fmt: skip
    owner = getattr(getattr(node.func, "value", None), "id", "")
    return name in WRITING - {"dump"} or (name == "dump" and owner in ("json", "pickle"))


def inside(tree: ast.AST) -> set[int]:
    """Calls inside of `with replacing(...)`, or of the statement itself."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.With):
            managers = [ast.unparse(item.context_expr) for item in node.items]
            if any(text.startswith("replacing(") for text in managers):
                found |= {id(inner) for inner in ast.walk(node)}
    return found


def unguarded(path: Path) -> list[str]:
    tree = ast.parse(path.read_text())
    guarded = inside(tree)
    own = {"write_text"}  # that of pyro_vae.writing
    imported = any(
        isinstance(n, ast.ImportFrom) and (n.module or "").endswith("writing")
        for n in ast.walk(tree)
    )
    return [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for node in ast.walk(tree)
        if writes(node)
        and id(node) not in guarded
        and not (imported and getattr(node.func, "id", "") in own)
    ]


def test_every_file_goes_through_one_door():
    places = [place for path in sorted(ROOT.rglob("*.py")) for place in unguarded(path)]
    places = [place for place in places if place.split(":")[0] not in OTHERS]
    assert [place for place in places if not place.startswith("writing.py")] == []


def test_a_door_of_ones_own_is_found(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    (tmp_path / "a.py").write_text("def f(path):\n    path.write_text('1')\n    open(path, 'w')\n")
    assert unguarded(tmp_path / "a.py") == ["a.py:2", "a.py:3"]
