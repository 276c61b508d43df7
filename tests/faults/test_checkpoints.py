"""Checkpoints of other versions, machines and precisions; and saving over what has been read."""

import json
from pathlib import Path

import pytest
import torch
from checks import D
from training import QUIET, equal, vae

import pyro_vae as pv
from pyro_vae.cli import main
from pyro_vae.runs import storage

DATA = torch.randn(40, D, generator=torch.Generator().manual_seed(1))
OPTIONS = {"batch_size": 20, **QUIET}


def rewritten(run, change):
    """Saves the newest checkpoint again, changed."""
    tensors, state = storage.read(storage.newest(run))
    change(tensors, state)
    storage.save(run, state["position"]["step"], tensors, state)


def test_another_version_or_machine_is_told(tmp_path, capsys):
    whole, model = vae(), vae()
    pv.fit(whole, DATA, epochs=2, **OPTIONS)
    pv.fit(model, DATA, epochs=1, out=tmp_path, **OPTIONS)
    other = {"torch": "9.9.0", "threads": 64, "device": "NVIDIA Z100"}
    rewritten(tmp_path, lambda tensors, state: state.update(environment=other))
    pv.fit(model, DATA, epochs=2, out=tmp_path, resume=True, **OPTIONS)
    said = capsys.readouterr().err
    for key, value in other.items():
        assert f"which was {value}" in said and f"Resuming with {key}" in said
    assert equal(whole, model)


def test_parameters_of_half_precision_are_used_in_single(tmp_path):
    """Their values are exact in float32, and a warning says so."""
    model = vae()
    pv.fit(model, DATA, epochs=1, out=tmp_path, **OPTIONS)
    halves = {}

    def halve(tensors, state):
        for name, value in tensors["model"].items():
            halves[name] = tensors["model"][name] = value.to(torch.bfloat16)

    rewritten(tmp_path, halve)
    with pytest.warns(UserWarning, match="are bfloat16; they are used as float32"):
        loaded = pv.load(tmp_path, vae=vae(1))
    for name, value in loaded.state_dict().items():
        assert value.dtype == torch.float32 and torch.equal(value, halves[name].float())
    assert pv.elbo(loaded, DATA).isfinite().all()
    with pytest.raises(ValueError, match="bfloat16 instead of"):  # no bit for bit from there
        pv.fit(vae(), DATA, epochs=2, out=tmp_path, resume=True, **OPTIONS)


def test_a_run_of_a_gpu_is_used_without_one(workdir, capsys):
    """Its recipe names the GPU and its checkpoint has the generator of one."""
    flags = ["--latent-dim", "2", "--train.epochs", "1"]
    assert main(["train", "digits-plain", "--out", "run", *flags]) == 0

    def move(tensors, state):
        state["record"]["recipe"]["device"] = "cuda"
        state["environment"]["device"] = "NVIDIA Z100"
        tensors["rng"]["cuda"] = torch.zeros(16, dtype=torch.uint8)

    rewritten(Path("run"), move)
    assert main(["evaluate", "run", "--num-samples", "2", "--device", "cpu"]) == 0
    resume = ["train", "--resume", "run", "--train.epochs", "2"]
    if not torch.cuda.is_available():
        assert main(resume) == 2
        assert "sees 0" in capsys.readouterr().err
    assert main([*resume, "--device", "cpu"]) == 0
    assert "device cpu, which was NVIDIA Z100" in capsys.readouterr().err


def test_parameters_of_another_model_are_listed_by_the_command(workdir, capsys):
    flags = ["--latent-dim", "2", "--train.epochs", "1"]
    assert main(["train", "digits-plain", "--out", "run", *flags]) == 0

    def rename(tensors, state):
        name = next(iter(tensors["model"]))
        for group in ("model", "best"):
            if tensors[group]:
                tensors[group]["stranger"] = tensors[group].pop(name)

    rewritten(Path("run"), rename)
    capsys.readouterr()
    assert main(["evaluate", "run", "--num-samples", "2"]) == 2
    error = capsys.readouterr().err
    assert "stranger is unexpected" in error and "is missing" in error


def test_an_older_schema_is_refused_with_the_remedy(tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "SCHEMA", 0)
    path = storage.save(tmp_path, 1, {}, {})
    monkeypatch.undo()
    with pytest.raises(storage.CheckpointCorrupt, match="of schema 1; got 0. Read it with the version"):  # fmt: skip
        storage.read(path)
    versions = json.loads((path / "manifest.json").read_text())["versions"]
    assert versions["torch"] == torch.__version__ and versions["pyro_vae"]


def test_saving_over_what_has_been_read(tmp_path):
    """Tensors that were read are not those of the file."""
    w = torch.randn(1000)
    storage.save(tmp_path, 1, {"model": {"w": w}}, {})
    for _ in range(3):
        tensors, state = storage.read(storage.newest(tmp_path))
        storage.save(tmp_path, 1, tensors, state)
    assert torch.equal(storage.read(storage.newest(tmp_path))[0]["model"]["w"], w)
