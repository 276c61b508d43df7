"""Encoder and decoder as ONNX graphs, run by onnxruntime."""

import pytest
import torch

import pyro_vae as pv
from pyro_vae.cli import main

SHAPE = (1, 8, 8)


def linear_vae(likelihood):
    encoder = pv.nn.MLP(SHAPE, [16], 2 * 3, scale=16)
    return pv.VAE(pv.priors.StandardNormal(3), likelihood, pv.posteriors.MeanFieldNormal(encoder))


def outputs(path, rows):
    session = pytest.importorskip("onnxruntime").InferenceSession(str(path))
    [given] = session.get_inputs()
    names = [made.name for made in session.get_outputs()]
    return dict(zip(names, map(torch.from_numpy, session.run(None, {given.name: rows.numpy()}))))


@pytest.mark.parametrize("kind", ["Binomial", "Gaussian"])
def test_onnx_gives_what_torch_gives(kind, tmp_path):
    pytest.importorskip("onnxscript")
    decoder = pv.nn.MLP(3, [16], SHAPE)
    options = {"Binomial": {"total_count": 16, "event_dim": 3}, "Gaussian": {"event_dim": 3}}[kind]
    vae = linear_vae(getattr(pv.likelihoods, kind)(decoder, **options))
    x = 16 * torch.rand(7, *SHAPE)
    encoder, decoder = pv.views.export_onnx(vae, tmp_path, x)
    found = outputs(encoder, x)
    z = pv.encode(vae, x.round())
    torch.testing.assert_close(outputs(encoder, x.round())["loc"], z.loc, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(outputs(encoder, x.round())["scale"], z.scale, rtol=1e-5, atol=1e-5)
    assert found["loc"].shape == (7, 3)
    mean = vae.likelihood(z.loc).mean
    torch.testing.assert_close(outputs(decoder, z.loc)["mean"], mean, rtol=1e-5, atol=1e-5)
    assert vae.training


def test_what_cannot_be_exported_is_said(tmp_path, monkeypatch):
    N, MLP = pv.posteriors.MeanFieldNormal, pv.nn.MLP
    two = pv.VAE(
        prior=pv.Sites(z2=pv.priors.StandardNormal(2), z1=N(MLP(2, [4], 4)).given("z2")),
        likelihood=pv.likelihoods.Gaussian(MLP(2, [4], 5)).given("z1"),
        posterior=pv.Sites(z1=N(MLP(5, [4], 4)), z2=N(MLP(2, [4], 4)).given("z1")),
    )
    with pytest.raises(ValueError, match="one latent site and no conditions; got z2, z1"):
        pv.views.export_onnx(two, tmp_path, torch.randn(2, 5))
    monkeypatch.setattr("pyro_vae.views.onnx.find_spec", lambda name: None)
    vae = linear_vae(pv.likelihoods.Gaussian(pv.nn.MLP(3, [16], SHAPE), event_dim=3))
    with pytest.raises(ValueError, match="pip install 'pyro_vae\\[onnx\\]'"):
        pv.views.export_onnx(vae, tmp_path, torch.rand(2, *SHAPE))
    assert not list(tmp_path.glob("*.onnx"))


@pytest.mark.parametrize("role", ["posterior", "likelihood"])
def test_both_files_or_none_are_written(role, tmp_path):
    pytest.importorskip("onnxscript")
    MLP, Q = pv.nn.MLP, pv.posteriors
    cases = {
        "posterior": (Q.IAF(MLP(5, [8], Q.IAF.num_outputs(3)), 3), "closed form; got IAF"),
        "likelihood": (Q.MeanFieldNormal(MLP(5, [8], 6)), "operations that ONNX has in decoder"),
    }

    class Unknown(torch.nn.Module):
        def forward(self, z):
            square = torch.linalg.matrix_exp(z[..., None] * z[..., None, :])
            return square.flatten(1)[:, :5]

    decoder = Unknown() if role == "likelihood" else MLP(3, [8], 5)
    posterior, words = cases[role]
    vae = pv.VAE(pv.priors.StandardNormal(3), pv.likelihoods.Gaussian(decoder), posterior)
    before = tmp_path / "encoder.onnx"
    before.write_bytes(b"of an earlier model")
    with pytest.raises(ValueError, match=words):
        pv.views.export_onnx(vae, tmp_path, torch.randn(2, 5))
    assert [*tmp_path.iterdir()] == [before] and before.read_bytes() == b"of an earlier model"


def test_a_run_is_exported(tmp_path, monkeypatch, capsys):
    pytest.importorskip("onnxscript")
    monkeypatch.chdir(tmp_path)
    assert main(["train", "digits-plain", "--train.epochs", "1", "--out", "run"]) == 0
    assert main(["export", "run", "--out", "graphs"]) == 0
    assert capsys.readouterr().out.split()[-2:] == ["graphs/encoder.onnx", "graphs/decoder.onnx"]
    vae, x = pv.load("run"), pv.data.digits().test.rows(slice(0, 5))
    torch.testing.assert_close(
        outputs(tmp_path / "graphs/encoder.onnx", x)["loc"],
        pv.encode(vae, x).loc,
        rtol=1e-5,
        atol=1e-5,
    )


MLP, Q, K = pv.nn.MLP, pv.posteriors, pv.likelihoods
MODELS = {
    "convolutions": lambda: pv.VAE(
        pv.priors.StandardNormal(3),
        K.Bernoulli(pv.nn.ConvDecoder(3, SHAPE), event_dim=3),
        Q.MeanFieldNormal(pv.nn.ConvEncoder(SHAPE, 6)),
    ),
    "classes": lambda: pv.VAE(
        pv.priors.StandardNormal(3),
        K.Categorical(MLP(3, [16], (5, 8, 8)), 5, event_dim=3),
        Q.MeanFieldNormal(MLP(SHAPE, [16], 6)),
    ),
    "heavy tails": lambda: pv.VAE(
        pv.priors.StandardNormal(3),
        K.StudentT(MLP(3, [16], SHAPE), event_dim=3),
        Q.FullCovarianceNormal(MLP(SHAPE, [16], 3 + 6), 3),
    ),
}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] if n != "classes" else []) for n in MODELS]
)
def test_kinds_of_models(name, tmp_path):
    pytest.importorskip("onnxscript")
    torch.manual_seed(0)
    vae, x = MODELS[name](), torch.bernoulli(torch.full((4, *SHAPE), 0.4))
    encoder, decoder = pv.views.export_onnx(vae, tmp_path, x)
    z, vae = pv.encode(vae, x), vae.eval()
    for rows in (slice(0, 4), slice(0, 1), slice(0, 0)):
        found = outputs(encoder, x[rows])
        torch.testing.assert_close(found["loc"], z.loc[rows], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(found["scale"], z.scale[rows], rtol=1e-4, atol=1e-5)
        mean = vae.likelihood(z.loc).mean[rows]
        torch.testing.assert_close(
            outputs(decoder, z.loc[rows])["mean"], mean, rtol=1e-4, atol=1e-5
        )


@pytest.mark.slow
def test_an_operation_that_onnx_lacks_is_named(tmp_path):
    pytest.importorskip("onnxscript")
    encoder = MLP(SHAPE, [16], Q.LowRankNormal.num_outputs(3, 1))
    likelihood = K.Gaussian(MLP(3, [16], SHAPE), event_dim=3)
    vae = pv.VAE(pv.priors.StandardNormal(3), likelihood, Q.LowRankNormal(encoder, 1))
    with pytest.raises(ValueError, match="in encoder; got linalg_cholesky_ex, which it does not"):
        pv.views.export_onnx(vae, tmp_path, torch.rand(2, *SHAPE))
