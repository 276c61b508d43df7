"""Any sequence of layers is a posterior, and the named flows are what they were."""

import pytest
import torch

import pyro_vae as pv

L = 2
MIXED = {
    "planar and householder": [pv.flows.Planar(), pv.flows.Householder(), pv.flows.Planar()],
    "sylvester and planar": [pv.flows.Sylvester(2), pv.flows.Planar()],
    "autoregressive and planar": lambda: [
        pv.flows.Autoregressive(L, [6], 3),
        pv.flows.Planar(),
        pv.flows.Autoregressive(L, [6], 3, pv.transforms.Spline(4), reverse=True),
    ],
}


def mixed(name):
    torch.manual_seed(0)
    layers = MIXED[name]() if callable(MIXED[name]) else MIXED[name]
    count = pv.posteriors.Flow.num_outputs(L, layers)
    posterior = pv.posteriors.Flow(pv.nn.MLP(3, [8], count), L, layers)
    for parameter in posterior.parameters():
        parameter.data *= 1.5
    return posterior


@pytest.mark.parametrize("name", MIXED)
@pytest.mark.usefixtures("float64")
def test_a_mixture_of_layers_is_a_density(name):
    law = mixed(name)(torch.randn(3))
    u = torch.linspace(-9, 9, 401)
    z = torch.cartesian_prod(u.sinh() / 20, u.sinh() / 20)
    cell = torch.cartesian_prod(u.cosh(), u.cosh()).prod(-1) * ((u[1] - u[0]) / 20) ** 2
    with torch.no_grad():
        mass = (law.log_prob(z).exp() * cell).sum()
    assert abs(float(mass) - 1) < 1e-4


@pytest.mark.parametrize("name", MIXED)
@pytest.mark.usefixtures("float64")
def test_the_density_of_a_sample_is_that_of_its_value(name):
    """By the way back, which knows nothing of how the sample came about; and its gradient."""
    posterior, x = mixed(name), torch.randn(4, 3)
    q = posterior(x)
    z = q.rsample()
    again = posterior(x).log_prob(z.detach())
    torch.testing.assert_close(q.log_prob(z), again, rtol=1e-6, atol=1e-6)
    place = z.detach().requires_grad_()
    assert torch.autograd.gradcheck(lambda v: posterior(x).log_prob(v), place, atol=1e-5)
    with pytest.raises(AssertionError):  # the twin: a log determinant is left out
        base = q.base_dist.log_prob(z if not q.transforms else q.base_dist.mean)
        torch.testing.assert_close(base, again, rtol=1e-6, atol=1e-6)


RECORDED = {
    "IAF": (-6.286958, -4.826636, ["nets.0.", "nets.1."]),
    "NeuralSpline": (-7.78889, -5.839693, ["nets.0."]),
    "Planar": (0.327256, -5.050844, []),
    "Householder": (0.326563, -5.613042, []),
    "Sylvester": (-8.065417, -5.80244, []),
}


def named(name):
    family = getattr(pv.posteriors, name)
    torch.manual_seed(1)
    encoder = pv.nn.MLP(3, [8], family.num_outputs(4))
    torch.manual_seed(2)
    posterior = family(encoder, 4)
    torch.manual_seed(3)
    q = posterior(torch.randn(5, 3))
    z = q.rsample()
    return posterior, float(z.detach().sum()), float(q.log_prob(z).detach().mean())


@pytest.mark.parametrize("name", RECORDED)
@pytest.mark.usefixtures("float64")
def test_the_named_flows_are_what_they_were(name):
    posterior, total, log_q = named(name)
    expected, density, nets = RECORDED[name]
    assert total == pytest.approx(expected, abs=1e-5) and log_q == pytest.approx(density, abs=1e-5)
    names = [key for key in posterior.state_dict() if not key.startswith("encoder.")]
    assert sorted({".".join(key.split(".")[:2]) + "." for key in names}) == nets


def test_wrong_widths_and_contexts_are_refused():
    layers = [pv.flows.Planar()]
    flow = pv.posteriors.Flow(pv.nn.MLP(3, [], 9), 2, layers)
    with pytest.raises(ValueError, match="Expected 9 outputs"):
        pv.posteriors.Flow(pv.nn.MLP(3, [], 8), 2, layers)(torch.zeros(3))
    assert flow(torch.zeros(3)).event_shape == (2,)
    with pytest.raises(ValueError, match="Expected layers of pyro_vae.flows"):
        pv.posteriors.Flow(pv.nn.MLP(3, [], 8), 2, [torch.nn.Tanh()])
    with pytest.raises(ValueError, match="one size of context; got 3, 4"):
        contexts = [pv.flows.Autoregressive(2, [4], size) for size in (3, 4)]
        pv.posteriors.Flow(pv.nn.MLP(3, [], 8), 2, contexts)


def test_an_encoder_that_says_the_number_of_reflections_still_does():
    posterior = pv.posteriors.Householder(pv.nn.MLP(3, [], 10), 2)
    with pytest.warns(DeprecationWarning, match="num_transforms=3"):
        assert len(posterior(torch.zeros(3)).transforms) == 3
