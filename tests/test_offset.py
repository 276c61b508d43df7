"""Counts in proportion to a size that is known."""

import pytest
import torch
from torch import nn

import pyro_vae as pv

MLP, Join, Offset = pv.nn.MLP, pv.nn.Join, pv.nn.Offset
FAMILIES = {
    "poisson": (pv.likelihoods.Poisson, 1),
    "negative-binomial": (pv.likelihoods.NegativeBinomial, 1),
    "zero-inflated": (pv.likelihoods.ZeroInflatedNegativeBinomial, 2),
}


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("shape", [(5,), (1, 2, 3)], ids=str)
@pytest.mark.parametrize("particles", [(), (3,)], ids=str)
def test_twice_the_size_is_twice_the_mean(name, shape, particles):
    torch.manual_seed(0)
    family, outputs = FAMILIES[name]
    net = MLP(2, [8], (outputs * shape[0], *shape[1:]))
    offset = Offset(net, outputs, len(shape))
    likelihood = family(offset, event_dim=len(shape)).given("z", "n")
    z, n = torch.randn(*particles, 7, 2), torch.rand(7, 1) * 1000 + 1
    one, two = likelihood((z, n)).mean, likelihood((z, 2 * n)).mean
    assert one.shape == (*particles, 7, *shape)
    torch.testing.assert_close(two, 2 * one, rtol=1e-13, atol=0)
    alone = family(net, event_dim=len(shape))
    torch.testing.assert_close(likelihood((z, torch.ones(7, 1))).mean, alone(z).mean)


@pytest.mark.usefixtures("float64")
def test_a_poisson_of_known_sizes():
    """Without a latent effect log p(x | n) is that of Poisson(n m), whatever z."""
    net = MLP(2, [], 3)
    with torch.no_grad():
        net.layers[0].weight.zero_()
        net.layers[0].bias.copy_(torch.tensor([0.5, -1.0, 2.0]))
    vae = pv.VAE(
        pv.priors.StandardNormal(2),
        pv.likelihoods.Poisson(Offset(net)).given("z", "n"),
        pv.posteriors.MeanFieldNormal(Join(MLP(4, [8], 4), (1, 1))).given("x", "n"),
    )
    n = torch.tensor([[1.0], [10.0], [0.5]])
    law = torch.distributions.Poisson(n * net.layers[0].bias.exp())
    x = law.sample()
    exact = law.log_prob(x).sum(-1).detach()
    program = vae.model, pv.evaluate.prior_guide(vae.model)
    torch.testing.assert_close(pv.log_marginal(program, x, 20, n=n).log_marginal, exact)
    twin = pv.log_marginal(program, x, 20, n=2 * n).log_marginal
    assert float((twin - exact).abs().min()) > 0.05
    assert bool((pv.elbo(vae, x, n=n) < exact).all())


def test_offsets_behind_several_inputs_and_what_is_refused():
    offset = Offset(Join(MLP(2 + 3, [8], 4), (1, 1)))
    z, c, n = torch.randn(6, 2), torch.randn(6, 3), torch.ones(6, 1)
    assert offset((z, c, n)).shape == (6, 4)
    assert offset.output_bias is offset.decoder.net.output_bias and offset.out_shape == (4,)
    assert Offset(nn.Linear(2, 4)).output_bias is None
    with pytest.raises(ValueError, match="Expected several inputs, the last of which is n"):
        offset(z)
    with pytest.raises(ValueError, match=r"Expected n of shape \(batch, 1\); got \(6,\)"):
        offset((z, c, n[:, 0]))
