r"""The graph of each model as boxes and arrows, in SVG."""

from html import escape
from typing import NamedTuple

BOX, GAP, HEIGHT = 44, 30, 92
INK, COST, NOISE = "#222222", "#1f5fbf", "#b5531c"


class Graph(NamedTuple):
    r"""Boxes in a row, with an arrow from each to the next, and what training minimizes.

    Attributes:
        boxes: What stands in them.
        arrows: One between neighbours: ``">"`` a function, ``"~"`` a draw, ``"-"`` no direction,
            ``"="`` both ways.
        cost: What is minimized.
        back: What an arrow from the last box to the first says, if there is one.
    """

    boxes: tuple[str, ...]
    arrows: str
    cost: str
    back: str = ""


GRAPHS: dict[str, Graph] = {
    "VAE": Graph(("x", "q(z|x)", "z", "x̂"), ">~>", "-log p(x|z) + KL(q(z|x) ‖ p(z))"),
    "autoencoder": Graph(("x", "h", "x̂"), ">>", "L(x, x̂)"),
    "sparse autoencoder": Graph(("x", "h", "x̂"), ">>", "L(x, x̂) + λ |h|₁"),
    "denoising autoencoder": Graph(("x", "x̃", "h", "x̂"), "~>>", "L(x, x̂)"),
    "contractive autoencoder": Graph(("x", "h", "x̂"), ">>", "L(x, x̂) + c |∂h/∂x|²"),
    "GSN": Graph(("x", "x̃", "h", "x'"), "~~~", "-log p(x|h), at each step of the chain", "again"),
    "RBM": Graph(("v", "h"), "-", "F(v) - E F(v')"),
    "DBM": Graph(("v", "h₁", "h₂"), "--", "E(v, μ) - E E(v', h')"),
    "GAN": Graph(("ε", "G(ε)", "D", "real?"), ">>>", "D: tell x and G(ε) apart; G: do not let it"),
    "MADE": Graph(("x₁…ᵢ₋₁", "net", "xᵢ"), ">~", "-Σ log p(xᵢ | x₁…ᵢ₋₁)", "next i"),
    "PixelCNN": Graph(("x₁…ᵢ₋₁", "conv", "xᵢ"), ">~", "-Σ log p(xᵢ | x₁…ᵢ₋₁)", "next i"),
    "flow": Graph(("x", "f", "ε"), "==", "-log N(f(x)) - log |∂f/∂x|"),
    "diffusion": Graph(("x", "z₁", "…", "z_T"), "~~~", "|x - x̂(z_t)|², t by chance", "denoise"),
}
r"""The graphs, by the names of the gallery's members."""


def draw_graph(name: str) -> str:
    r"""Returns the graph of a member as SVG: draws are orange and dashed, the cost is blue."""
    graph = GRAPHS[name]
    widths = [max(BOX, 9 * len(box) + 12) for box in graph.boxes]
    width = sum(widths) + GAP * (len(widths) - 1) + 8
    room = max(width, 7 * len(graph.cost) + 8)
    parts, left, places = [], 4.0, []
    for box, size in zip(graph.boxes, widths):
        places.append((left, left + size))
        parts.append(
            f'<rect x="{left}" y="30" width="{size}" height="30" rx="5" fill="#fff" '
            f'stroke="{INK}"/><text x="{left + size / 2}" y="50" text-anchor="middle" '
            f'font-size="14">{escape(box)}</text>'
        )
        left += size + GAP
    for kind, before, after in zip(graph.arrows, places, places[1:]):
        parts.append(_arrow(kind, before[1], after[0]))
    if graph.back:
        first, last = sum(places[0]) / 2, sum(places[-1]) / 2
        parts.append(
            f'<path d="M{last},29 C{last},4 {first},4 {first},27" fill="none" stroke="{NOISE}" '
            f'stroke-dasharray="4 3" marker-end="url(#draw)"/><text x="{(first + last) / 2}" '
            f'y="9" text-anchor="middle" font-size="10" fill="{NOISE}">{escape(graph.back)}</text>'
        )
    parts.append(f'<text x="4" y="82" font-size="12" fill="{COST}">{escape(graph.cost)}</text>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{room:.0f}" height="{HEIGHT}" '
        f'font-family="sans-serif">{_heads()}{"".join(parts)}</svg>'
    )


def _arrow(kind: str, start: float, end: float) -> str:
    colour, marker = (NOISE, "draw") if kind == "~" else (INK, "step")
    dashes = ' stroke-dasharray="4 3"' if kind == "~" else ""
    head = "" if kind == "-" else f' marker-end="url(#{marker})"'
    tail = f' marker-start="url(#{marker})"' if kind == "=" else ""
    inset = 0 if kind == "-" else 2
    return (
        f'<line x1="{start + inset}" y1="45" x2="{end - inset}" y2="45" stroke="{colour}"'
        f"{dashes}{head}{tail}/>"
    )


def _heads() -> str:
    return (
        "<defs>"
        + "".join(
            f'<marker id="{name}" markerWidth="8" markerHeight="8" refX="7" refY="4" '
            f'orient="auto-start-reverse"><path d="M0,0 L8,4 L0,8 z" fill="{colour}"/></marker>'
            for name, colour in (("step", INK), ("draw", NOISE))
        )
        + "</defs>"
    )
