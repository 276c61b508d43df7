"""Diffusion is a hierarchical VAE with a fixed posterior: one bound, in two programs."""

import pyro.poutine as poutine
import pytest
import torch
from checks import bound, z_scores
from torch import nn

import pyro_vae as pv
from pyro_vae.gallery import Diffusion
from pyro_vae.objectives import ELBO

STEPS, SIZE = 8, 3


class Law(nn.Module):
    """Means and log scales of a Normal, as an encoder returns them."""

    def __init__(self, law):
        super().__init__()
        self.law = law

    def forward(self, inputs):
        d = self.law(*(inputs if isinstance(inputs, tuple) else (inputs,)))
        return torch.cat([d.loc, d.scale.expand_as(d.loc).log()], -1)


def up(model, t):
    """q(z_t | z_t+1, x) by the betas of Ho et al. (2020), Eq. 7."""
    signal = model.ratios.sigmoid()  # the products of 1 - beta
    now, after = signal[t - 1], signal[t]
    beta = 1 - after / now

    def law(z, x):
        x = (x - model.mean) / model.x_scale
        loc = now.sqrt() * beta / (1 - after) * x + (1 - beta).sqrt() * (1 - now) / (1 - after) * z
        return torch.distributions.Normal(loc, ((1 - now) / (1 - after) * beta).sqrt())

    return law


def hierarchy(model):
    """The same model as a product of factors, whose posterior has no parameter."""
    normal, layers = pv.posteriors.MeanFieldNormal, range(STEPS - 1, 0, -1)
    prior = {f"z{STEPS}": pv.priors.StandardNormal(SIZE)}
    posterior = {f"z{STEPS}": normal(Law(lambda x: model.noised(x, STEPS)))}
    for t in layers:
        above = f"z{t + 1}"
        down = Law(lambda z, t=t: model.down(z, t + 1))
        prior[f"z{t}"] = normal(down).given(above)
        posterior[f"z{t}"] = normal(Law(up(model, t))).given(above, "x")
    decoder = Law(lambda z: model.decode(z))
    return pv.VAE(
        pv.Sites(prior),
        pv.likelihoods.Gaussian(decoder, "per-element").given("z1"),
        pv.Sites(posterior),
    )


def perturbed(**options):
    torch.manual_seed(1)
    model = Diffusion(
        (SIZE,), STEPS, (16,), 4.0, -4.0, x_scale=1.5, x_mean=torch.ones(SIZE), **options
    )
    for parameter in model.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    return model, 1 + 1.5 * torch.randn(5, SIZE)


@pytest.mark.usefixtures("float64")
def test_the_bound_is_the_elbo_of_a_hierarchical_vae():
    model, x = perturbed()
    vae = hierarchy(model)
    for rows in (x, x[:1], x[1:2]):
        torch.manual_seed(2)
        sites = poutine.trace(vae.guide).get_trace(rows).nodes
        z = [sites[f"z{t}"]["value"] for t in range(1, STEPS + 1)]
        own = model.bound(rows, z).mean().detach()
        torch.manual_seed(2)
        other = -ELBO(kl="closed-form")(vae.model, vae.guide, rows).loss.detach()
        assert abs(float(own - other)) < 1e-9
        assert abs(float(own)) > 1  # nats: there is something to agree on
        z[3] = z[3] + 1e-3
        assert abs(float(model.bound(rows, z).mean().detach() - other)) > 1e-6


@pytest.mark.usefixtures("float64")
def test_the_loss_is_minus_the_bound_in_the_mean():
    model, x = perturbed()
    with torch.no_grad():
        rows = x[:1].expand(4000, -1)
        difference = model.loss(rows) + model.log_prob(rows)
    assert abs(z_scores(difference)) < bound(1)


def of_a_normal(variance, steps):
    """The model that knows p(x) = N(0, variance): the best guess, and how sure it is."""
    model = Diffusion((1,), steps, (8,), 8.0, -10.0)

    def left(t):
        signal, noise = model._rates(t)
        return variance * noise**2 / (signal**2 * variance + noise**2)  # Var(x | z_t)

    def guess(z, t):
        return left(t) * model._rates(t)[0] / model._rates(t)[1] ** 2 * z

    model.guess = guess
    model.log_scale.data = left(1).sqrt().log()
    for t in range(2, steps + 1):
        one, none = (model.between(torch.tensor([[x]]), torch.zeros(1, 1), t) for x in (1.0, 0.0))
        slope, known = one.loc - none.loc, none.scale
        model.log_wider.data[t - 1] = (1 + slope**2 * left(t) / known**2).log()[0, 0] / 2
    return model


@pytest.mark.usefixtures("float64")
def test_the_bound_of_a_known_law_is_its_density():
    """With 12 steps as with many: what is lost is KL(q(z_T | x) || p(z_T)), nearly nothing."""
    model, x = of_a_normal(0.5, 12), torch.linspace(-2, 2, 5)[:, None]
    exact = torch.distributions.Normal(0.0, 0.5**0.5).log_prob(x)[:, 0]
    with torch.no_grad():
        draws = torch.stack([model.log_prob(x) for _ in range(150)])
        plain = of_a_normal(0.5, 12)
        plain.log_wider.data.zero_()
        worse = torch.stack([plain.log_prob(x) for _ in range(150)])
        drawn = model.sample(3000)[:, 0]
    assert z_scores(draws, exact).abs().max() < bound(len(x))
    assert (z_scores(worse, exact) < -bound(len(x))).all()  # a bound, and a bad one
    assert abs(z_scores(drawn)) < bound(2)
    assert abs(z_scores(drawn.square(), 0.5)) < bound(2)


def test_steps_that_are_no_steps_are_refused():
    with pytest.raises(ValueError, match="Expected two steps or more"):
        Diffusion((2,), 1)
