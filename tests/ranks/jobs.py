"""What ranks do in the tests; see several.py."""

import contextlib
import hashlib
from typing import Any

import torch
import torch.distributions.normal
from several import among

import pyro_vae as pv
from pyro_vae import ranks
from pyro_vae.nn import MLP
from pyro_vae.train.steps import Loss

N, D, L, BATCH = (
    113,
    12,
    3,
    37,
)  # parts of 18 and 19 rows; the last batch has 2, fewer than 3 ranks
Normal = pv.posteriors.MeanFieldNormal


def data(rows: int = N, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(rows, D, generator=generator) < 0.5).to(torch.get_default_dtype())


def with_holes() -> torch.Tensor:
    x = data()
    x[torch.rand(x.shape, generator=torch.Generator().manual_seed(1)) < 0.3] = torch.nan
    return x


def bits(likelihood: Any = None) -> Any:
    likelihood = likelihood or pv.likelihoods.Bernoulli(MLP(L, [8], (D,)))
    return pv.VAE(pv.priors.StandardNormal(L), likelihood, Normal(MLP((D,), [8], 2 * L)))


def gaussian() -> Any:
    return bits(pv.likelihoods.Gaussian(MLP(L, [8], (D,)), "optimal"))


def holes() -> Any:
    family = pv.likelihoods.Gaussian(MLP(L, [8], (D,)), "optimal")
    network = pv.nn.Observed(MLP((2 * D,), [8], 2 * L))
    return pv.VAE(
        pv.priors.StandardNormal(L), pv.likelihoods.MissingAtRandom(family), Normal(network)
    )


def codes() -> Any:
    posterior = pv.posteriors.VectorQuantized(MLP((D,), [8], 4), 4, 5, 2)
    prior = pv.priors.Codes.from_recipe(posterior, [12])
    return pv.VAE(prior, pv.likelihoods.Bernoulli(MLP(4, [8], (D,))), posterior)


CASES: dict[str, tuple[Any, dict[str, Any]]] = {
    "elbo": (bits, {}),
    "iwae": (bits, {"estimator": "iwae", "num_particles": 4}),
    "dreg": (bits, {"estimator": "dreg", "num_particles": 4}),
    "stl": (bits, {"estimator": "stl"}),
    "renyi": (bits, {"estimator": "renyi", "num_particles": 4}),
    "free bits": (bits, {"free_bits": 0.3}),
    "free bits by site": (bits, {"free_bits": 0.8, "free_bits_per": "site", "kl_weight": 2.0}),
    "capacity": (bits, {"capacity": 2.0, "capacity_epochs": 1, "kl_weight": 3.0}),
    "average": (bits, {"estimator": "score-function"}),
    "neural": (bits, {"estimator": "score-function", "baseline": "neural"}),
    "vimco": (bits, {"estimator": "vimco", "num_particles": 4}),
    "clipped": (bits, {"clip_norm": 0.5}),
    "AdamW": (bits, {"optimizer": "AdamW"}),
    "momentum": (bits, {"optimizer": "SGD", "optimizer_options": {"momentum": 0.9}}),
    "sigma": (gaussian, {}),
    "sigma with holes": (holes, {}),
    "codes": (codes, {}),
}


@contextlib.contextmanager
def pinned() -> Any:
    """Gives each datum its own noise, whichever rank computes on it."""
    table = torch.randn(8, N, L, generator=torch.Generator().manual_seed(9)).double()
    now: list[torch.Tensor] = []
    draw, call = torch.distributions.normal._standard_normal, Loss.__call__

    def noise(shape: Any, dtype: Any, device: Any) -> torch.Tensor:
        if not now:
            return draw(shape, dtype, device)
        return (table[0] if len(shape) == 2 else table[: shape[0]])[..., now[0], :].to(dtype)

    def noted(self: Any, x: Any, rows: torch.Tensor, *given: Any) -> Any:
        now.append(rows)
        try:
            return call(self, x, rows, *given)
        finally:
            now.pop()

    torch.distributions.normal._standard_normal, Loss.__call__ = noise, noted
    try:
        yield
    finally:
        torch.distributions.normal._standard_normal, Loss.__call__ = draw, call


def trained(case: str, **settings: Any) -> Any:
    make, options = CASES[case]
    torch.manual_seed(0)
    vae = make()
    x = with_holes() if make is holes else data()
    given = {"epochs": 3, "batch_size": BATCH, "lr": 1e-2, "progress": False, "compile": "no"}
    return vae, pv.fit(vae, x, **{**given, **options, **settings})


def state(vae: Any, history: Any) -> list[torch.Tensor]:
    figures = torch.tensor([history["loss"], history["grad_norm"]])
    return [figures, *(t.detach() for t in vae.state_dict().values())]


def digest(vae: Any) -> str:
    found = hashlib.sha256()
    for tensor in vae.state_dict().values():
        found.update(tensor.detach().numpy().tobytes())
    return found.hexdigest()[:12]


# --- Jobs ---------------------------------------------------------------------------------------


def exact(*names: str) -> dict[str, list[float]]:
    """How far 2 and 3 ranks are from one process after 12 steps in double precision."""
    torch.set_default_dtype(torch.float64)
    names = names or (*CASES,)

    def work(rank: int, plant: str = "") -> dict[str, Any]:
        found = {}
        if plant == "count":
            ranks.Part.share = property(lambda part: 1 / ranks.here().count)
        if plant == "local":
            for module in (pv.objectives.elbo, pv.objectives.score_function):
                module.batch_mean = lambda mean: mean
        with pinned():
            for name in names:
                try:
                    found[name] = [t.tolist() for t in state(*trained(name))]
                except Exception as error:
                    found[name] = f"{type(error).__name__}: {error}"
        return found

    def distance(here: Any, there: Any) -> Any:
        if isinstance(there, str):
            return there
        pairs = zip(map(torch.tensor, here), map(torch.tensor, there))
        return max(float((a - b).abs().max()) for a, b in pairs)

    one = work(0)
    several = {
        "2 ranks": among(2, work)[0],
        "3 ranks": among(3, work)[0],
        "each rank counts the same": among(2, work, "count")[0],
        "means are of the part": among(2, work, "local")[0],
    }
    return {
        kind: found if isinstance(found, str) else {n: distance(one[n], found[n]) for n in names}
        for kind, found in several.items()
    }
