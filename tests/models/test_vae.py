"""Any network may be an encoder or a decoder."""

import pytest
import torch

import pyro_vae as pv


def test_decoders_of_one_batch_dimension_work_everywhere():
    from pyro.infer import Trace_ELBO
    from torch import nn

    decoder = nn.Sequential(
        nn.Linear(2, 16), nn.Unflatten(1, (1, 4, 4)), nn.ConvTranspose2d(1, 1, 3, padding=1)
    )
    vae = pv.VAE(
        pv.priors.StandardNormal(2),
        pv.likelihoods.Gaussian(decoder, event_dim=3),
        pv.posteriors.MeanFieldNormal(nn.Sequential(nn.Flatten(), nn.Linear(16, 4))),
    )
    x = torch.randn(6, 1, 4, 4)
    assert pv.log_marginal(vae, x, num_samples=5).log_marginal.shape == (6,)
    assert Trace_ELBO(num_particles=3, vectorize_particles=True).loss(vae.model, vae.guide, x) > 0
    z = torch.randn(5, 2, 2)
    one = torch.stack([vae.likelihood(part).mean for part in z])
    torch.testing.assert_close(vae.likelihood(z).mean, one)
    assert vae.likelihood(torch.randn(2)).mean.shape == (1, 4, 4)


def test_odd_outputs_are_no_two_parameters():
    vae = pv.VAE(
        pv.priors.StandardNormal(2),
        pv.likelihoods.Gaussian(pv.nn.MLP(2, [4], 3)),
        pv.posteriors.MeanFieldNormal(pv.nn.MLP(3, [4], 3)),
    )
    with pytest.raises(ValueError, match="even number of outputs"):
        pv.fit(vae, torch.randn(8, 3), epochs=1, progress=False)
