"""Callbacks follow training; what they do, or their failures, do not harm it."""

import traceback

import pytest
import torch
from checks import D
from training import QUIET, equal, vae

import pyro_vae as pv
from pyro_vae.train import Callback, TensorBoard

DATA = torch.randn(50, D, generator=torch.Generator().manual_seed(1))
VALID = torch.randn(20, D, generator=torch.Generator().manual_seed(2))
OPTIONS = {"valid": VALID, "batch_size": 8, "lr": 1e-2, "epochs": 5, **QUIET}


class Notes(Callback):
    """Draws random numbers and puts the model into evaluation mode, as callbacks do."""

    def __init__(self):
        self.told = []

    def on_start(self, run):
        self.told.append(("start", run.position.epoch))
        self.run = run

    def on_row(self, row):
        torch.randn(100)
        self.run.vae.eval()
        self.told.append(("row", row))

    def on_end(self, history):
        self.told.append(("end", len(history.rows)))


def test_callbacks_see_an_epoch_as_one_row():
    notes = Notes()
    history = pv.fit(vae(), DATA, callbacks=[notes], **OPTIONS)
    assert [kind for kind, _ in notes.told] == ["start", *["row"] * 5, "end"]
    rows = [row for kind, row in notes.told if kind == "row"]
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4, 5]
    for name in ("loss", "kl", "active_units", "elbo", "elbo_se", "seconds"):
        assert [row[name] for row in rows] == history[name]
    assert notes.told[0] == ("start", 0) and notes.told[-1] == ("end", 10)


def test_callbacks_do_not_change_training():
    plain, watched = vae(), vae()
    pv.fit(plain, DATA, **OPTIONS)
    pv.fit(watched, DATA, callbacks=[Notes(), Notes()], **OPTIONS)
    assert equal(plain, watched) and watched.training


def test_a_callback_may_stop_training(tmp_path):
    class Stop(Notes):
        def on_row(self, row):
            super().on_row(row)
            if row["epoch"] == 2:
                self.run.stop()

    history = pv.fit(vae(), DATA, callbacks=[Stop()], out=tmp_path, **OPTIONS)
    assert history["epoch"] == [1, 1, 2, 2]
    again = pv.fit(vae(), DATA, out=tmp_path, resume=True, **OPTIONS)
    assert again.rows == history.rows  # it stopped by itself


class Fails(Callback):
    def __init__(self, method, epoch=0):
        self.method, self.epoch = method, epoch

    def on_start(self, run):
        self.fail("on_start", 0)

    def on_row(self, row):
        self.fail("on_row", row["epoch"])

    def on_end(self, history):
        self.fail("on_end", 0)

    def fail(self, method, epoch):
        if (method, epoch) == (self.method, self.epoch):
            raise RuntimeError("the user's own mistake")


@pytest.mark.parametrize("method,epoch", [("on_row", 1), ("on_row", 3), ("on_end", 0)])
def test_a_callback_that_fails_loses_no_epoch(tmp_path, method, epoch):
    whole, cut = vae(), vae()
    expected = pv.fit(whole, DATA, **OPTIONS)
    with pytest.raises(RuntimeError, match="own mistake") as caught:
        pv.fit(cut, DATA, callbacks=[Fails(method, epoch)], out=tmp_path, **OPTIONS)
    assert traceback.extract_tb(caught.tb)[-1].name == "fail"
    _, _, state = pv.runs.RunFolder(tmp_path).read()
    assert state["position"]["epoch"] == (epoch or 5)
    resumed = vae(seed=7)
    history = pv.fit(resumed, DATA, out=tmp_path, resume=True, **OPTIONS)
    assert equal(whole, resumed) and history["loss"] == expected["loss"]
    assert history["elbo"] == expected["elbo"]


def test_a_callback_that_fails_at_the_start_leaves_the_old_run(tmp_path):
    pv.fit(vae(), DATA, out=tmp_path, **OPTIONS)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file() and p.name != ".lock"}
    with pytest.raises(RuntimeError, match="own mistake"):
        fails = [Fails("on_start")]
        pv.fit(vae(), DATA, callbacks=fails, out=tmp_path, overwrite=True, **OPTIONS)
    assert {p: p.read_bytes() for p in before} == before and not (tmp_path / ".replaced").exists()


def test_any_object_with_the_three_methods_is_a_callback():
    class Other:
        rows = 0

        def on_start(self, run): ...

        def on_row(self, row):
            self.rows += 1

        def on_end(self, history): ...

    other = Other()
    pv.fit(vae(), DATA, callbacks=[other], **OPTIONS)
    assert other.rows == 5


def test_callbacks_of_another_kind_are_refused():
    with pytest.raises(ValueError, match="Expected objects of pyro_vae.train.Callback"):
        pv.fit(vae(), torch.randn(8, D), epochs=1, callbacks=[print], progress=False)


def test_tensorboard_reads_every_metric_back(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    history = pv.fit(vae(), DATA, callbacks=[TensorBoard(tmp_path)], **OPTIONS)
    found = EventAccumulator(str(tmp_path)).Reload()
    for name in ("loss", "kl", "elbo"):
        values = [event.value for event in found.Scalars(name)]
        assert values == pytest.approx(history[name], rel=1e-6) and len(values) == 5
    assert [event.step for event in found.Scalars("loss")] == [1, 2, 3, 4, 5]
