r"""Guides with free parameters for each datum, in the place of an encoder."""

from copy import copy
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from torch import Tensor, nn

from ..base import Posterior
from ..models import VAE
from ..posteriors import FullCovarianceNormal, MeanFieldNormal, PerDatum, Planar
from ..programs import Program, Unconstrained, sample_sites

PLANAR_TRANSFORMS = 8
SAMPLES_TO_START = 256


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
            rows, columns = torch.tril_indices(dim, dim)
            tril = torch.linalg.cholesky(covariance)
            scale = tril.diagonal(dim1=-2, dim2=-1)
            rest = (tril.tril(-1) + scale.log().diag_embed())[:, rows, columns]
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
        known: What is known of `x` besides.
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
