"""A disk that is full, too small, read-only or gone: training goes on, and fails at its end if it must."""

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from checks import D
from training import QUIET, equal, vae

import pyro_vae as pv
from pyro_vae.cli import exit_code, main
from pyro_vae.runs import CheckpointError, RunFolder, storage
from pyro_vae.train import Callback, saving

DATA = torch.randn(40, D, generator=torch.Generator().manual_seed(1))
OPTIONS = {"batch_size": 10, "lr": 1e-2, **QUIET}


class Disk(Callback):
    """A disk on which nothing can be written after some epochs."""

    def __init__(self, patch, *full, number=errno.ENOSPC):
        self.full, self.number, self.epoch = full, number, 0
        write, append = storage._write, RunFolder.append
        patch.setattr(storage, "_write", lambda *args: self.check() or write(*args))
        patch.setattr(RunFolder, "append", lambda *a, **k: self.check() or append(*a, **k))
        patch.setattr(saving, "SECONDS_BETWEEN", 0.0)

    def on_row(self, row):
        self.epoch += 1

    def check(self):
        if self.epoch in self.full:
            raise CheckpointError(self.number, os.strerror(self.number))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS])
def test_training_goes_on_while_the_disk_is_full(tmp_path, monkeypatch, capsys, number):
    whole, again = vae(), vae()
    expected = pv.fit(whole, DATA, epochs=6, out=tmp_path / "whole", **OPTIONS)
    disk = Disk(monkeypatch, 2, 3, 4, number=number)
    history = pv.fit(again, DATA, epochs=6, out=tmp_path / "full", callbacks=[disk], **OPTIONS)
    said = capsys.readouterr().err
    assert said.count("Training goes on") == 1 and os.strerror(number) in said
    assert said.index("Training goes on") < said.index("Checkpoints are written again.")
    assert equal(whole, again) and history["loss"] == expected["loss"]
    run = RunFolder(tmp_path / "full")
    assert [row["loss"] for row in run.metrics() if "loss" in row] == expected["loss"]
    assert "Training goes on" in history["warning"][0]
    assert equal(pv.load(run.path, vae=vae(1)), whole)


def test_a_last_checkpoint_that_fails_is_an_error(tmp_path, monkeypatch):
    disk = Disk(monkeypatch, 4, 5, 6)
    with pytest.raises(CheckpointError, match="No space left"):
        pv.fit(vae(), DATA, epochs=6, out=tmp_path, callbacks=[disk], **OPTIONS)
    monkeypatch.undo()
    whole, resumed = vae(), vae(2)
    pv.fit(whole, DATA, epochs=6, **OPTIONS)
    pv.fit(resumed, DATA, epochs=6, out=tmp_path, resume=True, **OPTIONS)
    assert equal(whole, resumed)  # from the fourth epoch, whose checkpoint is there


def test_a_row_that_was_written_in_part_is_written_again(tmp_path):
    run = RunFolder(tmp_path)
    size = run.append({"epoch": 1})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"epo')
    size = run.append({"epoch": 2}, {"epoch": 3}, size=size)
    assert [row["epoch"] for row in run.metrics()] == [1, 2, 3] and size == run.metrics_size()
    (tmp_path / "metrics.jsonl").write_text("")
    run.cut_metrics(100)  # as after a power failure: no bytes are made up
    assert run.metrics_size() == 0


def test_a_run_that_is_deleted_meanwhile_is_written_again(tmp_path, monkeypatch):
    """All of its metrics, and its next checkpoint."""

    class Delete(Callback):
        def on_row(self, row):
            if row["epoch"] == 2:
                shutil.rmtree(tmp_path / "run")

    monkeypatch.setattr(saving, "SECONDS_BETWEEN", 0.0)
    model = vae()
    pv.fit(model, DATA, epochs=4, out=tmp_path / "run", callbacks=[Delete()], **OPTIONS)
    run = RunFolder(tmp_path / "run")
    assert [row["epoch"] for row in run.metrics() if "loss" in row] == [1, 2, 3, 4]
    assert equal(pv.load(run.path, vae=vae(1)), model)


@pytest.mark.skipif(
    not Path("/proc/self").is_dir(), reason="needs a folder where nobody can write"
)
def test_a_folder_where_nothing_can_be_written_is_refused_before_training(capsys, monkeypatch):
    monkeypatch.setattr("pyro_vae.train.run.Run.train", lambda self: pytest.fail("trains"))
    flags = ["--latent-dim", "2", "--train.epochs", "1"]
    assert main(["train", "digits-plain", "--out", "/proc/run", *flags]) == 4
    error = capsys.readouterr().err
    assert "Expected to lock /proc/run" in error and "choose another folder" in error.lower()


def test_a_database_of_a_search_that_cannot_be_written_is_storage():
    optuna = pytest.importorskip("optuna")
    assert exit_code(optuna.exceptions.StorageInternalError("disk is full")) == 4
    assert exit_code(OSError(errno.ENOSPC, "full")) == 4 and exit_code(KeyError("a bug")) is None


def has_small_disks():
    """Whether a file system of its own can be mounted, seen by this process alone."""
    command = ["unshare", "--mount", "mount", "-t", "tmpfs", "-o", "size=1m", "none", "/mnt"]
    try:
        return subprocess.run(command, capture_output=True).returncode == 0
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.skipif(not has_small_disks(), reason="needs the right to mount")
@pytest.mark.parametrize("options,code", [("size=6m", 0), ("size=600k", 4), ("size=6m,ro", 4)])
def test_a_disk_of_its_own(tmp_path, options, code):
    """The command on a disk that is large enough, on one that is too small, and on a read-only one."""
    flags = "--latent-dim 2 --train.epochs 40 --no-compile"
    script = (
        f"mount -t tmpfs -o {options} none {tmp_path} && "
        f"{sys.executable} -m pyro_vae train digits-plain --out {tmp_path}/run {flags}; "
        f"echo code $?; ls {tmp_path}/run/checkpoints; tail -n 1 {tmp_path}/run/metrics.jsonl"
    )
    done = subprocess.run(
        ["unshare", "--mount", "bash", "-c", script], capture_output=True, text=True, timeout=250
    )
    assert f"code {code}" in done.stdout, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    if options == "size=600k":
        assert done.stderr.count("Training goes on") == 1
        assert "got: [Errno 28] No space left on device" in done.stderr.splitlines()[-1]
    if code == 0:
        assert json.loads(done.stdout.splitlines()[-1])["epoch"] == 40
