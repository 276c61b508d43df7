"""Scales of subsampled plates stand outside of logarithms."""

import copy

import pyro
import pyro.distributions as dist
import pytest
import torch
from checks import gaussian_vae
from pyro import poutine

from pyro_vae.objectives import IWAE, STL, VIMCO, DReG, Renyi, ScoreFunction, scale_kl

pytestmark = pytest.mark.usefixtures("float64")


@pytest.mark.parametrize(
    "objective",
    [IWAE(4), DReG(4), VIMCO(4), Renyi(4, 0.5), STL(4), ScoreFunction(4)],
    ids=lambda o: type(o).__name__,
)
def test_scales_stay_outside_of_logarithms(objective):
    """N / B by a handler or by a subsampling plate multiplies the bound, and nothing else."""
    vae, x = gaussian_vae()

    def loss(scale=None, mask=None):
        torch.manual_seed(1)
        handlers = [poutine.scale(scale=scale)] if scale else []
        handlers += [poutine.mask(mask=mask)] if mask is not None else []
        model, guide = vae.model, vae.guide
        for handler in handlers:
            model, guide = handler(model), handler(guide)
        with torch.no_grad():
            return float(copy.deepcopy(objective).eval()(model, guide, x).loss)

    assert loss(scale=10.0) == pytest.approx(10 * loss(), rel=1e-10)
    rows = torch.tensor([True, False])
    first, none = loss(mask=rows), loss(mask=~rows)
    assert first + none == pytest.approx(loss(), rel=1e-10)


def test_subsampling_plates_scale_the_bound():
    vae, x = gaussian_vae()
    data = torch.randn(20, 3)

    def program(site):
        def run(x, index=None):
            with pyro.plate("data", 20, subsample=torch.arange(4)):
                return site(data[:4])

        return run

    def model(batch):
        z = pyro.sample("z", vae.prior())
        pyro.sample("x", vae.likelihood(z), obs=batch)

    def guide(batch):
        pyro.sample("z", vae.posterior(batch))

    torch.manual_seed(1)
    scaled = IWAE(8)(program(model), program(guide), data[:4]).loss
    torch.manual_seed(1)
    plain = IWAE(8)(vae.model, vae.guide, data[:4]).loss
    torch.testing.assert_close(scaled, 5 * plain)


def test_what_has_no_weights_by_datum_is_refused():
    vae, x = gaussian_vae()
    with scale_kl(0.5), pytest.raises(ValueError, match="one scale for all sites under IWAE"):
        IWAE(2)(vae.model, vae.guide, x)

    def model(x):
        pyro.sample("shared", dist.Normal(0.0, 1.0))
        vae.model(x)

    def guide(x):
        pyro.sample("shared", dist.Normal(0.0, 1.0))
        vae.guide(x)

    with pytest.raises(ValueError, match="every site in one plate of data"):
        IWAE(2)(model, guide, x)
