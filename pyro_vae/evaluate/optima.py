r"""The best members of families of guides, with free parameters for each datum."""

from copy import copy
from math import cos, inf, pi
from typing import Any, NamedTuple

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from torch import Tensor, nn

from ..base import Posterior
from ..compile import Staged
from ..data import Split
from ..deprecation import renamed_attributes
from ..distributions import IndependentBernoulli
from ..distributions.discrete import OneHots
from ..models import VAE
from ..objectives import plan
from ..posteriors import (
    FullCovarianceNormal,
    Householder,
    LowRankNormal,
    MeanFieldNormal,
    PerDatum,
    Planar,
)
from ..programs import (
    Program,
    Unconstrained,
    ascend,
    expected,
    joint_table,
    rows_at_once,
    sample_sites,
    weigh,
)
from ..randomness import stream
from ..statistics import Mean
from .importance import elbo

PLANAR_TRANSFORMS = 8
SAMPLES_TO_START = 256
ROUNDS = 5
ENOUGH = 0.02  # nats: what may be left
SMALL = 0.01  # nats: a rise whose quotient is mostly noise
REACH = 0.5  # how far a round must be able to take a parameter to show that there is no more
SUMMED_AT_ONCE = 200
NORMALS = (MeanFieldNormal, LowRankNormal, Householder, FullCovarianceNormal)


@renamed_attributes(mean="gain", se="gain.se")
class Rise(NamedTuple):
    r"""What the last round of an optimization brought.

    Attributes:
        gain: By how much the bound rose, on average over data.
        before: The same of the round before it.
        reach: How far its steps could take a parameter together: the sum of learning rates.
    """

    gain: Mean
    before: float = inf
    reach: float = inf

    @property
    def left(self) -> float:
        r"""What further rounds would bring, if they rise by one quotient as the last two did.

        It is infinite where the last one rose by as much as the one before, or could not go far.
        """
        rise = max(0.0, self.gain)
        if self.reach < REACH:
            return inf
        quotient = rise / self.before if self.before > 0 else float(rise > 0)
        quotient = min(quotient, 0.9) if rise < SMALL else quotient
        return inf if quotient >= 1 else rise * max(1.0, quotient / (1 - quotient))

    @property
    def ended(self) -> bool:
        r"""Whether the bound has stopped rising."""
        return self.left < ENOUGH


class FreeGuide(nn.Module):
    r"""Creates a guide over the latent variables of any model, with parameters by row number.

    Arguments:
        latents: The latent variables, on the real line.
        posterior: A family over them.
    """

    def __init__(self, latents: Unconstrained, posterior: PerDatum) -> None:
        super().__init__()
        self.latents, self.posterior = latents, posterior

    def guide(self, x: Tensor, *, index: Tensor, **known: Any) -> None:
        r"""Samples them on the real line, and maps them to where the model wants them."""
        with pyro.plate(self.latents.plate, len(x)):
            q = self.posterior(x, index)
            u = pyro.sample("_unconstrained", q, infer={"is_auxiliary": True})
            values, jacobian = self.latents.split(u)
            for name, value in values.items():
                event_dim = value.dim() - jacobian.dim()
                pyro.sample(name, dist.Delta(value, -jacobian, event_dim=event_dim))
                jacobian = torch.zeros_like(jacobian)  # counted once


def starting_values(
    vae: Any,
    x: Tensor,
    family: str,
    known: dict[str, Any],
    before: Any = None,
    rows: Tensor | None = None,
) -> Tensor:
    r"""Returns the parameters of a family, as near to a guide as they can be, a row a datum.

    The guide is that of `vae`, or of the program `before`, which knows the data by their `rows`.
    """
    if family == "own":
        posterior = vae.posterior
        if posterior.index:
            return posterior.family.encoder(known["index"]).detach()
        values = [{"x": x, **known}[name] for name in posterior.parents or ("x",)]
        outputs = posterior.encoder(values[0] if len(values) == 1 else tuple(values)).detach()
        if outputs.dim() != 2:
            raise ValueError(
                "Expected an encoder with a vector of outputs for each datum, which can be freed "
                f"as the family's own parameters; got shape {tuple(outputs.shape)}. Take "
                '"mean-field" or "full-covariance".'
            )
        return outputs
    if before is not None:
        assert rows is not None
        vae, known = before, {**known, "index": rows}
    latents = Unconstrained(vae, x, **known)
    loc, covariance = moments(vae, latents, x, known)
    log_scale = covariance.diagonal(dim1=-2, dim2=-1).log() / 2
    dim = loc.shape[-1]
    match family:
        case "mean-field":
            rest = log_scale
        case "full-covariance":
            i, j = torch.tril_indices(dim, dim)
            tril = torch.linalg.cholesky(covariance)
            scale = tril.diagonal(dim1=-2, dim2=-1)
            rest = (tril.tril(-1) + scale.log().diag_embed())[:, i, j]
        case "planar":
            flat = 0.01 * torch.randn(len(x), PLANAR_TRANSFORMS * (2 * dim + 1)).to(loc)
            rest = torch.cat([log_scale, flat], -1)
        case _:
            raise ValueError(
                f"Expected a family (own, mean-field, full-covariance, planar); got {family!r}."
            )
    return torch.cat([loc, rest], -1)


def moments(
    vae: Any, latents: Unconstrained, x: Tensor, known: dict[str, Tensor]
) -> tuple[Tensor, Tensor]:
    r"""Returns mean and covariance of a guide on the real line: its own, where it is Normal and
    already there, else the means and the variances of draws."""
    free = getattr(vae, "free", None)
    if free is not None:
        q = free.posterior(x, known["index"])
    elif isinstance(getattr(vae, "posterior", None), Posterior) and latents.identical:
        sites = sample_sites(poutine.trace(vae.guide).get_trace(x, **known))
        q = sites[vae.latents[0]]["fn"]
        while isinstance(q, dist.ExpandedDistribution):
            q = q.base_dist
    else:
        q = None
    if isinstance(q, dist.Independent) and isinstance(q.base_dist, dist.Normal):
        return q.mean, q.variance.diag_embed()
    if isinstance(q, dist.MultivariateNormal | dist.LowRankMultivariateNormal):
        return q.mean, q.covariance_matrix
    u = latents.draw(SAMPLES_TO_START, "guide", x, **known)
    return u.mean(0), u.var(0).clamp(min=1e-8).diag_embed()


def free_program(
    vae: Any, x: Tensor, family: str, values: Tensor, known: dict[str, Any]
) -> tuple[Any, Tensor]:
    r"""Returns a program whose guide has `values` as the parameters of its rows, and these.

    Arguments:
        vae: A VAE, or another program.
        x: Some of its data, of shape `(B, *x_shape)`, that show the latent variables.
        family: The name of a family; ``"own"`` is that of a VAE's posterior.
        values: Its parameters, of shape `(N, num_outputs)`.
        known: Further inputs, one row per datum.
    """
    rows, outputs = values.shape
    table = nn.Embedding(rows, outputs, device=values.device, dtype=values.dtype)
    if family == "own":
        original = vae.posterior.family if vae.posterior.index else vae.posterior
        own = copy(original)
        own._modules = {**original._modules, "encoder": table}
        program: Any = VAE(vae.prior, vae.likelihood, PerDatum(own))
        program.conditions = vae.conditions  # of the encoder, which may be called with them still
    else:
        latents = Unconstrained(vae, x, **known)
        kinds: dict[str, Posterior] = {
            "mean-field": MeanFieldNormal(table),
            "full-covariance": FullCovarianceNormal(table, latents.dim),
            "planar": Planar(table, latents.dim, PLANAR_TRANSFORMS),
        }
        guide = FreeGuide(latents, PerDatum(kinds[family]))
        program = Program(_without_rows(vae), guide.guide)
        program.__dict__["free"] = guide
        program.owners.append(vae if isinstance(vae, nn.Module) else nn.Identity())
    table.weight.data.copy_(values)  # PerDatum drew others
    return program, table.weight


def _without_rows(vae: Any) -> Any:
    r"""The model of a program, for callers whose `index` numbers other rows."""

    def model(x: Tensor | None = None, *, index: Tensor | None = None, **known: Any) -> Any:
        return vae.model(x, **known)

    return model


class Search:
    r"""The search for the best members of a family, one for each datum."""

    def __init__(
        self, vae: Any, split: Split, family: str, num_particles: int, num_samples: int, seed: int
    ) -> None:
        self.vae, self.split, self.family = vae, split, family
        self.num_particles, self.num_samples, self.seed = num_particles, num_samples, seed
        self.every = torch.arange(len(split), device=split.device)

    def run(self, values: Tensor, num_steps: int, lr: float) -> tuple[Tensor, Rise]:
        r"""Returns the best values, and what the last round brought."""
        best, choice = values, stream(self.seed, "choice")
        fresh = stream(self.seed, "rise")  # what was chosen looks better on its own noise
        bound = self.measure(best, choice)[1]
        settled = self.settle(best)
        if settled is not None:
            best, bound = _better(best, bound, settled, self.measure(settled, choice)[1])
        shown = self.measure(best, fresh)[1]
        parts = self.every.split(rows_at_once(self.split, self.num_particles))
        before = inf
        for turn in range(ROUNDS):
            steps = num_steps if turn == 0 else max(1, num_steps // 2)
            new = torch.cat([self.optimize(best[rows], rows, steps, lr) for rows in parts])
            best, bound = _better(best, bound, new, self.measure(new, choice)[1])
            shown, gain = (now := self.measure(best, fresh)[1]), now - shown
            reach = inf if settled is not None else lr * steps / 2
            rise = Rise(Mean.of(gain), before, reach)
            before = float(rise.gain)
            if turn and rise.ended:
                break
        return best, rise

    def settle(self, values: Tensor) -> Tensor | None:
        r"""Returns the values where coordinate ascent ends, if joint values can be listed."""
        if self.family != "own":
            return None
        parts = []
        for rows in self.every.split(SUMMED_AT_ONCE):
            x, known = self.split.batch(rows)
            if [*known] not in ([], ["index"]):  # joint values are listed for x alone
                return None
            program, _ = free_program(self.vae, x, "own", values[rows], known)
            program.eval()  # relaxed posteriors are what they relax
            q = program.posterior(x, torch.arange(len(x), device=x.device))
            found = ascend(program, q, x)
            if found is None:
                return None
            parts.append(found)
        return torch.cat(parts)

    def measure(self, values: Tensor, seed: int) -> tuple[Any, Tensor]:
        r"""Returns the program of some values and its bound for every datum."""
        x, known = self.split.batch(self.every[:2])
        free, _ = free_program(self.vae, x, self.family, values, known)
        return free, bound_of(free, self.split.knowing(index=self.every), self.num_samples, seed)

    def optimize(self, values: Tensor, rows: Tensor, num_steps: int, lr: float) -> Tensor:
        r"""Returns better parameters for some rows, a row for each."""
        num_particles = self.num_particles
        x, known = self.split.batch(rows)
        program, parameters = free_program(self.vae, x, self.family, values, known)
        known["index"] = torch.arange(len(x), device=x.device)
        objective = None
        if self.family == "own":  # relaxed posteriors are evaluated as what they relax
            first = {name: value[:2] for name, value in known.items()}
            q = program.posterior(x[:2], first["index"])
            estimator = "auto" if q.has_rsample else "score-function"
            options = {"num_particles": num_particles}
            if program.posterior.enumerable and q.has_enumerate_support:
                estimator, options = "enumeration", {}
            objective = plan(program, x[:2], estimator, known=first, **options).objective

        def loss(x: Tensor, **known: Tensor) -> list[Tensor]:
            more: dict[str, Any] = {**known}
            with torch.enable_grad():
                if objective is None:
                    weights = weigh(program.model, program.guide, x, num_particles, **more)
                    value = -weights.log_weights.mean()
                else:
                    value = objective(program.model, program.guide, x, **more).loss
                return [torch.autograd.grad(value * len(x), parameters)[0]]

        gradient = Staged(loss, program, float(num_steps) * num_particles * x.numel())
        adam = torch.optim.Adam([parameters], lr=lr)
        late = torch.zeros_like(parameters)
        for step in range(num_steps):
            adam.param_groups[0]["lr"] = lr * (1 + cos(pi * step / num_steps)) / 2
            parameters.grad = gradient(x, **known)[0]
            adam.step()
            if step >= num_steps // 2:  # the noise of late steps averages out
                late += parameters.detach() / (num_steps - num_steps // 2)
        return late


def bound_of(program: Any, split: Split, num_samples: int, seed: int) -> Tensor:
    r"""The ELBO of each datum; a sum, where the values of the posterior can be listed."""
    if has_own(program) and [*split.known] in ([], ["index"]):
        posterior, parts = program.posterior, []
        for rows in torch.arange(len(split), device=split.device).split(SUMMED_AT_ONCE):
            x, known = split.batch(rows)
            q = posterior(x, known["index"]) if posterior.index else posterior(x)
            if not isinstance(q, IndependentBernoulli | OneHots) or not q.has_enumerate_support:
                break
            parts.append(expected(q, *joint_table(program, q, x)))
        else:
            return torch.cat(parts)
    return elbo(program, split, num_samples, seed=seed, skip_checks=True)


def _better(best: Tensor, bound: Tensor, new: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
    r"""The better parameters of each datum, and their bound."""
    higher = there > bound
    return torch.where(higher[:, None], new, best), torch.where(higher, there, bound)


def contains(vae: Any, smaller: str, family: str) -> bool:
    r"""Whether each member of a family is one of another: Normals, of richer covariance."""
    posterior = getattr(vae, "posterior", None)
    posterior = getattr(posterior, "family", posterior)
    if smaller == "mean-field" or (smaller == "own" and isinstance(posterior, MeanFieldNormal)):
        return family in ("full-covariance", "planar")
    return smaller == "own" and isinstance(posterior, NORMALS) and family == "full-covariance"


def has_own(vae: Any) -> bool:
    r"""Whether there is one family whose parameters an encoder gives."""
    return isinstance(getattr(vae, "posterior", None), Posterior)
