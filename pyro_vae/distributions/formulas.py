r"""Log densities and divergences of one element as formulas, for people and for evaluation.

A formula is one expression, in Python's notation; its LaTeX is derived from it.
"""

import ast
from math import log, pi
from typing import Any, NamedTuple

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

WRAPPERS = (torch.distributions.Independent, dist.MaskedDistribution, dist.ExpandedDistribution)


class Formula(NamedTuple):
    r"""A formula of one element.

    Attributes:
        expression: The formula in Python's notation; `x` is the element.
        symbols: For each symbol the attribute of a distribution that it stands for.
        remark: What else there is to say.
    """

    expression: str
    symbols: dict[str, str]
    remark: str = ""

    @property
    def latex(self) -> str:
        r"""The formula in LaTeX."""
        return _latex(ast.parse(self.expression, mode="eval").body)


SQUARED = (
    "Squared error comes from here: its sum over x is this density with sigma^2 = 1/2, its mean "
    "over D elements the one with sigma^2 = D/2."
)
DENSITIES = {
    "Normal": Formula(
        "-(x - f)**2 / (2 * sigma**2) - log(sigma) - log(2 * pi) / 2",
        {"f": "loc", "sigma": "scale"},
        SQUARED,
    ),
    "Laplace": Formula(
        "-abs(x - f) / b - log(2 * b)",
        {"f": "loc", "b": "scale"},
        "Absolute error comes from here.",
    ),
    "StudentT": Formula(
        "lgamma((nu + 1) / 2) - lgamma(nu / 2) - log(nu * pi) / 2 - log(sigma)"
        " - (nu + 1) / 2 * log(1 + (x - f)**2 / (nu * sigma**2))",
        {"f": "loc", "sigma": "scale", "nu": "df"},
    ),
    "Bernoulli": Formula(
        "x * f - softplus(f)",
        {"f": "logits"},
        "Minus the binary cross-entropy of bits; of grey pixels it would be no density.",
    ),
    "ContinuousBernoulli": Formula(
        "x * f - log((exp(f) - 1) / f)",
        {"f": "logits"},
        "Minus the binary cross-entropy of grey pixels, with what makes it a density.",
    ),
    "Binomial": Formula(
        "lgamma(n + 1) - lgamma(x + 1) - lgamma(n - x + 1) + x * f - n * softplus(f)",
        {"n": "total_count", "f": "logits"},
        "n times the cross-entropy of the fraction x / n, with the number of ways.",
    ),
    "Levels": Formula(
        "pick(f, x) - logsumexp(f)", {"f": "logits"}, "Minus the cross-entropy of classes."
    ),
    "Poisson": Formula("x * log(rate) - rate - lgamma(x + 1)", {"rate": "rate"}),
    "NegativeBinomial": Formula(
        "lgamma(x + r) - lgamma(r) - lgamma(x + 1) + r * logsigmoid(-f) + x * logsigmoid(f)",
        {"r": "total_count", "f": "logits"},
    ),
    "Beta": Formula(
        "(a - 1) * log(x) + (b - 1) * log(1 - x) - lgamma(a) - lgamma(b) + lgamma(a + b)",
        {"a": "concentration1", "b": "concentration0"},
    ),
    "LogNormal": Formula(
        "-(log(x) - f)**2 / (2 * sigma**2) - log(sigma) - log(2 * pi) / 2 - log(x)",
        {"f": "loc", "sigma": "scale"},
        "A Normal density of log(x), and the Jacobian 1 / x.",
    ),
    "Gamma": Formula(
        "a * log(a / m) + (a - 1) * log(x) - a * x / m - lgamma(a)",
        {"a": "concentration", "m": "mean"},
    ),
}
DIVERGENCES = {
    ("Normal", "Normal"): Formula(
        "log(s / sigma) + (sigma**2 + (mu - m)**2) / (2 * s**2) - 1 / 2",
        {"mu": "q.loc", "sigma": "q.scale", "m": "p.loc", "s": "p.scale"},
        "mu and sigma are those of the posterior, m and s those of the prior.",
    ),
    ("Bernoulli", "Bernoulli"): Formula(
        "mu * log(mu / m) + (1 - mu) * log((1 - mu) / (1 - m))", {"mu": "q.probs", "m": "p.probs"}
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


def density_formula(law: Any) -> Formula | None:
    r"""The log density of one element of a distribution, or None where it is not known here."""
    return DENSITIES.get(type(element_of(law)).__name__)


def divergence_formula(q: Any, p: Any) -> Formula | None:
    r"""The KL divergence of one element of two distributions, or None."""
    kinds = (type(element_of(q)).__name__, type(element_of(p)).__name__)
    return DIVERGENCES.get(kinds)


def element_of(law: Any) -> Any:
    r"""The distribution of one element."""
    while isinstance(law, WRAPPERS):
        law = law.base_dist
    return law


def compute(formula: Formula, laws: dict[str, Any], x: Tensor | None) -> Tensor:
    r"""Evaluates a formula and sums it over the event.

    Arguments:
        formula: The formula.
        laws: The distributions by the names before the dots of its symbols, ``""`` without one.
        x: The value.

    Returns:
        Its sum over the event, of shape `batch_shape`.
    """
    values: dict[str, Any] = {} if x is None else {"x": x}
    event = 0
    for symbol, path in formula.symbols.items():
        which, _, attribute = path.rpartition(".")
        values[symbol] = getattr(element_of(laws[which]), attribute)
        event = len(laws[which].event_shape)
    result = eval(formula.expression, {"__builtins__": {}}, {**FUNCTIONS, **values})
    return result.flatten(-event).sum(-1) if event else result


GREEK = ("alpha", "lambda", "mu", "nu", "pi", "sigma")
CALLS = {
    "abs": "|{0}|",
    "exp": "e^{{{0}}}",
    "lgamma": r"\log \Gamma({0})",
    "log": r"\log({0})",
    "logsigmoid": r"\log \mathrm{{sigmoid}}({0})",
    "logsumexp": r"\log \sum_j e^{{{0}_j}}",
    "pick": "{0}_{1}",
    "softplus": r"\log(1 + e^{{{0}}})",
}


def _latex(node: ast.expr, needed: int = 0) -> str:
    r"""A node in LaTeX, in parentheses where it binds more loosely than what is `needed`: sums 1,
    products 2, powers 3."""
    match node:
        case ast.Constant(value):
            return str(value)
        case ast.Name("rate"):
            return r"\lambda"
        case ast.Name(name):
            return rf"\{name}" if name in GREEK else name
        case ast.Call(ast.Name(name), arguments):
            return CALLS[name].format(*map(_latex, arguments))
        case ast.BinOp(left, ast.Div(), right):
            return rf"\frac{{{_latex(left)}}}{{{_latex(right)}}}"
        case ast.UnaryOp(ast.USub(), operand):
            binds, text = 1, f"-{_latex(operand, 2)}"
        case ast.BinOp(left, ast.Pow(), right):
            binds, text = 3, f"{_latex(left, 4)}^{{{_latex(right)}}}"
        case ast.BinOp(left, ast.Mult(), right):
            binds, text = 2, f"{_latex(left, 2)} {_latex(right, 2)}"
        case ast.BinOp(left, ast.Add(), right):
            binds, text = 1, f"{_latex(left, 1)} + {_latex(right, 1)}"
        case ast.BinOp(left, ast.Sub(), right):
            binds, text = 1, f"{_latex(left, 1)} - {_latex(right, 2)}"
        case _:
            raise ValueError(
                f"Expected arithmetic and {', '.join(CALLS)}; got {ast.unparse(node)}."
            )
    return f"({text})" if binds < needed else text
