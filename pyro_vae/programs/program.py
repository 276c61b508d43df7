r"""What is evaluated: a VAE, or any Pyro model with its guide."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from inspect import Parameter, ismethod, signature
from typing import Any, Literal

from pyro import poutine
from pyro.poutine.messenger import Messenger
from torch import Tensor, nn

from ..base import factors_of
from ..distributions import Known


class Program(nn.Module):
    r"""Creates from a Pyro model and its guide what evaluations take.

    Both see their data first, in a plate of dimension -1, as :class:`pyro_vae.VAE` has it. The
    modules that they are, or are methods of, are known by their owner: evaluation puts them into
    evaluation mode and back.

    Arguments:
        model: The model.
        guide: Its guide.
    """

    def __init__(self, model: Callable, guide: Callable) -> None:
        super().__init__()
        owners = [p.__self__ if ismethod(p) else p for p in (model, guide)]
        self.owners = nn.ModuleList([o for o in owners if isinstance(o, nn.Module)])
        self.__dict__.update(model=model, guide=guide)  # not registered a second time


def as_program(vae: Any) -> Any:
    r"""Returns a VAE as it is, and a pair of model and guide as a :class:`Program`.

    Raises:
        ValueError: `vae` is neither.
    """
    if isinstance(vae, tuple) and len(vae) == 2 and all(map(callable, vae)):
        return Program(*vae)
    if not (hasattr(vae, "model") and hasattr(vae, "guide")):
        raise ValueError(f"Expected a VAE, or a pair (model, guide); got {type(vae).__name__}.")
    return vae


@contextmanager
def plainly() -> Iterator[None]:
    r"""Takes the table of shapes that Pyro adds to an exception out of our own sentences."""
    try:
        yield
    except ValueError as error:
        text, table, _ = str(error).partition("Trace Shapes:")
        if not table or not text.startswith("Expected"):
            raise
        raise ValueError(text.strip()) from error


class _know(Messenger):
    r"""Makes sites points where their value is known."""

    def __init__(self, values: dict[str, Any]) -> None:
        super().__init__()
        self.values = values

    def _pyro_sample(self, msg: Any) -> None:
        if msg["name"] in self.values and not msg["is_observed"]:
            msg["fn"] = Known(msg["fn"], self.values[msg["name"]])


def prior_guide(model: Callable) -> Callable:
    r"""Returns the guide :math:`q(z \mid x) = p(z)`, which samples what the model samples.

    With it, importance sampling is naive Monte Carlo,
    :math:`p(x) \approx \frac{1}{K} \sum_k p(x \mid z_k)`: unbiased, and useless as soon as a
    datum tells much about its :math:`z`.

    Arguments:
        model: A Pyro model.
    """

    def guide(x: Tensor, **known: Any) -> None:
        hidden = poutine.block(hide_fn=lambda s: s["type"] == "sample" and s["is_observed"])
        with hidden, _know(known):
            model(x, **known)

    return guide


def family_of(vae: Any, role: Literal["prior", "likelihood", "posterior"], site: str) -> Any:
    r"""Returns the family behind a site of a VAE; None for another program."""
    part = getattr(vae, role, None)
    if part is None:
        return None
    return dict(factors_of(part, "x" if role == "likelihood" else "z")).get(site)


def is_vae(vae: Any) -> bool:
    r"""Whether there are a prior, a likelihood and a posterior to ask."""
    return all(hasattr(vae, part) for part in ("prior", "likelihood", "posterior"))


def families(vae: Any) -> list[str]:
    r"""The factors of the three parts by name, which parameters alone do not tell."""
    if not is_vae(vae):
        return [type(vae).__name__]
    parts = (vae.prior, vae.likelihood, vae.posterior)
    return [", ".join(_told(site, f) for site, f in factors_of(part, "")) for part in parts]


def wants_rows(vae: Any) -> bool:
    r"""Whether the guide takes the row numbers of the data."""
    if is_vae(vae):
        return bool(getattr(vae.posterior, "index", False))
    return hasattr(vae, "guide") and "index" in _parameters(vae.guide)[0]


def density_of(vae: Any) -> str:
    r"""For which values the guide's ``log_prob`` is available, as far as a posterior says."""
    return getattr(getattr(vae, "posterior", None), "density", "anywhere")


def is_scored(vae: Any) -> bool:
    r"""Whether evaluation has a density of what the guide draws, or of its soft twin."""
    factors = [factor for _, factor in factors_of(vae.posterior, "z")] if is_vae(vae) else []
    return all(getattr(f, "density", "") != "none" or hasattr(f, "codebook") for f in factors)


def guide_name(vae: Any) -> str:
    r"""What errors call the guide."""
    return type(vae.posterior).__name__ if is_vae(vae) else "the guide"


def refused(vae: Any, names: Any) -> str | None:
    r"""A sentence where model or guide do not take a keyword that the data bring."""
    for word, program in (("model", vae.model), ("guide", vae.guide)):
        taken, anything = _parameters(program)
        if strange := [name for name in names if name not in taken and not anything]:
            return (
                f"Expected a {word} that takes {', '.join(f'{name}=' for name in strange)}, which "
                "the data bring; got one that does not. Let both programs take **known."
            )
    return None


def _parameters(program: Callable) -> tuple[set[str], bool]:
    r"""The names of a program's parameters, and whether it takes any keyword."""
    call = program.forward if isinstance(program, nn.Module) else program
    try:
        found = signature(call).parameters.values()
    except (TypeError, ValueError):
        return set(), True
    return {p.name for p in found}, any(p.kind is Parameter.VAR_KEYWORD for p in found)


def _told(site: str, factor: Any) -> str:
    r"""A factor with its site and what it is given, where it says so."""
    given = getattr(factor, "parents", None)
    name = type(factor).__name__ if not site else f"{site}: {type(factor).__name__}"
    return name if given is None else f"{name} given {' and '.join(given)}"
