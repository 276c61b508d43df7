"""A model keeps its dtype, whatever the default is."""

import torch

import pyro_vae as pv


def make():
    torch.manual_seed(0)
    return pv.VAE(
        pv.priors.StandardNormal(2),
        pv.likelihoods.Gaussian(pv.nn.MLP(2, 8, 3)),
        pv.posteriors.MeanFieldNormal(pv.nn.MLP(3, 8, 4)),
    )


def test_a_model_in_double_precision_trains_and_evaluates(tmp_path):
    vae, x = make().double(), torch.randn(40, 3)
    pv.fit(vae, x, valid=x.numpy(), epochs=2, progress=False, out=tmp_path / "run")
    for values in (pv.elbo(vae, x), pv.log_marginal(vae, x, 5).log_marginal, pv.encode(vae, x).loc,
                   pv.sample(vae, 3), pv.reconstruct(vae, x)):  # fmt: skip
        assert values.dtype == torch.float64
    again = pv.load(tmp_path / "run", vae=make())
    assert next(again.parameters()).dtype == torch.float64
    assert torch.equal(pv.elbo(again, x), pv.elbo(vae, x))


def test_a_run_loads_under_another_default_dtype(workdir, float64):
    from pyro_vae.cli import main

    torch.set_default_dtype(torch.float32)
    flags = [
        "--train.epochs",
        "1",
        "--latent-dim",
        "2",
        "--prior.kind",
        "vamp",
        "--prior.num-components",
        "5",
    ]
    assert main(["train", "digits-plain", "--out", "run", *flags]) == 0
    single = pv.elbo(pv.load("run"), pv.data.load("digits").test)
    torch.set_default_dtype(torch.float64)
    vae = pv.load("run")
    assert next(vae.parameters()).dtype == torch.float32
    double = pv.elbo(vae, pv.data.load("digits").test)
    torch.testing.assert_close(single.double(), double.double())
    assert pv.sample(vae, 2).dtype == torch.float32
    assert torch.get_default_dtype() == torch.float64
    assert main(["evaluate", "run", "--num-samples", "3"]) == 0
    assert main(["plot", "run"]) == 0
