"""A chain of denoising steps draws what one step does not."""

import pytest
import torch

import pyro_vae as pv
from pyro_vae.evaluate import compare_samples
from pyro_vae.gallery import GSN


@pytest.mark.slow
def test_the_stationary_chain_beats_one_denoising_step():
    torch.manual_seed(0)
    data = pv.data.load("digits", binarize="dynamic", quiet=True)
    model = GSN(data.train.x_shape)
    pv.fit(model, data.train, epochs=30, lr=4e-3, schedule="cosine", progress=False)
    start = torch.bernoulli(torch.full((500, *data.train.x_shape), 0.5))
    held_out = data.test.freeze(0)
    one, many = (
        compare_samples(model.chain(start, steps), held_out).masses.chi2 for steps in (1, 100)
    )
    assert one - many > 4.3 * (one.se**2 + many.se**2) ** 0.5
