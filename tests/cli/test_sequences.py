"""Sequences on the command line, from a recipe to pictures."""

import hashlib
import json
import wave

import numpy as np
import pytest
import torch
from midi import read

import pyro_vae as pv
from pyro_vae.cli import main
from pyro_vae.data import recordings, sequences

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


@pytest.fixture
def spoken(tmp_path, monkeypatch):
    """A data folder with made clips: a band of each digit is louder, for 6 speakers."""
    rng = np.random.default_rng(0)
    keys = [(digit, speaker, index) for digit in range(10) for speaker in range(6) for index in (0, 5, 6)]  # fmt: skip
    label, speaker, index = (np.array(values, np.uint8) for values in zip(*keys))
    mel = rng.integers(0, 90, (len(keys), 32, 32)).astype(np.uint8)
    for row, digit in zip(mel, label):
        row[3 * digit] += 150
    (tmp_path / "fsdd").mkdir()
    speakers = np.array([f"s{i}" for i in range(6)])
    np.savez(tmp_path / "fsdd" / sequences.FSDD, logmel=mel, label=label, speaker=speaker,
             index=index, speakers=speakers)  # fmt: skip
    monkeypatch.setattr(sequences, "FSDD_SHA256", hashlib.sha256(mel.tobytes()).hexdigest())
    monkeypatch.setenv("PYRO_VAE_DATA", str(tmp_path))
    return tmp_path


def test_spoken_digits_are_written_as_sound(spoken, capsys):
    run, out = spoken / "run", spoken / "x.wav"
    hidden = ["--prior.encoder.hidden-features", "4", "--posterior.encoder.hidden-features", "8"]
    small = [*hidden, "--likelihood.decoder.hidden-features", "8", "--train.epochs", "1"]
    assert main(["train", "fsdd-cvae-labels", "--out", str(run), *small]) == 0
    lengths = {}
    commands = {
        20: ["sample", str(run), "--num-samples", "20"],
        3: ["sample", str(run), "--num-samples", "3", "--given", "y=7"],
        2: ["reconstruct", str(run), "--num-data", "2"],
    }
    for count, command in commands.items():
        assert main([*command, "--out", str(out)]) == 0
        assert f"x.wav: {count} clips of 0.48 s" in capsys.readouterr().out
        with wave.open(str(out)) as file:
            lengths[count] = file.getnframes()
    assert lengths == {n: n * 124 * 31 + (n - 1) * 2000 for n in commands}
    picture = pv.plot.plot_classes(pv.load(run), "y", [*"0123456789"], 2)
    assert picture.axes[0].images[0].get_array().shape == (10 * 33 + 1, 2 * 33 + 1)


def test_chorales_are_written_as_music(run, tmp_path, capsys):
    out = tmp_path / "x.mid"
    assert main(["sample", str(run), "--num-samples", "3", "--out", str(out)]) == 0
    assert "x.mid: 3 piano rolls" in capsys.readouterr().out
    notes, _ = read(out)
    assert 3 * 64 + 2 * 2 - 8 < max(end for _, end, _ in notes) <= 3 * 64 + 2 * 2
    assert main(["reconstruct", str(run), "--num-data", "2", "--what", "sample", "--out", str(out)]) == 0  # fmt: skip
    test = pv.data.jsb_chorales().test
    there = pv.nn.followed(test.take(test.spread(2)).rows(slice(None)))
    assert max(end for _, end, _ in read(out)[0]) <= int(there.sum()) + 2  # forecasts are left out


def test_recordings_are_drawn_as_sound(tmp_path, monkeypatch, capsys):
    rng, keys = np.random.default_rng(0), [(d, 0, i) for d in range(10) for i in range(5)]
    label, speaker, index = (np.array(of, np.uint8) for of in zip(*keys))
    audio = rng.integers(-9000, 9000, 100 * len(keys)).astype(np.int16)
    file = tmp_path / "fsdd" / recordings.CLIPS
    file.parent.mkdir()
    np.savez(file, audio=audio, offsets=100 * np.arange(len(keys) + 1), label=label,
             speaker=speaker, index=index, speakers=np.array(["s"]))  # fmt: skip
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    monkeypatch.setattr(recordings, "CLIPS_SHA256", digest)
    monkeypatch.setenv("PYRO_VAE_DATA", str(tmp_path))
    run, out = str(tmp_path / "run"), tmp_path / "x.wav"
    nets = ["--likelihood.channels", "4", "--posterior.encoder.hidden-features", "8"]
    small = [*nets, "--likelihood.decoder.hidden-features", "8", "--data.samples", "30"]
    small += ["--train.epochs", "1", "--likelihood.num-layers", "2"]
    assert main(["train", "fsdd-waves", "--out", run, *small]) == 0
    assert main(["evaluate", run, "--num-samples", "3", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert figures["num_data"] == 30 and 7 < figures["bits_per_dim"] < 10  # noise has 7.6
    assert main(["sample", run, "--num-samples", "2", "--out", str(out)]) == 0
    with wave.open(str(out)) as sound:
        assert sound.getnframes() == 2 * 30 + 2000
        heard = np.frombuffer(sound.readframes(30), "<i2") / 32767
    levels = pv.data.to_levels(torch.from_numpy(heard))
    assert (pv.data.from_levels(levels) - torch.from_numpy(heard)).abs().max() < 1e-4


def test_other_data_are_no_sound(run, tmp_path, capsys):
    assert main(["sample", str(run), "--out", str(tmp_path / "x.wav")]) == 2
    assert "Expected a run on sound (data.kind fsdd or fsdd-waves)" in capsys.readouterr().err


@pytest.mark.slow
def test_other_data_are_no_music(spoken, capsys):
    run = spoken / "run"
    small = ["--latent-dim", "2", "--prior.hidden-features", "4", "--train.epochs", "1"]
    assert main(["train", "fsdd-dmm", "--out", str(run), *small]) == 0
    assert main(["sample", str(run), "--out", str(spoken / "x.mid")]) == 2
    assert "Expected a run on piano rolls (data.kind jsb-chorales)" in capsys.readouterr().err
