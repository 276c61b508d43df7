"""The site: `make docs` builds it from the pages, the lessons and the docstrings."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from site_pages import write_explorer, write_llms, write_reference, write_start

import pyro_vae

project = "pyro_vae"
author = "the pyro_vae authors"
version = release = pyro_vae.__version__
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "mathml",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
]
root_doc = "docs/index"
include_patterns = [
    "docs/**.md",
    "notebooks/*.ipynb",
    "notebooks/README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
]
myst_enable_extensions = ["amsmath", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # outputs are stored: `make notebooks` makes them
autodoc_typehints = "none"  # signatures have them
autodoc_member_order = "bysource"
napoleon_use_ivar = True  # fields are said once
napoleon_use_rtype = False
python_use_unqualified_type_names = True
suppress_warnings = ["mystnb.unknown_mime_type"]

html_math_renderer = "mathml"
html_theme = "furo"
html_title = "pyro_vae"
html_show_sphinx = html_show_copyright = False
copybutton_exclude = ".linenos, .gp, .go"


def setup(app):
    app.connect("builder-inited", write_reference)
    app.connect("build-finished", write_start)
    app.connect("build-finished", write_explorer)
    app.connect("build-finished", write_llms)
