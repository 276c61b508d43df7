"""A search: ranges, trials of several seeds, and processes that share it."""

import json
import math
import os
import signal
import subprocess
import sys
import time

import pytest
import torch

import pyro_vae as pv
from pyro_vae.config import Range, read_space

pytest.importorskip("optuna")

WIDTH = 6
DATA = torch.rand(32, WIDTH, generator=torch.Generator().manual_seed(1)).round()
VALID = torch.rand(16, WIDTH, generator=torch.Generator().manual_seed(2)).round()
OPTIONS = {"valid": VALID, "seeds": [0, 1], "epochs": 1, "progress": False}
SEARCH = {"train.lr": "1e-4..1e-2 log", "latent_dim": "1..4"}


def make(latent_dim=2):
    encoder, decoder = pv.nn.MLP(WIDTH, [4], 2 * latent_dim), pv.nn.MLP(latent_dim, [4], WIDTH)
    prior, likelihood = pv.priors.StandardNormal(latent_dim), pv.likelihoods.Bernoulli(decoder)
    return pv.VAE(prior, likelihood, pv.posteriors.MeanFieldNormal(encoder))


# --- The space ------------------------------------------------------------------------------------


def test_ranges_and_choices():
    texts = {"a": "2..32", "b": "1e-4..1e-2 log", "c": "2..3.5", "d-e": "[9,9],[9]", "f": "x,none"}
    assert read_space(texts) == {
        "a": Range(2, 32),
        "b": Range(1e-4, 1e-2, True),
        "c": Range(2.0, 3.5),
        "d_e": [[9, 9], [9]],
        "f": ["x", None],
    }
    assert read_space(texts)["a"].is_whole and not read_space(texts)["c"].is_whole


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("3..3", "a larger one for k; got 3..3"),
        ("4..3", "a larger one for k"),
        ("1..1e999", "a larger one for k"),
        ("0..1 log", "above 0 for k"),
        ("-1..1 log", "above 0 for k"),
        ("1..", "a range such as"),
        ("1..2 logs", "a range such as"),
        ("1,2 log", "a range such as"),
        ("a,a", "each choice of k once"),
        ([], "a list of choices"),
    ],
)
def test_wrong_ranges(text, sentence):
    with pytest.raises(ValueError, match=f"^Expected .*{sentence}"):
        read_space({"k": text})


# --- Trials ---------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_trial_is_the_mean_of_what_fit_makes_of_its_seeds(tmp_path):
    found = pv.tune(make, DATA, search=SEARCH, trials=2, out=tmp_path, **OPTIONS)
    assert [trial.number for trial in found] == [0, 1]
    trial = found[1]
    assert 1e-4 <= trial.values["train.lr"] <= 1e-2 and trial.values["latent_dim"] in range(1, 5)
    assert [path.name for path in trial.folders] == [f"{trial.name},seed={s}" for s in (0, 1)]
    assert trial.name.startswith("trial=1,lr=0.")
    for seed, bound in trial.seeds.items():
        torch.manual_seed(seed)
        model, lr = make(trial.values["latent_dim"]), trial.values["train.lr"]
        history = pv.fit(model, DATA, valid=VALID, seed=seed, epochs=1, lr=lr, progress=False)
        assert bound == pytest.approx(history["elbo"][-1], rel=1e-5)
    low, high = trial.seeds.values()
    assert trial.valid_elbo == pytest.approx((low + high) / 2)
    assert trial.valid_elbo.se == pytest.approx(abs(high - low) / 2)


@pytest.mark.slow
def test_a_search_goes_on_and_is_that_of_one_call(tmp_path):
    options = {**OPTIONS, "search": SEARCH}
    whole = pv.tune(make, DATA, trials=3, **options)
    pv.tune(make, DATA, trials=1, out=tmp_path, **options)
    parts = pv.tune(make, DATA, trials=3, out=tmp_path, **options)
    assert [trial.values for trial in parts] == [trial.values for trial in whole]
    with pytest.raises(ValueError, match="got a different one: settings.epochs was 1 and is 2"):
        pv.tune(make, DATA, trials=3, out=tmp_path, **{**options, "epochs": 2})


@pytest.mark.slow
def test_a_trial_that_diverges_fails_and_the_search_goes_on():
    search = {"train.lr": [1e-3, 1e29]}
    options = {**OPTIONS, "epochs": 3, "batch_size": 8, "sampler": "random"}
    found = pv.tune(make, DATA, search=search, trials=6, **options)
    assert len(found) == 6 and {trial.values["train.lr"] for trial in found} == {1e-3, 1e29}
    for trial in found:
        if trial.values["train.lr"] == 1e-3:
            assert trial.error is None and math.isfinite(trial.valid_elbo)
        else:
            assert trial.valid_elbo is None and "stopped: Expected finite" in trial.error


def test_wrong_searches_train_nothing(tmp_path):
    cases = [
        ({"width": "2..4"}, {}, "Expected settings that the function takes"),
        ({"train.rate": "1..2"}, {}, "rate: no such setting"),
        ({"train.epochs": "1.0..2.5"}, {}, "epochs"),
        ({"seed": "1..2"}, {}, "Expected seeds by themselves"),
        ({"data.kind": ["digits"]}, {}, "ELBOs of other data cannot be compared"),
        ({}, {}, "one or more settings to search"),
        (SEARCH, {"valid": None}, "Expected validation data"),
        (SEARCH, {"sampler": "grid"}, "a sampler among tpe, random"),
        (SEARCH, {"storage": "sqlite:////no/such/folder/a.db"}, "Expected a storage such as"),
        (SEARCH, {"storage": "study.db"}, "Expected a storage such as"),
    ]
    for search, more, sentence in cases:
        with pytest.raises(ValueError, match=sentence):
            options = {**OPTIONS, "out": tmp_path / "runs", **more}
            pv.tune(make, DATA, search=search, **options)
    assert not [*tmp_path.glob("runs/trial*")]


def test_values_that_only_go_together_are_searched():
    """A value is refused before a search only where no combination with it is valid."""
    values = {
        "likelihood": {"kind": "bernoulli", "decoder": {"kind": "mlp", "hidden_features": [4]}},
        "posterior": {"kind": "mean-field-normal", "encoder": {"kind": "mlp"}},
        "data": {"kind": "digits"},
    }
    from pyro_vae.train.tune import _checked

    both = {"prior.kind": ["gaussian-mixture", "vamp"], "prior.num_components": "5..9"}
    _checked(values, {}, read_space(both))
    with pytest.raises(ValueError, match="num_components: no such setting"):
        _checked(values, {}, read_space({"prior.num_components": "5..9"}))


def test_without_optuna(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ValueError, match=r"pip install 'pyro_vae\[tune\]'"):
        pv.tune(make, DATA, search=SEARCH, **OPTIONS)


# --- Several processes ----------------------------------------------------------------------------

WORKER = """
import json, sys, time
from pathlib import Path
sys.path[:0] = {path!r}
import torch
torch.set_num_threads(1)
import pyro_vae.train.study as study
from pyro_vae.train import many
tune = sys.modules["pyro_vae.train.tune"]
study.BEAT, study.GRACE = 0.5, 60.0
from test_tune import DATA, OPTIONS, SEARCH, make
me, out = sys.argv[1], Path(sys.argv[2])
trained, original = [], many.train_points
def train_points(model, data, points, *args, **known):
    trained.append(points[0].name)
    found = original(model, data, points, *args, **known)
    if me == "killed" and len(trained) == 2:
        (out / "here").touch()
        time.sleep(600)
    time.sleep(0.3)
    return found
tune.train_points = train_points
(out / f"ready-{{me}}").touch()
while me != "killed" and len([*out.glob("ready-*")]) < 2:
    time.sleep(0.05)
found = tune.tune(make, DATA, search=SEARCH, trials=int(sys.argv[3]), out=out, **OPTIONS)
print(json.dumps([trained, [trial.name for trial in found]]))
"""


def start(me, out, trials):
    from pathlib import Path

    here = Path(__file__).resolve().parent
    code = WORKER.format(path=[str(here), str(here.parent)])
    command = [sys.executable, "-c", code, me, str(out), str(trials)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_two_processes_share_the_trials_of_one_file(tmp_path):
    workers = [start(me, tmp_path, 7) for me in "ab"]
    told = []
    for worker in workers:
        out, err = worker.communicate(timeout=250)
        assert worker.returncode == 0, err
        told.append(json.loads(out.splitlines()[-1]))
    (a, all_a), (b, all_b) = told
    assert a and b and len(a) + len(b) == 7  # each trial was trained once, by one of them
    assert all_a == all_b and len(all_a) == 7
    names = {name.rpartition(",seed=")[0] for name in a + b}
    assert names == {*all_a}
    assert len([*tmp_path.glob("trial=*")]) == 14


@pytest.mark.slow
def test_a_trial_of_a_killed_process_is_taken_up(tmp_path, monkeypatch, capsys):
    study = sys.modules["pyro_vae.train.study"]
    worker = start("killed", tmp_path, 3)
    end = time.monotonic() + 250
    while not (tmp_path / "here").exists():
        assert worker.poll() is None and time.monotonic() < end, worker.communicate()[1]
        time.sleep(0.05)
    os.kill(worker.pid, signal.SIGKILL)
    worker.communicate()
    before = {path.name for path in tmp_path.glob("trial=*")}
    assert len(before) == 4  # of one trial that is complete, and one that is not
    monkeypatch.setattr(study, "GRACE", 2.0)
    found = pv.tune(make, DATA, search=SEARCH, trials=3, out=tmp_path, **OPTIONS)
    assert [trial.number for trial in found if trial.error is None] == [0, 1, 2]
    assert "Trial 1 was left, and goes on." in capsys.readouterr().err
    names = {path.name for path in tmp_path.glob("trial=*")}
    assert len(names) == 6 and before < names
    assert names == {path.name for trial in found for path in trial.folders}


@pytest.mark.slow
def test_a_trial_that_is_stopped_is_taken_up_at_once(tmp_path, monkeypatch):
    module, count = sys.modules["pyro_vae.train.tune"], []
    original = module.train_points

    def stopping(*args, **known):
        count.append(1)
        if len(count) == 2:
            raise KeyboardInterrupt
        return original(*args, **known)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(module, "train_points", stopping)
        pv.tune(make, DATA, search=SEARCH, trials=3, out=tmp_path, **OPTIONS)
    began = time.monotonic()
    found = pv.tune(make, DATA, search=SEARCH, trials=3, out=tmp_path, **OPTIONS)
    assert [trial.number for trial in found] == [0, 1, 2]
    assert time.monotonic() - began < 50  # it did not wait for signs of life
