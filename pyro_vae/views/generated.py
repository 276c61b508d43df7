r"""New data, and data seen through the latent variable.

A *mean* is :math:`\mathbb{E}[x \mid z]`, the smooth picture that papers show; a *sample* is a
draw from :math:`p(x \mid z)`, what the model says data look like.
"""

from collections.abc import Mapping
from typing import Any, Literal

import torch
from pyro import poutine
from torch import Tensor

from ..checks import Data, opened
from ..counted import counted
from ..programs import (
    as_program,
    drawn,
    latent_names,
    plainly,
    replicated,
    rows_of,
    sample_sites,
    undisturbed,
)

What = Literal["mean", "sample"]


@counted
def sample(
    vae: Any, num_samples: int, what: What = "sample", *, seed: int = 0, **known: Any
) -> Tensor:
    r"""Draws :math:`z \sim p(z)`, then returns the mean or a sample of :math:`p(x \mid z)`.

    Arguments:
        vae: A VAE, or a pair of Pyro model and guide; the model draws data when it is called as
            ``model(batch_size=num_samples)``.
        num_samples: How many data.
        what: ``"mean"`` or ``"sample"``.
        seed: Seeds the draws; mean and sample of one seed share their :math:`z`.
        known: Conditions, and values that latent sites are set to: one for all data, or a row for
            each; NaN where it is to be drawn. What comes after such a site is drawn given the
            value; what comes before is not conditioned on it.

    Returns:
        Data of shape `(num_samples, *x_shape)`.

    Raises:
        ValueError: A condition is missing, or has another number of rows.
    """
    vae = as_program(vae)
    given = conditions_in(vae, known)
    with undisturbed(vae, seed), plainly():
        every = {n: rows_of(vae, n, v, num_samples) for n, v in given.items()}
        return see(drawn(vae, num_samples, every), what)


def conditions_in(vae: Any, known: Mapping[str, Any]) -> dict[str, Any]:
    r"""Returns what is known, if every condition of the model is.

    Raises:
        ValueError: One is missing.
    """
    given = {n: v for n, v in known.items() if v is not None}
    if missing := [name for name in getattr(vae, "drawn_under", ()) if name not in given]:
        raise ValueError(
            f"Expected {', '.join(f'{name}=' for name in missing)}, under which data are drawn; "
            "got none (on the command line, --given NAME=VALUE)."
        )
    return given


def reconstruct(
    vae: Any,
    x: Data,
    what: What = "mean",
    *,
    given: Mapping[str, Any] | None = None,
    seed: int = 0,
    **known: Any,
) -> Tensor:
    r"""Draws :math:`z \sim q(z \mid x)`, then returns the mean or a sample of :math:`p(x \mid z)`.

    Arguments:
        vae: A VAE, or a pair of Pyro model and guide.
        x: The data, of shape `(B, *x_shape)`.
        what: ``"mean"`` or ``"sample"``.
        given: Conditions, or values of latent sites, that take the place of those of the data
            once :math:`z` is drawn: the same :math:`z` under another `c`. One value for all data,
            or a row for each.
        seed: Seeds the draws; mean and sample of one seed share their :math:`z`.
        known: Further inputs of the programs, one row per datum: row numbers as `index`,
            conditions, values of other sites.

    Returns:
        Data of shape `(B, *x_shape)`.
    """
    with opened(vae, x, known, seed, freeze=True) as (program, split):
        data, more = split.batch(slice(None))
        names = (*getattr(program, "conditions", ()), *getattr(program, "latents", ()))
        if strange := [name for name in given or {} if name not in names]:
            raise ValueError(
                f"Expected conditions or latent sites ({', '.join(names)}); got {strange[0]}."
            )
        rows = {n: rows_of(program, n, v, len(data)) for n, v in (given or {}).items()}
        return see(replicated(program, data, more, "posterior", rows), what)


def decode(vae: Any, z: Tensor, what: What = "mean", *, seed: int = 0, **known: Any) -> Tensor:
    r"""Returns the mean or a sample of :math:`p(x \mid z)`.

    Arguments:
        vae: A VAE.
        z: Latent variables, of shape `(B, latent_dim)`, of sequences `(B, T, latent_dim)`: of
            several sites, all that `known` does not tell, joined as :func:`pyro_vae.encode` joins
            them; or the first of them alone, the others being drawn.
        what: ``"mean"`` or ``"sample"``.
        seed: Seeds the draws.
        known: Conditions, and values of latent sites: one for all data, or a row for each.

    Returns:
        Data of shape `(B, *x_shape)`.
    """
    vae = as_program(vae)
    with undisturbed(vae, seed) as device, plainly():
        given = {n: rows_of(vae, n, v, len(z)) for n, v in known.items() if v is not None}
        fixed = {n: v for n, v in given.items() if n in getattr(vae, "latents", ())}
        rest = {n: v for n, v in given.items() if n not in fixed}
        values = split_sites(vae, z.to(device), rest, fixed)
        with poutine.condition(data=values):
            return see(poutine.trace(vae.model).get_trace(batch_size=len(z), **rest), what)


def split_sites(
    vae: Any, z: Tensor, known: Mapping[str, Tensor], fixed: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    r"""Returns the values of latent sites from those joined, or of the first site alone.

    Arguments:
        vae: The model.
        z: The values of the sites that are not given.
        known: Conditions.
        given: Values of other latent sites.

    Raises:
        ValueError: They are neither.
    """
    trace = poutine.trace(vae.model).get_trace(batch_size=len(z), **known)
    names = [name for name in latent_names(vae, trace) if name not in fixed]
    shapes = {n: s["fn"].event_shape for n, s in sample_sites(trace).items() if n in names}
    chain = getattr(getattr(vae, "prior", None), "sequential", False)
    if chain and [*map(len, shapes.values())] == [2]:
        ((name, (_, size)),) = shapes.items()
        shapes[name] = torch.Size((z[:1].numel() // size, size))  # as long as it is
    sizes = [shape.numel() for shape in shapes.values()]
    first = next(iter(shapes), None)
    if first is not None and z.shape[1:] == shapes[first]:
        return {first: z, **fixed}
    if z.dim() != 2 or z.shape[1] != sum(sizes) or not sizes:
        listed = ", ".join(f"{n} {tuple(shape)}" for n, shape in shapes.items()) or "none is left"
        raise ValueError(
            f"Expected latent variables of the sites {listed}, joined as encode joins them, or "
            f"those of the first alone; got shape {tuple(z.shape)}."
        )
    parts = z.split(sizes, 1)
    return {n: part.reshape(len(z), *shapes[n]) for n, part in zip(shapes, parts)} | {**fixed}


def see(trace: Any, what: What) -> Tensor:
    r"""The mean or the sample of `x` in the trace of a model."""
    if what not in ("mean", "sample"):
        raise ValueError(f"Expected 'mean' or 'sample'; got {what!r}.")
    sites = sample_sites(trace)
    site = sites["x"] if "x" in sites else [*sites.values()][-1]
    return site["fn"].mean if what == "mean" else site["value"]
