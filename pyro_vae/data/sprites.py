r"""Images of one shape each, made of factors that are known."""

from math import pi

import torch
from torch import Tensor

from ..config import Sprites
from .dataset import Dataset, cut
from .split import Split

SHAPES = ("square", "ellipse", "heart")
SIZES = (2.2, 2.8, 3.4, 4.0)  # pixels from the centre
ANGLES = 6  # of 15 degrees, below 90: beyond, a square is itself again
PLACES = 10  # in each direction
SIDE, PARTS, STEP = 16, 4, 3  # pixels, parts of a pixel's side, parts between places
LEVELS = PARTS**2


def sprites(config: "Sprites", data_dir: object) -> Dataset:
    r"""Every combination of shape, scale, rotation, column and row once, shuffled and split.

    A grey level is how many of a pixel's 16 parts are inside of the shape.
    """
    images, factors = drawn()
    whole = Split(
        images,
        factors["shape"],
        levels=LEVELS,
        source=config.kind,
        classes=SHAPES,
        factors=factors,
    )
    return Dataset.make(config, cut(whole, config.valid, config.test, config.seed))


def drawn() -> tuple[Tensor, dict[str, Tensor]]:
    r"""Returns all images, of shape `(7200, 1, 16, 16)`, and their factors as whole numbers."""
    canvas = SIDE * PARTS + (PLACES - 1) * STEP  # the shape is in the middle, and we look around
    masks = torch.stack(
        [
            _inside(shape, size * PARTS, pi / 2 * angle / ANGLES, canvas)
            for shape in SHAPES
            for size in SIZES
            for angle in range(ANGLES)
        ]
    )
    places = [(PLACES - 1 - place) * STEP for place in range(PLACES)]
    window = SIDE * PARTS
    views = torch.stack(
        [_pixels(masks[:, y : y + window, x : x + window]) for x in places for y in places], 1
    )
    counts = (len(SHAPES), len(SIZES), ANGLES, PLACES, PLACES)
    grid = torch.cartesian_prod(*(torch.arange(count) for count in counts))
    names = ("shape", "scale", "rotation", "column", "row")
    return views.flatten(0, 1)[:, None], dict(zip(names, grid.T.contiguous()))


def _pixels(mask: Tensor) -> Tensor:
    r"""How many parts of each pixel are inside, of shape `(N, 16, 16)`."""
    parts = mask.unflatten(-1, (SIDE, PARTS)).unflatten(-3, (SIDE, PARTS))
    return parts.sum((-3, -1), dtype=torch.uint8)


def _inside(shape: str, size: float, angle: float, side: int) -> Tensor:
    r"""Which parts of a square are inside of a shape at its centre, of shape `(side, side)`."""
    line = (torch.arange(side, dtype=torch.float64) + 0.5 - side / 2) / size
    down, across = torch.meshgrid(line, line, indexing="ij")
    turn = torch.tensor(angle, dtype=torch.float64)
    u, v = across * turn.cos() + down * turn.sin(), down * turn.cos() - across * turn.sin()
    if shape == "square":
        return torch.maximum(u.abs(), v.abs()) <= 0.8
    if shape == "ellipse":
        return u.square() + (2 * v).square() <= 1
    u, v = 1.2 * u, 0.1 - 1.2 * v  # a heart, the right way up
    return (u.square() + v.square() - 1) ** 3 <= u.square() * v**3
