r"""Every choice by name: families, networks and data sets."""

from typing import Annotated, Any, get_args, get_origin

from .data import Data
from .families import FAMILIES, INNER, RELATIVES
from .kinds import Corrected, CorrectedMarkov, Decoder, Encoder, Kind, Markov, Network, SelfMasking


def kinds(choice: Any) -> dict[str, type[Kind]]:
    """Returns the kinds of a choice such as :data:`Prior`, by name.

    Example:
        >>> list(kinds(Network))
        ['mlp', 'conv']
    """
    union = get_args(choice)[0] if get_origin(choice) is Annotated else choice
    return {kind.model_fields["kind"].default: kind for kind in get_args(union)}


REGISTRY = {**FAMILIES, "network": kinds(Network), "data": kinds(Data)}
r"""The choices that go together in any combination, by role and name."""

KINDS: dict[str, dict[str, Any]] = {
    **REGISTRY,
    "prior": {**REGISTRY["prior"], "markov": Markov},
    "likelihood": {**REGISTRY["likelihood"], "self-masking": SelfMasking},
    "posterior": {
        **REGISTRY["posterior"],
        "corrected": Corrected,
        "corrected-markov": CorrectedMarkov,
    },
    "network": {**kinds(Decoder), **kinds(Encoder)},
    "model": RELATIVES,
}
r"""These, families and networks that only go with certain others, and relatives of the VAE."""

CHOICES = {**KINDS, "family": INNER}
r"""These, and the likelihoods inside of a wrapper."""

for _kinds in CHOICES.values():  # help for `kind` names the alternatives
    for _kind in _kinds.values():
        _kind.model_fields["kind"].description = f"One of {', '.join(_kinds)}."
