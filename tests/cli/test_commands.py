"""The command line, from a recipe to plots, and its messages about mistakes."""

import json
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from checks import needs_data

import pyro_vae as pv
from pyro_vae.cli import main

SMALL = ["--train.epochs", "3", "--latent-dim", "2", "--likelihood.decoder.hidden-features", "16"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli") / "run"
    assert main(["train", "digits-plain", "--out", str(folder), *SMALL]) == 0
    return folder


def test_a_run_holds_everything_it_needs(run):
    assert {p.name for p in run.iterdir()} >= {
        "config.toml",
        "data.json",
        "metrics.jsonl",
        "checkpoints",
    }
    config = tomllib.loads((run / "config.toml").read_text())
    assert config["latent_dim"] == 2 and config["likelihood"]["decoder"]["hidden_features"] == [16]
    record = json.loads((run / "data.json").read_text())
    assert record["sizes"] == {"train": 1300, "valid": 200, "test": 297}
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [set(row) for row in rows[:2]] == [
        {
            "step",
            "epoch",
            "loss",
            "reconstruction",
            "kl",
            "grad_norm",
            "kl_weight",
            "lr",
            "active_units",
            "seconds",
        },
        {"step", "epoch", "elbo", "elbo_se"},
    ]


def test_evaluate_prints_one_object(run, capsys):
    assert main(["evaluate", str(run), "--num-samples", "50", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert list(figures) == [
        "data", "split", "num_data", "elbo", "elbo_se", "log_marginal", "log_marginal_se", "log_marginal_mc_se", "log_marginal_errors",
        "num_importance_samples", "ess_median", "bits_per_dim", "evidence", "verdict", "reason", "seconds",
    ]  # fmt: skip
    assert figures["data"] == "digits" and figures["num_data"] == 297
    assert figures["elbo"] < figures["log_marginal"] < 0
    assert figures["bits_per_dim"] == pytest.approx(-figures["log_marginal"] / 64 / np.log(2))
    vae = pv.load(run)
    split = pv.data.load(pv.config.Digits()).test
    assert figures["elbo"] == pytest.approx(float(pv.elbo(vae, split, 10).mean()), abs=1e-6)
    assert main(["evaluate", str(run), "--num-samples", "20"]) == 0
    assert "nats per datum" in capsys.readouterr().out


def test_diagnose_writes_a_page(run, tmp_path, capsys):
    page = tmp_path / "page.html"
    quick = ["--num-data", "10", "--num-samples", "30", "--num-temperatures", "5"]
    quick += ["--num-steps", "20", "--html", str(page)]
    assert main(["diagnose", str(run), *quick]) == 0
    text = capsys.readouterr().out
    for question in ("How good is it?", "How sure is that?", "What limits it?", "What to try?"):
        assert question in text and question in page.read_text()
    assert "amortization gap, 10 test data" in text
    html = page.read_text()
    assert html.count("data:image/png;base64,") >= 6 and "http" not in html


@pytest.mark.slow
def test_diagnose_prints_json(run, capsys):
    quick = ["--num-data", "10", "--num-samples", "30", "--num-temperatures", "5"]
    assert main(["diagnose", str(run), *quick, "--num-steps", "20", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["rate"] + record["distortion"] == pytest.approx(-record["elbo"], abs=1.0)
    assert record["latent_units"] == 2 and record["advice"]
    assert record["verdict"] in ("green", "amber", "red")


def test_inspect_shows_a_step(capsys):
    assert main(["inspect", "digits-plain", "--latent-dim", "3", "--num-data", "4"]) == 0
    out = capsys.readouterr().out
    assert "The ELBO of 4 training data of digits-plain" in out and "nats per datum" in out
    assert out.splitlines()[-1].startswith("Training uses reparameterized: closed-form KL")
    assert [line.split()[:2] for line in out.splitlines()[2:5]] == [
        ["guide", "z"],
        ["model", "z"],
        ["model", "x"],
    ]


@pytest.mark.parametrize("count", ["0", "-3"])
def test_a_count_of_data_is_at_least_one(count, capsys):
    assert main(["inspect", "digits-plain", "--num-data", count]) == 2
    assert f"Expected --num-data of at least 1; got {count}." in capsys.readouterr().err


def test_compare_runs(run, tmp_path, capsys):
    assert main(["compare", str(run), str(run), "--num-samples", "20", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["difference"] == found["se"] == 0 and found["num_data"] == 297
    assert main(["compare", *[str(run)] * 3, "--num-samples", "20"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].endswith("best") and len(lines) == 4
    assert lines[2].endswith("+0.000 +- 0.000 to the best (no significant difference)")
    other = tmp_path / "bits"
    flags = ["--likelihood.kind", "bernoulli", "--data.binarize", "dynamic", "--train.epochs", "1"]
    assert main(["train", "digits-plain", "--out", str(other), *flags]) == 0
    capsys.readouterr()
    assert main(["compare", str(run), str(other)]) == 2
    assert "one measure" in capsys.readouterr().err
    assert main(["compare", str(run), str(tmp_path)]) == 2


def test_evaluate_caches_finished_rows(run, tmp_path, capsys):
    kept = ["--num-samples", "20", "--cache", str(tmp_path / "cache.npz"), "--json"]
    results = []
    for _ in range(2):
        assert main(["evaluate", str(run), *kept]) == 0
        results.append(json.loads(capsys.readouterr().out)["log_marginal"])
    assert results[0] == results[1]
    assert main(["evaluate", str(run), "--seed", "1", *kept]) == 2
    assert "got others" in capsys.readouterr().err


def test_evaluate_your_own_file(run, tmp_path, capsys):
    x = (np.random.default_rng(0).random((12, 8, 8)) * 17).astype(np.uint8)
    np.save(tmp_path / "mine.npy", x)
    assert (
        main(
            [
                "evaluate",
                str(run),
                "--data",
                str(tmp_path / "mine.npy"),
                "--json",
                "--num-samples",
                "9",
            ]
        )
        == 0
    )
    assert json.loads(capsys.readouterr().out)["num_data"] == 12
    np.save(tmp_path / "bad.npy", x + 20)
    assert main(["evaluate", str(run), "--data", str(tmp_path / "bad.npy")]) == 2
    assert "{0, ..., 16}" in capsys.readouterr().err


def test_encode_sample_reconstruct_plot(run, workdir, capsys):
    assert main(["encode", str(run), "--out", "z.npz"]) == 0
    arrays = np.load("z.npz")
    assert {k: arrays[k].shape for k in arrays} == {
        "loc": (297, 2),
        "scale": (297, 2),
        "rows": (297,),
        "labels": (297,),
    }
    assert main(["sample", str(run), "--num-samples", "5", "--out", "x.npy", "--seed", "3"]) == 0
    assert np.load("x.npy").shape == (5, 1, 8, 8) and set(np.unique(np.load("x.npy"))) <= set(
        range(17)
    )
    assert main(["reconstruct", str(run), "--num-data", "4", "--out", "r.npy"]) == 0
    assert np.load("r.npy").shape == (4, 1, 8, 8)
    assert main(["plot", str(run)]) == 0
    plots = {p.name: p.stat().st_size for p in (run / "pictures").iterdir()}
    assert plots.keys() >= {
        "samples.png",
        "reconstructions.png",
        "latent.png",
        "decoded.png",
        "curves.png",
    }
    assert min(plots.values()) > 5000


def test_loading_gives_the_trained_model(run):
    vae, again = pv.load(run), pv.load(run, device="cpu")
    assert all(torch.equal(a, b) for a, b in zip(vae.parameters(), again.parameters()))
    assert not vae.training


def test_a_refused_training_creates_and_deletes_nothing(workdir, capsys):
    assert main(["train", "digits-plain", "--train.epochs", "1", "--out", "kept"]) == 0
    before = sorted(p for p in Path("kept").rglob("*"))
    wrong = ["--train.estimator", "vimco"]
    assert main(["train", "digits-plain", *wrong, "--out", "kept", "--overwrite"]) == 2
    assert main(["train", "digits-plain", *wrong, "--out", "new"]) == 2
    assert sorted(p for p in Path("kept").rglob("*")) == before and not Path("new").exists()
    assert capsys.readouterr().err.count("at least 2 particles") == 2


def test_explain(capsys):
    flags = ["--train.estimator", "iwae", "--train.num-particles", "5"]
    assert main(["explain", "digits-plain", *flags]) == 0
    text = capsys.readouterr().out
    assert "x * f - n * softplus(f)" in text and "iwae: importance weighted bound of 5" in text
    assert main(["explain", "digits-plain", "--latex"]) == 0
    assert capsys.readouterr().out.startswith(r"\begin{align*}")
    assert main(["explain", "digits-plain", "--posterior.kind", "bernoulli"]) == 2
    assert "Use the Bernoulli prior, or a posterior on the real numbers" in capsys.readouterr().err


def test_list_and_show(capsys):
    assert main(["list", "--json"]) == 0
    known = json.loads(capsys.readouterr().out)
    assert set(known) == {
        "prior",
        "likelihood",
        "posterior",
        "network",
        "data",
        "model",
        "estimator",
        "recipe",
    }
    for choice in ("prior", "likelihood", "posterior"):
        assert all(set(row) == {"formula", "support", "advice"} for row in known[choice].values())
    assert main(["show", "mnist-vamp"]) == 0
    assert tomllib.loads(capsys.readouterr().out)["prior"]["num_components"] == 500


@pytest.mark.parametrize(
    "args,message",
    [
        (["train", "digts"], "did you mean 'digits'"),
        (["train", "digits-plain", "--epochs", "3"], "did you mean --train.epochs"),
        (["train", "digits-plain", "--prior.kind", "vmap"], "did you mean 'vamp'"),
        (["train", "digits-plain", "--train.lr", "0"], "train.lr"),
        (["train", "digits-plain", "--likelihood.kind", "bernoulli"], "binarize"),
        (["train", "digits-plain", "--train.optimizer", "Adm"], "did you mean 'Adam'"),
        (["train", "digits-plain", "--posterior.encoder.activation", "Tahn"], "Did you mean Tanh"),
        (
            ["train", "digits-plain", "--prior.kind", "vamp", "--prior.num-components", "5000"],
            "num-components",
        ),
        (["train", "digits-plain", "--resume"], "runs/"),
        (["train", "digits-plain", "--resume", "nowhere"], "nowhere"),
        (["evaluate", "nowhere"], "nowhere"),
    ],
)
def test_mistakes_get_one_message(args, message, workdir, capsys):
    assert main(args) == 2
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error and len(error.strip().splitlines()) == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_missing_gpu_is_reported(workdir, capsys):
    assert main(["train", "digits-plain", "--device", "cuda"]) == 2
    assert "sees 0" in capsys.readouterr().err and not list(workdir.iterdir())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_trains_as_the_cpu_does(workdir):
    flags = ["--train.epochs", "20", "--latent-dim", "4"]
    assert main(["train", "digits-plain", "--device", "cuda", "--out", "gpu", *flags]) == 0
    assert main(["train", "digits-plain", "--device", "cpu", "--out", "cpu", *flags]) == 0
    split = pv.data.load(pv.config.Digits()).test
    gpu, cpu = (float(pv.elbo(pv.load(name), split, 10).mean()) for name in ("gpu", "cpu"))
    assert abs(gpu - cpu) < 3


def test_a_run_is_not_overwritten_by_default(run, capsys):
    before = sorted(p.name for p in (run / "checkpoints").iterdir())
    assert main(["train", "digits-plain", "--out", str(run), *SMALL]) == 2
    assert "--resume" in capsys.readouterr().err
    assert sorted(p.name for p in (run / "checkpoints").iterdir()) == before


def test_data_that_are_not_there(workdir, capsys, monkeypatch):
    monkeypatch.setenv("PYRO_VAE_DATA", str(workdir / "empty"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(workdir / "cache"))
    assert (
        main(
            ["train", "digits-plain", "--data.kind", "freyfaces", "--likelihood.kind", "gaussian"]
        )
        == 2
    )
    error = capsys.readouterr().err
    assert "freyfaces" in error and str(workdir / "empty") in error


@needs_data
@pytest.mark.parametrize(
    "recipe",
    [
        "mnist-mean-field",
        "mnist-vamp",
        "mnist-conv",
        "fashion-mnist",
        "mnist-two-layers",
        "mnist-ladder",
        "mnist-biva",
        "mnist-biva-five",
        "omniglot-two-layers",
        "mnist-cvae-labels",
        "fashion-cvae-labels",
        "mnist-cvae-quadrants",
    ],
)
@pytest.mark.slow
def test_recipes_run_on_real_data(recipe, workdir, capsys):
    flags = ["--train.epochs", "1"] + (
        ["--train.batch-size", "500"] if "conv" in recipe or "vamp" in recipe else []
    )
    assert main(["train", recipe, "--out", "run", *flags]) == 0
    assert main(["evaluate", "run", "--num-samples", "5", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    grey = recipe.startswith("fashion")
    assert figures["num_data"] == (13_180 if "omniglot" in recipe else 10_000)
    assert figures["elbo"] > (0 if grey else -250)


@needs_data
@pytest.mark.parametrize("recipe", ["mnist-m2", "mnist-m1m2", "mnist-m2-conv"])
@pytest.mark.slow
def test_recipes_of_few_labels_run_on_real_data(recipe, workdir, capsys):
    """Two thousand images, ten of each class with their label."""
    flags = ["--data.valid", "58000", "--train.epochs", "2", "--train.lr", "2e-3"]
    assert main(["train", recipe, "--out", "run", *flags]) == 0
    assert "100 of 2000 training data keep their y" in capsys.readouterr().out
    assert main(["evaluate", "run", "--num-samples", "5", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert figures["num_labelled"] == 10_000 and figures["accuracy_y"] > 0.3
    assert 0 < figures["agreement_y"] < 1 and figures["classifier_accuracy"] > 0.8
