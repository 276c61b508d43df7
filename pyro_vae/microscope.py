r"""One step of variational inference under a microscope, and mistakes told in words.  (layer 5)"""

from typing import Any, NamedTuple

import pyro
import torch
from pyro import poutine
from pyro.distributions.util import scale_and_mask
from torch import Tensor

from .evaluate.program import as_program
from .mistakes import MISTAKES, Case
from .objectives.base import traces


class Row(NamedTuple):
    r"""What a step sees of a site.

    Attributes:
        program: ``"model"`` or ``"guide"``.
        name: The name of the site.
        distribution: What it samples from.
        batch_shape: Of the distribution: one for each plate.
        event_shape: Of one value.
        plates: The plates around it.
        scale: What handlers multiply its density by.
        masked: Whether a mask leaves some of it out.
        log_density: The sum of its log density over the batch, in nats.
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
    r"""One step: its rows, and the loss that they add up to, in nats per datum."""

    rows: list[Row]
    loss: float

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
        return "\n".join([*lines, total])


def inspect_step(vae: Any, x: Tensor, *, seed: int = 0, **known: Any) -> Step:
    r"""Takes one step of SVI apart: every site of guide and model, and what it adds to the loss.

    .. math:: -\mathcal{L} = \frac{1}{B} \left( \sum \log q(z \mid x) - \sum \log p(z)
        - \sum \log p(x \mid z) \right)

    Samples are those of :class:`pyro.infer.Trace_ELBO` under the same seed, and so is the loss,
    divided by the number of data. No parameter moves.

    Arguments:
        vae: A VAE, or a pair of Pyro model and guide.
        x: A batch of data, of shape `(B, *x_shape)`.
        seed: Seeds the samples.
        known: What both programs take besides.

    Returns:
        The step; printed, it is a table.

    Raises:
        ValueError: The programs do not fit each other or the data; in a sentence.
    """
    vae = as_program(vae)
    wrong = explain_error(vae, x, **known)
    if wrong is not None:
        raise ValueError(wrong)
    devices = [x.device] if x.device.type == "cuda" else []
    with torch.random.fork_rng(devices), torch.enable_grad(), pyro.validation_enabled(False):
        torch.manual_seed(seed)
        q, p = traces(vae.model, vae.guide, x, 1, **known)
        inside = _parameters(vae, x, known)
        rows = [_row("guide", n, s, len(x), inside) for n, s in q.items()]
        rows += [_row("model", n, s, len(x), inside) for n, s in p.items()]
    return Step(rows, sum(row.term for row in rows))


def explain_error(vae: Any, x: Tensor, **known: Any) -> str | None:
    r"""Says in one sentence what is wrong with a program and its data, and what to do.

    Knows the commonest mistakes of shapes, plates, supports and names; asks for each in the order
    in which a person would have to mend them. Nothing is trained and no parameter moves.

    Arguments:
        vae: A VAE, or a pair of Pyro model and guide.
        x: A batch of data, of shape `(B, *x_shape)`.
        known: What both programs take besides.

    Returns:
        A sentence, or nothing where no mistake was found.

    Example:
        >>> import pyro_vae as pv
        >>> vae = pv.VAE(
        ...     prior=pv.priors.StandardNormal(2),
        ...     likelihood=pv.likelihoods.Bernoulli(pv.nn.MLP(2, [16], 5)),
        ...     posterior=pv.posteriors.MeanFieldNormal(pv.nn.MLP(5, [16], 2)),
        ... )
        >>> print(explain_error(vae, torch.zeros(8, 5)))
        Expected z of one size in guide and model; got 1 and 2. ...
    """
    devices = [x.device] if isinstance(x, Tensor) and x.device.type == "cuda" else []
    with torch.random.fork_rng(devices), torch.no_grad(), pyro.validation_enabled(False):
        case = Case(as_program(vae), x, known)
        for mistake in MISTAKES:
            sentence = mistake(case)
            if sentence is not None:
                return sentence
    return None


def _parameters(vae: Any, x: Tensor, known: dict[str, Any]) -> list[Tensor]:
    r"""The parameters that both programs show."""
    with poutine.trace(param_only=True) as capture:
        vae.guide(x, **known)
        vae.model(x, **known)
    found = [
        site["value"].unconstrained() if hasattr(site["value"], "unconstrained") else site["value"]
        for site in capture.trace.nodes.values()
        if site["type"] == "param"
    ]
    return [p for p in found if p.requires_grad]


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
        _name(site["fn"]),
        tuple(site["fn"].batch_shape),
        tuple(site["fn"].event_shape),
        ", ".join(frame.name for frame in site["cond_indep_stack"]),
        float(torch.as_tensor(site["scale"])),
        site["mask"] is not None,
        float(density.detach()),
        float(term.detach()),
        norm,
    )


def _name(d: Any) -> str:
    while isinstance(d, torch.distributions.Independent):
        d = d.base_dist
    return type(d).__name__
