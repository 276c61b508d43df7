"""What an epoch visits, and what is drawn at a visit: labels many times, images that move."""

import pytest
import torch

import pyro_vae as pv
from pyro_vae.config import validate
from pyro_vae.train.run import Run, visits

MLP = {"kind": "mlp", "hidden_features": [8]}
RECIPE = {
    "latent_dim": 3,
    "data": {
        "kind": "digits",
        "binarize": "dynamic",
        "known": {"y": "label"},
        "num_labels": 10,
        "rotate": 10,
        "shift": 1,
        "pose": "visit",
    },
    "prior": {"y": {"kind": "categorical", "latent_dim": 10}, "z": {"kind": "standard-normal"}},
    "likelihood": {"kind": "bernoulli", "given": ["y", "z"], "decoder": MLP},
    "posterior": {
        "y": {"kind": "categorical", "encoder": {"kind": "pooled", "channels": [3, 4]}},
        "z": {"kind": "mean-field-normal", "given": ["x", "y"], "encoder": MLP},
    },
}
SETTINGS = {"epochs": 3, "batch_size": 20, "supervision": 5.0, "label_visits": 4}
SETTINGS |= {"checkpoint_steps": 2, "progress": False}


def data():
    train = pv.data.load(
        "digits", **{k: v for k, v in RECIPE["data"].items() if k != "kind"}
    ).train
    known = ~train.known["y"].isnan().any(1)
    return train.take(torch.cat([known.nonzero()[:, 0], (~known).nonzero()[:40, 0]]))


def vae():
    torch.manual_seed(0)
    return pv.build_vae(validate(RECIPE), (1, 8, 8), 1.0, data())


def test_labels_are_visited_many_times_and_others_once():
    rows, model = data(), vae()
    counts = visits(model, rows, 4).bincount()
    assert counts[:10].eq(4).all() and counts[10:].eq(1).all() and len(counts) == 50
    seen = []

    class Watch(pv.train.Callback):
        def on_start(self, run):
            seen.extend(run.order(epoch).bincount() for epoch in range(2))
            assert run.steps_per_epoch == 4  # of 80 visits

    pv.fit(model, rows, callbacks=[Watch()], **{**SETTINGS, "epochs": 1})
    assert all(torch.equal(count, counts) for count in seen)
    with pytest.raises(ValueError, match="known for some rows with label_visits 4; got none"):
        visits(model, rows.forgetting(["y"]), 4)


@pytest.mark.parametrize("compiled", ["no", pytest.param("yes", marks=pytest.mark.slow)])
def test_visits_and_poses_resume_bit_for_bit(compiled, tmp_path, monkeypatch):
    monkeypatch.setattr("pyro_vae.compile.backend.has_compiler", lambda: False)
    settings = {**SETTINGS, "compile": compiled}
    whole, rows = vae(), data()
    losses = pv.fit(whole, rows, **settings)["loss"]
    eager = losses if compiled == "no" else pv.fit(vae(), rows, **SETTINGS)["loss"]
    assert losses == pytest.approx(eager, rel=1e-4)

    step = Run.step

    def dying(self, *batch):
        if self.position.step == 7:
            raise MemoryError("the plug is pulled")
        step(self, *batch)

    with monkeypatch.context() as patch, pytest.raises(MemoryError):
        patch.setattr(Run, "step", dying)
        pv.fit(vae(), rows, out=tmp_path / "cut", **settings)
    resumed = vae()
    pv.fit(resumed, rows, out=tmp_path / "cut", resume=True, **settings)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
