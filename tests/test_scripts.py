"""The scripts and the notebook run as they stand and print finite figures."""

import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import needs_data

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
    assert len(rows) == 3 and out.count("Take the Bernoulli prior.") == 1
    for elbo, _, evidence, _ in rows:
        assert math.isfinite(float(elbo)) and float(evidence) > float(elbo)


def test_the_notebook_as_a_script(tmp_path):
    out = run(tmp_path, "notebooks/01_first_vae.py")
    by_parts, exact = figures(out, "exact posterior:", r"exact log p\(x\):")
    assert abs(by_parts - exact) < 0.05
    elbo, evidence = figures(out, "ELBO", r"log p\(x\)")
    assert elbo < evidence and elbo > -180


@pytest.mark.slow
def test_the_notebook_in_jupyter(tmp_path):
    import jupytext
    import nbclient

    notebook = jupytext.read(ROOT / "notebooks" / "01_first_vae.py")
    nbclient.NotebookClient(notebook, timeout=240, kernel_name="python3").execute(
        cwd=str(tmp_path)
    )
    images = [
        o
        for cell in notebook.cells
        for o in cell.get("outputs", [])
        if "image/png" in o.get("data", {})
    ]
    assert len(images) == 5


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
