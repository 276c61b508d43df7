"""Sequences: a linear-Gaussian chain against its exact evidence, smoother and forecast."""

import math

import pytest
import torch
from checks import bound
from ppca import linear
from pyro import poutine
from pyro.infer import Trace_ELBO
from torch import nn

import pyro_vae as pv
from pyro_vae.data import as_split
from pyro_vae.evaluate.summary import seen_elements, seen_steps
from pyro_vae.programs import sample_sites

NAN = float("nan")
A, Q, R, C = 0.9, 0.5, 0.4, (1.0, -0.5, 0.3)
LENGTHS = (12, 12, 9, 7, 12, 3)


@pytest.fixture(autouse=True)
def double(float64):
    torch.manual_seed(0)


class Information(nn.Module):
    """The exact evidence of each state: the information filter, backwards."""

    def forward(self, x):
        c = torch.tensor(C)
        lam = eta = torch.zeros(*x.shape[:-2], 1)
        out = []
        for t in reversed(range(x.shape[-2])):
            k = 1 + Q**2 * lam
            lam, eta = A * A * lam / k, A * eta / k
            there = ~x[..., t, :].isnan()
            seen = torch.where(there, x[..., t, :], 0.0)
            lam = lam + (there * c.square()).sum(-1, keepdim=True) / R**2
            eta = eta + (seen * c).sum(-1, keepdim=True) / R**2
            safe = lam.clamp(min=1e-15)
            out.append(torch.cat([eta / safe, -safe.log() / 2], -1))
        return torch.stack(out[::-1], -2)


def state_space(steps, encoder=None):
    prior = pv.priors.Markov(linear(torch.tensor([[A]]), [math.log(Q)]), 1, steps)
    gaussian = pv.likelihoods.Gaussian(linear(torch.tensor(C)[:, None]), "fixed", R, event_dim=2)
    posterior = pv.posteriors.CorrectedMarkov(encoder or Information(), prior)
    return pv.VAE(prior, pv.likelihoods.MissingAtRandom(gaussian), posterior)


def padded(x, padding):
    return torch.cat([x, x.new_full((len(x), padding, x.shape[2]), NAN)], 1)


def data(vae):
    x = vae.model(batch_size=len(LENGTHS)).detach()
    for row, length in zip(x, LENGTHS):
        row[length:] = NAN
    x[1, 4:6], x[4, :, 0] = NAN, NAN
    return x


def joint(steps):
    """Mean 0 and the covariance of all states and all data of a chain of some steps."""
    power = torch.tensor(
        [[A ** (t - s) if s <= t else 0.0 for s in range(steps)] for t in range(steps)]
    )
    states = Q**2 * power @ power.T
    c = torch.tensor(C)
    seen = torch.kron(states, torch.outer(c, c)) + R**2 * torch.eye(steps * len(C))
    return states, torch.kron(states, c[:, None]), seen


def given(x):
    """Mean and covariance of states, and of data without noise of x, given what is there."""
    steps = len(x)
    states, cross, seen = joint(steps)
    flat = x.flatten()
    o = ~flat.isnan()
    to_states = torch.linalg.solve(seen[o][:, o], cross[o]).T
    to_data = torch.linalg.solve(seen[o][:, o], seen[o]).T
    return (
        to_states @ flat[o],
        states - to_states @ cross[o],
        to_data @ flat[o],
        seen - to_data @ seen[o],
    )


def log_density(x):
    _, _, seen = joint(len(x))
    flat = x.flatten()
    o = ~flat.isnan()
    law = torch.distributions.MultivariateNormal(torch.zeros(int(o.sum())), seen[o][:, o])
    return law.log_prob(flat[o])


@pytest.mark.parametrize("padding", [0, 8])
def test_the_bound_of_the_exact_guide_is_the_evidence(padding):
    x = data(state_space(12))
    truth = torch.stack([log_density(row) for row in x])
    longer, seen = state_space(12 + padding), padded(x, padding)
    torch.testing.assert_close(pv.elbo(longer, seen), truth)
    total = Trace_ELBO().loss(longer.model, longer.guide, seen)
    assert -total == pytest.approx(float(truth.sum()), abs=1e-9)
    terms = pv.objectives.ELBO()(longer.model, longer.guide, seen)
    assert float(terms.loss.detach()) == pytest.approx(-float(truth.mean()), abs=1e-10)
    filled = pv.elbo(longer, torch.nan_to_num(seen))  # zeros for what is not there
    assert float((filled - truth).abs().max()) > 0.5


def test_padding_changes_no_number():
    net = pv.nn.Backward(3, 8, 2)
    x = torch.randn(4, 7, 3)
    x[1, 4:], x[2, 2:4] = NAN, NAN
    torch.testing.assert_close(net(padded(x, 5))[:, :7], net(x))
    gru = nn.GRU(3, 8, batch_first=True)
    whole, longer = (torch.nan_to_num(v).flip(1) for v in (x, padded(x, 5)))
    moved = gru(longer)[0].flip(1)[:, :7] - gru(whole)[0].flip(1)
    assert float(moved.detach().abs().max()) > 1e-3


@pytest.mark.slow
def test_the_evidence_under_a_learned_encoder():
    x = data(state_space(12))
    truth = torch.stack([log_density(row) for row in x])
    vae = state_space(12, pv.nn.Backward(3, 16, 2))
    annealed = pv.ais(vae, x, num_temperatures=150, num_chains=16)
    z = (annealed.log_marginal - truth) / annealed.mc_se
    assert float(z.abs().max()) < bound(6)


@pytest.mark.parametrize("padding", [0, 5])
def test_metrics_per_step_are_those_of_the_filter(padding):
    vae = state_space(12)
    x = data(vae)
    exact = torch.stack([log_density(row) for row in x])
    steps = torch.tensor([12, 10, 9, 7, 12, 3])  # two steps of the second are a gap
    split = as_split(padded(x, padding))
    assert torch.equal(seen_steps(split), steps)
    assert seen_elements(split) == int((~x.isnan()).sum())
    found = pv.evaluate.evaluate(vae, split, 20)
    assert found["num_steps"] == 53
    for name in ("elbo", "log_marginal"):
        assert found[f"{name}_per_step"] == pytest.approx(float(exact.sum() / 53), abs=1e-10)
    zeros = pv.evaluate.evaluate(vae, as_split(torch.nan_to_num(padded(x, padding))), 20)
    assert abs(zeros["elbo_per_step"] - found["elbo_per_step"]) > 0.1


def test_bits_count_elements_that_are_there():
    prior = pv.priors.Markov(linear(torch.tensor([[A]]), [math.log(Q)]), 1, 6)
    bernoulli = pv.likelihoods.Bernoulli(linear(torch.tensor(C)[:, None]), event_dim=2)
    posterior = pv.posteriors.CorrectedMarkov(pv.nn.Backward(3, 4, 2), prior)
    vae = pv.VAE(prior, pv.likelihoods.MissingAtRandom(bernoulli), posterior)
    x = vae.model(batch_size=5).detach()
    x[2:, 4:], x[0, 1] = NAN, NAN
    one, other = (pv.evaluate.evaluate(vae, as_split(v), 10) for v in (x, padded(x, 0)))
    assert one["bits_per_dim"] == other["bits_per_dim"]
    there = int((~x.isnan()).sum())
    bits = -one["log_marginal"] * 5 / (there * math.log(2))
    assert one["bits_per_dim"] == pytest.approx(bits)
    assert one["num_steps"] == there // 3


def test_the_error_of_a_ratio_is_its_spread():
    sizes = torch.randint(1, 30, (4000, 50)).double()
    values = -2.0 * sizes + sizes.sqrt() * torch.randn(4000, 50)
    found = [pv.statistics.Mean.ratio(v, s, "nats per step") for v, s in zip(values, sizes)]
    ratios = torch.tensor([float(mean) for mean in found])
    errors = torch.tensor([mean.se for mean in found])
    spread = float(ratios.std())
    assert (
        abs(float(errors.square().mean().sqrt()) / spread - 1) < 0.06
    )  # few data, and 4000 tries
    each = (values / sizes).std(1) / 50**0.5  # of the mean of ratios
    assert abs(float(each.square().mean().sqrt()) / spread - 1) > 0.06


def test_a_chain_is_as_long_as_its_data():
    vae, longer = state_space(4), state_space(12)
    x = data(longer)
    torch.testing.assert_close(pv.elbo(vae, x), pv.elbo(longer, x))
    assert pv.sample(vae, 3).shape == (3, 4, 3)
    assert pv.reconstruct(vae, x).shape == x.shape
    z = pv.encode(vae, x).loc
    torch.testing.assert_close(pv.evaluate.decode(vae, z), pv.evaluate.decode(longer, z))
    torch.testing.assert_close(
        pv.evaluate.decode(vae, z.flatten(1)), pv.evaluate.decode(longer, z)
    )
    drawn = sample_sites(poutine.trace(vae.model).get_trace(x))
    assert drawn["z"]["value"].shape == (6, 12, 1)
    with pytest.raises(ValueError, match=r"Expected x of shape \(N, 12, 3\)"):
        pv.elbo(vae, x[..., :2])


def test_the_path_of_means_is_that_of_the_smoother():
    vae = state_space(12)
    x = data(vae)
    exact = torch.stack([given(row)[0] for row in x])
    found = pv.encode(vae, x)
    torch.testing.assert_close(found.loc[..., 0], exact)
    prior = pv.priors.Markov(vae.prior.transition, 1, 12)().mean.detach()
    assert float((prior[..., 0] - exact).abs().max()) > 0.5  # without data


def test_forecasts_have_the_moments_of_the_filter():
    vae = state_space(12)
    x = data(vae)[:3]
    x[0, 8:] = NAN
    future = torch.zeros(12, dtype=torch.bool)
    future[9:] = True
    count = 20_000
    found = pv.impute(vae, x, count, num_particles=count)
    assert float(found.ess.min()) > 0.999 * count  # the guide is exact
    zs = []
    for row, mean, draws in zip(x, found.mean, found.draws.transpose(0, 1)):
        _, _, exact, covariance = given(row)
        exact, variance = exact.view(12, 3), covariance.diagonal().view(12, 3)
        holes = row.isnan()
        torch.testing.assert_close(mean[~holes], row[~holes])
        zs.append(((mean - exact) / (variance / count).sqrt())[holes])
        squares = (draws - exact).square().mean(0)
        error = variance * (2 * 2 / count) ** 0.5  # draws are particles that come again
        zs.append(((squares - variance) / error)[holes])
    z = torch.cat(zs)
    assert len(z) > 40 and float(z.abs().max()) < bound(len(z))
    _, _, exact, covariance = given(x[0])
    last = exact.view(12, 3)[7]  # twin: as it was at the end of the data
    assert (
        float(
            (
                (last - exact.view(12, 3)[11])
                / (covariance.diagonal().view(12, 3)[11] / count).sqrt()
            )
            .abs()
            .max()
        )
        > 10
    )


def test_a_gated_transition():
    net = pv.nn.Gated(2, 5)
    z = torch.randn(7, 3, 2)
    of_gate, of_proposal = (
        torch.tanh(z @ w.T + b)
        for w, b in zip(net.hidden.weight.chunk(2), net.hidden.bias.chunk(2))
    )
    gate, proposal = torch.sigmoid(net.gate(of_gate)), net.proposal(of_proposal)
    variance = (1 + net.variance(torch.relu(proposal)).exp()).log() + 1e-4
    loc, log_scale = net(z).chunk(2, -1)
    torch.testing.assert_close(loc, (1 - gate) * z + gate * proposal)
    torch.testing.assert_close(log_scale.exp().square(), variance)


def test_chains_of_any_length_stay_finite():
    net = pv.nn.Gated(4, 16)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(20)
    paths = [pv.priors.Markov(net, 4, 2000)().sample((3,))]
    steep = pv.nn.MLP(4, [16], 8, init="kaiming", activation="ReLU")  # twin: nothing bounds it
    with torch.no_grad():
        steep.layers[0].weight.mul_(3)
    paths.append(pv.priors.Markov(steep, 4, 2000)().sample((3,)))
    near, far = (float(path.abs().max()) for path in paths)
    assert near < 1000 and not far < 1e6
