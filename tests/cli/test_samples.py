"""evaluate --samples: samples of a run beside its data."""

import json

import pytest
import torch

import pyro_vae as pv
from pyro_vae.cli import main
from pyro_vae.cli.samples import check_drawn
from pyro_vae.gallery import RBM, Autoencoder

RECIPE = """
[data]
kind = "ring"
rows = 500
valid = 0
test = 100
[model]
kind = "gan"
hidden_features = [8]
[train]
epochs = 1
"""


def test_samples_of_a_run_are_compared(workdir, capsys):
    (workdir / "gan.toml").write_text(RECIPE)
    assert main(["train", "gan.toml", "--out", "gan"]) == 0
    capsys.readouterr()
    assert main(["evaluate", "gan", "--samples", "60", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["samples_num_samples"] == 60 and found["pqmass_p_value"] < 0.01
    assert found["coverage"] < found["coverage_floor"]
    assert main(["evaluate", "gan", "--samples", "60"]) == 0
    assert "floors are of data and other" in capsys.readouterr().out
    assert main(["evaluate", "gan", "--samples", "5"]) == 2
    assert "Expected at least 20 samples" in capsys.readouterr().err


class Asked:
    samples, seed, data_dir = 30, 0, None


def test_a_model_under_a_condition_draws_nothing_by_itself():
    vae = pv.VAE(
        pv.priors.StandardNormal(2),
        pv.likelihoods.Bernoulli(pv.nn.Join(pv.nn.MLP(5, [], 4), (1, 1))).given("z", "c"),
        pv.posteriors.MeanFieldNormal(pv.nn.MLP(4, [], 4)),
    )
    split = pv.data.as_split(torch.zeros(50, 4), c=torch.zeros(50, 3))
    with pytest.raises(ValueError, match="Expected a model that draws x by itself .* given c"):
        check_drawn(Asked, vae, split)


def test_what_cannot_be_compared_is_refused_before_anything_is_measured():
    bits = torch.zeros(39, 4)
    with pytest.raises(ValueError, match="at least 40 data for --samples.* got 39"):
        check_drawn(Asked, RBM((4,), 2), bits)
    with pytest.raises(ValueError, match="An autoencoder has no sampler"):
        check_drawn(Asked, Autoencoder((4,), 2), torch.zeros(40, 4))
