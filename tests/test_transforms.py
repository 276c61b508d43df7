"""Transforms change variables correctly, forwards and backwards."""

import pytest
import torch
from checks import built, variants
from torch.autograd.functional import jacobian

import pyro_vae as pv
from pyro_vae.config import REGISTRY

real_posteriors = [
    kind
    for kind in variants("posterior")
    if REGISTRY["posterior"][kind["kind"]].support == "the real numbers"
    and kind["kind"] not in ("delta", "per-datum")
]


def name(kind):
    return "+".join(map(str, kind.values()))


FLOWS = [
    k
    for k in real_posteriors
    if k["kind"] in "iaf neural-spline planar householder sylvester".split()
]


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("kind", FLOWS, ids=name)
@pytest.mark.parametrize("latent_dim", [2, 7])
def test_flows_change_variables(kind, latent_dim):
    """log q(z) = log N(z_0) - log |det dz / dz_0|, the determinant by autograd."""
    vae, x = built({"kind": "standard-normal"}, kind, latent_dim)
    q = vae.posterior(x[0])
    base = q.base_dist
    for _ in range(20):
        z0 = base.sample()

        def flow(v):
            for transform in q.transforms:
                v = transform(v)
            return v

        z = flow(z0)
        log_det = torch.linalg.slogdet(jacobian(flow, z0)).logabsdet
        expected = base.log_prob(z0) - log_det
        torch.testing.assert_close(q.log_prob(z), expected)  # cached
        torch.testing.assert_close(q.log_prob(z.clone()), expected)  # inverted
        if kind["kind"] != "householder":
            assert abs(float(log_det)) > 1e-6  # a dropped log-det would be seen


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("kind", FLOWS, ids=name)
def test_inverses_have_gradients(kind):
    """The gradient of log q at a fixed z, through the inverse, against finite differences."""
    vae, x = built({"kind": "standard-normal"}, kind, 3)
    z = vae.posterior(x[0]).sample() + 0.1
    vae.posterior(x[0]).log_prob(z).backward()
    for parameter in vae.posterior.parameters():
        if parameter.grad is None:
            continue
        place = int(parameter.grad.abs().argmax())
        flat, slope, step = parameter.data.view(-1), float(parameter.grad.view(-1)[place]), 1e-5
        with torch.no_grad():
            flat[place] += step
            high = vae.posterior(x[0]).log_prob(z)
            flat[place] -= 2 * step
            low = vae.posterior(x[0]).log_prob(z)
            flat[place] += step
        assert abs(float(high - low) / (2 * step) - slope) < 1e-4 * (1 + abs(slope))


@pytest.mark.parametrize("kind", ["IAF", "NeuralSpline", "Planar", "Sylvester", "Householder"])
def test_flows_have_a_density_everywhere(kind):
    """At any distance, and for any weights: a number or minus infinity."""
    torch.manual_seed(0)
    family = getattr(pv.posteriors, kind)
    posterior = family(pv.nn.MLP(3, [8], family.num_outputs(6)), 6)
    for parameter in posterior.parameters():
        parameter.data *= 8
    q = posterior(torch.randn(20, 3))
    assert q.log_prob(q.sample()).isfinite().all()
    for far in (1.0, 30.0, 100.0, 1e4, 1e15, 1e30, 3e38):
        for sign in (1, -1):
            log_q = q.log_prob(torch.full((20, 6), sign * far))
            assert not log_q.isnan().any() and (log_q < torch.inf).all()
    prior = pv.priors.Flow(6)
    for parameter in prior.parameters():
        parameter.data *= 8
    for far in (30.0, 1e30):
        log_p = prior().log_prob(torch.full((5, 6), far))
        assert not log_p.isnan().any() and (log_p < torch.inf).all()
