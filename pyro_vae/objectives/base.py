r"""What an objective is."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Literal

from torch import Tensor, nn

from ..programs import Gradient, Terms, Weights, weigh

ESTIMATORS: dict[str, "type[Objective]"] = {}
r"""The estimators by their names in recipes."""


class Objective(nn.Module, ABC):
    r"""Abstract estimator of a bound on :math:`\log p(x)`, for any Pyro model and guide.

    Parameters and buffers, such as those of a baseline, belong to the objective: training
    optimizes and saves them beside the model's.

    Arguments:
        num_particles: The number `K` of samples of :math:`z` per datum.

    Attributes:
        name: Its name in recipes; a class that has one can be named in ``train.estimator``.
        advice: What it maximizes and when to use it, in one line.
        needs: What the planner asks of model and guide: a ``"path"`` for gradients through
            samples; a ``"density"`` of the guide; a ``"foreign density"``, of any value; a
            ``"list"`` of all values of a latent variable; ``"one vector"`` of latent features,
            given x alone; independent ``"features"``; ``"draws of the prior"`` with gradients.
        bound: ``"ELBO"``, or ``"importance weighted"``, which has no KL term to weigh.
        max_plate_nesting: How deep the programs nest their plates; several particles are in a
            plate to the left of these.
        num_data: How many data there are in all, which training says; without it those of a batch
            are all.
    """

    name: str = ""
    advice: str = ""
    needs: tuple[str, ...] = ()
    bound: Literal["ELBO", "importance weighted"] = "ELBO"
    max_plate_nesting: int = 1
    num_data: int | None = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "name" in vars(cls):
            ESTIMATORS[cls.name] = cls

    def __init__(self, num_particles: int = 1) -> None:
        super().__init__()
        self.num_particles = num_particles

    def prepare(self, guide: Callable, x: Tensor, **kwargs: Any) -> None:
        r"""Finds out from a few data what is the same in all steps, before one is recorded."""

    @property
    def samples(self) -> str:
        r"""How many samples of z it draws, in words."""
        return f"{self.num_particles} sample{'s' if self.num_particles > 1 else ''}"

    @property
    def summary(self) -> str:
        r"""What it maximizes, in a few words."""
        bound = "ELBO, by" if self.bound == "ELBO" else "importance weighted bound of"
        return f"{bound} {self.samples}"

    @abstractmethod
    def forward(self, model: Callable, guide: Callable, x: Tensor, **kwargs: Any) -> Terms:
        r"""
        Arguments:
            model: A Pyro program whose data are `x`, in a plate.
            guide: Its guide.
            x: The data, of shape `(B, *x_shape)`.
            kwargs: Passed to both programs.

        Returns:
            The loss, minus the bound averaged over the batch, and its terms.
        """

    def weigh(
        self,
        model: Callable,
        guide: Callable,
        x: Tensor,
        gradient: Gradient = "all",
        teach: bool = False,
        **kwargs: Any,
    ) -> Weights:
        r"""The log densities of this objective's particles, as :func:`weigh` returns them."""
        nesting = self.max_plate_nesting
        return weigh(
            model,
            guide,
            x,
            self.num_particles,
            gradient=gradient,
            max_plate_nesting=nesting,
            teach=teach,
            **kwargs,
        )
