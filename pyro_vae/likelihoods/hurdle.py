import pyro.distributions as dist
import torch
from torch import Tensor

from .. import distributions
from ..base import Decoded, Likelihood
from ..distributions import describe_support, shares, with_zero
from ..distributions.partial import elements
from .binomial import Binomial
from .negative_binomial import NegativeBinomial
from .poisson import Poisson
from .wrapper import Wrapper

COUNTS = (Poisson, NegativeBinomial, Binomial)


class Hurdle(Wrapper):
    r"""Creates :math:`\prod_i [(1 - h_i) \mathbb{1}(x_i = 0) + h_i \, p_+(x_i \mid z)]`.

    Whether :math:`x` is zero is one question, how much it is otherwise another: counts truncated
    at zero, or a density of positive numbers. Unlike in a zero-inflated law, all zeros are from
    one source.

    References:
        | Some Statistical Models for Limited Dependent Variables (Cragg, 1971)
        | Specification and Testing of Some Modified Count Data Models (Mullahy, 1986)

    Arguments:
        family: The likelihood of what is not zero: Poisson, NegativeBinomial, Binomial, LogNormal,
            Gamma or Beta. Its decoder returns one more number for each element, the logit of
            :math:`h`, after its own ones.
    """

    formula = "p(x | z) = prod_i [(1 - h_i) 1(x_i = 0) + h_i p(x_i) 1(x_i > 0) / P(x_i > 0)]"
    advice = "for counts or positive numbers with zeros that are a matter of their own"
    support_name = "0 or that of its family"

    outputs_per_element = 1

    def __init__(self, family: Likelihood) -> None:
        super().__init__(family)
        positive = getattr(family.support, "lower_bound", None) == 0
        if not isinstance(family, COUNTS) and (family.support.is_discrete or not positive):
            raise ValueError(
                "Expected Poisson, NegativeBinomial, Binomial or a likelihood of positive numbers "
                f"inside of Hurdle; got {type(family).__name__} on "
                f"{describe_support(family.support)}."
            )
        self.support = with_zero(family.support)

    def outputs_at(self, mean: Tensor) -> Tensor | None:
        return self.family.outputs_at(2 * mean)  # with half of the elements zero

    def forward(self, z: Tensor) -> dist.Distribution:
        dim, parts = -self.event_dim, self.num_outputs(self.family.num_outputs())
        *own, logits = shares(self.decode(z), parts, dim)
        law = elements(self.family(Decoded(torch.cat(own, dim))))
        return distributions.Hurdle(law, logits).to_event(self.event_dim)
