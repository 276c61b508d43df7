r"""The ELBO with weights on the three parts of its KL term."""

from typing import Literal

from torch import Tensor

from ..counted import counted
from ..programs import Sites
from .aggregate import Aggregate, Penalty
from .decomposition import CORRELATION, CORRELATION_LATEX, kl_parts, stratified, weighted
from .elbo import mean_scale


class BetaTCVAE(Aggregate):
    r"""Creates the ELBO whose KL term has a weight on each of its three parts.

    .. math::
        \mathcal{L} - (\alpha - 1) \, I_q(x; z)
            - (\beta - 1) \, \mathrm{KL}(q(z) \,\|\, \prod_j q(z_j))
            - (\gamma - 1) \sum_j \mathrm{KL}(q(z_j) \,\|\, p(z_j))

    Weights of 1 are the ELBO :math:`\mathcal{L}`, to the bit: only what they differ by is
    estimated, from the samples of the batch (:func:`pyro_vae.objectives.kl_parts`). The
    estimate of the aggregate posterior :math:`q(z)` from `B` of `N` data has no bias if
    stratified; its logarithm is too low by Jensen's inequality, so that mutual information is
    estimated too high, up to :math:`\log N`, and total correlation too high or too low. With all
    data in one batch both are exact. :func:`pyro_vae.evaluate.kl_terms` measures the
    parts without this bias.

    References:
        | Isolating Sources of Disentanglement in VAEs (Chen et al., 2018), Eq. 2, App. C
        | https://arxiv.org/abs/1802.04942

    Arguments:
        num_particles: The number of samples of :math:`z` per datum.
        kl: ``"closed-form"`` where it is known, or ``"sampled"``, for the KL term of the ELBO.
        tc_weight: The weight :math:`\beta` of the total correlation.
        mi_weight: The weight :math:`\alpha` of the mutual information.
        dimension_weight: The weight :math:`\gamma` of the dimension-wise KL.
        tc_sampling: Aggregate posteriors from minibatches: ``"stratified"``, or ``"weighted"`` as
            in the experiments of the paper, whose logarithm is lower still.
    """

    name = "beta-tcvae"
    advice = "the ELBO with more weight on the total correlation, so that features are independent"
    needs = ("path", "one vector", "foreign density", "features")

    @counted
    def __init__(
        self,
        num_particles: int = 1,
        kl: Literal["closed-form", "sampled"] = "sampled",
        *,
        tc_weight: float = 6.0,
        mi_weight: float = 1.0,
        dimension_weight: float = 1.0,
        tc_sampling: Literal["stratified", "weighted"] = "stratified",
    ) -> None:
        super().__init__(num_particles, kl)
        self.tc_weight, self.mi_weight = tc_weight, mi_weight
        self.dimension_weight, self.tc_sampling = dimension_weight, tc_sampling

    def penalty(self, q: Sites, p: Sites, site: str) -> Tensor:
        z = q[site]["value"]
        batch_size = z.shape[-2]
        num_data = max(self.num_data or batch_size, batch_size)
        sampling = stratified if self.tc_sampling == "stratified" else weighted
        weights = sampling(batch_size, num_data, z)
        parts = kl_parts(q[site]["fn"], p[site]["fn"], z, weights)
        prices = (self.mi_weight - 1, self.tc_weight - 1, self.dimension_weight - 1)
        total = sum(price * part.mean() for price, part in zip(prices, parts))
        return mean_scale(p[site]["scale"]) * total

    @property
    def formula(self) -> Penalty:
        parts = {
            "I(x; z)": (self.mi_weight, "I_q(x; z)"),
            CORRELATION: (self.tc_weight, CORRELATION_LATEX),
            "sum_j KL(q(z_j) || p(z_j))": (
                self.dimension_weight,
                r"\textstyle\sum_j \mathrm{KL}(q(z_j) \,\|\, p(z_j))",
            ),
        }
        extra = {text: (w - 1, latex) for text, (w, latex) in parts.items() if w != 1}
        text = " + ".join(f"{w:g} {name}" for name, (w, _) in extra.items()) or "0"
        return Penalty(
            f"({text})" if len(extra) > 1 else text,
            rf"\left({' + '.join(rf'{w:g} {latex}' for w, latex in extra.values()) or '0'}\right)",
            f"On average over data the KL term is {' + '.join(parts)}.",
        )
