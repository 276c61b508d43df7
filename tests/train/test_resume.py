"""A training that was stopped or killed continues bit for bit."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from checks import D
from training import QUIET, equal, vae

import pyro_vae as pv
from pyro_vae.cli import main

OPTIONS = {
    "epochs": 6, "batch_size": 8, "lr": 1e-2, "schedule": "cosine", "kl_warmup_epochs": 3,
    "patience": 50, "clip_norm": 5.0, "checkpoint_steps": 5,
}  # fmt: skip


def interrupted(monkeypatch, out, at, **options):
    """Trains into `out` and stops right after step `at`, as if the process had died."""
    from pyro_vae.train.run import Run

    step = Run.step

    def dying(self, *batch):
        if self.position.step == at:
            raise MemoryError("the plug is pulled")
        step(self, *batch)

    with monkeypatch.context() as patch, pytest.raises(MemoryError):
        patch.setattr(Run, "step", dying)
        pv.fit(vae(), DATA, valid=VALID, out=out, **options, **QUIET)


DATA = torch.randn(50, D, generator=torch.Generator().manual_seed(1))
VALID = torch.randn(20, D, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("at", [6, 13, 14, 28, 41])
@pytest.mark.parametrize("optimizer", ["Adam", pytest.param("RMSprop", marks=pytest.mark.slow)])
def test_resume_is_bit_for_bit(tmp_path, monkeypatch, at, optimizer):
    options = {**OPTIONS, "optimizer": optimizer}
    whole = vae()
    expected = pv.fit(whole, DATA, valid=VALID, out=tmp_path / "whole", **options, **QUIET)

    interrupted(monkeypatch, tmp_path / "cut", at, **options)
    torch.manual_seed(99)
    resumed = vae(seed=7)  # other initial parameters: all must come from the checkpoint
    history = pv.fit(
        resumed, DATA, valid=VALID, out=tmp_path / "cut", resume=True, **options, **QUIET
    )
    assert equal(whole, resumed)

    def figures(rows):
        return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]

    assert figures(history.rows) == figures(expected.rows)
    written = [
        json.loads(line) for line in (tmp_path / "cut" / "metrics.jsonl").read_text().splitlines()
    ]
    assert figures(written) == figures(expected.rows)
    a, _ = pv_read(tmp_path / "whole")
    b, _ = pv_read(tmp_path / "cut")
    for group in a:
        assert a[group].keys() == b[group].keys()
        assert all(torch.equal(a[group][k], b[group][k]) for k in a[group]), group


def pv_read(run):
    from pyro_vae.runs import storage

    return storage.read(storage.newest(run))


def test_resume_refuses_another_training(tmp_path, monkeypatch):
    interrupted(monkeypatch, tmp_path, 20, **OPTIONS)
    with pytest.raises(ValueError, match=r"lr was 0.01 and is 0.1"):
        pv.fit(
            vae(), DATA, valid=VALID, out=tmp_path, resume=True, **{**OPTIONS, "lr": 0.1}, **QUIET
        )
    with pytest.raises(ValueError, match="training data differ"):
        pv.fit(vae(), DATA + 1, valid=VALID, out=tmp_path, resume=True, **OPTIONS, **QUIET)
    with pytest.raises(ValueError, match="which holds one"):
        pv.fit(vae(), DATA, valid=VALID, out=tmp_path, **OPTIONS, **QUIET)


def test_more_epochs_are_allowed(tmp_path):
    options = {"batch_size": 8, "lr": 1e-2}
    whole, parts = vae(), vae()
    pv.fit(whole, DATA, epochs=5, **options, **QUIET)
    pv.fit(parts, DATA, epochs=2, out=tmp_path, **options, **QUIET)
    history = pv.fit(parts, DATA, epochs=5, out=tmp_path, resume=True, **options, **QUIET)
    assert equal(whole, parts) and history["epoch"] == [1, 2, 3, 4, 5]
    again = pv.fit(vae(3), DATA, epochs=5, out=tmp_path, resume=True, **options, **QUIET)
    assert again["epoch"] == [1, 2, 3, 4, 5]


CLI = [sys.executable, "-m", "pyro_vae.cli", "train", "digits-plain"]
FLAGS = [
    "--train.epochs",
    "6",
    "--train.checkpoint-steps",
    "3",
    "--latent-dim",
    "3",
    "--train.patience",
    "90",
]


def start(out, *flags):
    # one thread, as the uninterrupted run has it
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(
        [*CLI, *flags],
        cwd=out,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_for_checkpoint(run, process):
    deadline = time.monotonic() + 60
    while not list(run.glob("checkpoints/step-*")):
        assert time.monotonic() < deadline and process.poll() is None, process.stdout.read()
        time.sleep(0.005)


def tensors_of(run):
    return pv_read(run)[0]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted")
    assert main(["train", "digits-plain", *FLAGS, "--out", str(folder / "run")]) == 0
    return tensors_of(folder / "run")


@pytest.mark.parametrize(
    "number,code",
    [
        pytest.param(signal.SIGKILL, -9, marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow),
        pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow),
    ],
)
def test_killed_in_mid_epoch_and_resumed(tmp_path, uninterrupted, number, code):
    process = start(tmp_path, *FLAGS, "--out", "run")
    wait_for_checkpoint(tmp_path / "run", process)
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == code, output
    state = pv_read(tmp_path / "run")[1]
    assert not state["position"]["finished"]

    process = start(tmp_path, *FLAGS, "--resume", "run")
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    resumed = tensors_of(tmp_path / "run")
    for group, expected in uninterrupted.items():
        assert expected.keys() == resumed[group].keys()
        assert all(torch.equal(expected[name], resumed[group][name]) for name in expected), group
