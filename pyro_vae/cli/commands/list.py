import json
from dataclasses import dataclass

from ...config import ESTIMATORS, KINDS, recipes
from ..shared import Command


@dataclass(kw_only=True)
class List(Command):
    r"""Lists priors, likelihoods, posteriors, networks, data sets and recipes."""

    json: bool = False
    """Print one JSON object."""

    def __call__(self) -> None:
        known: dict[str, dict[str, dict[str, str]]] = {}
        for choice, kinds in KINDS.items():
            known[choice] = {}
            for name, kind in kinds.items():
                row = known[choice][name] = {"formula": (kind.__doc__ or "").strip()}
                if kind.support:
                    row |= {"support": kind.support, "advice": kind.advice}
        known["estimator"] = {name: {"formula": text} for name, text in ESTIMATORS.items()}
        known["recipe"] = {
            name: {"formula": path.read_text(encoding="utf-8").splitlines()[0].lstrip("# ")}
            for name, path in recipes().items()
        }
        if self.json:
            print(json.dumps(known, indent=2))
            return
        for choice, rows in known.items():
            print(f"{choice}:")
            for name, row in rows.items():
                print(f"  {name:32s}{row['formula']}")
                if "support" in row:
                    print(f"  {'':32s}on {row['support']}: {row['advice']}")
