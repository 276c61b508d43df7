"""Any likelihood of independent elements with holes, in recipes and out of them."""

import pyro
import pytest
import torch
from checks import WHOLE, D, data_for, recipe_for, variants

import pyro_vae as pv
from pyro_vae.config import validate
from pyro_vae.data import as_split
from pyro_vae.distributions.partial import elements
from pyro_vae.objectives import ESTIMATORS, track_sigma

pytestmark = pytest.mark.filterwarnings("ignore:Not to be trusted")  # by so few steps
KINDS = [kind for kind in variants("likelihood") if kind["kind"] not in WHOLE]
NORMAL = {"kind": "standard-normal"}
MEAN_FIELD = {"kind": "mean-field-normal"}


def made(likelihood, prior=NORMAL, posterior=MEAN_FIELD, shape=(D,)):
    kind = {**likelihood, "missing": "at-random"}
    x = data_for(likelihood["kind"], 12, shape)
    x[:, 0] = torch.nan
    x[1] = torch.nan
    split = as_split(x)
    return pv.build_vae(recipe_for(prior, kind, posterior), shape, 1.0, split), split


@pytest.mark.parametrize("likelihood", KINDS, ids=lambda kind: "-".join(map(str, kind.values())))
def test_what_is_missing_adds_nothing(likelihood):
    vae, split = made(likelihood)
    assert isinstance(vae.likelihood, pv.likelihoods.MissingAtRandom)
    law, x = vae.likelihood(torch.randn(12, 4)), data_for(likelihood["kind"], 12)
    whole, each = law.log_prob(x), elements(law.base).log_prob(x)
    some = x.clone()
    some[:, [0, 3]] = torch.nan
    torch.testing.assert_close(
        law.log_prob(some), whole - each[:, 0] - each[:, 3], rtol=1e-4, atol=1e-4
    )
    assert torch.isfinite(pv.elbo(vae, split)).all()
    pv.fit(vae, split, epochs=1, batch_size=6, progress=False)
    draws = pv.impute(vae, split, 1, method="gibbs", num_steps=8, num_particles=9).draws
    assert torch.isfinite(draws).all()


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_every_estimator_takes_holes(estimator):
    discrete = estimator in ("enumeration", "score-function", "vimco")
    prior = {"kind": "bernoulli"} if discrete else NORMAL
    posterior = {"kind": "bernoulli"} if discrete else MEAN_FIELD
    vae, split = made({"kind": "gaussian"}, prior, posterior)
    before = [p.detach().clone() for p in vae.parameters()]
    history = pv.fit(
        vae,
        split,
        epochs=2,
        batch_size=6,
        estimator=estimator,
        num_particles=1 if estimator == "enumeration" else 3,
        progress=False,
    )
    assert torch.tensor(history["loss"]).isfinite().all()
    assert any(not a.equal(b) for a, b in zip(before, vae.parameters()))


def test_parameters_of_each_datum_take_holes():
    vae, split = made({"kind": "gaussian", "sigma": "optimal"}, NORMAL, {"kind": "per-datum"})
    pv.fit(vae, split, epochs=2, batch_size=6, progress=False)
    index = torch.arange(len(split))
    assert torch.isfinite(pv.elbo(vae, split, index=index)).all()
    found = pv.impute(vae, split, 3, num_particles=50, index=index)
    assert torch.isfinite(found.draws).all()
    moved = pv.impute(vae, split, 3, method="gibbs", num_steps=8, num_particles=50, index=index)
    assert torch.isfinite(moved.draws).all()


@pytest.mark.parametrize(
    "network",
    [
        {"kind": "mlp", "hidden_features": [8]},
        {"kind": "conv", "channels": [4, 4], "hidden_features": 8},
    ],
)
def test_images_with_holes(network):
    recipe = validate(
        {
            "latent_dim": 2,
            "data": {"kind": "digits", "holes": 0.5},
            "likelihood": {"kind": "binomial", "total_count": 16, "decoder": network},
            "posterior": {"kind": "mean-field-normal", "encoder": network},
        }
    )
    split = pv.data.load(recipe.data).train.take(slice(0, 40))
    vae = pv.build_vae(recipe, split.x_shape, split.scale, split)
    assert vae.likelihood.missing
    history = pv.fit(vae, split, epochs=1, batch_size=20, progress=False)
    assert torch.tensor(history["loss"]).isfinite().all()
    assert pv.plot.plot_reconstructions(vae, split, 3)


def test_pseudo_inputs_have_no_holes():
    vae, split = made({"kind": "gaussian"}, {"kind": "vamp", "num_components": 5})
    assert vae.prior.pseudo_inputs.isfinite().all()


def test_several_sites_with_holes():
    """A network of x in the guide sees where holes are, also beside another input."""
    net = {"kind": "mlp", "hidden_features": [8]}
    recipe = validate(
        {
            "data": {"kind": "digits", "holes": {"rate": 0.5, "when": "visit"}},
            "prior": {
                "z2": {"kind": "standard-normal", "latent_dim": 2},
                "z1": {
                    "kind": "mean-field-normal",
                    "given": ["z2"],
                    "latent_dim": 3,
                    "encoder": net,
                },
            },
            "likelihood": {"kind": "gaussian", "given": ["z1"], "decoder": net},
            "posterior": {
                "z2": {"kind": "mean-field-normal", "encoder": net},
                "z1": {"kind": "mean-field-normal", "given": ["x", "z2"], "encoder": net},
            },
        }
    )
    split = pv.data.load(recipe.data).train.take(slice(0, 40))
    vae = pv.build_vae(recipe, split.x_shape, split.scale, split)
    history = pv.fit(vae, split, epochs=2, batch_size=20, progress=False)
    assert torch.tensor(history["loss"]).isfinite().all()
    found = pv.impute(vae, split.freeze(0), 2, method="gibbs", num_steps=8, num_particles=20)
    assert torch.isfinite(found.draws).all()


def test_optimal_sigma_is_that_of_what_is_there():
    """The running mean moves towards the mean square of residuals that are seen, exactly."""
    vae, split = made({"kind": "gaussian", "sigma": "optimal"})
    gaussian, before = vae.likelihood.family, vae.likelihood.family.log_scale.exp().square()
    x, z = split.rows(slice(None)), torch.randn(len(split), 4)
    with track_sigma(vae.likelihood, decay=0.75), pyro.condition(data={"z": z}):
        vae.model(x)
    with torch.no_grad():
        residual = (x - gaussian.decode(z))[~x.isnan()].square().mean()
    found = gaussian.log_scale.exp().square()
    torch.testing.assert_close(found, 0.75 * before + 0.25 * residual)
    filled = (torch.nan_to_num(x) - gaussian.decode(z)).detach().square().mean()
    assert abs(float(residual - filled)) > 0.01
