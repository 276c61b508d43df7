"""Schedules reach the training."""

from itertools import groupby

import pytest
import torch
from checks import build, data_for

import pyro_vae as pv
from pyro_vae.config import Train
from pyro_vae.train.schedule import Schedule, stages

pytestmark = pytest.mark.usefixtures("float64")


def test_schedules_reach_the_training():
    torch.set_default_dtype(torch.float32)
    triple = ({"kind": "relaxed-bernoulli"}, {"kind": "gaussian"}, {"kind": "relaxed-bernoulli"})
    vae, _ = build(triple)
    x = data_for("gaussian", 40)
    history = pv.fit(
        vae,
        x,
        epochs=8,
        batch_size=10,
        progress=False,
        final_temperature=0.1,
        temperature_epochs=4,
        kl_warmup_epochs=8,
        kl_cycles=2,
    )
    assert float(vae.posterior.temperature) == pytest.approx(0.1)
    weights = history["kl_weight"]
    assert weights[3] == 1.0 and weights[4] < 1.0 and weights[-1] == 1.0


def test_stages_are_those_of_the_paper():
    """3^i epochs each, at the eight rates that the authors' code rounds to two digits."""
    settings = Train(epochs=3280, lr=1e-3, schedule="stages")
    schedule = Schedule(settings, 2)
    rates = [schedule.lr(step) for step in range(2 * 3280)]
    lengths = [len([*group]) for _, group in groupby(rates)]
    assert lengths == [2 * 3**i for i in range(8)]
    expected = [1e-3, 7.2e-4, 5.2e-4, 3.7e-4, 2.7e-4, 1.9e-4, 1.4e-4, 1e-4]
    assert [*dict.fromkeys(float(f"{rate:.2g}") for rate in rates)] == expected


def test_stages_reach_the_training():
    torch.set_default_dtype(torch.float32)
    vae, _ = build(
        ({"kind": "standard-normal"}, {"kind": "gaussian"}, {"kind": "mean-field-normal"})
    )
    options = dict(epochs=4, batch_size=10, lr=1e-2, schedule="stages", progress=False)
    history = pv.fit(vae, data_for("gaussian", 40), **options)
    assert history["lr"] == [1e-2 * stages(4 * epoch + 3, 16) for epoch in range(4)]
    assert history["lr"][-1] == pytest.approx(1e-3)


def test_old_names_of_schedules_work_and_warn():
    names = {"warm_up": "linear_warmup", "cycle": "cyclical", "fall": "geometric_decay"}
    for old, new in names.items():
        for home in (pv.objectives, pv.objectives.kl_weight):
            with pytest.warns(DeprecationWarning, match=f"{old} is now pyro_vae.train.{new}"):
                assert getattr(home, old) is getattr(pv.train, new)
