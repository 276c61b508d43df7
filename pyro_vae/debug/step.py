r"""One step of variational inference, site by site."""

from typing import Any, NamedTuple

import torch
from pyro.distributions import MaskedDistribution
from pyro.distributions.util import scale_and_mask
from torch import Tensor

from ..distributions import name_of
from ..programs import as_program, sample_sites
from .case import Case, untouched
from .mistakes import explain_error


class Row(NamedTuple):
    r"""What a step sees of a site.

    Attributes:
        program: ``"model"`` or ``"guide"``.
        name: The name of the site.
        distribution: What it samples from.
        batch_shape: Of the distribution: one for each plate.
        event_shape: Of one value.
        plates: The plates around it.
        scale: What handlers and subsampling multiply its density by, on average over data.
        masked: Whether a mask leaves some of it out.
        log_density: The sum of its log density over the batch, scaled and masked, in nats.
        term: What it adds to the loss, in nats per datum: minus that of the model's sites, plus
            that of the guide's, divided by the number of data.
        gradient: The norm of the gradient of its term in all parameters.
    """

    program: str
    name: str
    distribution: str
    batch_shape: tuple[int, ...]
    event_shape: tuple[int, ...]
    plates: str
    scale: float
    masked: bool
    log_density: float
    term: float
    gradient: float


class Step(NamedTuple):
    r"""One step.

    Attributes:
        rows: The sites, the guide's first.
        loss: What their terms add up to, in nats per datum.
        mistake: What :func:`explain_error` says of the program, or nothing.
    """

    rows: list[Row]
    loss: float
    mistake: str | None

    def __str__(self) -> str:
        names = ["", "site", "distribution", "batch", "event", "plates", "scale", "mask"]
        names += ["log density", "loss term", "gradient"]
        table = [names]
        for row in self.rows:
            table.append(
                [
                    row.program,
                    row.name,
                    row.distribution,
                    str(list(row.batch_shape)),
                    str(list(row.event_shape)),
                    row.plates,
                    f"{row.scale:g}",
                    "yes" if row.masked else "no",
                    f"{row.log_density:.3f}",
                    f"{row.term:+.4f}",
                    f"{row.gradient:.3g}",
                ]
            )
        widths = [max(len(line[i]) for line in table) for i in range(len(names))]
        lines = ["  ".join(c.ljust(w) for c, w in zip(line, widths)).rstrip() for line in table]
        total = f"loss, the sum of its terms: {self.loss:.4f} nats per datum"
        beware = [f"Beware: {self.mistake}"] if self.mistake else []
        return "\n".join([*lines, total, *beware])


def inspect_step(vae: Any, x: Tensor, *, seed: int = 0, **known: Any) -> Step:
    r"""Takes apart one step of SVI: every site of guide and model, and what it adds to the loss.

    .. math:: -\mathcal{L} = \frac{1}{B} \left( \sum \log q(z \mid x) - \sum \log p(z)
        - \sum \log p(x \mid z) \right)

    Samples are those of :class:`pyro.infer.Trace_ELBO` under the same seed, and so is the loss,
    divided by the number of data; to the precision of the dtype, 1e-6 in double. Nothing is
    changed: no parameter, running mean or random state, nothing in Pyro's param store.

    Arguments:
        vae: A VAE, or a pair of Pyro model and guide.
        x: A batch of data, of shape `(B, *x_shape)`.
        seed: Seeds the samples.
        known: Further inputs of both programs.

    Returns:
        The step; printed, it is a table.

    Raises:
        ValueError: The programs do not run on these data; the message is that of
            :func:`explain_error`.

    Example:
        >>> import pyro_vae as pv
        >>> from pyro_vae.exact import linear_gaussian
        >>> step = inspect_step(linear_gaussian(dim=5, latent_dim=2, sigma=0.5), torch.zeros(8, 5))
        >>> [(row.program, row.name, row.batch_shape, row.event_shape) for row in step.rows]
        [('guide', 'z', (8,), (2,)), ('model', 'z', (8,), (2,)), ('model', 'x', (8,), (5,))]
    """
    program = as_program(vae)
    mistake = explain_error(program, x, **known)
    with untouched(program, seed):
        case = Case(program, x, known)
        if case.q.error or case.p.error:
            raise ValueError(mistake) from case.failure
        parameters = [p for p in case.parameters if p.requires_grad]
        try:
            rows = [
                _row(where, name, site, len(x), parameters)
                for where, run in (("guide", case.q), ("model", case.p))
                for name, site in sample_sites(run.trace).items()
            ]
        except (RuntimeError, AttributeError) as error:  # a density that takes no such value
            raise ValueError(mistake or str(error)) from error
    return Step(rows, sum(row.term for row in rows), mistake)


def _row(program: str, name: str, site: Any, count: int, parameters: list[Tensor]) -> Row:
    density = scale_and_mask(site["fn"].log_prob(site["value"]), site["scale"], site["mask"]).sum()
    term = (density if program == "guide" else -density) / count
    norm = 0.0
    if term.requires_grad and parameters:
        slopes = torch.autograd.grad(term, parameters, retain_graph=True, allow_unused=True)
        norm = sum(float(g.square().sum()) for g in slopes if g is not None) ** 0.5
    return Row(
        program,
        name,
        name_of(site["fn"]),
        tuple(site["fn"].batch_shape),
        tuple(site["fn"].event_shape),
        ", ".join(frame.name for frame in site["cond_indep_stack"]),
        float(torch.as_tensor(site["scale"], dtype=torch.float64).mean()),
        site["mask"] is not None or _masked(site["fn"]),
        float(density.detach()),
        float(term.detach()),
        norm,
    )


def _masked(d: Any) -> bool:
    inner = isinstance(d, torch.distributions.Independent) and _masked(d.base_dist)
    return inner or isinstance(d, MaskedDistribution)
