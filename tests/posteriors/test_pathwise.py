"""The gradients of samples: every reparameterized posterior against the score function.

For each output of the encoder the derivative of E_q[f(z)] is found along samples, and from
f(z) grad log q(z) at the same samples, which needs no path. Both have one mean.
"""

import pyro.distributions as dist
import pytest
import torch
from checks import D, bound, recipe_for, variants, z_scores
from pyro.distributions import MixtureOfDiagNormals
from torch import nn

import pyro_vae as pv
from pyro_vae.build import build_posterior, class_of, num_outputs
from pyro_vae.config import REGISTRY

pytestmark = pytest.mark.usefixtures("float64")

L, ROWS, RUNS = 4, 2000, 40


def f(z):
    """Smooth, of no symmetry, in every feature another."""
    w = torch.linspace(0.7, 1.3, z.shape[-1])
    return (w * z + 0.3).sin().sum(-1) + 0.3 * z[..., 0] * z[..., 1] - 0.1 * z[..., -1] ** 3


class Outputs(nn.Module):
    """An encoder whose outputs are the parameters, the same for every datum."""

    def __init__(self, size):
        super().__init__()
        self.values = nn.Parameter(0.5 * torch.randn(size))

    def forward(self, x):
        return self.values.expand(len(x), -1)


def kinds():
    found = []
    for kind in variants("posterior"):
        cls = class_of(REGISTRY["posterior"][kind["kind"]])
        if (
            cls.reparameterized
            and cls.density in ("anywhere", "own samples")
            and not kind.get("straight_through")
        ):
            found.append(kind)
    return found


def posterior_of(kind):
    torch.manual_seed(4)
    recipe = recipe_for({"kind": "standard-normal"}, {"kind": "gaussian"}, kind, latent_dim=L)
    posterior = build_posterior(recipe, (D,), 1.0, None, ROWS)
    if kind["kind"] == "per-datum":
        posterior.family.encoder = nn.Embedding(ROWS, posterior.family.encoder.weight.shape[1])
        with torch.no_grad():
            posterior.family.encoder.weight.copy_(0.5 * torch.randn(2 * L).expand(ROWS, -1))
        return posterior.double()
    outputs = num_outputs(recipe.posterior, L)
    for parameter in posterior.parameters():
        parameter.data.normal_(std=0.3)  # so that networks of flows matter
    posterior.encoder = Outputs(outputs)
    return posterior.double()


def two_gradients(law_of, parameters, runs=RUNS):
    """Of E f(z), a mean over rows in each run: along samples, and by the score function."""
    path, score = [], []
    for _ in range(runs):
        law = law_of()
        z = law.rsample()
        value = f(z)
        path.append(torch.autograd.grad(value.mean(), parameters, retain_graph=True))
        log_q = law.log_prob(z.detach())
        signal = (value - value.mean()).detach() * len(value) / (len(value) - 1)
        score.append(torch.autograd.grad((signal * log_q).mean(), parameters))
    flat = [[torch.cat([g.flatten() for g in row]) for row in rows] for rows in (path, score)]
    return torch.stack(flat[0]), torch.stack(flat[1])


def agree(path, score):
    gap = path - score
    moving = gap.std(0) > 1e-14  # masked weights of a flow have no gradient at all
    assert (gap[:, ~moving] == 0).all()
    return bool(z_scores(gap[:, moving]).abs().max() < bound(path.shape[1]))


def name_of(kind):
    return "-".join(str(v) for k, v in kind.items() if k in ("kind", "num_categories"))


def long_ones(kind):
    """Splines and Sylvester flows take the longest; other flows stay."""
    long = kind["kind"] in ("neural-spline", "sylvester")
    return pytest.param(kind, marks=pytest.mark.slow) if long else kind


@pytest.mark.parametrize("kind", [*map(long_ones, kinds())], ids=name_of)
def test_gradients_along_samples_are_those_of_the_density(kind):
    posterior = posterior_of(kind)
    x, index = torch.zeros(ROWS, D), torch.arange(ROWS)
    arguments = (x, index) if posterior.index else (x,)
    parameters = [p for p in posterior.parameters() if p.requires_grad]
    if posterior.index:  # a row of parameters for each datum: their sum over data
        weight = posterior.family.encoder.weight

        def law_of():
            return posterior(*arguments)

        path, score = two_gradients(law_of, [weight])
        path, score = (g.unflatten(1, weight.shape).sum(1) for g in (path, score))
    else:
        path, score = two_gradients(lambda: posterior(*arguments), parameters)
    assert path.shape[1] >= L and agree(path, score)
    moving = score.mean(0).abs() > 10 * score.std(0) / RUNS**0.5
    assert moving.any()  # the twin: a path that is cut shows
    assert not agree(torch.where(moving, 0.0, path), score)


def mixture(cls, size=3, spread=0.8, offset=1.0, count=3):
    torch.manual_seed(0)
    loc = nn.Parameter(spread * torch.randn(count, size) + offset)
    log_scale = nn.Parameter(0.3 * torch.randn(count, size) - 0.7)
    logits = nn.Parameter(0.5 * torch.randn(count))
    parameters = [loc, log_scale, logits]

    def law_of():
        wide = [t.expand(ROWS, *t.shape) for t in (loc, log_scale.exp(), logits)]
        return cls(*wide)

    return law_of, parameters


class Rewritten(pv.distributions.DiagonalNormalMixture):
    """Pyro's gradient in the place of ours."""

    def rsample(self, sample_shape=torch.Size()):
        return MixtureOfDiagNormals(self.locs, self.coord_scale, self.component_logits).rsample(
            sample_shape
        )


@pytest.mark.parametrize(
    "size,spread,offset",
    [
        (2, 0.5, 4.0),
        pytest.param(3, 0.8, 1.0, marks=pytest.mark.slow),
        pytest.param(8, 0.3, 2.0, marks=pytest.mark.slow),
    ],
)
def test_weights_of_mixtures_learn(size, spread, offset):
    """Pyro's velocity field forgets a scale and measures from the origin: it is the twin."""
    ours, theirs = (
        two_gradients(*mixture(cls, size, spread, offset), runs=100)
        for cls in (pv.distributions.DiagonalNormalMixture, Rewritten)
    )
    assert agree(*ours)
    assert not agree(*theirs)
    locations = 2 * 3 * size
    assert agree(*(g[:, :locations] for g in theirs))  # means and scales it moves well


def test_a_mixture_posterior_learns_its_weights():
    """Its target has weights of its own: 0.8 and 0.2. KL falls to nothing."""
    torch.manual_seed(0)
    target = dist.MixtureSameFamily(
        dist.Categorical(torch.tensor([0.8, 0.2])),
        dist.Normal(torch.tensor([[-1.0, 0.0], [1.0, 0.5]]), 0.7).to_event(1),
    )
    law_of, parameters = mixture(pv.distributions.DiagonalNormalMixture, 2, 0.5, 0.0, 2)
    adam = torch.optim.Adam(parameters, lr=0.03)
    for step in range(300):
        for group in adam.param_groups:
            group["lr"] = 0.03 * (1 - step / 300)
        law = law_of()
        z = law.rsample()
        loss = (law.log_prob(z) - target.log_prob(z)).mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
    law = law_of()
    z = law.sample()
    kl = law.log_prob(z) - target.log_prob(z)
    assert float(kl.detach().mean()) < 0.01
    weights = parameters[2].softmax(0).detach()
    assert abs(float(weights.max()) - 0.8) < 0.05
