"""Schedules reach the training."""

import pytest
import torch
from checks import build, data_for

import pyro_vae as pv

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


def test_old_names_of_schedules_work_and_warn():
    names = {"warm_up": "linear_warmup", "cycle": "cyclical", "fall": "geometric_decay"}
    for old, new in names.items():
        for home in (pv.objectives, pv.objectives.kl_weight):
            with pytest.warns(DeprecationWarning, match=f"{old} is now pyro_vae.train.{new}"):
                assert getattr(home, old) is getattr(pv.train, new)
