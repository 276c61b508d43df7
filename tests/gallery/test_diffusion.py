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
        own = model.bound(rows, z).mean()
        torch.manual_seed(2)
        other = -ELBO(kl="closed-form")(vae.model, vae.guide, rows).loss
        assert abs(float(own - other)) < 1e-9
        assert abs(float(own)) > 1  # nats: there is something to agree on
        z[3] = z[3] + 1e-3
        assert abs(float(model.bound(rows, z).mean() - other)) > 1e-6


@pytest.mark.usefixtures("float64")
def test_the_loss_is_minus_the_bound_in_the_mean():
    model, x = perturbed()
    with torch.no_grad():
        rows = x[:1].expand(4000, -1)
        difference = model.loss(rows) + model.log_prob(rows)
    assert abs(z_scores(difference)) < bound(1)


@pytest.mark.usefixtures("float64")
def test_the_bound_is_below_the_density_and_meets_it():
    """Of one Normal the best guess is known: then p(z_t-1 | z_t) is nearly right, and the bound
    nearly log p(x); and under any parameters the model's mass is one: E exp(bound) <= 1."""
    model = Diffusion((1,), 200, (8,), 8.0, -10.0)
    variance = 0.5

    def guess(z, t):
        signal, noise = model._rates(t)
        return signal * variance / (signal**2 * variance + noise**2) * z

    model.guess = guess
    signal, noise = model._rates(1)
    left = variance * noise**2 / (signal**2 * variance + noise**2)  # Var(x | z_1)
    model.log_scale.data = left.sqrt().log()
    x = torch.linspace(-2, 2, 9)[:, None]
    exact = torch.distributions.Normal(0.0, variance**0.5).log_prob(x)[:, 0]
    with torch.no_grad():
        draws = torch.stack([model.log_prob(x) for _ in range(200)])
        error = draws.std(0) / len(draws) ** 0.5
        gap = exact - draws.mean(0)
        assert (gap > -bound(len(x)) * error).all()
        assert (gap < 0.05 + 4 * error).all()
        torch.manual_seed(0)
        drawn = model.sample(20_000)[:, 0]
    assert abs(z_scores(drawn)) < bound(2)
    assert abs(z_scores(drawn.square(), variance)) < bound(2) + 0.05 * 20_000**0.5  # T is finite


def test_steps_that_are_no_steps_are_refused():
    with pytest.raises(ValueError, match="Expected two steps or more"):
        Diffusion((2,), 1)
