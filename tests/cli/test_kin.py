"""Known factors, penalties and data of another kind, from the command line."""

import json

import numpy as np
import pytest
from checks import same

import pyro_vae as pv
from pyro_vae.cli import main

DATA = ["--data.valid", "6600", "--data.test", "100", "--train.schedule", "constant"]
NARROW = [
    "--likelihood.decoder.hidden-features",
    "16",
    "--posterior.encoder.hidden-features",
    "16",
]
SMALL = [*DATA, *NARROW, "--latent-dim", "2", "--train.estimator", "factor-vae"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kin") / "run"
    assert main(["train", "sprites", "--out", str(folder), *SMALL, "--train.epochs", "2"]) == 0
    return folder


def test_evaluation_of_data_with_factors_and_against_others(run, tmp_path, capsys):
    noise = np.random.default_rng(0).integers(0, 17, (10, 1, 16, 16)).astype(np.uint8)
    np.save(tmp_path / "noise.npy", noise)
    command = [
        "evaluate",
        str(run),
        "--num-samples",
        "5",
        "--against",
        str(tmp_path / "noise.npy"),
    ]
    assert main([*command, "--num-against", "10"]) == 0
    out = capsys.readouterr().out
    for words in ("MIG", "disentanglement", "by chance)", "KL term   mutual information"):
        assert words in out
    assert "10 data of" in out and "likelihood regret" in out
    record = json.loads((run / "figures.json").read_text())["test"]
    assert record["auroc_likelihood"] == 1 and 0 <= record["mig"] <= 1
    bound = pv.elbo(pv.load(run), pv.data.sprites(valid=6600, test=100).test, 5, seed=0)
    assert record["elbo"] == pytest.approx(float(bound.mean()), abs=1e-3)  # the plain one


@pytest.mark.slow
def test_the_discriminator_resumes_bit_for_bit(run, tmp_path):
    cut = str(tmp_path / "cut")
    assert main(["train", "sprites", "--out", cut, *SMALL, "--train.epochs", "1"]) == 0
    assert main(["train", "--resume", cut, "--train.epochs", "2"]) == 0
    same(pv.load(run).state_dict(), pv.load(cut).state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize(
    "command,words",
    [
        (
            ["explain", "digits", "--train.estimator", "beta-tcvae"],
            "factorize over latent features",
        ),
        (["explain", "sprites", "--train.tc-weight", "3"], "Set train.estimator"),
        (["explain", "digits-m2", "--train.estimator", "info-vae"], "no gradient flows"),
        (
            ["explain", "mnist-two-layers", "--train.estimator", "factor-vae"],
            "one latent variable",
        ),
    ],
)
def test_what_has_no_penalty_is_said_in_a_sentence(command, words, capsys):
    if command[1].startswith("mnist"):
        command = [*command, "--data.kind", "sprites"]
    assert main(command) == 2
    assert words in capsys.readouterr().err


def test_another_shape_against_a_run(run, capsys):
    assert main(["evaluate", str(run), "--num-samples", "5", "--against", "digits"]) == 2
    assert "(N, 1, 8, 8) in digits" in capsys.readouterr().err
