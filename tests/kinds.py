"""Small models of every kind that the grammar can express, with data and additional inputs."""

from typing import Any, NamedTuple

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

import pyro_vae as pv

N, MLP, Join = pv.posteriors.MeanFieldNormal, pv.nn.MLP, pv.nn.Join
D, COUNT = 6, 40


class Kind(NamedTuple):
    vae: Any
    x: Tensor
    known: dict[str, Tensor] = {}  # noqa: RUF012


def real(count: int = COUNT, dim: int = D) -> Tensor:
    return torch.randn(count, 2) @ torch.randn(2, dim) + 0.3 * torch.randn(count, dim)


def gaussian(net: nn.Module, **options: Any) -> Any:
    return pv.likelihoods.Gaussian(net, "fixed", 0.5, **options)


def plain() -> Kind:
    prior, posterior = pv.priors.StandardNormal(2), N(MLP(D, [8], 4))
    return Kind(pv.VAE(prior, gaussian(MLP(2, [8], D)), posterior), real())


def hierarchy() -> Any:
    return pv.Sites(z2=pv.priors.StandardNormal(2), z1=N(MLP(2, [8], 2 * 3)).given("z2"))


def bottom_up() -> Kind:
    posterior = pv.Sites(z1=N(MLP(D, [8], 6)), z2=N(MLP(3, [8], 4)).given("z1"))
    return Kind(pv.VAE(hierarchy(), gaussian(MLP(3, [8], D)).given("z1"), posterior), real())


def top_down() -> Kind:
    z1 = N(Join(MLP(D + 2, [8], 6), (1, 1))).given("x", "z2")
    likelihood = gaussian(MLP(3, [8], D)).given("z1")
    return Kind(pv.VAE(hierarchy(), likelihood, pv.Sites(z2=N(MLP(D, [8], 4)), z1=z1)), real())


def with_a_net() -> Kind:
    """A skip from z2 to x through a deterministic node, and one in the guide."""
    prior = pv.Sites(
        z2=pv.priors.StandardNormal(2),
        d=pv.Net(MLP(2, [8], 4)).given("z2"),
        z1=N(MLP(4, [8], 6)).given("d"),
    )
    likelihood = gaussian(Join(MLP(3 + 4, [8], D), (1, 1))).given("z1", "d")
    posterior = pv.Sites(
        h=pv.Net(MLP(D, [8], 5)).given("x"),
        z2=N(MLP(5, [8], 4)).given("h"),
        z1=N(Join(MLP(5 + 2, [8], 6), (1, 1))).given("h", "z2"),
    )
    return Kind(pv.VAE(prior, likelihood, posterior), real())


def conditional() -> Kind:
    vae = pv.VAE(
        N(MLP(3, [8], 4)).given("c"),
        gaussian(Join(MLP(2 + 3, [8], D), (1, 1))).given("z", "c"),
        N(Join(MLP(D + 3, [8], 4), (1, 1))).given("x", "c"),
    )
    return Kind(vae, real(), {"c": torch.randn(COUNT, 3)})


def semi_supervised() -> Kind:
    vae = pv.VAE(
        pv.Sites(y=pv.priors.Categorical(3), z=pv.priors.StandardNormal(2)),
        gaussian(Join(MLP(3 + 2, [8], D), (1, 1))),
        pv.Sites(
            y=pv.posteriors.Categorical(MLP(D, [8], 3), 3),
            z=N(Join(MLP(D + 3, [8], 4), (1, 1))).given("x", "y"),
        ),
    )
    y = torch.eye(3)[torch.randint(3, (COUNT,))]
    y[::2] = float("nan")
    return Kind(vae, real(), {"y": y})


def sequence() -> Kind:
    prior = pv.priors.Markov(MLP(2, [8], 4), 2, 5)
    likelihood = pv.likelihoods.MissingAtRandom(gaussian(MLP(2, [8], 3), event_dim=2))
    vae = pv.VAE(prior, likelihood, pv.posteriors.CorrectedMarkov(pv.nn.Backward(3, 8, 4), prior))
    x = torch.randn(COUNT, 5, 3)
    x[: COUNT // 2, 3:] = float("nan")
    return Kind(vae, x)


def holes() -> Kind:
    encoder = nn.Sequential(pv.nn.Observed(), MLP(2 * D, [8], 4))
    likelihood = pv.likelihoods.MissingAtRandom(gaussian(MLP(2, [8], D)))
    x = real()
    x[torch.rand_like(x) < 0.3] = float("nan")
    return Kind(pv.VAE(pv.priors.StandardNormal(2), likelihood, N(encoder)), x)


def views() -> Kind:
    """Two views, either of which is missing for a third of the data."""
    experts = pv.nn.Views([([0, 1, 2], MLP(3, [8], 4)), ([3, 4, 5], MLP(3, [8], 4))])
    likelihood = pv.likelihoods.MissingAtRandom(gaussian(MLP(2, [8], D)))
    posterior = pv.posteriors.ProductOfExperts(experts, 2)
    x = real()
    x[::3, :3] = x[1::3, 3:] = float("nan")
    return Kind(pv.VAE(pv.priors.StandardNormal(2), likelihood, posterior), x)


def discrete() -> Kind:
    vae = pv.VAE(
        pv.priors.Categorical(4),
        pv.likelihoods.Bernoulli(MLP(4, [8], D)),
        pv.posteriors.Categorical(MLP(D, [8], 4), 4),
    )
    return Kind(vae, torch.bernoulli(torch.full((COUNT, D), 0.5)))


def pixels() -> Kind:
    likelihood = pv.likelihoods.MADE(MLP(2, [8], D), hidden_features=[8])
    vae = pv.VAE(pv.priors.StandardNormal(2), likelihood, N(MLP(D, [8], 4)))
    return Kind(vae, torch.bernoulli(torch.full((COUNT, D), 0.5)))


def codes() -> Kind:
    posterior = pv.posteriors.VectorQuantized(MLP(D, [8], 4), 4, num_codes=5, code_dim=2)
    prior = pv.priors.Codes.from_recipe(posterior, [8])
    vae = pv.VAE(prior, pv.likelihoods.Bernoulli(MLP(4, [8], D)), posterior)
    return Kind(vae, torch.bernoulli(torch.full((COUNT, D), 0.5)))


def two_observed() -> Kind:
    vae = pv.VAE(
        pv.priors.StandardNormal(2),
        pv.Sites(x=gaussian(MLP(2, [8], D)), w=gaussian(MLP(2, [8], 2)).given("z")),
        N(Join(MLP(D + 2, [8], 4), (1, 1))).given("x", "v"),
    )
    return Kind(vae, real(), {"w": torch.randn(COUNT, 2), "v": torch.randn(COUNT, 2)})


class Stranger(nn.Module):
    """Two latent sites, written by hand: it has no prior, likelihood or posterior."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = MLP(D, [8], 4), MLP(3, [8], D)

    def model(self, x=None, *, batch_size=1):
        pyro.module("down", self.down)
        with pyro.plate("data", batch_size if x is None else len(x)):
            a = pyro.sample("a", dist.Normal(torch.zeros(1), 1.0).to_event(1))
            b = pyro.sample("b", dist.Normal(a.expand(*a.shape[:-1], 2), 1.0).to_event(1))
            mean = self.down(torch.cat([a, b], -1))
            return pyro.sample("x", dist.Normal(mean, 0.5).to_event(1), obs=x)

    def guide(self, x):
        pyro.module("up", self.up)
        with pyro.plate("data", len(x)):
            loc, log_scale = self.up(x).chunk(2, -1)
            b = pyro.sample("b", dist.Normal(loc, log_scale.exp()).to_event(1))
            pyro.sample("a", dist.Normal(b[..., :1], 0.7).to_event(1))


def stranger() -> Kind:
    return Kind(Stranger(), real())


KINDS = {
    "plain": plain,
    "bottom-up": bottom_up,
    "top-down": top_down,
    "with a net": with_a_net,
    "conditional": conditional,
    "semi-supervised": semi_supervised,
    "sequence": sequence,
    "holes": holes,
    "views": views,
    "discrete": discrete,
    "pixels": pixels,
    "codes": codes,
    "two observed sites": two_observed,
    "a stranger's module": stranger,
}
