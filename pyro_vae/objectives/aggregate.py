r"""An ELBO with a penalty on the aggregate posterior."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from torch import Tensor

from ..programs import Sites, Terms, check_gradients, traces
from .base import Objective
from .elbo import ELBO


class Penalty(NamedTuple):
    r"""What an objective takes from the bound, in words.

    Attributes:
        text: A formula for a terminal.
        latex: The same for a paper.
        remark: What its symbols are, a sentence.
    """

    text: str
    latex: str
    remark: str


class Aggregate(Objective):
    r"""Abstract ELBO minus a penalty on the aggregate posterior
    :math:`q(z) = \mathbb{E}_x q(z \mid x)`.

    The penalty is estimated from the batch. Loss and gradient have it; reconstruction and KL term
    of :class:`Terms`, and all figures of evaluation, are those of the plain ELBO.

    Arguments:
        num_particles: The number of samples of :math:`z` per datum.
        kl: ``"closed-form"`` where it is known, or ``"sampled"``.
    """

    def __init__(
        self, num_particles: int = 1, kl: Literal["closed-form", "sampled"] = "sampled"
    ) -> None:
        super().__init__(num_particles)
        self.elbo = ELBO(num_particles, kl)

    def forward(self, model: Callable, guide: Callable, x: Tensor, **kwargs: Any) -> Terms:
        r"""
        Raises:
            ValueError: The latent site is not reparameterized, or is not the only one.
        """
        nesting = self.max_plate_nesting
        q, p = traces(model, guide, x, self.num_particles, max_plate_nesting=nesting, **kwargs)
        check_gradients(q, p)
        terms = self.elbo.terms(x, q, p)
        return terms._replace(loss=terms.loss + self.penalty(q, p, latent_of(q, p)))

    @abstractmethod
    def penalty(self, q: Sites, p: Sites, site: str) -> Tensor:
        r"""The penalty, a 0-dim tensor in nats per datum, under the scales of the sites.

        Arguments:
            q: The sites of the guide.
            p: Those of the model.
            site: The latent one.
        """

    @property
    @abstractmethod
    def formula(self) -> Penalty:
        r"""The penalty in words."""

    @property
    def summary(self) -> str:
        r"""What it maximizes, in a few words."""
        return f"ELBO, by {self.samples}, minus {self.formula.text}"


def latent_of(q: Sites, p: Sites) -> str:
    r"""The one latent site.

    Raises:
        ValueError: There are several, or none, or its values are known for some data.
    """
    found = [n for n, site in p.items() if n in q and not site["is_observed"]]
    if len(found) != 1 or len(q) != 1 or q[found[0]]["mask"] is not None:
        raise ValueError(
            "Expected one latent site under a penalty on the aggregate posterior; got "
            f"{', '.join(q) or 'none'}. Use the ELBO."
        )
    return found[0]
