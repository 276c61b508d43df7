r"""A sweep as a picture: every setting against the best one, with its models."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .canvas import new_figure, save


def plot_ranking(record: Mapping[str, Any], path: Path) -> None:
    r"""Draws how far the settings of a sweep are from the best one, and writes the picture.

    Arguments:
        record: The ranking: a row for each setting, the best first, with `setting`,
            `log_marginal`, the means of its models `seeds`, and the difference `to_best`.
        path: The file.
    """
    rows = record["settings"]
    best = rows[0]["log_marginal"]
    figure, [axis] = new_figure(1, 1, (9, 1.4 + 0.4 * len(rows)))
    for place, row in enumerate(rows):
        error = row["to_best"]["difference_se"] if place else 0.0
        dots = [value - best for value in row["seeds"]]
        axis.plot(dots, [place] * len(dots), "o", color="0.7", markersize=5)
        axis.errorbar(
            row["log_marginal"] - best, place, xerr=error, fmt="D", color="C0", capsize=4
        )
    axis.axvline(0.0, color="0.5", linewidth=1)
    axis.set_yticks(range(len(rows)), [row["setting"] for row in rows])
    axis.set_ylim(len(rows) - 0.5, -0.5)
    axis.set_xlabel(
        f"log p(x) against the best ({best:.2f}), nats per datum, {record['num_data']} "
        f"{record['split']} data"
    )
    axis.set_title("Differences +- standard error over seeds and data; a dot is a model")
    axis.grid(axis="x", alpha=0.3)
    save(figure, path, dpi=120)
