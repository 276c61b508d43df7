r"""Does the model use its latent variables? Active units, information, holes."""

from collections.abc import Sequence
from math import ceil, log, nan
from typing import Any, NamedTuple

import pyro
import torch
from pyro import poutine
from torch import Tensor

from ..checks import Data, opened
from ..counted import Size, counted
from ..data import Split
from ..objectives.kl import closed_sites, kl_by_feature
from ..programs import batches, check_plates, density, density_of, guide_name, sample_sites, traces
from ..views.latent import drawn_moments

ACTIVE = 0.01
r"""The variance of the posterior mean over data above which a unit is active."""

ROWS_AT_ONCE = 1000
PAIRS_AT_ONCE = 2_000_000
OUTSIDE = 0.01
REMEDY = (
    "Lengthen the KL warm-up (train.kl_warmup_epochs), set free bits (train.free_bits) or lower "
    "train.kl_weight."
)


def active_units(vae: Any, x: Data, *, seed: int = 0, **known: Any) -> Tensor:
    r"""Returns the activity of each latent unit; a unit above 0.01 is called active.

    .. math:: A_u = \mathrm{Var}_x \left( \mathbb{E}_{q(u \mid x)}[u] \right)

    References:
        | Importance Weighted Autoencoders (Burda et al., 2016), Sec. 5.2, the statistic
          :math:`A_u` (its equation has no number)
        | https://arxiv.org/abs/1509.00519

    Arguments:
        vae: The VAE.
        x: The data, of shape `(B, *x_shape)`.
        seed: Seeds samples, where a posterior's mean has no closed form.
        known: Further inputs of the programs, one row per datum: row numbers as `index`,
            conditions, values of other sites.

    Returns:
        The activities, of shape `(latent_dim,)`.
    """
    return torch.cat([*site_activities(vae, x, seed=seed, **known).values()])


def site_activities(vae: Any, x: Data, *, seed: int = 0, **known: Any) -> dict[str, Tensor]:
    r"""Returns the activity of each unit of each latent site, as :func:`active_units` defines it.

    Arguments:
        vae: As in :func:`active_units`, as the arguments that follow.

    Returns:
        For each site, in the model's order, its activities of shape `(num_features,)`.
    """
    sites = drawn_moments(vae, x, seed, known)  # less what draws of other sites add
    return {n: _activity(m).flatten() for n, m in sites.items()}


def _activity(moments: Any) -> Tensor:
    r"""The variance of means over data, less that of draws; NaN of a single datum."""
    loc = moments.loc
    variance = loc.var(0) if len(loc) > 1 else torch.full_like(loc[0], nan)
    return (variance - moments.noise.mean(0)).clamp(min=0)


class Rate(NamedTuple):
    r"""Where the nats of a bound go, on average over data, each a 0-dim tensor unless said.

    Attributes:
        rate: :math:`R = \mathbb{E}_x \mathrm{KL}(q(z \mid x) \,\|\, p(z))`, in nats per datum.
        distortion: :math:`D = -\mathbb{E}_x \mathbb{E}_q \log p(x \mid z)`; rate and distortion
            add up to minus the ELBO of the same samples.
        rate_se: The standard error of the rate over data.
        distortion_se: That of the distortion.
        by_site: The rate of each latent site, from the last that the model samples to the first.
        by_feature: The rate of each latent feature, of shape `(latent_dim,)`, where prior and
            posterior factorize; else none.
    """

    rate: Tensor
    distortion: Tensor
    rate_se: Tensor
    distortion_se: Tensor
    by_site: dict[str, Tensor]
    by_feature: Tensor | None


@counted
def rate_distortion(
    vae: Any, x: Data, num_samples: int = 10, *, seed: int = 0, **known: Any
) -> Rate:
    r"""Splits minus the ELBO into rate and distortion, and the rate into its parts.

    References:
        | Fixing a Broken ELBO (Alemi et al., 2018), Eq. 4 to 6
        | https://arxiv.org/abs/1711.00464

    Arguments:
        vae: A VAE, or a pair of Pyro model and guide.
        x: The data, of shape `(B, *x_shape)`.
        num_samples: The number of samples per datum.
        seed: Seeds the samples.
        known: Further inputs of the programs, one row per datum: row numbers as `index`,
            conditions, values of other sites.
    """
    rates, distortions, sites, features = [], [], [], []
    with opened(vae, x, known, seed) as (program, split):
        for x, more in batches(split, ROWS_AT_ONCE):
            for _ in range(num_samples):
                q, p = traces(program.model, program.guide, x, 1, **more)
                check_plates([*q.values(), *p.values()])
                terms = {name: density(site).expand(len(x)) for name, site in q.items()}
                for name in reversed(p):
                    if name in q:
                        terms[name] = terms[name] - density(p[name])
                rates.append(torch.stack([*terms.values()]).sum(0))
                seen = [density(s).expand(len(x)) for s in p.values() if s["is_observed"]]
                distortions.append(-torch.stack(seen).sum(0))
                sites.append({name: terms[name] for name in reversed(p) if name in q})
            closed = closed_sites(q, p)
            by_feature = [
                kl_by_feature(q[n]["fn"], p[n]["fn"], q[n]["value"], exact=closed[n])
                for n in q
                if n in p
            ]
            features.append(by_feature[0] if len(by_feature) == 1 else None)
    rate, rate_se = _mean(rates, num_samples)
    distortion, distortion_se = _mean(distortions, num_samples)
    by_site = {
        name: torch.cat([part[name] for part in sites]).sum() / (num_samples * len(split))
        for name in sites[0]
    }
    known_features = [f for f in features if f is not None]
    return Rate(
        rate,
        distortion,
        rate_se,
        distortion_se,
        by_site,
        torch.cat(known_features).mean(0) if len(known_features) == len(features) else None,
    )


class Information(NamedTuple):
    r"""The rate, split by the aggregate posterior :math:`q(z) = \mathbb{E}_x q(z \mid x)`.

    .. math:: R = I_q(x; z) + \mathrm{KL}(q(z) \,\|\, p(z))

    Attributes:
        mutual_information: :math:`I_q(x; z)`, in nats; never above `cap`.
        marginal_kl: :math:`\mathrm{KL}(q(z) \,\|\, p(z))`, in nats.
        cap: :math:`\log N` of the `N` data at hand, which is all that they can tell.
        holes: The share of the prior that lies outside of the aggregate posterior: where its
            density is below that of 99 % of the posterior's own samples. 0.01 where both are the
            same.
    """

    mutual_information: Tensor
    marginal_kl: Tensor
    cap: float
    holes: Tensor

    @property
    def saturated(self) -> bool:
        r"""Whether the data are too few: the information is at its cap, and may be any higher.

        The marginal KL then is too high by as much.
        """
        return float(self.mutual_information) > self.cap - 0.5


@counted
def information(
    vae: Any, x: Data, max_data: Size = 2000, *, seed: int = 0, **known: Any
) -> Information:
    r"""Splits the rate into what `z` tells of `x` and what prior and aggregate posterior differ.

    References:
        | ELBO Surgery (Hoffman & Johnson, 2016), Eq. 8

    Arguments:
        vae: The VAE. Its posterior's density must be available for any value.
        x: The data, of shape `(B, *x_shape)`.
        max_data: Only the first `max_data` rows are used; the cost is quadratic in this number.
        seed: Seeds the samples.
        known: Further inputs of the programs, one row per datum: row numbers as `index`,
            conditions, values of other sites.

    Raises:
        ValueError: The posterior's density is known at its own samples only, or the model is
            about data under a condition.
    """
    with opened(vae, x, known, seed) as (vae, split):
        if density_of(vae) != "anywhere":
            raise ValueError(
                "Expected a posterior whose density is available for any value; that of "
                f"{guide_name(vae)} is known at its own samples only."
            )
        device = split.device
        check_of_x_alone(split)
        count = min(max_data, len(split))
        rows, more = split.batch(slice(0, count))
        q, p = traces(vae.model, vae.guide, rows, 1, **more)
        _check_alone(q)
        z = {name: site["value"] for name, site in q.items() if name in p}
        drawn = poutine.trace(vae.model).get_trace(rows, **more)  # of the form of the data
        imagined = {n: s["value"] for n, s in sample_sites(drawn).items() if n in z}
        own = torch.stack([density(site) for site in q.values()]).sum(0)
        prior = torch.stack([density(p[name]) for name in z]).sum(0)
        size = max(1, PAIRS_AT_ONCE // (count * sum(v[0].numel() for v in z.values())))

        def pairs_of(values: dict[str, Tensor]) -> Tensor:
            parts = []
            for some in torch.arange(count, device=device).split(size):
                at = {
                    n: v[some][:, None].expand(-1, count, *v.shape[1:]) for n, v in values.items()
                }
                with pyro.plate("particles", len(some), dim=-2), poutine.condition(data=at):
                    sites = sample_sites(poutine.trace(vae.guide).get_trace(rows, **more))
                log_q = torch.stack([density(s).expand(len(some), count) for s in sites.values()])
                parts.append(log_q.sum(0))
            return torch.cat(parts)  # (N of z, N of x)

        pairs = pairs_of(z)
        aggregate = pairs.logsumexp(1) - log(count)
        others_only = pairs.masked_fill(
            torch.eye(count, dtype=torch.bool, device=device), -torch.inf
        )
        typical = others_only.logsumexp(1).sort().values[ceil(OUTSIDE * count) - 1]
        outside = pairs_of(imagined).logsumexp(1) < typical
        return Information(
            (own - aggregate).mean(),
            (aggregate - prior).mean(),
            log(count),
            outside.to(rows.dtype).mean(),
        )


class CollapseWatch:
    r"""Creates a watch over the activities of latent units that warns before they die.

    A unit is in danger when its activity fell in each of the last `patience` epochs, and will be
    below the threshold within `horizon` epochs if it goes on at that rate (a straight line in
    the logarithm). That some units die is how a VAE finds its number of them; the watch warns
    when half of those alive, or more, are in danger, and again only after fewer were. Of a site
    with a name it also warns, once, when no unit is active in `patience` epochs in a row.

    Arguments:
        site: The latent site that the units belong to, where there are several.
        horizon: How many epochs ahead the watch looks.
        patience: For how many epochs a unit must have fallen.
        threshold: The activity of a dead unit.

    Example:
        >>> watch = CollapseWatch()
        >>> for epoch in range(4):
        ...     warning = watch.update(torch.tensor([1.0, 0.5 * 0.6**epoch]))
        >>> warning
        '1 of 2 active latent units will have collapsed in about 5 epochs: ...'
    """

    def __init__(
        self, horizon: int = 10, patience: int = 3, threshold: float = ACTIVE, site: str = ""
    ) -> None:
        self.horizon, self.patience, self.threshold = horizon, patience, threshold
        self.site = site
        self.past: list[Tensor] = []
        self.warned = self.dead = False

    def update(self, activity: Tensor) -> str | None:
        r"""Takes the activities after an epoch; returns a warning, if it is time for one."""
        self.past = [*self.past[-self.patience :], activity.detach().cpu().double()]
        if len(self.past) <= self.patience:
            return None
        unused = all(bool((units <= self.threshold).all()) for units in self.past[1:])
        if self.site and unused and not self.dead:
            self.dead = True
            return (
                f"No latent unit of {self.site} has been active for {self.patience} epochs: the "
                f"model does not use this site. {REMEDY}"
            )
        logs = torch.stack(self.past).clamp(min=1e-12).log()
        falls = (logs.diff(dim=0) < 0).all(0)
        rate = (logs[0] - logs[-1]) / self.patience
        left = (logs[-1] - log(self.threshold)) / rate.clamp(min=1e-12)
        alive = logs[-1] > log(self.threshold)
        danger = falls & alive & (left <= self.horizon)
        threatened = bool(alive.any()) and int(danger.sum()) >= int(alive.sum()) / 2
        shown, self.warned = self.warned, threatened
        if not threatened or shown:
            return None
        return (
            f"{int(danger.sum())} of {int(alive.sum())} active latent units"
            f"{f' of {self.site}' if self.site else ''} will have collapsed "
            f"in about {int(left[danger].max().ceil())} epochs: the variance of their posterior "
            f"means falls towards {self.threshold:g}. {REMEDY}"
        )


# --- Parts --------------------------------------------------------------------------------------


def check_of_x_alone(split: Split) -> None:
    r"""Refuses a model of data under a condition, which has no one aggregate posterior.

    Raises:
        ValueError: Something other than row numbers is known of the data.
    """
    if others := [name for name in split.known if name != "index"]:
        raise ValueError(
            "Expected a model of x alone, as the aggregate posterior is over all data; got one "
            f"that is given {', '.join(others)}."
        )


def _check_alone(q: dict[str, Any]) -> None:
    r"""Refuses a guide of auxiliary variables, whose density is no sum over sites."""
    for name, site in q.items():
        if site["infer"].get("is_auxiliary"):
            raise ValueError(f"Expected a guide of the model's latent variables; got {name!r}.")


def _mean(parts: Sequence[Tensor], num_samples: int) -> tuple[Tensor, Tensor]:
    chunks = [
        torch.stack(list(parts[i : i + num_samples])).mean(0)
        for i in range(0, len(parts), num_samples)
    ]
    values = torch.cat(chunks)
    error = values.std() if len(values) > 1 else values.new_tensor(nan)
    return values.mean(), error / len(values) ** 0.5  # tensors, as the rest
