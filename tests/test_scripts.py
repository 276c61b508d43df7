"""The scripts and the notebook run as they stand and print finite figures."""

import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from checks import needs_data

ROOT = Path(__file__).parents[1]
NUMBER = r"-?\d+\.\d+"


def run(folder, *args):
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, ROOT / args[0], *args[1:]],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def figures(text, *names):
    """The numbers behind names, at their last mention."""
    return [float(re.findall(rf"{name}\s*({NUMBER})", text)[-1]) for name in names]


def test_svi(tmp_path):
    out = run(tmp_path, "scripts/svi_mnist.py", "--data", "digits", "--epochs", "3")
    first, last = (float(v) for v in re.findall(rf"test ELBO ({NUMBER})", out)[::2])
    assert last > first
    assert figures(out, r"log p\(x\)")[0] > last


@needs_data
@pytest.mark.slow
def test_svi_on_mnist(tmp_path):
    out = run(tmp_path, "scripts/svi_mnist.py", "--epochs", "1")
    assert -200 < figures(out, "test ELBO")[0] < -90


def test_discrete_latents_against_their_exact_evidence(tmp_path):
    out = run(tmp_path, "scripts/svi_discrete.py", "--epochs", "6")
    elbo, exact = figures(out, "test ELBO", r"exact log p\(x\)")
    assert elbo < exact
    estimate, exact = figures(out, "importance sampling", "exact")
    assert exact - 2 < estimate < exact + 0.1


def test_swapping_priors_and_posteriors(tmp_path):
    out = run(
        tmp_path,
        "scripts/swap_priors.py",
        "--epochs",
        "3",
        "--num-samples",
        "20",
        "--priors",
        "flow",
        "vamp",
        "--posteriors",
        "laplace",
        "bernoulli",
    )
    rows = re.findall(rf"({NUMBER}) \+- ({NUMBER})\s+({NUMBER}) \+- ({NUMBER})", out)
    assert len(rows) == 3 and out.count("Take the Bernoulli prior, or") == 1
    for elbo, _, evidence, _ in rows:
        assert math.isfinite(float(elbo)) and float(evidence) > float(elbo)


LESSONS = sorted((ROOT / "notebooks").glob("*.py"))
# Lessons that take long, of kinds that others have, too.
LONG = tuple("04 05 06 07 08 09 10".split())


def test_there_are_ten_lessons():
    assert [int(path.name[:2]) for path in LESSONS] == list(range(1, 11))


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, marks=[pytest.mark.slow] if path.name[:2] in LONG else [])
        for path in LESSONS
    ],
    ids=lambda path: path.stem,
)
def test_a_lesson_runs(path, tmp_path, monkeypatch):
    """Quickly, at small sizes; each lesson asserts what it claims."""
    monkeypatch.setenv("SMOKE", "1")
    monkeypatch.setenv("MPLBACKEND", "Agg")
    run(tmp_path, path.relative_to(ROOT))


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, marks=[pytest.mark.slow] if path.name[:2] in LONG else [])
        for path in LESSONS
    ],
    ids=lambda path: path.stem,
)
def test_a_lesson_reads_on_the_web(path):
    """The notebook beside the source has its cells, executed, with pictures, and is small."""
    import jupytext

    beside = path.with_suffix(".ipynb")
    assert beside.stat().st_size < 400_000
    source, notebook = jupytext.read(path), jupytext.read(beside)
    assert [cell.source for cell in source.cells] == [cell.source for cell in notebook.cells]
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in code)
    outputs = [output for cell in code for output in cell.outputs]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert not any(output.output_type == "error" for output in outputs)
    assert not any(output.get("name") == "stderr" for output in outputs)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, marks=[pytest.mark.slow] if path.name[:2] in LONG else [])
        for path in LESSONS
    ],
    ids=lambda path: path.stem,
)
def test_a_lesson_holds_at_full_size(path, seed, tmp_path, monkeypatch):
    monkeypatch.setenv("SEED", str(seed))
    monkeypatch.setenv("MPLBACKEND", "Agg")
    run(tmp_path, path.relative_to(ROOT))


def test_benchmark(tmp_path):
    contenders = ["--contenders", "stock SVI", "ours, eager"]
    out = run(
        tmp_path,
        "scripts/benchmark.py",
        *["steps", "--workloads", "digits", "--rounds", "1", "--json", "figures.json"],
        *contenders,
    )
    assert "stock SVI" in out
    rows = json.loads((tmp_path / "figures.json").read_text())["digits"]
    assert [row["contender"] for row in rows] == contenders[1:]
    assert all(row["median_ms"] > 0 for row in rows)
