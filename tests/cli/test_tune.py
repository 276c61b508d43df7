"""pyro-vae tune: trials in a folder, a record with a picture, and sentences."""

import json

import pytest

from pyro_vae.cli import main

pytest.importorskip("optuna")

SMALL = [
    "--posterior.encoder.hidden-features", "8",
    "--likelihood.decoder.hidden-features", "8",
    "--train.epochs", "1",
]  # fmt: skip
SEARCH = [
    "--search", "train.lr=1e-3..1e-2 log",
    "--search", "latent_dim=2..5",
    "--search", "prior.kind=standard-normal,normal",
]  # fmt: skip


@pytest.mark.slow
def test_a_search_is_runs_with_a_record_and_a_picture(tmp_path, capsys):
    out = tmp_path / "runs"
    flags = [*SEARCH, "--seeds", "2", "--out", str(out), *SMALL]
    assert main(["tune", "digits-plain", *flags, "--trials", "2"]) == 0
    printed = capsys.readouterr().out
    assert "Validation ELBO of 2 trials" in printed and "Best: trial=" in printed
    found = json.loads((out / "tune.json").read_text())
    assert [row["trial"] for row in found["trials"]] == [0, 1]
    assert found["search"]["train.lr"] == "0.001..0.01 log"
    for row in found["trials"]:
        assert row["valid_elbo"] == pytest.approx(sum(row["seeds"].values()) / 2)
        assert row["valid_elbo_se"] > 0
        assert [out / f"{row['name']},seed={s}" for s in (0, 1)] == [*map(type(out), row["runs"])]
    assert (out / "tune.png").stat().st_size > 5000
    assert not [*out.glob(".tune*")]

    sizes = {path: path.stat().st_size for path in out.glob("*/metrics.jsonl")}
    assert main(["tune", "digits-plain", *flags, "--trials", "3", "--json"]) == 0
    more = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert more["trials"][:2] == found["trials"] and len(more["trials"]) == 3
    assert all(path.stat().st_size == size for path, size in sizes.items())

    assert main(["tune", "digits-plain", *flags, "--trials", "3", "--train.epochs", "2"]) == 2
    assert "got a different one: settings.train.epochs was 1 and is 2" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ([], "Expected one or more settings to search"),
        (["--search", "train.lr"], 'Expected --search "train.lr=1e-4..1e-2 log"'),
        (["--search", "train.lr=1e-2..1e-3"], "Expected a range from a number to a larger one"),
        (["--search", "train.lr=0..1 log"], "Expected a range above 0 for train.lr"),
        (["--search", "train.lr=0.1..1", "--search", "train.lr=1,2"], "train.lr twice"),
        (["--search", "train.rate=1..2"], "train.rate: no such setting"),
        (["--search", "prior.kind=vamp,gauss"], "gauss"),
        (["--search", "latent_dim=0..4"], "latent_dim"),
        (["--search", "latent_dim=2..4.5"], "latent_dim"),
        (["--search", "latent_dim=2..4", "--trials", "0"], "--trials of at least 1"),
        (["--search", "latent_dim=2..4", "--seeds", "0"], "--seeds of at least 1"),
    ],
)
def test_wrong_searches_get_a_sentence_and_train_nothing(flags, sentence, tmp_path, capsys):
    out = tmp_path / "runs"
    assert main(["tune", "digits-plain", *flags, "--out", str(out)]) == 2
    assert sentence in capsys.readouterr().err
    assert not out.exists()
