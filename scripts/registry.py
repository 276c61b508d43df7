r"""Writes what classes declare into the files that the command line and readers use.

Run it by ``make registry`` after adding or changing a family or an estimator. It writes
``pyro_vae/config/families.json`` and the tables between markers in README.md and docs/.
"""

import json
import re
import sys
from inspect import isabstract
from pathlib import Path
from typing import Any

from pyro_vae import gallery, likelihoods, posteriors, priors
from pyro_vae.objectives import ESTIMATORS
from pyro_vae.registration import entry_of, kind_of

ROOT = Path(__file__).parents[1]
ROOMS = {"prior": priors, "likelihood": likelihoods, "posterior": posteriors, "model": gallery}


def registry() -> dict[str, dict[str, Any]]:
    r"""What every exported family and every estimator declares, by role and name."""
    found: dict[str, dict[str, Any]] = {}
    for role, room in ROOMS.items():
        classes = [
            cls for cls in vars(room).values() if hasattr(cls, "entry") and not isabstract(cls)
        ]
        entries = {kind_of(cls): entry for cls in classes if (entry := entry_of(cls))}
        found[role] = dict(sorted(entries.items(), key=_order))
    by_bound = sorted(ESTIMATORS.items(), key=lambda item: (item[1].bound, item[0]))
    by_bound.sort(key=lambda item: "the default" not in item[1].advice)
    found["estimator"] = {name: {"advice": cls.advice} for name, cls in by_bound}
    return found


def _order(item: tuple[str, dict[str, Any]]) -> tuple[Any, ...]:
    r"""Families to start with come first, then those on the real numbers."""
    name, entry = item
    real = entry["support"] == "the real numbers"
    return not entry["advice"].startswith("the start"), not real, entry["support"], name


def tables(found: dict[str, dict[str, Any]]) -> dict[str, str]:
    r"""The tables of the docs, by the name of their marker."""
    titles = {"prior": "p(z)", "likelihood": "p(x \\| z)", "posterior": "q(z \\| x)", "model": ""}
    rows, names = {}, ["| | `pyro-vae list` says more |", "|---|---|"]
    for role, entries in found.items():
        names.append(f"| {role}s | {', '.join(f'`{name}`' for name in entries)} |")
        if role in titles:
            lines = [f"| {titles[role]} | on | use it | options |", "|---|---|---|---|"]
            lines += [
                f"| `{name}` | {entry['support']} | {entry['advice']} | "
                f"{', '.join(f'`{option}`' for option in entry['options'])} |"
                for name, entry in entries.items()
            ]
        else:
            lines = [f"| {role} | what it maximizes, and when |", "|---|---|"]
            lines += [f"| `{name}` | {entry['advice']} |" for name, entry in entries.items()]
        rows[f"{role}s"] = "\n".join(lines)
    return {"names": "\n".join(names), **rows}


def files() -> dict[Path, str]:
    r"""The content of every generated file."""
    found = registry()
    fresh = {ROOT / "pyro_vae/config/families.json": json.dumps(found, indent=1) + "\n"}
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        text = path.read_text(encoding="utf-8")
        for marker, table in tables(found).items():
            pattern = rf"(<!-- {marker} -->\n).*?(\n<!-- end -->)"
            text = re.sub(pattern, lambda m, t=table: m[1] + t + m[2], text, flags=re.DOTALL)
        fresh[path] = text
    return fresh


def main() -> None:
    for path, text in files().items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            print(f"wrote {path.relative_to(ROOT)}", file=sys.stderr)


if __name__ == "__main__":
    main()
