r"""The models of a sweep: every combination of the values of some settings, with every seed."""

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple


class Point(NamedTuple):
    r"""One model of a sweep.

    Attributes:
        name: Settings and seed, as the name of a folder.
        values: The settings that differ, by dotted key.
        seed: The seed.
    """

    name: str
    values: dict[str, Any]
    seed: int


def grid_points(grid: Mapping[str, Sequence[Any]], seeds: Iterable[int]) -> list[Point]:
    r"""Returns the models of a sweep, the seeds of one setting after one another.

    Arguments:
        grid: The values of each setting, by dotted key.
        seeds: The seeds of each combination.

    Raises:
        ValueError: A setting has no values, or a seed is given twice.

    Example:
        >>> [point.name for point in grid_points({"prior.kind": ["vamp"]}, [0, 1])]
        ['prior=vamp,seed=0', 'prior=vamp,seed=1']
    """
    if isinstance(seeds, int):
        raise ValueError(f"Expected several seeds, as in seeds=range({seeds}); got {seeds}.")
    seeds = [int(seed) for seed in seeds]
    if not seeds or len({*seeds}) < len(seeds) or min(seeds) < 0:
        raise ValueError(f"Expected one or more seeds, each once, not negative; got {seeds}.")
    for key, values in grid.items():
        if isinstance(values, str) or not isinstance(values, Sequence) or not values:
            raise ValueError(f"Expected a list of values for {key}; got {values!r}.")
        if "seed" in (key, key.rpartition(".")[2]):
            raise ValueError("Expected seeds by themselves; got them in the grid. Use seeds.")
    names = short_names([*grid])
    points = []
    for combination in product(*grid.values()):
        chosen = dict(zip(grid, combination))
        parts = [f"{name}={_word(value)}" for name, value in zip(names, combination)]
        points += [Point(",".join([*parts, f"seed={s}"]), chosen, s) for s in seeds]
    if len({point.name for point in points}) < len(points):
        raise ValueError("Expected each value of a setting once; got one twice.")
    return points


def short_names(keys: Sequence[str]) -> list[str]:
    r"""Returns the last parts of dotted keys, as many as tell them apart; a kind is its parent's.

    Example:
        >>> short_names(["train.lr", "prior.kind", "latent_dim"])
        ['lr', 'prior', 'latent_dim']
    """
    paths = [key.replace("-", "_").removesuffix(".kind").split(".") for key in keys]
    lengths = [1] * len(paths)
    while True:
        names = [".".join(path[-n:]) for path, n in zip(paths, lengths)]
        twice = [i for i, name in enumerate(names) if names.count(name) > 1]
        grown = [i for i in twice if lengths[i] < len(paths[i])]
        if not grown:
            return names
        for i in grown:
            lengths[i] += 1


def _word(value: Any) -> str:
    if isinstance(value, Mapping):
        value = value.get("kind", value)
    text = "x".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return re.sub(r"[^\w.+-]+", "-", text)
