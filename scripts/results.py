"""Results of reproductions: verdicts in words, and docs/reproductions.md."""

import json
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"
RESULTS, PAGE = DOCS / "reproductions", DOCS / "reproductions.md"
SHORT = "short schedule: not comparable, shown for direction"
KINDS = ("full", "medium", "short")

INTRO = """# Reproductions

Results of papers, trained again by `scripts/reproduce.py` with the settings of their papers and
the public functions that everyone has (`pv.fit_many`, recipes), and judged on all test data.
`--full` is the paper's schedule; `--medium` and `--short` are shorter ones that a CPU can do,
whose numbers only show a direction. `python scripts/reproduce.py --list` says what there is and
how long it takes; training goes on where it was interrupted.

`python scripts/reproduce.py --page` writes this page from the files in
[reproductions/](reproductions), which the script writes. They have all settings, the figures of
each seed, versions, and the SHA-256 of the data. `+-` is the standard error from seeds and data
together; differences are paired over the data. Figures that were published have a tolerance,
which was set before training."""


def name_of(target: str, kind: str) -> str:
    return f"{target}-{kind}.json"


def verdict(value: float, published, tolerance, short: bool) -> str:
    """What is to be said of a figure, in words."""
    if published is None:
        return ""
    if short:
        return SHORT
    beyond = abs(value - published) - tolerance
    return "within the tolerance" if beyond <= 0 else f"outside by {digits(beyond, tolerance)}"


def digits(value: float, scale) -> str:
    """A number with as many digits as its scale is worth."""
    fine = 1.0 if not scale else abs(scale)
    return f"{value:.{1 if fine >= 3 else 2 if fine >= 0.1 else 3 if fine >= 0.01 else 4}f}"


def row_of(figure: dict) -> str:
    goal, scale = figure["published"], figure["tolerance"] or figure["se"]
    error = "" if figure["se"] is None else f" +- {digits(figure['se'], scale)}"
    cells = [figure["variant"], f"{figure['figure']}, {figure['unit']}"]
    cells += ["" if goal is None else f"{digits(goal, scale)} ({figure['tolerance']:g})"]
    cells += [f"{digits(figure['value'], scale)}{error}", figure["verdict"]]
    return f"| {' | '.join(cells)} |"


def section(name: str, target, found: dict) -> list[str]:
    """The lines about a target, of the results that there are."""
    lines = [f"## {name}", "", f"{target.title}. {target.citation}.", ""]
    for kind in KINDS:
        if kind in found:
            lines += [*table(found[kind]), ""]
    if "full" not in found:
        hours = f"some {target.full.hours:g} hours of a core"
        lines += [f"Not done: `python scripts/reproduce.py {name} --full`, {hours}.", ""]
    return lines


def table(result: dict) -> list[str]:
    """One result: its figures, how they came about, and what differs."""
    machine = result["machine"]
    lines = [f"`{result['command']}`", ""]
    lines += ["| | figure | published (tolerance) | here | |", "|---|---|---|---|---|"]
    lines += [row_of(figure) for figure in result["figures"]]
    each = []
    for variant, run in result["runs"].items():
        count = len(run["seeds"])
        minutes = run["seconds of training"] / 60, run["seconds of evaluation"] / 60
        each.append(
            f"{variant}: {count} seed{'s' if count > 1 else ''}, {run['steps']:,} steps, "
            f"{minutes[0]:.1f} minutes of training and {minutes[1]:.1f} of evaluation"
        )
    threads = f"{machine['threads']} thread{'s' if machine['threads'] > 1 else ''}"
    where = machine["cuda"] or f"{machine['processor']}, {threads}"
    lines += ["", f"{'; '.join(each)} ({where}; torch {machine['torch']})."]
    lines += ["", "It differs from the paper in this:", ""]
    return lines + [f"- {line}" for line in result["differs from the paper in"]]


def read_results(folder: Path = RESULTS) -> dict:
    """The results by target and schedule."""
    found: dict = {}
    for path in sorted(folder.glob("*.json")):
        result = json.loads(path.read_text(encoding="utf-8"))
        found.setdefault(result["target"], {})[result["schedule"]] = result
    return found


def page(targets, results: dict) -> str:
    """The page, from targets and results."""
    lines = [INTRO, ""]
    for name, target in targets.items():
        lines += section(name, target, results.get(name, {}))
    return "\n".join(lines).rstrip() + "\n"


def write_page(targets) -> None:
    PAGE.write_text(page(targets, read_results()), encoding="utf-8")
    print(f"wrote {PAGE.relative_to(DOCS.parent)}")
