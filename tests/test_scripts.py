"""Scripts and lessons run unchanged and print finite numbers."""

import contextlib
import io
import json
import math
import random
import re
import runpy
import sys
import warnings
from pathlib import Path

import matplotlib
import matplotlib.pyplot
import numpy as np
import pyro
import pytest
import torch
from checks import needs_data

ROOT = Path(__file__).parents[1]
NUMBER = r"-?\d+\.\d+"


@contextlib.contextmanager
def restored():
    """Restores what a script may set for the whole process."""
    dtype, threads, rng = torch.get_default_dtype(), torch.get_num_threads(), torch.get_rng_state()
    of_numpy, of_random, modules = np.random.get_state(), random.getstate(), {*sys.modules}
    try:
        with pyro.get_param_store().scope(), matplotlib.rc_context(), warnings.catch_warnings():
            warnings.simplefilter("default")  # as in a separate process
            yield
    finally:
        matplotlib.pyplot.close("all")
        torch.set_default_dtype(dtype)
        torch.set_num_threads(threads)
        torch.set_rng_state(rng)
        np.random.set_state(of_numpy)
        random.setstate(of_random)
        for name in {*sys.modules} - modules:
            if Path(getattr(sys.modules[name], "__file__", None) or "").is_relative_to(
                ROOT / "scripts"
            ):
                del sys.modules[name]


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs a script as `python script args` does, in this process, as imports are slow."""

    def run(script, *args):
        path, out = ROOT / script, io.StringIO()
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("MPLBACKEND", "Agg")
        monkeypatch.setattr(sys, "argv", [str(path), *args])
        monkeypatch.syspath_prepend(path.parent)
        with restored(), contextlib.redirect_stdout(out):
            try:
                runpy.run_path(str(path), run_name="__main__")
            except SystemExit as end:
                assert not end.code, end.code
        return out.getvalue()

    return run


def numbers(text, *names):
    """The numbers after names, at their last occurrence."""
    return [float(re.findall(rf"{name}\s*({NUMBER})", text)[-1]) for name in names]


def test_svi(run):
    out = run("scripts/svi_mnist.py", "--data", "digits", "--epochs", "3")
    first, last = (float(v) for v in re.findall(rf"test ELBO ({NUMBER})", out)[::2])
    assert last > first
    assert numbers(out, r"log p\(x\)")[0] > last


def test_svi_of_two_layers(run):
    out = run("scripts/svi_hierarchical.py", "--data", "digits", "--epochs", "2")
    first, last = (float(v) for v in re.findall(rf"test ELBO ({NUMBER})", out))
    assert last > first
    assert all(value > 0 for value in numbers(out, "z1", "z2", "values of z2,"))


@pytest.mark.slow
def test_layers_of_a_hierarchy(run):
    few = ["--epochs", "1", "--passes", "1", "--seeds", "1"]
    out = run("scripts/layers.py", *few, "--layers", "2", "3", "--ways", "plain", "ladder")
    assert len(re.findall(r"^\| (?:plain|ladder) \|", out, re.MULTILINE)) == 4
    values = [float(v) for v in re.findall(rf"log p\(x\) ({NUMBER})", out)]
    assert len(values) == 4 and all(-60 < value < -20 for value in values)


def test_svi_under_labels(run):
    out = run("scripts/svi_conditional.py", "--data", "digits", "--epochs", "3")
    bounds = [float(v) for v in re.findall(rf"p\(x \| y\) ({NUMBER})", out)]
    assert bounds == sorted(bounds)
    assert numbers(out, "other images")[0] < bounds[-1]


@needs_data
@pytest.mark.slow
def test_svi_on_mnist(run):
    out = run("scripts/svi_mnist.py", "--epochs", "1")
    assert -200 < numbers(out, "test ELBO")[0] < -90


def test_classes_from_few_labels(run):
    out = run("scripts/svi_semisupervised.py", "--epochs", "3")
    accuracy = [float(v) for v in re.findall(rf"accuracy of y ({NUMBER})", out)]
    assert len(accuracy) == 3 and accuracy[-1] > 0.6
    assert len((ROOT / "scripts/svi_semisupervised.py").read_text().splitlines()) <= 60


@pytest.mark.slow
def test_pose(run, tmp_path):
    few = ["--data", "digits", "--rows", "500", "--epochs", "8"]
    out = run("scripts/pose.py", *few, "--out", "pose.png")
    posed, plain = (float(v) for v in re.findall(rf"the content moves by ({NUMBER})", out))
    assert posed < plain and (tmp_path / "pose.png").stat().st_size > 10_000
    assert 0 < numbers(out, "slope of the latent angle")[0] < 1.2


@pytest.mark.slow
def test_kin(run):
    out = run("scripts/kin.py", "--epochs", "1", "--seeds", "1")
    rows = re.findall(rf"^\| (.*VAE.*) \| ({NUMBER}) \+-", out, re.MULTILINE)
    assert len(rows) == 6 and all(-200 < float(bound) for _, bound in rows[:5])


@pytest.mark.slow
def test_bits_of_photographs(run, tmp_path):
    from pyro_vae.cli import main

    path = str(tmp_path / "photo")
    assert main(["train", "photo-patches", "--out", path, "--train.epochs", "1"]) == 0
    out = run("scripts/colour.py", path, "--num-samples", "5")
    bits = [float(v) for v in re.findall(rf"({NUMBER}) \+- {NUMBER} bits per dimension", out)]
    assert len(bits) == 4 and 6 < bits[1] < bits[0] < 8 and bits[3] <= bits[2]


@needs_data
@pytest.mark.slow
def test_spoken_digits(run, tmp_path):
    from pyro_vae.cli import main

    path = str(tmp_path / "spoken")
    settings = ["--train.epochs", "2", "--train.compile", "no", "--out", path]
    assert main(["train", "fsdd-cvae-labels", *settings]) == 0
    out = run("scripts/spoken_digits.py", path, "--num-samples", "5", "--out", "x.wav")
    assert all(v > 0.8 for v in numbers(out, "real clips", "real, as sound"))
    assert (tmp_path / "x.wav").stat().st_size > 30 * 2 * 3844


@needs_data
def test_baselines_of_sequences(run):
    out = run(
        "scripts/sequence_baselines.py",
        "--data",
        "fsdd",
        "--latent-dim",
        "2",
        "--steps",
        "5",
        "--rows",
        "50",
    )
    alone, linear = numbers(out, "independent steps", "linear state space, 2")
    assert math.isfinite(alone) and math.isfinite(linear)


def test_the_filter_of_the_baselines_is_exact():
    StateSpace = runpy.run_path(str(ROOT / "scripts/sequence_baselines.py"))["StateSpace"]
    torch.manual_seed(0)
    model = StateSpace(2, 3).double()
    for parameter in model.parameters():
        parameter.data.add_(0.3 * torch.randn(parameter.shape))
    a, c, noise = model.a, model.c, (2 * model.log_noise).exp().diag()
    mean, cov = [model.start], [[model.spread @ model.spread.T]]
    for t in range(1, 4):
        mean.append(a @ mean[-1])
        row = [a @ block for block in cov[-1]]
        cov.append([*row, row[-1] @ a.T + torch.eye(2)])
    every = [[(cov[i][j] if j <= i else cov[j][i].T) for j in range(4)] for i in range(4)]
    blocks = [
        torch.cat([c @ b @ c.T + noise * (i == j) for j, b in enumerate(r)], 1)
        for i, r in enumerate(every)
    ]
    centre = torch.cat([c @ m + model.shift for m in mean])
    law = torch.distributions.MultivariateNormal(centre, torch.cat(blocks).double())
    x = torch.randn(5, 4, 3).double()
    torch.testing.assert_close(model(x), law.log_prob(x.flatten(1)))


def test_discrete_latents_against_their_exact_evidence(run):
    out = run("scripts/svi_discrete.py", "--epochs", "6")
    elbo, exact = numbers(out, "test ELBO", r"exact log p\(x\)")
    assert elbo < exact
    estimate, exact = numbers(out, "importance sampling", "exact")
    assert exact - 2 < estimate < exact + 0.1


@pytest.mark.slow
def test_modes_are_covered(run):
    options = ("--seeds", "2", "--data", "ring", "--models")
    out = run("scripts/mode_coverage.py", *options, "flow", "gan", "vae", "--effort", "0.1")
    lines = out.splitlines()
    assert len(lines) == 9 and "nan" not in lines[2]  # the flow has log p(x)
    assert all("covered" in line and "near" in line for line in lines)


@pytest.mark.slow
def test_swapping_priors_and_posteriors(run):
    out = run(
        "scripts/swap_priors.py",
        "--epochs",
        "3",
        "--num-samples",
        "20",
        "--seeds",
        "2",
        "--priors",
        "flow",
        "vamp",
        "--posteriors",
        "laplace",
        "bernoulli",
    )
    rows = re.findall(rf"and \w+ +({NUMBER}) \+- ({NUMBER})", out)
    assert len(rows) == 3 and out.count("Use the Bernoulli prior, or") == 1
    values = [float(value) for value, _ in rows]
    assert values == sorted(values, reverse=True) and all(map(math.isfinite, values))
    assert len(re.findall(rf"({NUMBER}) \+- ({NUMBER})\s+(-{NUMBER}) \+- ({NUMBER})", out)) == 2


LESSONS = sorted((ROOT / "notebooks").glob("*.py"))
# Slow lessons, which other lessons cover in kind.
LONG = tuple("02 03 04 05 06 07 08 09 10 11 12 13 14 16".split())


def test_every_lesson_is_in_the_table():
    table = re.findall(r"\]\((\w+)\.ipynb\)", (ROOT / "notebooks/README.md").read_text())
    assert table == [path.stem for path in LESSONS]


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, marks=[pytest.mark.slow] if path.name[:2] in LONG else [])
        for path in LESSONS
    ],
    ids=lambda path: path.stem,
)
def test_a_lesson_runs(path, run, monkeypatch):
    """A quick run at small sizes; each lesson asserts its claims."""
    monkeypatch.setenv("SMOKE", "1")
    run(path.relative_to(ROOT))


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, marks=[pytest.mark.slow] if path.name[:2] in LONG else [])
        for path in LESSONS
    ],
    ids=lambda path: path.stem,
)
def test_a_notebook_matches_its_source(path):
    """The notebook has the cells of its source, executed, with plots, and is small."""
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
def test_a_lesson_holds_at_full_size(path, seed, run, monkeypatch):
    monkeypatch.setenv("SEED", str(seed))
    run(path.relative_to(ROOT))


@pytest.mark.slow
def test_intervals_cover_what_a_trained_model_has_drawn(run):
    """20,000 missing cells, by resampling and by chains, within 2 %."""
    out = run("scripts/coverage.py", "diabetes", "--own")
    rows = re.findall(r"diabetes  (\w+) +all +(\d+) cells  covered ([\d.]+)%", out)
    assert [method for method, _, _ in rows] == ["sir", "gibbs"]
    assert all(int(cells) >= 20_000 and abs(float(share) - 90) < 2 for _, cells, share in rows)


@pytest.mark.slow
def test_benchmark(run, tmp_path):
    contenders = ["--contenders", "stock SVI", "ours, eager"]
    out = run(
        "scripts/benchmark.py",
        *["steps", "--workloads", "digits", "--rounds", "1", "--json", "times.json"],
        *contenders,
    )
    assert "stock SVI" in out
    rows = json.loads((tmp_path / "times.json").read_text())["digits"]
    assert [row["contender"] for row in rows] == contenders[1:]
    assert all(row["median_ms"] > 0 for row in rows)


@pytest.mark.slow
def test_benchmark_has_a_floor(run, tmp_path):
    contenders = ["ours, eager", "matrix products", "traffic of Adam"]
    arguments = ["steps", "--workloads", "digits", "--rounds", "1", "--json", "times.json"]
    out = run("scripts/benchmark.py", *arguments, "--contenders", *contenders)
    rows = json.loads((tmp_path / "times.json").read_text())["digits"]
    assert [row["contender"] for row in rows] == [*contenders, "floor: products, traffic"]
    assert rows[-1]["median_ms"] == pytest.approx(rows[1]["median_ms"] + rows[2]["median_ms"])
    assert rows[0]["over_floor"] > 1 and "/ floor" in out


@pytest.mark.slow
def test_a_contender_that_cannot_start_is_named(monkeypatch, capsys):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    with restored():
        import workers

        jobs = {"nobody": workers.Job("contenders:prepare", {"contender": "nobody"})}
        assert workers.in_turns(jobs, rounds=1) == {}
    assert "nobody cannot start: TypeError" in capsys.readouterr().out
