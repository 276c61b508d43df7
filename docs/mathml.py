"""Formulas as MathML, which browsers draw themselves: no script, no fonts to fetch."""

import re
from html import unescape
from xml.etree import ElementTree

from docutils import nodes
from docutils.utils.math import MathError, latex2mathml
from sphinx.util import logging

logger = logging.getLogger(__name__)
NAMESPACE = "http://www.w3.org/1998/Math/MathML"
NAMED = re.compile(r"&(?!amp;|lt;|gt;|#)\w+;")  # entities that XML does not know
SPELLINGS = {  # what docutils' converter spells otherwise
    r"\\operatorname\*": r"\\operatorname",
    r"\\(log|det|sin|cos|exp|tanh)\s+(?=[a-zA-Z\\])": r"\\\1\\,",
    r"\\dots(?![a-z])": r"\\ldots",
    r"\\Big(?=\s*\()": r"\\left",
    r"\\Big(?=\s*\))": r"\\right",
}


def converted(node, as_block):
    """The MathML of a formula, as a string."""
    tex = node.astext()
    for pattern, other in SPELLINGS.items():
        tex = re.sub(pattern, other, tex)
    if r"\\" in tex and r"\begin" not in tex:
        tex = rf"\begin{{align*}}{tex}\end{{align*}}"
    try:
        return with_labels(latex2mathml.tex2mathml(tex, as_block=as_block))
    except MathError as error:
        logger.warning("formula %r: %s", tex, error, location=node)
        return f"<code>{node.astext()}</code>"


def with_labels(mathml):
    """The same, with what is said of a brace below it, not beside."""
    ElementTree.register_namespace("", NAMESPACE)
    root = ElementTree.fromstring(NAMED.sub(lambda found: unescape(found[0]), mathml))
    for part in root.iter(f"{{{NAMESPACE}}}msub"):
        if part[0].tag.endswith("munder") and part[0][-1].text == "\u23df":
            part.tag = f"{{{NAMESPACE}}}munder"
    return ElementTree.tostring(root, encoding="unicode")


def inline(self, node):
    self.body.append(converted(node, as_block=False))
    raise nodes.SkipNode


def block(self, node):
    self.body.append(self.starttag(node, "div", CLASS="math"))
    self.body.append(converted(node, as_block=True) + "</div>\n")
    raise nodes.SkipNode


def setup(app):
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
    return {"parallel_read_safe": True}
