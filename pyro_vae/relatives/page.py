r"""The picture of the gallery: one HTML page, which needs no server."""

import base64
import io
from collections.abc import Sequence
from html import escape

from torch import Tensor

from ..evaluate.neighbours import Fidelity
from ..evaluate.pqmass import PQMass
from ..evaluate.two_sample import TwoSample
from ..statistics import Mean
from .graphs import draw_graph
from .portrait import Floor, Portrait

STYLE = """
body { font: 14px/1.4 sans-serif; margin: 2em auto; max-width: 1280px; color: #222; }
table { border-collapse: collapse; } td, th { padding: 6px 10px; vertical-align: middle;
border-bottom: 1px solid #ddd; text-align: left; } img { image-rendering: pixelated; }
.no { color: #888; } small { color: #666; }
"""
SHOWN = 32
HEAD = ("model", "samples", "log p(x)", "likeness of samples", "code and reconstruction", "cost")


def gallery_page(floor: Floor, members: Sequence[Portrait], note: str = "") -> str:
    r"""Returns the page.

    Arguments:
        floor: The data.
        members: The trained members.
        note: A sentence about how they were trained.
    """
    some = next((m.likeness for m in members if m.likeness is not None), None)
    rows = [_data_row(floor, some)] + [_row(member) for member in members]
    said = [why for member in members for why in member.can.values() if why.endswith(".")]
    lacking = "".join(f"<li>{escape(why)}</li>" for why in dict.fromkeys(said))
    head = "".join(f"<th>{escape(title)}</th>" for title in HEAD)
    return (
        "<!doctype html><html lang='en'><meta charset='utf-8'><title>The family</title>"
        f"<style>{STYLE}</style><h1>The VAE among its relatives</h1>"
        f"<p>{escape(floor.data)} as bits, {len(floor.train)} for training, {len(floor.rows)} "
        f"held out. {escape(note)}</p><p>In the graphs a solid arrow is a function, a dashed one "
        "a draw, a line has no direction; what training minimizes is blue. Errors are standard "
        "errors, over held-out data or by halves of samples and data. Precision is the share of "
        "samples that lie among held-out data, recall that of data among samples, in features of "
        "a classifier; chi² counts both in random regions, and is 1 for one law.</p>"
        f"<table><tr>{head}</tr>{''.join(rows)}</table>"
        f"<h2>What they lack, in their own words</h2><ul>{lacking}</ul></html>"
    )


def _data_row(floor: Floor, some: TwoSample | None) -> str:
    r"""The data, and what the two-sample figures are of other data."""
    likeness = ""
    if some is not None:
        likeness = _likeness(some.fidelity_floor, some.masses_floor)
    x = floor.rows.take(floor.rows.spread(SHOWN)).rows(slice(None))
    return _cells("<b>held-out data</b>", picture(x), "", likeness, "", "")


def _row(member: Portrait) -> str:
    drawn, density, likeness, code = _no(member, "sample"), _no(member, "log_prob"), "", ""
    if member.samples is not None:
        drawn = picture(member.samples[:SHOWN])
    if member.log_prob is not None:
        density = f"{_of(member.log_prob, 2)} nats<br><small>{member.can['log_prob']}</small>"
    elif not density:
        density = f"<small>{member.can['log_prob']}, of real pixels: not comparable</small>"
    if (found := member.likeness) is not None:
        likeness = _likeness(found.fidelity, found.masses)
    code = _no(member, "encode") or "code"
    if member.squared_error is not None:
        code += f", squared error<br>{_of(member.squared_error, 4)} per pixel"
    cost = f"{member.num_parameters:,} parameters<br>{member.seconds:.0f} CPU s"
    title = f"<b>{escape(member.name)}</b><br>{draw_graph(member.name)}"
    return _cells(title, drawn, density, likeness, code, cost)


def _no(member: Portrait, ability: str) -> str:
    return "<span class='no'>none</span>" if member.can[ability].endswith(".") else ""


def _likeness(four: Fidelity, masses: PQMass) -> str:
    return (
        f"precision {_of(four.precision, 2)}<br>recall {_of(four.recall, 2)}<br>"
        f"chi² {_of(masses.chi2, 2)}<br><small>one law: p = {masses.p_value:.3f}</small>"
    )


def _of(mean: Mean, digits: int) -> str:
    return f"{float(mean):.{digits}f} ± {mean.se:.{digits}f}"


def _cells(*cells: str) -> str:
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def picture(x: Tensor, scale: int = 3) -> str:
    r"""Returns images as a grid, in an HTML element."""
    from PIL import Image

    from ..plot.canvas import torchvision

    grid = torchvision().utils.make_grid(x.cpu().float(), nrow=8, padding=1, pad_value=0.5)
    pixels = (grid.clamp(0, 1) * 255).byte().permute(1, 2, 0).numpy()
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    width = pixels.shape[1] * scale
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    return f"<img width='{width}' src='data:image/png;base64,{data}' alt='samples'>"
