r"""The derivation of a model's loss from its three assumptions, which can be evaluated."""

from math import log, pi
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

from ..programs import density, traces
from ..randomness import apart
from .kl import WRAPPERS, kl_divergence
from .planner import IMPORTANCE_WEIGHTED, Plan, name, plan


class Formula(NamedTuple):
    r"""A log density of one element: for people, for evaluation, and in words."""

    latex: str
    expression: str
    symbols: dict[str, str]
    remark: str = ""


SQUARED = (
    "Squared error comes from here: its sum over x is this density with sigma^2 = 1/2, its mean "
    "over D elements the one with sigma^2 = D/2."
)
DENSITIES = {
    "Normal": Formula(
        r"-\frac{(x - f)^2}{2 \sigma^2} - \log \sigma - \frac{1}{2} \log 2 \pi",
        "-(x - f)**2 / (2 * sigma**2) - log(sigma) - log(2 * pi) / 2",
        {"f": "loc", "sigma": "scale"},
        SQUARED,
    ),
    "Laplace": Formula(
        r"-\frac{|x - f|}{b} - \log 2 b",
        "-abs(x - f) / b - log(2 * b)",
        {"f": "loc", "b": "scale"},
        "Absolute error comes from here.",
    ),
    "StudentT": Formula(
        r"\log \frac{\Gamma((\nu + 1) / 2)}{\Gamma(\nu / 2)} - \frac{1}{2} \log \nu \pi"
        r" - \log \sigma - \frac{\nu + 1}{2} \log\left(1 + \frac{(x - f)^2}{\nu \sigma^2}\right)",
        "lgamma((nu + 1) / 2) - lgamma(nu / 2) - log(nu * pi) / 2 - log(sigma)"
        " - (nu + 1) / 2 * log(1 + (x - f)**2 / (nu * sigma**2))",
        {"f": "loc", "sigma": "scale", "nu": "df"},
    ),
    "Bernoulli": Formula(
        r"x f - \log(1 + e^f)",
        "x * f - softplus(f)",
        {"f": "logits"},
        "Minus the binary cross-entropy of bits; of grey pixels it would be no density.",
    ),
    "ContinuousBernoulli": Formula(
        r"x f - \log \frac{e^f - 1}{f}",
        "x * f - log((exp(f) - 1) / f)",
        {"f": "logits"},
        "Minus the binary cross-entropy of grey pixels, with what makes it a density.",
    ),
    "Binomial": Formula(
        r"\log \binom{n}{x} + x f - n \log(1 + e^f)",
        "lgamma(n + 1) - lgamma(x + 1) - lgamma(n - x + 1) + x * f - n * softplus(f)",
        {"n": "total_count", "f": "logits"},
        "n times the cross-entropy of the fraction x / n, with the number of ways.",
    ),
    "Levels": Formula(
        r"f_x - \log \sum_j e^{f_j}",
        "pick(f, x) - logsumexp(f)",
        {"f": "logits"},
        "Minus the cross-entropy of classes.",
    ),
    "Poisson": Formula(
        r"x \log \lambda - \lambda - \log x!",
        "x * log(rate) - rate - lgamma(x + 1)",
        {"rate": "rate"},
    ),
    "NegativeBinomial": Formula(
        r"\log \frac{\Gamma(x + r)}{\Gamma(r) \, x!} + r \log \sigma(-f) + x \log \sigma(f)",
        "lgamma(x + r) - lgamma(r) - lgamma(x + 1) + r * logsigmoid(-f) + x * logsigmoid(f)",
        {"r": "total_count", "f": "logits"},
    ),
    "Beta": Formula(
        r"(a - 1) \log x + (b - 1) \log(1 - x) - \log \mathrm{B}(a, b)",
        "(a - 1) * log(x) + (b - 1) * log(1 - x) - lgamma(a) - lgamma(b) + lgamma(a + b)",
        {"a": "concentration1", "b": "concentration0"},
    ),
}
DIVERGENCES = {
    ("Normal", "Normal"): Formula(
        r"\log \frac{s}{\sigma} + \frac{\sigma^2 + (\mu - m)^2}{2 s^2} - \frac{1}{2}",
        "log(s / sigma) + (sigma**2 + (mu - m)**2) / (2 * s**2) - 1 / 2",
        {"mu": "q.loc", "sigma": "q.scale", "m": "p.loc", "s": "p.scale"},
        "mu and sigma are those of q(z | x), m and s those of p(z).",
    ),
    ("Bernoulli", "Bernoulli"): Formula(
        r"\mu \log \frac{\mu}{m} + (1 - \mu) \log \frac{1 - \mu}{1 - m}",
        "mu * log(mu / m) + (1 - mu) * log((1 - mu) / (1 - m))",
        {"mu": "q.probs", "m": "p.probs"},
    ),
}
FUNCTIONS = {
    "abs": torch.abs,
    "exp": torch.exp,
    "lgamma": torch.lgamma,
    "log": lambda v: torch.log(v) if isinstance(v, Tensor) else log(v),
    "logsigmoid": logsigmoid,
    "logsumexp": lambda f: f.logsumexp(-1),
    "pi": pi,
    "pick": lambda f, x: f.gather(-1, x.long()[..., None])[..., 0],
    "softplus": softplus,
}


class Derivation(NamedTuple):
    r"""How a loss follows from three assumptions.

    Attributes:
        text: For a terminal.
        latex: For a paper.
        vae: The VAE that it is about.
        plan: The estimator of its bound.
        reconstruction: The formula of an element of :math:`\log p(x \mid z)`, or none.
        kl: The formula of a feature of the KL term, or none.
    """

    text: str
    latex: str
    vae: Any
    plan: Plan
    reconstruction: Formula | None
    kl: Formula | None

    @torch.no_grad()
    def evaluate(self, x: Tensor, seed: int = 0, index: Tensor | None = None) -> float:
        r"""Returns the loss as the printed formulas give it, in nats per datum.

        A term without a formula of its own is asked of its distribution.

        Arguments:
            x: The data, of shape `(B, *x_shape)`.
            seed: Seeds the samples of :math:`z`, as ``torch.manual_seed`` before a step does.
            index: The row numbers, for posteriors that want them.
        """
        vae, count = self.vae, self.plan.objective.num_particles
        with apart(x.device, seed):
            q, p = traces(vae.model, vae.guide, x, count, index=index)
        site, z_q, z_p = p["x"], q["z"], p["z"]
        likelihood = density(site)
        if self.reconstruction is not None:
            likelihood = _compute(self.reconstruction, {"": site["fn"]}, site["value"])
        kl = density(z_q) - density(z_p)
        if self.kl is not None:
            kl = _compute(self.kl, {"q": z_q["fn"], "p": z_p["fn"]}, None)
        elif self.plan.exact:
            kl = _known(kl_divergence(z_q["fn"], z_p["fn"]))
        if self.plan.estimator == "enumeration":
            raise ValueError("Expected a sampled bound; an enumerated one is a sum over z.")
        weights = (likelihood - kl).expand(count, len(x))
        if self.plan.estimator in IMPORTANCE_WEIGHTED:
            power = 1 - getattr(self.plan.objective, "alpha", 0.0)
            return -float(((power * weights).logsumexp(0) - log(count)).mean() / power)
        return -float(weights.mean())


def explain(vae: Any, x: Tensor | None = None, **options: Any) -> Derivation:
    r"""Derives the loss of a VAE from its three assumptions.

    Arguments:
        vae: The VAE.
        x: Some data, of shape `(B, *x_shape)`; without them the model draws two.
        options: The estimator and its options, as in :func:`plan`.

    Returns:
        The derivation, as text and LaTeX; it can be evaluated.

    Example:
        >>> import pyro_vae as pv
        >>> vae = pv.VAE(
        ...     pv.priors.StandardNormal(2),
        ...     pv.likelihoods.Bernoulli(pv.nn.MLP(2, [16], 5)),
        ...     pv.posteriors.MeanFieldNormal(pv.nn.MLP(5, [16], 4)),
        ... )
        >>> print(explain(vae).reconstruction.expression)
        x * f - softplus(f)
    """
    chosen = plan(vae, x, **options)
    device = next((p.device for p in vae.parameters()), torch.device("cpu"))
    with apart(device), torch.no_grad():
        x = vae.model(batch_size=2) if x is None else x[:2]
        index = torch.arange(len(x), device=x.device)
        q, p = traces(vae.model, vae.guide, x, 1, index=index)
    law, q_law, p_law = p["x"]["fn"], q["z"]["fn"], p["z"]["fn"]
    reconstruction = DENSITIES.get(_kind(_element(law)))
    kl = None
    if chosen.exact:
        kl = DIVERGENCES.get((_kind(_element(q_law)), _kind(_element(p_law))))

    rows = [
        ("p(z)", f"{type(vae.prior).__name__}: {name(p_law)}"),
        ("p(x | z)", f"{type(vae.likelihood).__name__}: {name(law)}"),
        ("q(z | x)", f"{type(vae.posterior).__name__}: {name(q_law)}"),
    ]
    text = ["Three assumptions:", *(f"  {symbol:9s} {what}" for symbol, what in rows), ""]
    latex = [r"\begin{align*}"]
    if chosen.estimator in IMPORTANCE_WEIGHTED:
        text += [
            "The bound, datum by datum, with z_k ~ q(z | x):",
            "  log p(x) >= E log 1/K sum_k w_k,  w_k = p(x | z_k) p(z_k) / q(z_k | x)",
        ]
        bound = r"\mathbb{E} \log \frac{1}{K} \sum_k \frac{p(x \mid z_k) p(z_k)}{q(z_k \mid x)}"
    elif vae.posterior.density == "none":
        text += [
            "No bound: a point has no density. What training maximizes, datum by datum, is",
            "  log p(x, z) = log p(x | z) + log p(z)  at  z = f(x)",
        ]
        bound = ""
    else:
        text += [
            "The bound, by Jensen's inequality, datum by datum:",
            "  log p(x) = log E_q [p(x | z) p(z) / q(z | x)]",
            "          >= E_q log p(x | z) - KL(q(z | x) || p(z))",
        ]
        bound = (
            r"\mathbb{E}_{q(z \mid x)} \log p(x \mid z)"
            r" - \mathrm{KL}(q(z \mid x) \,\|\, p(z))"
        )
    if bound:
        latex.append(rf"\log p(x) &\geq {bound} \\")
    else:
        latex.append(r"\log p(x, z) &= \log p(x \mid z) + \log p(z), \quad z = f(x) \\")
    text += ["", "The reconstruction term:"]
    text += _lines(reconstruction, "log p(x | z) = sum over the elements of x of", "log p(x | z)")
    latex.append(
        rf"\log p(x \mid z) &= \sum_i {reconstruction.latex} \\"
        if reconstruction
        else r"\log p(x \mid z) &= \log " + rf"\mathrm{{{name(law)}}}(x; f(z)) \\"
    )
    text += ["", "The KL term:" if bound else "The term of the prior:"]
    if not bound:
        text += [f"  log p(z) of {name(p_law)}"]
        latex[-1] = latex[-1].removesuffix(r" \\")
    elif kl is not None:
        text += _lines(kl, "KL(q || p) = sum over the latent features of", "")
        latex.append(rf"\mathrm{{KL}}(q \,\|\, p) &= \sum_l {kl.latex}")
    else:
        how = "known in closed form" if chosen.exact else "from samples: log q(z | x) - log p(z)"
        text += [f"  KL(q || p) of {name(q_law)} and {name(p_law)}, {how}"]
        latex.append(r"\mathrm{KL}(q \,\|\, p) &= \mathbb{E}_{q} [\log q(z \mid x) - \log p(z)]")
    latex.append(r"\end{align*}")
    text += [
        "",
        "The loss is minus the bound, averaged over the batch, in nats per datum.",
        chosen.why,
    ]
    return Derivation("\n".join(text), "\n".join(latex), vae, chosen, reconstruction, kl)


def _known(kl: Tensor | None) -> Tensor:
    assert kl is not None  # the planner found it
    return kl


def _lines(formula: Formula | None, head: str, otherwise: str) -> list[str]:
    if formula is None:
        return [f"  {otherwise}, by the log_prob of its distribution"]
    lines = [f"  {head}", f"    {formula.expression}"]
    if any(symbol == "sigma" for symbol in formula.symbols):
        lines.append("  sigma is a standard deviation, never a variance.")
    return [*lines, f"  {formula.remark}"] if formula.remark else lines


def _element(d: Any) -> Any:
    r"""The distribution of one element."""
    while isinstance(d, (torch.distributions.Independent, *WRAPPERS)):
        d = d.base_dist
    return d


def _kind(d: Any) -> str:
    return type(d).__name__


def _compute(formula: Formula, laws: dict[str, Any], x: Tensor | None) -> Tensor:
    r"""Evaluates a formula's expression and sums it over the event."""
    values: dict[str, Any] = {} if x is None else {"x": x}
    event = 0
    for symbol, path in formula.symbols.items():
        which, _, attribute = path.rpartition(".")
        values[symbol] = getattr(_element(laws[which]), attribute)
        event = len(laws[which].event_shape)
    result = eval(formula.expression, {"__builtins__": {}}, {**FUNCTIONS, **values})
    return result.flatten(-event).sum(-1) if event else result
