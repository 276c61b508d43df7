"""Models made in Python come back from a folder, of every kind and family."""

import json

import pytest
import torch
from checks import ALLOWED, build, each_kind, name_of
from kinds import KINDS
from torch import nn

import pyro_vae as pv
from pyro_vae import gallery
from pyro_vae.runs.saved import created, declaration_of

MLP = pv.nn.MLP
STRANGE = "a stranger's module"
MEAN = torch.full((3,), 0.3)
RELATIVES = {
    "autoencoder": lambda: gallery.Autoencoder((3,), 2, "cross-entropy", hidden_features=(4,)),
    "dbm": lambda: gallery.DBM((3,), 4, 2, x_mean=MEAN),
    "diffusion": lambda: gallery.Diffusion((3,), 4, (8,), x_mean=MEAN, x_scale=2.0),
    "gan": lambda: gallery.GAN((3,), 2, (4,), smooth="spectral-norm"),
    "gsn": lambda: gallery.GSN((3,), 4),
    "flow": lambda: gallery.NormalizingFlow((3,), 2, (4,), num_levels=4),
    "pixel-cnn": lambda: gallery.PixelCNN((1, 3, 2), 2, 4),
    "rbm": lambda: gallery.RBM((3,), 4, x_mean=MEAN),
}


def moved(vae):
    """The model as training might leave it."""
    with torch.no_grad():
        for parameter in vae.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    return vae


def scores(vae, x, known):
    return pv.elbo(vae, x, seed=3, **known)


@pytest.mark.parametrize("name", [name for name in KINDS if name != STRANGE])
def test_every_kind_of_model_comes_back(name, tmp_path):
    torch.manual_seed(0)
    vae, x, known = KINDS[name]()
    moved(vae)
    pv.save(vae, tmp_path / "saved")
    again = pv.load(tmp_path / "saved")
    assert not again.training and {*again.state_dict()} == {*vae.state_dict()}
    torch.testing.assert_close(
        scores(again, x, known), scores(vae.eval(), x, known), rtol=0, atol=0
    )


@pytest.mark.parametrize("name", RELATIVES)
def test_every_relative_comes_back(name, tmp_path):
    torch.manual_seed(0)
    model = RELATIVES[name]()
    pv.save(moved(model), tmp_path)
    again, want = pv.load(tmp_path), model.eval().state_dict()
    assert type(again) is type(model) and again.density == model.density
    assert all(torch.equal(value, want[key]) for key, value in again.state_dict().items())
    assert {**dict(again.named_buffers())}.keys() == {**dict(model.named_buffers())}.keys()


def test_what_was_not_trained_is_not_trained_again(tmp_path):
    vae, *_ = KINDS[next(iter(KINDS))]()
    frozen = [name for name, _ in vae.named_parameters()][::2]
    for name in frozen:
        vae.get_parameter(name).requires_grad_(False)
    pv.save(vae, tmp_path)
    again = pv.load(tmp_path).named_parameters()
    assert frozen == [name for name, value in again if not value.requires_grad]


def through_json(vae):
    """The model that its declaration makes, with its values."""
    groups, state = declaration_of(vae)
    assert not state["undeclared"]
    again = created({"model": vae.state_dict(), **groups}, json.loads(json.dumps(state)))
    again.load_state_dict(vae.state_dict())
    return again


@pytest.mark.parametrize("triple", each_kind(ALLOWED, 1), ids=name_of)
def test_every_family_comes_back(triple):
    vae, x = build(triple)
    again = through_json(moved(vae))
    for part in ("prior", "likelihood", "posterior"):
        assert type(getattr(again, part)) is type(getattr(vae, part))
    known = {"index": torch.arange(len(x))} if vae.posterior.index else {}
    if vae.posterior.density == "none":
        return
    vae.eval(), again.eval()
    torch.testing.assert_close(scores(again, x, known), scores(vae, x, known), rtol=0, atol=0)


def small(decoder=None, posterior=None):
    decoder = decoder or nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 5, bias=False))
    q = posterior or pv.posteriors.MeanFieldNormal(pv.nn.Batched(nn.Sequential(nn.Linear(5, 4))))
    return pv.VAE(pv.priors.StandardNormal(2), pv.likelihoods.Gaussian(decoder), q)


def test_networks_of_torch_come_back(tmp_path):
    layers = [nn.Unflatten(-1, (1, 6, 6)), nn.Conv2d(1, 2, 3, padding=1), nn.GroupNorm(1, 2)]
    layers += [nn.Flatten(-3), nn.Dropout(0.1), nn.LayerNorm(72), nn.Linear(72, 4)]
    encoder = nn.Sequential(nn.Linear(5, 36), *layers)
    vae = small(posterior=pv.posteriors.MeanFieldNormal(encoder)).double()
    x = torch.randn(7, 5, dtype=torch.float64)
    again = through_json(moved(vae))
    assert again.eval().prior.loc.dtype == torch.float64
    torch.testing.assert_close(scores(again, x, {}), scores(vae.eval(), x, {}), rtol=0, atol=0)


def test_what_is_shared_is_shared_again():
    posterior = pv.posteriors.VectorQuantized(MLP(5, [8], 4), 4, num_codes=5, code_dim=2)
    prior = pv.priors.Codes.from_recipe(posterior, [8])
    vae = through_json(pv.VAE(prior, pv.likelihoods.Bernoulli(MLP(4, [8], 5)), posterior))
    assert vae.prior.codebook is vae.posterior.codebook
    posterior = pv.posteriors.MeanFieldNormal(MLP(5, [8], 4))
    prior = pv.priors.Vamp(posterior, torch.rand(3, 5), learned=False)
    again = through_json(pv.VAE(prior, pv.likelihoods.Bernoulli(MLP(2, [8], 5)), posterior))
    assert again.prior.posterior is again.posterior
    assert not again.prior.pseudo_inputs.requires_grad


class Own(nn.Linear):
    """A network of somebody's own."""


def changed():
    vae = small()
    vae.likelihood.decoder[1] = nn.Tanh()
    return vae


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: small(decoder=Own(2, 5)), "Own is a class of your own"),
        (lambda: KINDS[STRANGE]().vae, "Stranger is a class of your own"),
        (lambda: small(decoder=nn.Sequential()), None),
        (changed, None),
    ],
)
def test_what_cannot_be_declared_keeps_its_values(make, words, tmp_path):
    vae = moved(make())
    if words is None:
        pv.save(vae, tmp_path / "saved")
        torch.testing.assert_close(pv.load(tmp_path / "saved").state_dict(), vae.state_dict())
        return
    with pytest.warns(UserWarning, match=f"{words}: load them into"):
        pv.save(vae, tmp_path / "saved")
    with pytest.raises(ValueError, match=f"vae=vae.*{words}"):
        pv.load(tmp_path / "saved")
    again = pv.load(tmp_path / "saved", vae=make())
    torch.testing.assert_close(again.state_dict(), vae.state_dict())


def test_a_part_that_was_changed_is_noticed(tmp_path):
    vae = pv.VAE(pv.priors.StandardNormal(2), pv.likelihoods.Gaussian(MLP(2, [8], 5)), pv.posteriors.MeanFieldNormal(MLP(5, [8], 4)))  # fmt: skip
    vae.likelihood = pv.likelihoods.StudentT(vae.likelihood.decoder)
    with pytest.warns(UserWarning, match="likelihood has been changed since it was created"):
        pv.save(vae, tmp_path / "saved")


def test_training_in_python_says_how_the_model_was_made(tmp_path):
    x = torch.randn(30, 5)
    vae = small()
    pv.fit(vae, x, epochs=1, out=tmp_path / "run", progress=False)
    again = pv.load(tmp_path / "run")
    torch.testing.assert_close(again.state_dict(), vae.state_dict())
    pv.fit(small(), x, epochs=2, out=tmp_path / "run", resume=True, progress=False)


def test_a_folder_is_not_overwritten_by_itself(tmp_path):
    folder = tmp_path / "saved"
    pv.save(small(), folder)
    with pytest.raises(ValueError, match="without a run"):
        pv.save(small(), folder)
    pv.save(small(), folder, overwrite=True)
    with pytest.raises(ValueError, match="saved by pv.save"):
        pv.fit(small(), torch.randn(30, 5), out=folder, resume=True, progress=False)
    with pytest.raises(ValueError, match="the model first"):
        pv.save(folder, small())


@pytest.mark.parametrize(
    "name", ["os.system", "nn.broadcast_rows", "torch.nn.functional", "nn.nn"]
)
def test_a_declaration_runs_no_foreign_code(name):
    from pyro_vae.runs.declared import create

    with pytest.raises(ValueError, match="Expected a class of pyro_vae or of torch.nn"):
        create({"create": name, "arguments": [], "options": {}}, {}, torch.float32)


def test_a_model_of_an_earlier_version_keeps_its_values(tmp_path):
    vae = small()
    del vae.prior.__dict__["arguments"]  # as unpickled
    with pytest.warns(UserWarning, match="StandardNormal was made by an earlier version"):
        pv.save(vae, tmp_path / "saved")
