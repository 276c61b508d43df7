"""Sweeps: a grid and seeds become runs of the usual kind, a ranking with errors and a picture."""

import json

import pytest

from pyro_vae.cli import main
from pyro_vae.cli.commands.sweep import read_grid
from pyro_vae.config import grid_points

SMALL = [
    "--posterior.encoder.hidden-features", "8",
    "--likelihood.decoder.hidden-features", "8",
    "--train.epochs", "2",
    "--num-samples", "5",
]  # fmt: skip


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    out = tmp_path_factory.mktemp("sweep") / "runs"
    grid = ["--grid", "prior.kind=standard-normal,normal"]
    assert main(["sweep", "digits-plain", *grid, "--seeds", "2", "--out", str(out), *SMALL]) == 0
    return out


def test_a_sweep_is_runs_with_a_ranking(swept, capsys):
    names = sorted(path.name for path in swept.iterdir() if path.is_dir())
    priors = ("normal", "standard-normal")
    assert names == [f"prior={prior},seed={seed}" for prior in priors for seed in (0, 1)]
    assert (swept / "sweep.png").stat().st_size > 5000
    found = json.loads((swept / "sweep.json").read_text())
    assert found["num_data"] == 297 and len(found["settings"]) == 2
    assert all(row["num_seeds"] == 2 and row["log_marginal_se"] > 0 for row in found["settings"])
    capsys.readouterr()
    assert main(["evaluate", str(swept / names[0]), "--num-samples", "5", "--json"]) == 0


def test_a_sweep_that_is_called_again_trains_nothing(swept, capsys):
    before = {path: path.stat().st_mtime_ns for path in swept.glob("*/metrics.jsonl")}
    sizes = {path: path.stat().st_size for path in before}
    grid = ["--grid", "prior.kind=standard-normal,normal"]
    flags = ["--seeds", "2", "--out", str(swept), *SMALL, "--json"]
    assert main(["sweep", "digits-plain", *grid, *flags]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert {path: path.stat().st_size for path in before} == sizes
    assert found == json.loads((swept / "sweep.json").read_text()) | {"picture": found["picture"]}


def test_compare_takes_the_folder_of_a_sweep(swept, capsys):
    assert main(["compare", str(swept), "--num-samples", "5"]) == 0
    out = capsys.readouterr().out
    assert "2 seeds" in out and "over 2 seeds and 297 data" in out


@pytest.mark.slow
def test_train_takes_seeds(tmp_path, capsys):
    flags = [flag for flag in SMALL if flag not in ("--num-samples", "5")]
    out = tmp_path / "seeds"
    assert main(["train", "digits-plain", "--seeds", "2", "--out", str(out), *flags]) == 0
    printed = capsys.readouterr().out
    assert "Trained 2 models" in printed and "digits-plain " in printed
    assert sorted(path.name for path in out.iterdir() if path.is_dir()) == ["seed=0", "seed=1"]


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--grid", "train.lr"], 'Expected --grid "train.lr=1e-3,3e-3"'),
        (["--grid", "train.lr=1e-3", "--grid", "train.lr=1e-2"], "train.lr twice"),
        (["--grid", "train.rate=1e-3"], "rate"),
        (["--grid", "prior.kind=gauss"], "gauss"),
        (["--grid", "train.lr=1e-3,1e-3"], "each value of a setting once"),
        (["--seeds", "0"], "--seeds of at least 1"),
    ],
)
def test_wrong_sweeps_get_a_sentence_and_train_nothing(flags, sentence, tmp_path, capsys):
    out = tmp_path / "runs"
    assert main(["sweep", "digits-plain", *flags, "--out", str(out)]) == 2
    assert sentence in capsys.readouterr().err
    assert not out.exists()


def test_values_of_a_grid():
    texts = ["prior.kind=vamp,standard-normal", "a.hidden-features=[200,200],[400]", "b=none,true"]
    assert read_grid(texts) == {
        "prior.kind": ["vamp", "standard-normal"],
        "a.hidden_features": [[200, 200], [400]],
        "b": [None, True],
    }


def test_names_of_points():
    grid = {"train.lr": [1e-3], "prior.latent_dim": [2], "posterior.latent_dim": [3]}
    [point] = grid_points(grid, [4])
    assert point.name == "lr=0.001,prior.latent_dim=2,posterior.latent_dim=3,seed=4"
    assert grid_points({"hidden_features": [[9, 9]]}, [0])[0].name == "hidden_features=9x9,seed=0"
