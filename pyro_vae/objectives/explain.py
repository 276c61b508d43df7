r"""The derivation of a model's loss from its three assumptions, which can be evaluated."""

from collections.abc import Mapping
from math import log, pi
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

from ..distributions import name_of
from ..programs import Sites, density, density_of, device_of, family_of, traces, wants_rows
from ..randomness import apart
from .kl import WRAPPERS, closed_sites, kl_divergence
from .planner import Plan, plan


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
        "mu and sigma are those of the posterior, m and s those of the prior.",
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
        kls: For each latent site the formula of a feature of its KL term, or none.
    """

    text: str
    latex: str
    vae: Any
    plan: Plan
    reconstruction: Formula | None
    kls: dict[str, Formula | None]

    @property
    def kl(self) -> Formula | None:
        r"""The formula of a feature of the KL term of the first latent site, or none."""
        return next(iter(self.kls.values()))

    @torch.no_grad()
    def evaluate(self, x: Tensor, seed: int = 0, **known: Any) -> float:
        r"""Returns the loss as the printed formulas give it, in nats per datum.

        A term without a formula of its own is asked of its distribution.

        Arguments:
            x: The data, of shape `(B, *x_shape)`.
            seed: Seeds the samples of :math:`z`, as ``torch.manual_seed`` before a step does.
            known: What the programs take besides.
        """
        vae, count = self.vae, self.plan.objective.num_particles
        if self.plan.estimator == "enumeration":
            raise ValueError("Expected a sampled bound; an enumerated one is a sum over z.")
        known = {name: value for name, value in known.items() if value is not None}
        with apart(x.device, seed):
            q, p = traces(vae.model, vae.guide, x, count, **known)
        closed = closed_sites(q, p)
        total = x.new_zeros(())
        for site, node in p.items():
            if node["is_observed"]:
                value = density(node)
                if site == "x" and self.reconstruction is not None:
                    value = _compute(self.reconstruction, {"": node["fn"]}, node["value"])
                total = total + value
            elif site in q:
                pair = {"q": q[site]["fn"], "p": node["fn"]}
                exact = kl_divergence(**pair) if self.plan.exact and closed[site] else None
                formula = self.kls.get(site)
                if formula is not None:
                    exact = _compute(formula, pair, None)
                drawn = density(q[site]) - density(node) if exact is None else exact
                total = total - drawn
        weights = total.expand(count, len(x))
        if self.plan.objective.bound == "importance weighted":
            power = 1 - getattr(self.plan.objective, "alpha", 0.0)
            return -float(((power * weights).logsumexp(0) - log(count)).mean() / power)
        return -float(weights.mean())


def explain(
    vae: Any, x: Tensor | None = None, *, known: Mapping[str, Any] | None = None, **options: Any
) -> Derivation:
    r"""Derives the loss of a VAE from its three assumptions.

    Arguments:
        vae: The VAE, or another module with a Pyro model and guide.
        x: Some data, of shape `(B, *x_shape)`; without them the model draws two.
        known: What the programs take besides, a row for each datum.
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
    chosen = plan(vae, x, known=known, **options)
    device = device_of(vae)
    with apart(device), torch.no_grad():
        seen: dict[str, Any] = {n: v[:2].to(device) for n, v in (known or {}).items()}
        x = vae.model(**(seen or {"batch_size": 2})) if x is None else x[:2]
        if wants_rows(vae):
            seen.setdefault("index", torch.arange(len(x), device=x.device))
        q, p = traces(vae.model, vae.guide, x, 1, **seen)
    closed = closed_sites(q, p)
    latent = [name for name, site in p.items() if name in q and not site["is_observed"]]
    observed = [name for name, site in p.items() if site["is_observed"]]
    symbols = _symbols(vae, latent, observed)
    law = p["x" if "x" in p else observed[-1]]["fn"]
    reconstruction = DENSITIES.get(_kind(_element(law)))
    kls: dict[str, Formula | None] = {}
    for site in latent:
        kinds = (_kind(_element(q[site]["fn"])), _kind(_element(p[site]["fn"])))
        kls[site] = DIVERGENCES.get(kinds) if chosen.exact and closed[site] else None

    rows = []
    for role, names, sites in (
        ("prior", latent, p),
        ("likelihood", observed, p),
        ("posterior", [n for n in q if n in latent], q),
    ):
        for site in names:
            family = family_of(vae, role, site)  # type: ignore[arg-type]
            told = f"{type(family).__name__}: " if family is not None else ""
            rows.append((symbols[role, site], f"{told}{name_of(sites[site]['fn'])}"))
    width = max(9, *(len(symbol) for symbol, _ in rows))
    text = ["Three assumptions:", *(f"  {s:{width}s} {what}" for s, what in rows), ""]
    head, bound = _bound(vae, chosen, latent, observed, symbols)
    text += head
    latex = [r"\begin{align*}"]
    x_given = symbols["likelihood", "x" if "x" in p else observed[-1]]
    if bound:
        latex.append(rf"\log {_latex(evidence_of(vae))} &\geq {bound} \\")
    else:
        latex.append(r"\log p(x, z) &= \log p(x \mid z) + \log p(z), \quad z = f(x) \\")
    text += ["", "The reconstruction term:"]
    head_of = f"log {x_given} = sum over the elements of x of"
    text += _lines(reconstruction, head_of, f"log {x_given}")
    left = rf"\log {_latex(x_given)}"
    latex.append(
        rf"{left} &= \sum_i {reconstruction.latex} \\"
        if reconstruction
        else left + r" &= \log " + rf"\mathrm{{{name_of(law)}}}(x; f(z)) \\"
    )
    text += ["", "The KL term:" if len(latent) == 1 else "The KL terms:"]
    if not bound:
        text[-1] = "The term of the prior:"
        text += [f"  log p(z) of {name_of(p[latent[0]]['fn'])}"]
        latex[-1] = latex[-1].removesuffix(r" \\")
    else:
        lines = []
        for site in latent:
            pair = q[site]["fn"], p[site]["fn"]
            words, formula = _kl_lines(site, latent, q, pair, kls[site], closed[site], chosen)
            text += words
            lines.append(formula)
        latex.append(" \\\\\n".join(lines))
    latex.append(r"\end{align*}")
    text += [
        "",
        "The loss is minus the bound, averaged over the batch, in nats per datum.",
        chosen.why,
    ]
    return Derivation("\n".join(text), "\n".join(latex), vae, chosen, reconstruction, kls)


def _symbols(vae: Any, latent: list[str], observed: list[str]) -> dict[tuple[str, str], str]:
    r"""What densities are called: p(z1 | z2), by role and site."""
    defaults = {"prior": (), "likelihood": (*latent,), "posterior": ("x",)}
    found = {}
    for role, names in (("prior", latent), ("likelihood", observed), ("posterior", latent)):
        for site in names:
            family = family_of(vae, role, site)  # type: ignore[arg-type]
            parents = getattr(family, "parents", None)
            parents = defaults[role] if parents is None else parents
            given = f" | {', '.join(parents)}" if parents else ""
            found[role, site] = f"{'q' if role == 'posterior' else 'p'}({site}{given})"
    return found


def _bound(
    vae: Any,
    chosen: Plan,
    latent: list[str],
    observed: list[str],
    symbols: dict[tuple[str, str], str],
) -> tuple[list[str], str]:
    r"""The bound in words and in LaTeX, or what stands in its place where there is none."""
    likelihood = " ".join(symbols["likelihood", site] for site in observed)
    prior = " ".join(symbols["prior", site] for site in latent)
    guide = " ".join(symbols["posterior", site] for site in latent)
    z, one = ", ".join(latent), len(latent) == 1
    x = evidence_of(vae)
    if chosen.objective.bound == "importance weighted":
        k = {s: s.replace(z, f"{z}_k") if one else s for s in (likelihood, prior, guide)}
        weight = rf"\frac{{{_latex(k[likelihood])} {_latex(k[prior])}}}{{{_latex(k[guide])}}}"
        return [
            f"The bound, datum by datum, with {f'{z}_k' if one else z} ~ {guide}:",
            f"  log {x} >= E log 1/K sum_k w_k,  w_k = {k[likelihood]} {k[prior]} / {k[guide]}",
        ], rf"\mathbb{{E}} \log \frac{{1}}{{K}} \sum_k {weight}"
    if density_of(vae) == "none":
        return [
            "No bound: a point has no density. What training maximizes, datum by datum, is",
            "  log p(x, z) = log p(x | z) + log p(z)  at  z = f(x)",
        ], ""
    kl = f"KL({guide} || {prior})" if one else " - ".join(f"KL_{site}" for site in latent)
    under = rf"q({_latex(z)} \mid x)" if one else "q"
    kl_latex = rf"\mathrm{{KL}}({_latex(guide)} \,\|\, {_latex(prior)})"
    if not one:
        kl_latex = " - ".join(rf"\mathrm{{KL}}_{{{site}}}" for site in latent)
    return [
        "The bound, by Jensen's inequality, datum by datum:",
        f"  log {x} = log E_q [{likelihood} {prior} / {guide}]",
        f"  {' ' * len(x)}     >= E_q log {likelihood} - {kl}",
    ], rf"\mathbb{{E}}_{{{under}}} \log {_latex(likelihood)} - {kl_latex}"


def _kl_lines(
    site: str,
    latent: list[str],
    q: Sites,
    pair: tuple[Any, Any],
    formula: Formula | None,
    closed: bool,
    chosen: Plan,
) -> tuple[list[str], str]:
    r"""The KL term of a site in words and in LaTeX."""
    one = len(latent) == 1
    label = "KL(q || p)" if one else f"KL_{site}"
    symbol = r"\mathrm{KL}(q \,\|\, p)" if one else rf"\mathrm{{KL}}_{{{site}}}"
    if formula is not None:
        lines = _lines(formula, f"{label} = sum over the latent features of", "")
        return lines, rf"{symbol} &= \sum_l {formula.latex}"
    listed = getattr(chosen.objective, "supervision", None) is not None
    if listed and not pair[0].has_rsample:
        how = "summed over all its values"
    elif (chosen.exact or listed) and closed and kl_divergence(*pair) is not None:
        how = "known in closed form"
    elif not closed:
        later = [other for other in latent if [*q].index(other) > [*q].index(site)]
        how = f"from samples: p({site}) is given {', '.join(later)}, drawn after it by the guide"
    else:
        how = f"from samples: log q({site} | x) - log p({site})"
    sampled = rf"\mathbb{{E}}_{{q}} [\log q({site} \mid x) - \log p({site})]"
    text = f"  {label} of {name_of(pair[0])} and {name_of(pair[1])}, {how}"
    return [text], rf"{symbol} &= {sampled}"


def evidence_of(vae: Any) -> str:
    r"""What the bound is about: p(x), or p(x | c) of a model under conditions."""
    conditions = ", ".join(getattr(vae, "conditions", ()))
    return f"p(x | {conditions})" if conditions else "p(x)"


def _latex(symbol: str) -> str:
    return symbol.replace(" | ", r" \mid ")


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
