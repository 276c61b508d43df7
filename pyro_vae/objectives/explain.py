r"""The derivation of a model's loss from its three assumptions, which can be evaluated."""

from collections.abc import Mapping
from math import log
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..distributions import name_of
from ..distributions.formulas import Formula, compute, density_formula, divergence_formula
from ..programs import Sites, density, density_of, device_of, family_of, traces
from ..randomness import apart
from .aggregate import Aggregate
from .enumeration import Enumeration
from .kl import closed_sites, kl_divergence
from .planner import Plan, drawn_sites, plan


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

        A term without a formula is computed by the ``log_prob`` of its distribution.

        Arguments:
            x: The data, of shape `(B, *x_shape)`.
            seed: Seeds the samples of :math:`z`, as ``torch.manual_seed`` before a step does.
            known: Further inputs of the programs.
        """
        vae, count = self.vae, self.plan.objective.num_particles
        if self.plan.estimator == "enumeration":
            raise ValueError("Expected a sampled bound; an enumerated one is a sum over z.")
        if isinstance(self.plan.objective, Aggregate):
            raise ValueError(
                f"Expected a bound of each datum; got {self.plan.estimator}, whose penalty is of "
                "the whole batch. Use the objective itself."
            )
        known = {name: value for name, value in known.items() if value is not None}
        with apart(x.device, seed):
            q, p = traces(vae.model, vae.guide, x, count, **known)
        closed = closed_sites(q, p)
        total = x.new_zeros(())
        for site, node in p.items():
            if node["is_observed"]:
                value = density(node)
                if site == "x" and self.reconstruction is not None:
                    value = compute(self.reconstruction, {"": node["fn"]}, node["value"])
                total = total + value
            elif site in q:
                pair = {"q": q[site]["fn"], "p": node["fn"]}
                exact = kl_divergence(**pair) if self.plan.exact and closed[site] else None
                formula = self.kls.get(site)
                if formula is not None:
                    exact = compute(formula, pair, None)
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
        known: Further inputs of the programs, one row per datum.
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
    seen = {name: value[:2].to(device) for name, value in (known or {}).items()}
    _, q, p = drawn_sites(vae, None if x is None else x[:2], seen)
    closed = closed_sites(q, p)
    latent = [name for name, site in p.items() if name in q and not site["is_observed"]]
    observed = [name for name, site in p.items() if site["is_observed"]]
    symbols = _symbols(vae, latent, observed)
    law = p["x" if "x" in p else observed[-1]]["fn"]
    reconstruction = density_formula(law)
    kls: dict[str, Formula | None] = {}
    for site in latent:
        exact = chosen.exact and closed[site]
        kls[site] = divergence_formula(q[site]["fn"], p[site]["fn"]) if exact else None

    head, bound = _bound(vae, chosen, latent, observed, symbols)
    text = ["Three assumptions:", *_assumptions(vae, q, p, latent, observed, symbols), "", *head]
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
    if options.get("kl_weight", 1.0) != 1:
        text += ["In training the KL term has a weight of its own; evaluation reports the bound."]
    what = "the bound"
    if isinstance(chosen.objective, Aggregate):
        what, penalty = "that", chosen.objective.formula
        text += ["", "Training maximizes the bound minus a penalty on the aggregate posterior,"]
        text += ["q(z) = E_x q(z | x), estimated from the batch:", f"  {penalty.text}"]
        text += [f"  {penalty.remark}"]
        latex[-1] += r" \\"
        latex.append(rf"\max \ & \mathbb{{E}}_x \mathcal{{L}}(x) - {penalty.latex}")
    latex.append(r"\end{align*}")
    text += ["", f"The loss is minus {what}, averaged over the batch, in nats per datum."]
    text.append(chosen.why)
    return Derivation("\n".join(text), "\n".join(latex), vae, chosen, reconstruction, kls)


def _assumptions(
    vae: Any,
    q: Sites,
    p: Sites,
    latent: list[str],
    observed: list[str],
    symbols: dict[tuple[str, str], str],
) -> list[str]:
    r"""A line for every density, with its family."""
    rows = []
    guided = [name for name in q if name in latent]
    roles = (("prior", latent, p), ("likelihood", observed, p), ("posterior", guided, q))
    for role, names, sites in roles:
        for site in names:
            family = family_of(vae, role, site)  # type: ignore[arg-type]
            label = f"{type(family).__name__}: " if family is not None else ""
            rows.append((symbols[role, site], f"{label}{name_of(sites[site]['fn'])}"))
    width = max(9, *(len(symbol) for symbol, _ in rows))
    return [f"  {symbol:{width}s} {law}" for symbol, law in rows]


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
    r"""The bound in words and in LaTeX, or what replaces it where there is none."""
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
    if hasattr(getattr(vae, "posterior", None), "codebook"):
        return [
            "The bound, datum by datum, is of one value: a point among codes has probability one,",
            f"  log {x} >= log p(x | z) + log p(z)  at the codes z next to f(x)",
        ], rf"{_latex(likelihood)} \, {_latex(prior)}"
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
    listed = chosen.estimator == Enumeration.name
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
    return [
        f"  {label} of {name_of(pair[0])} and {name_of(pair[1])}, {how}"
    ], rf"{symbol} &= {sampled}"


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
