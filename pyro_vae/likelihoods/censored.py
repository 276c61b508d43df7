import pyro.distributions as dist
from torch import Tensor

from .. import distributions
from ..base import Likelihood
from ..distributions import Between
from ..distributions.partial import elements
from .location_scale import LocationScale
from .wrapper import Wrapper


class Censored(Wrapper):
    r"""Creates the likelihood of real numbers :math:`y_i` of which those beyond a limit were
    recorded as the limit, :math:`x_i = \min(\max(y_i, l), u)`.

    .. math:: p(x_i \mid z) = \begin{cases} P(y_i \leq l \mid z) & x_i = l \\
        P(y_i \geq u \mid z) & x_i = u \\ p_y(x_i \mid z) & \text{else} \end{cases}

    With a Gaussian it is the Tobit model. Means and samples are those of :math:`x`.

    References:
        | Estimation of Relationships for Limited Dependent Variables (Tobin, 1958)

    Arguments:
        family: The likelihood of :math:`y`: Gaussian, Laplace or StudentT.
        lower: The limit :math:`l` in the units of the data, or none.
        upper: The limit :math:`u`, or none.
    """

    formula = "p(x | z) = prod_i [P(y_i <= l) at l, P(y_i >= u) at u, else p(y_i = x_i)]"
    advice = "for real numbers cut off at a limit of detection or a ceiling: Tobit"
    support_name = "[lower, upper]"

    def __init__(
        self, family: Likelihood, lower: float | None = None, upper: float | None = None
    ) -> None:
        super().__init__(family)
        if not isinstance(family, LocationScale):
            raise ValueError(
                "Expected Gaussian, Laplace or StudentT inside of Censored; got "
                f"{type(family).__name__}."
            )
        if getattr(family, "sigma", "") == "optimal":
            raise ValueError(
                "Expected another sigma inside of Censored, where residuals do not tell the best "
                'one; got "optimal". Use "shared".'
            )
        self.lower, self.upper = lower, upper
        self.support = limits = Between(lower, upper)
        if lower is upper is None or not limits.lower_bound < limits.upper_bound:
            raise ValueError(
                "Expected a limit, lower or upper, or both with lower below upper; got "
                f"lower={lower} and upper={upper}."
            )

    def forward(self, z: Tensor) -> dist.Distribution:
        law = elements(self.family(z))
        return distributions.Censored(law, self.lower, self.upper).to_event(self.event_dim)
