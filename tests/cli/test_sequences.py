"""Sequences on the command line, from a recipe to pictures."""

import hashlib
import json

import numpy as np
import pytest

import pyro_vae as pv
from pyro_vae.cli import main
from pyro_vae.data import sequences

SMALL = [
    "--latent-dim", "2", "--prior.hidden-features", "8", "--posterior.hidden-features", "8", "--likelihood.decoder.hidden-features", "8",
    "--train.epochs", "2", "--train.kl-warmup-epochs", "1", "--data.steps", "4",
]  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sequences")
    rng = np.random.default_rng(0)

    def pieces(count):
        return [
            [rng.integers(40, 80, size=3).tolist() for _ in range(rng.integers(3, 12))]
            for _ in range(count)
        ]

    text = json.dumps({"train": pieces(20), "valid": pieces(6), "test": pieces(7)})
    (folder / "jsb_chorales").mkdir()
    (folder / "jsb_chorales" / sequences.JSB).write_text(text)
    patch = pytest.MonkeyPatch()
    patch.setattr(sequences, "JSB_SHA256", hashlib.sha256(text.encode()).hexdigest())
    patch.setenv("PYRO_VAE_DATA", str(folder))
    out = folder / "run"
    assert main(["train", "jsb-dmm", "--out", str(out), *SMALL]) == 0
    yield out
    patch.undo()


def test_evaluate_has_figures_per_step(run, capsys):
    assert main(["evaluate", str(run), "--num-samples", "30", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    vae, test = pv.load(run), pv.data.jsb_chorales().test
    steps = int((~test.stored.isnan()).any(-1).sum())
    assert found["num_steps"] == steps and found["num_data"] == 7
    assert found["elbo_per_step"] == pytest.approx(7 * found["elbo"] / steps)
    bits = -7 * found["log_marginal"] / (88 * steps * np.log(2))
    assert found["bits_per_dim"] == pytest.approx(bits)
    assert float(pv.elbo(vae, test, 10).mean()) == pytest.approx(found["elbo"], abs=1e-4)
    assert main(["evaluate", str(run), "--num-samples", "20"]) == 0
    assert f"per step: ELBO {found['elbo_per_step']:.3f} +- " in capsys.readouterr().out


def test_sequences_are_drawn_and_pictured(run, tmp_path, capsys):
    out = tmp_path / "x.npy"
    assert main(["sample", str(run), "--num-samples", "5", "--out", str(out)]) == 0
    assert np.load(out).shape == (5, 64, 88)  # the recipe's num_steps
    assert main(["reconstruct", str(run), "--num-data", "3", "--out", str(out)]) == 0
    length = pv.data.jsb_chorales().test.x_shape[0]
    assert np.load(out).shape == (3, length, 88)
    assert main(["plot", str(run)]) == 0
    names = {path.stem for path in (run / "pictures").iterdir()}
    assert names >= {"samples", "reconstructions", "latent", "decoded", "curves"}
    where = tmp_path / "z.npz"
    assert main(["encode", str(run), "--out", str(where)]) == 0
    assert np.load(where)["loc"].shape == (7, length, 2)


def test_the_run_goes_on(run, capsys):
    assert main(["train", "--resume", str(run), "--train.epochs", "3"]) == 0
    assert "Trained 3 epochs" in capsys.readouterr().out


def test_chains_are_listed(capsys):
    assert main(["list"]) == 0
    out = capsys.readouterr().out
    for name in ("markov", "corrected-markov", "jsb-chorales", "fsdd", "jsb-dmm", "fsdd-dmm"):
        assert f"\n  {name} " in out
