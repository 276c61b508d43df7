"""What ArviZ reads."""

import math

import numpy as np
import pytest
import torch
from checks import exact_vae

import pyro_vae as pv

pytestmark = pytest.mark.usefixtures("float64")


def test_datatree(tmp_path):
    xarray = pytest.importorskip("xarray")
    vae, exact, x = exact_vae("mean-field", count=3)
    tree = pv.evaluate.to_datatree(vae, x, num_samples=200, dims={"z": ["feature"]})
    assert tree["posterior"]["z"].dims == ("chain", "draw", "datum", "feature")
    assert tree["posterior"]["z"].shape == (1, 200, 3, 2)
    assert tree["posterior_predictive"]["x"].shape == (1, 200, 3, 5)
    assert tree["prior"]["z"].shape == (1, 200, 3, 2)
    assert tree["log_likelihood"]["x"].shape == (1, 200, 3)
    np.testing.assert_allclose(tree["observed_data"]["x"], x)
    weights = torch.from_numpy(tree["sample_stats"]["log_weight"].values)[0]
    estimate = weights.logsumexp(0) - math.log(200)
    assert (estimate - exact.marginal.log_prob(x)).abs().max() < 0.3
    tree.to_netcdf(tmp_path / "run.nc", engine="h5netcdf")
    again = xarray.open_datatree(tmp_path / "run.nc", engine="h5netcdf")
    assert again["posterior"].equals(tree["posterior"])
