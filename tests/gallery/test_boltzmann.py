"""Boltzmann machines against sums over all of their states."""

from itertools import product

import pytest
import torch
from checks import bound

import pyro_vae as pv
from pyro_vae.data import moments
from pyro_vae.evaluate import evaluate_relative
from pyro_vae.gallery import DBM, RBM
from pyro_vae.gallery.annealing import anneal, log_mean
from pyro_vae.statistics import Mean


def bits(n):
    return torch.tensor([*product((0.0, 1.0), repeat=n)])


def shaken(model, scale):
    for parameter in model.parameters():
        parameter.data.normal_(0, scale)
    return model.requires_grad_(False)


def rbm(visible=6, hidden=4, scale=1.0, **options):
    return shaken(RBM((visible,), num_hidden=hidden, **options), scale)


def dbm(scale=0.7, **options):
    return shaken(DBM((5,), num_hidden=4, num_top=3, **options), scale)


def listed(model):
    """-E of every state of an RBM, of shape (2^D, 2^H)."""
    v, h = bits(len(model.visible_bias)), bits(len(model.hidden_bias))
    return v @ model.visible_bias[:, None] + h @ model.hidden_bias + v @ model.weights @ h.T


@pytest.mark.usefixtures("float64")
class TestExact:
    @pytest.mark.parametrize("visible,hidden", [(6, 4), (4, 6)])
    def test_rbm_sums_to_one(self, visible, hidden):
        model = rbm(visible, hidden)
        joint = listed(model)
        log_p = model.log_prob(bits(visible))
        assert torch.allclose(model.log_z(), joint.logsumexp((0, 1)))
        assert torch.allclose(log_p, joint.logsumexp(1) - joint.logsumexp((0, 1)))
        assert model.density == "exact" and float(log_p.exp().sum()) == pytest.approx(1)

    def test_pseudo_likelihood_is_of_the_conditionals(self):
        model, v = rbm(), bits(6)
        model.density = "stochastic upper bound"
        log_p = model.log_prob(v).reshape(*[2] * 6)
        expected = sum((log_p - log_p.logsumexp(d, keepdim=True)) for d in range(6))
        assert torch.allclose(model.score(v), expected.flatten())

    def test_dbm_bound_is_below_the_truth_and_reaches_it_without_a_top(self):
        model, v, h, top = dbm(), bits(5), bits(4), bits(3)
        joint = torch.stack([-model.energy(v[:, None], h, t) for t in top])  # (tops, V, H)
        assert torch.allclose(model.log_z(), joint.logsumexp((0, 1, 2)))
        exact = joint.logsumexp((0, 2)) - joint.logsumexp((0, 1, 2))
        gap = exact - model.log_prob(v)
        assert model.density == "lower bound" and gap.min() > 1e-4 and gap.max() < 1
        model.high.data.zero_()  # then the posterior is a product
        joint = torch.stack([-model.energy(v[:, None], h, t) for t in top])
        exact = joint.logsumexp((0, 2)) - joint.logsumexp((0, 1, 2))
        assert torch.allclose(exact, model.log_prob(v))


@pytest.mark.parametrize("make", [lambda: rbm(8, 6), dbm])
def test_annealing_finds_z(make):
    model = make()
    model.num_chains = 1000
    found, exact = model.annealed_log_z(), float(model.log_z())
    assert abs(float(found) - exact) < bound(1) * found.se and found.se < 0.02


def test_the_error_of_an_estimated_z_is_told(monkeypatch):
    """Each datum shares it: Z is estimated once, and log p(x) is off by as much as is said."""
    model, v = rbm(8, 6, num_chains=60, num_temperatures=40), bits(8)
    exact = float(model.log_prob(v).mean())
    whole = evaluate_relative(model, v)
    assert "log_prob_mc_se" not in whole and whole["log_prob"] == pytest.approx(exact)
    monkeypatch.setattr(RBM, "summed_log_z", lambda self: None)
    monkeypatch.setattr("pyro_vae.evaluate.relatives.ROWS_AT_ONCE", 100)
    found = [evaluate_relative(model, v, seed=seed) for seed in range(30)]
    z = torch.tensor([(f["log_prob"] - exact) / f["log_prob_mc_se"] for f in found])
    assert 16 < float(z.square().sum()) < 55  # chi-squared of 30: once in 100 on either side


def test_annealing_with_a_wrong_transition_is_seen():
    model = rbm(8, 6)

    def log_f(v, heat):
        return heat * -model.free_energy(v)

    def step(v, heat):  # leaves heat 1 invariant, not `heat`
        return model.gibbs(v)

    start = torch.bernoulli(torch.full((1000, 8), 0.5))
    found = log_mean(anneal(log_f, step, start, 1000))
    exact = float(model.log_z()) - 8 * torch.log(torch.tensor(2.0))
    assert abs(float(found) - exact) > 10 * found.se


@pytest.fixture(scope="module")
def trained():
    torch.manual_seed(0)
    data = pv.data.load("digits", binarize="dynamic").train
    model = RBM(data.x_shape, num_hidden=16, x_mean=moments(data)[0].float())
    pv.fit(model, data, epochs=20, lr=0.03, progress=False)
    return model, data.freeze(0).rows(slice(None))


def test_annealing_within_a_tenth_of_a_nat_on_digits(trained):
    model, _ = trained
    found, exact = model.annealed_log_z(), float(model.log_z().detach())
    assert abs(float(found) - exact) < min(0.1, bound(1) * found.se)


def test_training_beats_independent_pixels(trained):
    model, x = trained
    gain = model.log_prob(x) - pv.gallery.independent_pixels(x, x)
    assert Mean.of(gain.detach()).exceeds(1.0, 10)


# --- Gradients ----------------------------------------------------------------------------------


def gradients(model, x, count):
    """Gradients of the loss at `count` steps, of shape (count, num_parameters)."""
    model.requires_grad_(True)
    found = []
    for _ in range(count):
        parts = torch.autograd.grad(model.loss(x).mean(), [*model.parameters()])
        found.append(torch.cat([g.flatten() for g in parts]))
    return torch.stack(found)


def z_of_gradients(model, x, count=60):
    model.requires_grad_(True)
    parts = torch.autograd.grad(-model.log_prob(x).mean(), [*model.parameters()])
    exact = torch.cat([g.flatten() for g in parts])
    draws = gradients(model, x, count)
    return ((draws.mean(0) - exact) / (draws.std(0) / count**0.5)).abs().max(), len(exact)


def test_persistent_gradient_is_exact_once_chains_have_mixed():
    model = rbm(num_chains=2000, gibbs_steps=20)
    x = torch.bernoulli(torch.full((50, 6), 0.3))
    gradients(model, x, 10)
    z, count = z_of_gradients(model, x)
    assert z < bound(count)


def test_contrastive_divergence_is_biased():
    model = rbm(persistent=False)
    x = torch.bernoulli(torch.full((2000, 6), 0.3))
    z, _ = z_of_gradients(model, x)
    assert z > 20


def relaxation(model):
    """Gibbs steps in which the slowest mode falls by 1/e, from the matrix of all transitions."""
    v, h = bits(len(model.visible_bias)), bits(len(model.hidden_bias))
    joint = listed(model)
    up, down = joint.softmax(1), joint.softmax(0)  # p(h | v) and p(v | h)
    moves = (up[:, None] * down[None]).sum(-1)  # p(v' | v)
    assert torch.allclose(moves.sum(1), torch.ones(len(v))) and len(h) == up.shape[1]
    second = torch.linalg.eigvals(moves).abs().sort(descending=True).values[1]
    return float(-1 / second.log())


@pytest.mark.usefixtures("float64")
def test_mixing_slows_as_weights_sharpen():
    model = rbm()
    weights = model.weights.data.clone()
    times = []
    for sharpness in (0.5, 1.0, 2.0, 3.0):
        model.weights.data = sharpness * weights
        model.visible_bias.data = -model.weights.data.sum(1) / 2  # even odds of both extremes
        model.hidden_bias.data = -model.weights.data.sum(0) / 2
        times.append(relaxation(model))
    assert times == sorted(times) and times[-1] > 10 * times[0]
