r"""All latent variables of a datum as one vector of real numbers, and their densities."""

from collections.abc import Mapping
from typing import Any, Literal

import pyro
import torch
from pyro import poutine
from pyro.distributions.util import sum_rightmost
from torch import Tensor
from torch.distributions import biject_to
from torch.distributions.constraints import Constraint
from torch.distributions.transforms import ComposeTransform, IndependentTransform

from ..distributions.support import describe_support
from .program import prior_guide
from .tracing import density, sample_sites

Start = Literal["prior", "guide"]


class Unconstrained:
    r"""Creates densities of :math:`u = T^{-1}(z)`, the latent variables on the real line.

    Every latent site of the model is mapped to real numbers by the bijection of its support, and
    all of them are joined; densities carry the Jacobian :math:`|\partial z / \partial u|`.

    Arguments:
        vae: A module with a Pyro ``model`` and ``guide``.
        x: Some data, of shape `(B, *x_shape)`, that show the sites.
        known: Further inputs of both programs, such as row numbers.

    Raises:
        ValueError: A latent variable is discrete, or its support has no bijection.
    """

    def __init__(self, vae: Any, x: Tensor, **known: Tensor) -> None:
        self.vae = vae
        sites = sample_sites(poutine.trace(vae.model).get_trace(x, **known))
        frames = [frame.name for site in sites.values() for frame in site["cond_indep_stack"]]
        self.plate = frames[0] if frames else "data"
        latent = {name: site for name, site in sites.items() if not site["is_observed"]}
        if shown := [name for name in latent if name in known]:
            raise ValueError(
                f"Expected latent variables that nothing is known of, through which chains can "
                f"move; got values of {', '.join(shown)}. Use log_marginal."
            )
        self.transforms = {n: bijection(n, s["fn"].support) for n, s in latent.items()}
        shapes = {n: s["value"].shape[1:] for n, s in latent.items()}
        self.shapes = {n: self.transforms[n].inverse_shape(shape) for n, shape in shapes.items()}
        self.dim = sum(shape.numel() for shape in self.shapes.values())

    @property
    def identical(self) -> bool:
        r"""Whether there is one latent variable, a vector on the real line as it is."""
        transforms = list(self.transforms.values())
        (shape, *others) = self.shapes.values()
        while transforms and isinstance(transforms[0], IndependentTransform):
            transforms = [transforms[0].base_transform]
        return (
            not others
            and len(shape) == 1
            and isinstance(transforms[0], ComposeTransform)
            and not transforms[0].parts
        )

    def draw(self, num_samples: int, start: Start, x: Tensor, **known: Tensor) -> Tensor:
        r"""Draws `u` from prior or guide, of shape `(num_samples, B, dim)`."""
        guide = prior_guide(self.vae.model) if start == "prior" else self.vae.guide
        with pyro.plate("particles", num_samples, dim=-2):
            trace = poutine.trace(guide).get_trace(x, **known)
        return self.join({name: site["value"] for name, site in sample_sites(trace).items()})

    def join(self, values: Mapping[str, Tensor]) -> Tensor:
        r"""Joins values of sites, of shapes `(K, B, *event)`, to `u` of shape `(K, B, dim)`."""
        if lacking := [name for name in self.shapes if name not in values]:
            raise ValueError(
                "Expected values of all latent sites; the guide draws none of "
                f"{', '.join(lacking)}. Give {lacking[0]}= where it is observed, or start from "
                "the prior."
            )
        parts = [self.transforms[name].inv(values[name]) for name in self.shapes]
        parts = [part.reshape(*part.shape[:2], -1) for part in parts]
        return torch.cat(parts, -1)

    def split(self, u: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        r"""Returns the values of the sites for `u` of shape `(*batch, dim)`, and
        :math:`\log |\partial z / \partial u|` of shape `batch`."""
        sizes = [shape.numel() for shape in self.shapes.values()]
        values, jacobian = {}, u.new_zeros(u.shape[:-1])
        for (name, shape), part in zip(self.shapes.items(), u.split(sizes, -1)):
            part, transform = part.reshape(u.shape[:-1] + shape), self.transforms[name]
            values[name] = transform(part)
            volume = transform.log_abs_det_jacobian(part, values[name])
            jacobian = jacobian + sum_rightmost(volume, volume.dim() - jacobian.dim())
        return values, jacobian

    def joint(self, u: Tensor, x: Tensor, **known: Tensor) -> tuple[Tensor, Tensor]:
        r"""Returns :math:`\log p(u)` and :math:`\log p(x \mid u)`, each of shape `(K, B)`."""
        values, jacobian = self.split(u)
        prior, likelihood = jacobian, torch.zeros_like(jacobian)
        with pyro.plate("particles", len(u), dim=-2), poutine.condition(data=values):
            sites = sample_sites(poutine.trace(self.vae.model).get_trace(x, **known))
        for name, site in sites.items():
            if name in values:
                prior = prior + density(site)
            else:
                likelihood = likelihood + density(site)
        return prior, likelihood

    def guide(self, u: Tensor, x: Tensor, **known: Tensor) -> Tensor:
        r"""Returns :math:`\log q(u \mid x)`, of shape `(K, B)`."""
        values, jacobian = self.split(u)
        with pyro.plate("particles", len(u), dim=-2), poutine.condition(data=values):
            sites = sample_sites(poutine.trace(self.vae.guide).get_trace(x, **known))
        return jacobian + torch.stack([density(site) for site in sites.values()]).sum(0)


def bijection(name: str, support: Constraint) -> Any:
    r"""Returns the map from the real line to the support of a site."""
    if support.is_discrete:
        raise ValueError(
            f"Expected continuous latent variables, along which there are gradients; got {name!r} "
            f"in {describe_support(support)}. Sum over its values (objectives.Enumeration), or "
            "take log_marginal."
        )
    try:
        return biject_to(support)
    except NotImplementedError:
        raise ValueError(
            "Expected a support that is a bijection of the real line; got "
            f"{describe_support(support)} for {name!r}. Use log_marginal."
        ) from None
