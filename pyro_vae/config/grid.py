r"""The models of a sweep: every combination of the values of some settings, with every seed."""

import re
import tomllib
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
    seeds = checked_seeds(seeds)
    for key, values in grid.items():
        if isinstance(values, str) or not isinstance(values, Sequence) or not values:
            raise ValueError(f"Expected a list of values for {key}; got {values!r}.")
        refuse_seed(key)
    points = []
    for combination in product(*grid.values()):
        points += points_of(dict(zip(grid, combination)), seeds)
    if len({point.name for point in points}) < len(points):
        raise ValueError("Expected each value of a setting once; got one twice.")
    return points


def points_of(values: Mapping[str, Any], seeds: Iterable[int], first: str = "") -> list[Point]:
    r"""Returns the models of one combination of values, one for each seed.

    Arguments:
        values: The settings, by dotted key.
        seeds: The seeds.
        first: What their names begin with.

    Example:
        >>> [point.name for point in points_of({"train.lr": 0.01}, [5], "trial=7")]
        ['trial=7,lr=0.01,seed=5']
    """
    parts = [f"{name}={_word(v)}" for name, v in zip(short_names([*values]), values.values())]
    start = [first] if first else []
    return [Point(",".join([*start, *parts, f"seed={s}"]), dict(values), s) for s in seeds]


def checked_seeds(seeds: Iterable[int]) -> list[int]:
    r"""Returns the seeds as a list.

    Raises:
        ValueError: There is none, one comes twice, or one is negative.
    """
    if isinstance(seeds, int):
        raise ValueError(f"Expected several seeds, as in seeds=range({seeds}); got {seeds}.")
    seeds = [int(seed) for seed in seeds]
    if not seeds or len({*seeds}) < len(seeds) or min(seeds) < 0:
        raise ValueError(f"Expected one or more seeds, each once, not negative; got {seeds}.")
    return seeds


def refuse_seed(key: str, where: str = "grid") -> None:
    r"""Refuses seeds among the settings."""
    if "seed" in (key, key.rpartition(".")[2]):
        raise ValueError(f"Expected seeds by themselves; got them in the {where}. Use seeds.")


def read_settings(texts: Sequence[str], flag: str, example: str) -> dict[str, str]:
    r"""Reads texts such as ``train.lr=1e-3,3e-3`` into keys and what stands after them.

    Arguments:
        texts: The texts.
        flag: The flag that they come from, for errors.
        example: A correct text, for errors.

    Raises:
        ValueError: A text is not a setting with values, or a setting comes twice.
    """
    found: dict[str, str] = {}
    for text in texts:
        key, equals, values = text.partition("=")
        key = key.strip().removeprefix("--").replace("-", "_")
        if not equals or not key or not values.strip():
            raise ValueError(f'Expected {flag} "{example}"; got {text!r}.')
        if key in found:
            raise ValueError(f"Expected each setting once in {flag}; got {key} twice.")
        found[key] = values
    return found


def read_values(text: str) -> list[Any]:
    r"""Reads values with commas between them; lists stand in brackets.

    Example:
        >>> read_values("[200, 200], [400], none, vamp, 1e-3")
        [[200, 200], [400], None, 'vamp', 0.001]
    """
    words, depth = [""], 0
    for letter in text:
        depth += (letter in "[{") - (letter in "]}")
        if letter == "," and depth == 0:
            words.append("")
        else:
            words[-1] += letter
    values: list[Any] = []
    for word in map(str.strip, words):
        try:
            values.append(tomllib.loads(f"value = {word}")["value"])
        except tomllib.TOMLDecodeError:
            values.append(None if word.lower() == "none" else word)
    return values


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
