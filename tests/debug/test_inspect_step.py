"""One step taken apart adds up to the loss, and moves nothing."""

import copy

import pyro
import pyro.distributions as dist
import pytest
import torch
from checks import linear_gaussian
from nets import B, D, L, Nets, bits, vae
from pyro import poutine
from pyro.infer import Trace_ELBO
from torch import nn
from torch.distributions import constraints

import pyro_vae as pv

# --- inspect_step ---------------------------------------------------------------------------------------


def test_terms_add_up_to_the_loss_of_pyro():
    model, x = vae().double(), bits().double()
    step = pv.inspect_step(model, x, seed=3)
    assert [(row.program, row.name) for row in step.rows] == [
        ("guide", "z"),
        ("model", "z"),
        ("model", "x"),
    ]
    torch.manual_seed(3)
    loss = Trace_ELBO().loss(model.model, model.guide, x) / B
    assert abs(step.loss - loss) < 1e-6 and abs(sum(r.term for r in step.rows) - loss) < 1e-6
    assert step.rows[0].batch_shape == (B,) and step.rows[2].event_shape == (D,)
    assert step.rows[0].plates == "data" and not step.rows[2].masked
    assert all(line in str(step) for line in ("Bernoulli", "nats per datum", "gradient"))


def test_gradients_are_those_of_the_terms():
    model, x = linear_gaussian(D, L, 0.5), torch.randn(B, D)
    step = pv.inspect_step(model, x)
    torch.manual_seed(0)
    q = model.posterior(x)
    z = q.rsample()
    model.zero_grad()
    (-model.likelihood(z).log_prob(x).sum() / B).backward()
    norm = sum(float(p.grad.square().sum()) for p in model.parameters() if p.grad is not None)
    assert step.rows[2].gradient == pytest.approx(norm**0.5, rel=1e-4)


def test_scales_and_masks_are_seen():
    model, x = vae(), bits()

    def half(x):
        with poutine.scale(scale=0.5), poutine.mask(mask=torch.arange(B) < 4):
            return model.model(x)

    step = pv.inspect_step((half, model.guide), x)
    row = step.rows[-1]
    assert row.scale == 0.5 and row.masked
    whole = pv.inspect_step(model, x).rows[-1]
    assert abs(row.log_density) < 0.5 * abs(whole.log_density)


def test_looking_moves_nothing():
    model, x = vae(), bits()
    before, rng = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    pv.inspect_step(model, x)
    assert pv.explain_error(model, x) is None
    assert torch.equal(rng, torch.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(before.values(), model.state_dict().values()))
    assert all(p.grad is None for p in model.parameters())


def test_shared_parameters_count_once():
    posterior = pv.posteriors.MeanFieldNormal(pv.nn.MLP(D, [16], 2 * L))
    model, x = vae(prior=pv.priors.Vamp(posterior, bits()[:4]), posterior=posterior), bits()
    step = pv.inspect_step(model, x)
    torch.manual_seed(0)
    q = model.posterior(x)
    term = q.log_prob(q.rsample()).sum() / B
    slopes = torch.autograd.grad(term, model.posterior.parameters())
    norm = sum(float(slope.square().sum()) for slope in slopes) ** 0.5
    assert step.rows[0].gradient == pytest.approx(norm, rel=1e-4)


@pytest.mark.param_store
def test_looking_leaves_store_buffers_and_randomness():
    """Also those of functions with lazy initial values and running means."""
    nets = Nets()
    nets.encoder = nn.Sequential(nn.Linear(D, 2 * L), nn.BatchNorm1d(2 * L))

    def model(x):
        scale = pyro.param("scale", lambda: torch.rand(()), constraint=constraints.positive)
        pyro.module("nets", nets)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", nets.p())
            pyro.sample("x", dist.Normal(nets.decoder(z), scale).to_event(1), obs=x)

    x, before = torch.randn(B, D), copy.deepcopy(nets.state_dict())
    torch.manual_seed(3)
    loss = Trace_ELBO().loss(model, nets.guide, x) / B  # draws the initial value too
    nets.load_state_dict(before)
    pyro.clear_param_store()
    rng = torch.get_rng_state()
    step = pv.inspect_step((model, nets.guide), x, seed=3)
    assert step.loss == pytest.approx(loss, rel=1e-5) and step.mistake is None
    assert not list(pyro.get_param_store().keys())
    assert torch.equal(rng, torch.get_rng_state())
    assert all(torch.equal(before[name], value) for name, value in nets.state_dict().items())


@pytest.mark.param_store
def test_weights_of_data_are_averaged():
    nets, weights = Nets(), torch.rand(B)

    def weighed(x):
        with poutine.scale(scale=weights):
            nets.model(x)

    def guide(x):
        with poutine.scale(scale=weights):
            nets.guide(x)

    step = pv.inspect_step((weighed, guide), bits())
    assert all(row.scale == pytest.approx(float(weights.mean())) for row in step.rows)


def test_what_runs_is_shown_with_its_mistake():
    model = vae()
    step = pv.inspect_step((model.model, model.guide), torch.rand(B, D))
    assert step.mistake.startswith("Expected x in the support of Bernoulli")
    assert str(step).splitlines()[-1] == f"Beware: {step.mistake}"


def test_what_does_not_run_ends_in_a_sentence():
    with pytest.raises(ValueError, match="Expected x of shape"):
        pv.inspect_step(vae(), bits()[:, None])
    with pytest.raises(ValueError, match="Expected z of one size in guide and model; got 2 and 3"):
        pv.inspect_step(vae(prior=pv.priors.StandardNormal(3)), bits())
