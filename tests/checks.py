"""The one rule for every statistical check, and small models to check."""

import copy
import math
import os
from collections import Counter
from itertools import product

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

import pyro_vae as pv
from pyro_vae.config import REGISTRY, Recipe, validate
from pyro_vae.data import as_split
from pyro_vae.exact import Exact, linear_gaussian

needs_data = pytest.mark.skipif(
    os.environ.get("PYRO_VAE_DATA") is None, reason="PYRO_VAE_DATA is not set"
)

D, L, B = 6, 4, 8  # sizes of x, of z and of a batch
LEVELS = 4
WHOLE = (
    "product",
    "made",
    "pixel-cnn",
    "wave-net",
)  # likelihoods whose elements are not alike, or dependent

SIGMAS = [{"sigma": sigma} for sigma in ("shared", "fixed", "per-element", "optimal")]
NETS = {"hidden_features": [8]}
PARTS = [
    {"columns": [0, 3], "likelihood": {"kind": "gaussian"}},
    {"columns": [1], "likelihood": {"kind": "bernoulli"}},
    {"columns": [5, 2, 4], "likelihood": {"kind": "categorical", "num_levels": LEVELS + 1}},
]
OPTIONS: dict[tuple[str, str], list[dict]] = {
    ("likelihood", "gaussian"): SIGMAS,
    ("likelihood", "binomial"): [{"total_count": LEVELS}],
    ("likelihood", "categorical"): [{"num_levels": LEVELS + 1}],
    ("likelihood", "made"): [{**NETS, "num_levels": LEVELS + 1}],
    ("likelihood", "pixel-cnn"): [
        {"num_levels": 2, "channels": 4, "num_layers": 2, "kernel_size": 3}
    ],
    ("likelihood", "discretized-logistic"): [
        {"num_levels": LEVELS + 1},
        {"num_levels": LEVELS + 1, "num_components": 3},
    ],
    ("likelihood", "wave-net"): [{"num_levels": LEVELS + 1, "channels": 8, "num_layers": 2}],
    ("likelihood", "product"): [{"parts": PARTS}],
    ("likelihood", "censored"): [
        {"family": {"kind": "gaussian"}, "lower": -1.0, "upper": 1.0},
        {"family": {"kind": "student-t"}, "lower": -1.0},
    ],
    ("likelihood", "hurdle"): [
        {"family": {"kind": "negative-binomial"}},
        {"family": {"kind": "log-normal"}},
    ],
    ("likelihood", "ordinal"): [
        {"num_levels": LEVELS + 1},
        {"num_levels": LEVELS + 1, "cutpoints": "per-column"},
    ],
    ("prior", "vamp"): [{"num_components": 5}],
    ("prior", "normal"): [{"loc": 0.5, "scale": 2.0}, {"learned": True}],
    ("prior", "flow"): [NETS, {**NETS, "transform": "spline"}],
    ("prior", "bernoulli"): [{"learned": True}],
    ("prior", "categorical"): [{"num_categories": 2, "learned": True}],
    ("prior", "relaxed-bernoulli"): [{"learned": True}],
    ("prior", "relaxed-categorical"): [{"num_categories": 2, "learned": True}],
    ("posterior", "vector-quantized"): [{"num_codes": 5, "code_dim": 2}],
    ("posterior", "finite-scalar"): [{"num_levels": 3, "code_dim": 2}],
    ("prior", "codes"): [NETS],
    ("posterior", "iaf"): [{**NETS, "context_features": 4}],
    ("posterior", "neural-spline"): [{**NETS, "context_features": 4}],
    ("posterior", "categorical"): [{"num_categories": 2}],
    ("posterior", "product-of-experts"): [{"views": [[0, 3], [1, 2, 4, 5]]}],
    ("posterior", "relaxed-bernoulli"): [{}, {"straight_through": True}],
    ("posterior", "relaxed-categorical"): [
        {"num_categories": 2},
        {"num_categories": 2, "straight_through": True},
    ],
}


z_scores = pv.evaluate.z_score


def bound(comparisons: int) -> float:
    """The largest |z| allowed when `comparisons` are made: a false alarm in 10^5 tests."""
    return float(
        torch.distributions.Normal(0.0, 1.0).icdf(
            torch.tensor(1 - 1e-5 / comparisons, dtype=torch.float64)
        )
    )


def data_for(likelihood: str, count: int = B, shape: tuple[int, ...] | None = None) -> Tensor:
    shape = shape or ((1, 2, 3) if likelihood == "pixel-cnn" else (D,))
    match likelihood:
        case "bernoulli" | "pixel-cnn":
            return torch.bernoulli(torch.full((count, *shape), 0.4))
        case "binomial" | "categorical" | "discretized-logistic" | "made" | "ordinal" | "wave-net":
            return torch.randint(LEVELS + 1, (count, *shape)).to(torch.get_default_dtype())
        case "poisson" | "negative-binomial" | "zero-inflated-negative-binomial" | "hurdle":
            return torch.poisson(torch.full((count, *shape), 2.0))
        case "continuous-bernoulli" | "beta":
            return torch.rand(count, *shape).clamp(0.01, 0.99)
        case "log-normal" | "gamma":
            return torch.randn(count, *shape).exp()
        case "censored":
            return torch.randn(count, *shape).clamp(-1.0, 1.0)
        case "product":
            x = torch.randn(count, *shape)
            x[:, 1] = torch.bernoulli(torch.full((count,), 0.4))
            x[:, [2, 4, 5]] = torch.randint(LEVELS + 1, (count, 3)).to(x.dtype)
            x[::3, 0] = x[1::3, 4] = torch.nan
            return x
    return torch.randn(count, *shape)


def variants(choice: str) -> list[dict]:
    return [
        {"kind": kind, **options}
        for kind in REGISTRY[choice]
        for options in OPTIONS.get((choice, kind), [{}])
    ]


def recipe_for(
    prior: dict,
    likelihood: dict,
    posterior: dict,
    network: dict | None = None,
    latent_dim: int = L,
) -> Recipe:
    network = network or {"kind": "mlp", "hidden_features": [16]}
    return validate(
        {
            "latent_dim": latent_dim,
            "data": {"kind": "digits"},
            "prior": prior,
            "likelihood": _with("decoder", likelihood, network),
            "posterior": _with("encoder", posterior, network),
        }
    )


def _with(name: str, kind: dict, network: dict) -> dict:
    """The kind with small networks, wherever it has networks."""
    if kind["kind"] == "product":
        parts = [{**p, "likelihood": _with(name, p["likelihood"], network)} for p in kind["parts"]]
        return {**kind, "parts": parts}
    return kind if kind["kind"] == "per-datum" else {**kind, name: network}


def build(triple: tuple[dict, dict, dict]) -> tuple[pv.VAE, Tensor]:
    """Builds a triple of kinds; returns the VAE and data in its support."""
    x = data_for(triple[1]["kind"])
    return pv.build_vae(recipe_for(*triple), tuple(x.shape[1:]), 1.0, as_split(x)), x


TRIPLES = list(product(*(variants(choice) for choice in ("prior", "likelihood", "posterior"))))


def refusal(triple: tuple[dict, dict, dict]) -> str | None:
    """The sentence that refuses a triple, or None."""
    try:
        vae, x = build(triple)
        pv.plan(vae, x)
    except ValueError as error:
        return str(error)
    return None


def pairs() -> list[tuple[dict, dict, dict]]:
    """Every prior with every posterior once, every likelihood with two pairs."""
    priors, likelihoods, posteriors = (
        variants(choice) for choice in ("prior", "likelihood", "posterior")
    )
    chosen = [(prior, {"kind": "gaussian"}, q) for prior in priors for q in posteriors]
    for likelihood in likelihoods:
        chosen.append((priors[0], likelihood, posteriors[0]))
        chosen.append(({"kind": "bernoulli"}, likelihood, {"kind": "bernoulli"}))
    return chosen


def fits(triple: tuple[dict, dict, dict]) -> bool:
    """Whether prior and posterior have the same support, by the registry alone."""
    prior, posterior = (_support(c, triple[i]) for c, i in (("prior", 0), ("posterior", 2)))
    if prior == "the posterior's":  # a density, at other inputs, too
        return triple[2]["kind"] not in ("delta", "per-datum", "vector-quantized", "finite-scalar")
    return prior == posterior


def _support(choice: str, kind: dict) -> str:
    plain, _, straight = REGISTRY[choice][kind["kind"]].support.partition(", or ")
    return straight.removesuffix(" straight through") if kind.get("straight_through") else plain


PAIRS = pairs()
ALLOWED = [triple for triple in PAIRS if fits(triple)]  # checked by `families/test_contracts.py`


def name_of(triple: tuple[dict, dict, dict]) -> str:
    return "-".join(_name(part) for part in triple)


def _name(part: dict) -> str:
    said = {k: _name(v) if isinstance(v, dict) else str(v) for k, v in part.items()}
    return "+".join("parts" if k == "parts" else v for k, v in said.items())


def exact_vae(
    posterior: str = "mean-field",
    sigma: float = 0.7,
    dim: int = 5,
    latent_dim: int = 2,
    count: int = 100,
) -> tuple[pv.VAE, Exact, Tensor]:
    """A linear-Gaussian VAE with the best posterior of its family, and data drawn from it."""
    torch.manual_seed(3)
    vae = linear_gaussian(dim, latent_dim, sigma, posterior)
    exact = Exact(vae)
    exact.set_posterior(vae)
    return vae, exact, exact.marginal.sample((count,))


def gamma_poisson() -> tuple[tuple, Tensor, Tensor]:
    """z ~ Gamma, x | z ~ Poisson(z): log p(x) is negative binomial, and z is positive."""

    def model(x: Tensor | None = None, *, batch_size: int = 1) -> Tensor:
        with pyro.plate("data", batch_size if x is None else len(x)):
            z = pyro.sample("rate", dist.Gamma(torch.tensor(3.0), torch.tensor(0.5)))
            obs = None if x is None else x[:, 0]
            return pyro.sample("x", dist.Poisson(z), obs=obs)[:, None]

    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("rate", dist.LogNormal((x[:, 0] + 1).log(), torch.tensor(0.5)))

    x = torch.arange(20.0)[:, None]
    exact = dist.NegativeBinomial(torch.tensor(3.0), probs=torch.tensor(1 / 1.5)).log_prob(x[:, 0])
    return (model, guide), x, exact


def same(a, b, rtol=1e-5, atol=1e-7):
    assert a.keys() == b.keys()
    for name in a:
        torch.testing.assert_close(
            a[name], b[name], rtol=rtol, atol=atol, msg=lambda m: f"{name}: {m}"
        )


def built(prior, posterior, latent_dim=2):
    recipe = recipe_for(prior, {"kind": "gaussian"}, posterior, latent_dim=latent_dim)
    x = data_for("gaussian", 30)
    vae = pv.build_vae(recipe, tuple(x.shape[1:]), 1.0, as_split(x))
    for parameter in vae.parameters():
        parameter.data += 0.15 * torch.randn_like(parameter)
    return vae, x


def states_of(vae, x):
    q = vae.posterior(x)
    z = q.enumerate_support()
    return z, q.log_prob(z), vae.prior().log_prob(z) + vae.likelihood(z).log_prob(x)


def gaussian_vae(dim=3, latent_dim=2):
    torch.manual_seed(3)
    vae = linear_gaussian(dim, latent_dim, 0.8)
    for parameter in vae.posterior.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    return vae, torch.randn(2, dim)


def categorical(size=6, spread=0.7):
    """One block: q(z | x) can be the posterior itself, so that there is nothing to approximate."""
    torch.manual_seed(0)
    vae = pv.VAE(
        pv.priors.Categorical(size, learned=True),
        pv.likelihoods.Bernoulli(pv.nn.MLP(size, [8], 6)),
        pv.posteriors.Categorical(pv.nn.MLP(6, [8], size), size),
    )
    for parameter in vae.parameters():
        parameter.data += spread * torch.randn_like(parameter)
    return vae, torch.bernoulli(torch.full((40, 6), 0.5))


def shifted(vae, loc=0.0, log_scale=0.0):
    """The same VAE with another posterior."""
    other = copy.deepcopy(vae)
    size = other.prior().event_shape[0]
    with torch.no_grad():
        bias = other.posterior.encoder.layers[0].bias
        if isinstance(other.posterior, pv.posteriors.MeanFieldNormal):
            bias[:size] += loc * bias[size:].exp()
            bias[size:] += log_scale
            return other
        rows, columns = torch.tril_indices(size, size)
        tril = bias[size:]
        diagonal = rows == columns
        tril[diagonal] += log_scale
        tril[~diagonal] *= math.exp(log_scale)
        scale = torch.zeros(size, size)
        scale[rows, columns] = torch.where(diagonal, tril.exp(), tril)
        bias[:size] += loc * scale.square().sum(1).sqrt()
    return other


def each_kind(triples, times, places=(0, 1, 2)):
    """Triples in which every kind at these places occurs this many times, if there are enough."""
    seen, chosen = Counter(), []
    for triple in triples:
        kinds = [(i, name_of((triple[i],))) for i in places]
        if any(seen[kind] < times for kind in kinds):
            seen.update(kinds)
            chosen.append(triple)
    return chosen


def few_of(triples, times, places=(0, 1, 2)):
    """All triples as parameters, a part of which runs in `make test`."""
    few = each_kind(triples, times, places)
    return pytest.mark.parametrize(
        "triple",
        [pytest.param(t, marks=() if t in few else pytest.mark.slow) for t in triples],
        ids=name_of,
    )
