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


def test_elements_one_by_one_are_those_of_the_whole():
    pytest.importorskip("xarray")
    vae, _, x = exact_vae("mean-field", count=3)
    whole = pv.evaluate.to_datatree(vae, x, num_samples=5, prior=False)["log_likelihood"]["x"]
    tree = pv.evaluate.to_datatree(vae, x, num_samples=5, prior=False, pointwise=True)
    assert tree["log_likelihood"]["x"].dims == ("chain", "draw", "datum", "x_dim_0")
    np.testing.assert_allclose(tree["log_likelihood"]["x"].sum("x_dim_0"), whole)
    stats = tree["sample_stats"]
    np.testing.assert_allclose(stats["log_p"] - stats["log_q"], stats["log_weight"])
    made = pv.VAE(
        pv.priors.StandardNormal(2),
        pv.likelihoods.MADE(pv.nn.MLP(2, [4], 5), hidden_features=[4]),
        pv.posteriors.MeanFieldNormal(pv.nn.MLP(5, [4], 4)),
    )
    with pytest.raises(ValueError, match="independent elements with pointwise=True"):
        pv.evaluate.to_datatree(made.double(), (x > 0).double(), pointwise=True)


def rest_of(exact, x):
    """Mean and variance of each element of a datum given the others, exactly."""
    precision = exact.marginal.precision_matrix
    variance = 1 / precision.diagonal()
    centred = x - exact.marginal.mean
    return x - variance * (precision @ centred), variance


def test_leaving_out_an_element_is_exact_on_average():
    """PSIS-LOO over the elements of a datum, with draws of a guide that is not the posterior."""
    stats = pytest.importorskip("arviz_stats")
    pytest.importorskip("xarray")
    vae, exact, x = exact_vae("mean-field", sigma=2.0, dim=10, count=1)
    mean, variance = rest_of(exact, x[0])
    wanted = torch.distributions.Normal(mean, variance.sqrt()).log_prob(x[0])
    found = []
    for seed in range(5):
        tree = pv.evaluate.to_datatree(vae, x, num_samples=2000, pointwise=True, prior=False, seed=seed)  # fmt: skip
        of = tree["sample_stats"].isel(datum=0)
        loo = stats.loo_approximate_posterior(tree, of["log_p"], of["log_q"], var_name="x", pointwise=True)  # fmt: skip
        assert float(loo.pareto_k.max()) < 0.7
        found.append(loo.elpd_i.values.flatten())
    found = np.array(found)
    errors = found.std(0, ddof=1) / 5**0.5
    assert (np.abs(found.mean(0) - wanted.numpy()) < 8 * errors + 1e-3).all()  # t with 4 degrees


def test_the_place_of_an_element_among_its_predictions():
    stats = pytest.importorskip("arviz_stats")
    pytest.importorskip("xarray")
    vae, exact, x = exact_vae("full", count=1)  # the guide is the posterior
    mean, variance = rest_of(exact, x[0])
    wanted = torch.special.ndtr((x[0] - mean) / variance.sqrt())
    tree = pv.evaluate.to_datatree(vae, x, num_samples=4000, pointwise=True, prior=False)
    places = stats.loo_pit(tree, var_names="x")["x"].values.flatten()
    error = (wanted * (1 - wanted) / 1000).sqrt()  # weights cost less than three quarters of draws
    assert (np.abs(places - wanted.numpy()) < 5 * error.numpy()).all()
