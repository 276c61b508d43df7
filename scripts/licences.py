"""Writes the table of licences in docs/dependencies.md, from what installed packages say.

python scripts/licences.py
"""

import re
from importlib.metadata import PackageNotFoundError, metadata

from lock import CONSTRAINTS, ROOT, pins

PAGE = ROOT / "docs" / "dependencies.md"
BEGIN, END = "<!-- licences -->\n", "<!-- end -->\n"
WORDS = {
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD",
    "MIT License": "MIT",
    "Python Software Foundation License": "PSF-2.0",
    "ISC License (ISCL)": "ISC",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
}


def licence(name: str) -> str | None:
    """The licence that an installed package declares; None if it is not installed."""
    try:
        about = metadata(name)
    except PackageNotFoundError:
        return None
    if expression := about.get("License-Expression"):
        return expression
    classes = [c.split(" :: ")[-1] for c in about.get_all("Classifier", []) if "License ::" in c]
    if classes:
        return ", ".join(WORDS.get(word, word) for word in classes)
    first = (about.get("License") or "").strip().partition("\n")[0]
    return first if 0 < len(first) < 60 else "see the package"


def table() -> str:
    """A row for each licence, with the packages that have it."""
    found: dict[str, list[str]] = {}
    for name in pins(CONSTRAINTS.read_text()):
        found.setdefault(licence(name) or "not installed here", []).append(name)
    rows = [f"| {what} | {', '.join(names)} |\n" for what, names in sorted(found.items())]
    return "| licence | packages |\n|---|---|\n" + "".join(rows)


def main() -> None:
    text = PAGE.read_text()
    inner = re.compile(f"{re.escape(BEGIN)}.*{re.escape(END)}", re.S)
    PAGE.write_text(inner.sub(lambda _: BEGIN + table() + END, text))
    print(PAGE)


if __name__ == "__main__":
    main()
