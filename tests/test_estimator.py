"""The VAE as an estimator of scikit-learn."""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

import pyro_vae as pv

SIGMA = {"kind": "gaussian", "sigma": "per-column"}
NOISE = "log p(x) is an estimate: each row's noise depends on its place"
EXPECTED = {
    "check_methods_sample_order_invariance": NOISE,
    "check_methods_subset_invariance": NOISE,
}


@pytest.fixture(scope="module")
def iris():
    return load_iris(return_X_y=True)


def small(**options):
    options = {"latent_dim": 2, "hidden_features": (16,), "epochs": 2, "random_state": 0} | options
    return pv.VAEEstimator(**options)


@pytest.fixture(scope="module")
def fitted(iris):
    return small(likelihood=SIGMA, epochs=30).fit(StandardScaler().fit_transform(iris[0]))


@pytest.mark.slow
def test_check_estimator():
    results = check_estimator(
        small(num_samples=10), expected_failed_checks=EXPECTED, on_skip=None, on_fail=None
    )
    failed = [found["check_name"] for found in results if found["status"] == "failed"]
    assert not failed
    assert sum(found["status"] == "passed" for found in results) > 40


def test_what_it_returns_is_what_the_package_returns(fitted, iris):
    x = StandardScaler().fit_transform(iris[0])
    z = fitted.transform(x)
    assert z.dtype == x.dtype and z.shape == (150, 2)
    np.testing.assert_array_equal(z, pv.encode(fitted.vae_, x.astype("f4")).loc.numpy())
    found = pv.log_marginal(fitted.vae_, x.astype("f4"), 100, seed=fitted.seed_)
    np.testing.assert_array_equal(fitted.score_samples(x), found.log_marginal.numpy())
    assert fitted.score(x) == pytest.approx(float(found.log_marginal.mean()))
    assert fitted.verdict_.colour in ("green", "amber", "red")
    assert fitted.inverse_transform(z).shape == x.shape
    assert fitted.sample(7).shape == (7, 4)


def test_one_seed_one_model(iris):
    first, second, other = (
        small(random_state=s).fit(iris[0]).transform(iris[0]) for s in (3, 3, 4)
    )
    np.testing.assert_array_equal(first, second)
    assert not np.allclose(first, other)


def test_in_a_pipeline_and_a_search(iris):
    x, y = iris
    pipeline = make_pipeline(StandardScaler(), small(), LogisticRegression())
    assert 0 <= pipeline.fit(x, y).score(x, y) <= 1
    search = GridSearchCV(
        small(num_samples=10), {"latent_dim": [1, 2], "prior": ["standard-normal", "flow"]}, cv=2
    ).fit(x)
    assert search.best_params_["latent_dim"] in (1, 2)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_names_and_pandas(iris):
    frame = pd.DataFrame(iris[0], columns=["a", "b", "c", "d"])
    vae = small().set_output(transform="pandas").fit(frame)
    z = vae.transform(frame)
    assert list(z.columns) == ["vaeestimator0", "vaeestimator1"]
    assert list(vae.feature_names_in_) == ["a", "b", "c", "d"]
    with pytest.raises(ValueError, match="feature names"):
        vae.transform(frame.rename(columns={"a": "z"}))


@pytest.mark.filterwarnings("ignore:Not to be trusted")
def test_holes_are_imputed(iris):
    x = StandardScaler().fit_transform(iris[0])
    holes = np.random.default_rng(0).random(x.shape) < 0.2
    vae = small(likelihood=SIGMA, epochs=200, lr=1e-2).fit(np.where(holes, np.nan, x))
    filled = vae.impute(np.where(holes, np.nan, x))
    np.testing.assert_allclose(filled[~holes], x[~holes], rtol=1e-6)
    error = np.square(filled - x)[holes]
    by_mean = np.square(x)[holes]
    gain = by_mean - error
    assert gain.mean() > 3 * gain.std() / len(gain) ** 0.5


def test_pickled_and_cloned(fitted, iris):
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(again.transform(iris[0]), fitted.transform(iris[0]))
    fresh = clone(fitted)
    assert fresh.get_params() == fitted.get_params()
    with pytest.raises(NotFittedError):
        fresh.transform(iris[0])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"prior": "normall"}, "normall"),
        ({"train": {"epoch": 3}}, "epoch"),
        ({"latent_dim": 0}, "latent_dim"),
        ({"likelihood": "bernoulli"}, "0 or 1|in {0, 1}|bits"),
        ({"prior": pv.priors.StandardNormal(2)}, "Expected prior as a kind.*got StandardNormal"),
        ({"posterior": {"z1": {"kind": "laplace"}}}, "Expected posterior as a kind.*pyro_vae.fit"),
        ({"posterior": "per-datum"}, "with an encoder.*got per-datum.*pyro_vae.fit"),
        ({"likelihood": "product"}, "likelihood.parts"),
        ({"device": "gpu"}, "Expected a device"),
    ],
)
def test_mistakes_get_a_sentence(options, words, iris):
    with pytest.raises((ValueError, TypeError), match=words):
        small(**options).fit(iris[0])


@pytest.mark.parametrize("holes", [False, True])
def test_a_product_of_likelihoods_has_the_networks_asked_for(holes, iris):
    x = np.c_[iris[0], iris[1]]
    if holes:
        x[3, 4] = x[5, 0] = np.nan
    kinds = [
        {"columns": [0, 1, 2, 3], "likelihood": SIGMA},
        {"columns": [4], "likelihood": {"kind": "categorical", "num_levels": 3}},
    ]
    vae = small(likelihood={"kind": "product", "parts": kinds}).fit(x)
    widths = {p.shape[0] for p in vae.vae_.likelihood.parameters() if p.dim() == 2}
    assert widths <= {16, 4, 3}
    assert vae.inverse_transform(vae.transform(x)).shape == x.shape
    assert "decoder" not in kinds[0]["likelihood"]  # what was given stays as it was


@pytest.mark.filterwarnings("ignore:Not to be trusted")
def test_numbers_keep_their_precision():
    x = np.array([[1.23456789012, np.nan, 1e-9, 0.1]])
    vae = small(likelihood={**SIGMA, "missing": "at-random"}, train={"precision": "float64"})
    vae.fit(np.random.default_rng(0).normal(size=(30, 4)))
    for kind in ("f4", "f8"):
        row = x.astype(kind)
        filled = vae.impute(row, num_particles=10)
        np.testing.assert_array_equal(np.where(np.isnan(row), row, filled), row)
        z = vae.transform(row)
        assert filled.dtype == z.dtype == vae.inverse_transform(z).dtype == kind
    assert next(vae.vae_.parameters()).dtype == torch.float64


def test_latent_features_that_are_none_are_refused(fitted):
    for z, words in (
        (np.full((1, 2), np.nan), "NaN"),
        (np.zeros(2), "2D"),
        (np.ones((1, 5)), "z"),
    ):
        with pytest.raises(ValueError, match=words):
            fitted.inverse_transform(z)


def test_parameters_that_change_later_leave_what_was_trained(iris):
    vae = small().set_output(transform="pandas").fit(iris[0])
    z = vae.set_params(latent_dim=5).transform(iris[0])
    assert z.shape == (150, 2)


def test_what_is_asked_of_a_trained_one_gets_a_sentence_about_its_arguments(fitted):
    x = np.zeros((3, 4))
    x[1, 2] = np.nan
    for ask in (fitted.transform, fitted.score_samples, fitted.impute):
        with pytest.raises(
            ValueError, match=r"NaN in row 1. Fit on data.*\"missing\": \"at-random\""
        ):
            ask(x)
    for count in (0, -1, 2.5, True, None):
        with pytest.raises(ValueError, match=f"n_samples as a whole number.*got {count}"):
            fitted.sample(count)
