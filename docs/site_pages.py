"""Pages of the site that are made: the reference, the front door, an explorer, and llms.txt."""

import inspect
from importlib import import_module
from pathlib import Path

import pyro_vae

ROOMS = {  # the modules of the reference, in the order in which a reader meets them
    "pyro_vae": "The names that you start with",
    "pyro_vae.data": "Data",
    "pyro_vae.nn": "Networks",
    "pyro_vae.priors": "Priors",
    "pyro_vae.likelihoods": "Likelihoods",
    "pyro_vae.posteriors": "Posteriors",
    "pyro_vae.flows": "Flows",
    "pyro_vae.distributions": "Distributions",
    "pyro_vae.models": "Models",
    "pyro_vae.objectives": "Objectives",
    "pyro_vae.train": "Training",
    "pyro_vae.evaluate": "Evaluation",
    "pyro_vae.views": "Use",
    "pyro_vae.plot": "Pictures",
    "pyro_vae.runs": "Runs",
    "pyro_vae.compile": "Compilation",
    "pyro_vae.exact": "Exact answers",
    "pyro_vae.gallery": "Relatives",
    "pyro_vae.relatives": "Relatives side by side",
    "pyro_vae.explore": "The explorer",
    "pyro_vae.debug": "Debugging",
}
DIRECTIVES = {"class": "autoclass", "function": "autofunction"}


def write_reference(app):
    """Writes a page for each module, with every public class and function."""
    folder = Path(app.srcdir) / "docs" / "reference"
    folder.mkdir(exist_ok=True)
    pages, told = [], set()
    for module, title in ROOMS.items():
        body = "".join(entry(module, name, told) for name in public(module))
        if body:
            page = folder / f"{module}.md"
            write(page, f"# {title}\n\n`{module}`\n\n```{{eval-rst}}\n{body}```\n")
            pages.append(page.stem)
    lines = "\n".join(pages)
    text = "# Reference\n\nEvery public name, with its formula, shapes and units.\n\n"
    write(folder / "index.md", f"{text}```{{toctree}}\n:maxdepth: 1\n\n{lines}\n```\n")


def public(module):
    """The public names of a module, in the order of the module."""
    found = import_module(module)
    names = getattr(found, "__all__", None) or [n for n in vars(found) if not n.startswith("_")]
    return [name for name in names if entry_kind(getattr(found, name, None))]


def entry_kind(value):
    """What the reference says of a value: a class or a function of this package, or nothing."""
    if not getattr(value, "__module__", "").startswith("pyro_vae") or not value.__doc__:
        return None
    return "class" if inspect.isclass(value) else "function" if callable(value) else None


def entry(module, name, told):
    """The directive of a name, where it is said first."""
    value = getattr(import_module(module), name)
    if value in told:
        return ""
    told.add(value)
    kind = entry_kind(value)
    members = "   :members:\n" if kind == "class" else ""
    return f".. {DIRECTIVES[kind]}:: {module}.{name}\n{members}\n"


def write(path, text):
    """Writes a file unless it is the same already, so that Sphinx keeps what it has read."""
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def write_start(app, error):
    """The front door leads to the first page."""
    if error is None and app.builder.format == "html":
        refresh = '<meta http-equiv="refresh" content="0; url=docs/index.html">'
        write(
            Path(app.outdir) / "index.html", f"<!doctype html>{refresh}<title>pyro_vae</title>\n"
        )


def write_explorer(app, error):
    """The page that lesson 1 and the first page show in a frame: the model of that lesson."""
    page = Path(app.outdir) / "notebooks" / "explore.html"
    if error is not None or app.builder.format != "html" or page.is_file():
        return
    digits = pyro_vae.data.digits()
    encoder = pyro_vae.nn.MLP((1, 8, 8), [200, 200], 4, scale=16)
    decoder = pyro_vae.nn.MLP(2, [200, 200], (1, 8, 8))
    vae = pyro_vae.VAE(
        prior=pyro_vae.priors.StandardNormal(2),
        likelihood=pyro_vae.likelihoods.Binomial(decoder, 16, event_dim=3),
        posterior=pyro_vae.posteriors.MeanFieldNormal(encoder),
    )
    pyro_vae.fit(vae, digits.train, epochs=100, lr=2e-3, schedule="cosine", progress=False)
    text = pyro_vae.explore.explorer_page(vae, digits.all(), title="Digits on a plane")
    write(page, text)


def write_llms(app, error):
    """llms.txt: what pages there are, for readers that are programs."""
    if error is not None or app.builder.format != "html":
        return
    titles = app.env.titles
    lines = [f"# pyro_vae {pyro_vae.__version__}", "", f"> {pyro_vae.__doc__.splitlines()[0]}", ""]
    lines += [f"- [{titles[name].astext()}]({name}.html)" for name in sorted(titles)]
    write(Path(app.outdir) / "llms.txt", "\n".join(lines) + "\n")
