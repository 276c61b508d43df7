r"""Data sets by name."""

from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from .kinds import Kind


def _words(value: object) -> object:
    return tuple(str(word) for word in (value if isinstance(value, list | tuple) else (value,)))


def _rows(value: float) -> float:
    if value > 1 and value != int(value):
        raise ValueError("Expected a whole number of rows, or a fraction below 1.")
    return value


def _known(name: str) -> str:
    if not name.isidentifier() or name in ("x", "index", "x_missing"):
        raise ValueError("expected a name such as y or c, not x or index")
    return name


class Holes(NamedTuple):
    """Elements of x that are hidden at random, whatever their value (MCAR): a share of them, once,
    by data.seed, or anew at every visit of training."""

    rate: float
    when: str = "once"


def _hidden(value: Any) -> Any:
    """A share, or a table with a share and a time."""
    table = value if isinstance(value, dict) else {"rate": value}
    rate = table.get("rate")
    known = {*table} <= {"rate", "when"} and table.get("when", "once") in ("once", "visit")
    if not known or not isinstance(rate, int | float) or not 0 < rate < 1:
        raise ValueError(
            'expected a share between 0 and 1, or { rate = 0.5, when = "once" } ("visit": anew at '
            "every visit of training)"
        )
    return value


def _hidden_or_words(value: Any) -> Any:
    if isinstance(value, dict) or (isinstance(value, float) and 0 < value < 1):
        return _hidden(value)
    return _words(value)


Known = Annotated[str, AfterValidator(_known)]
Share = Annotated[int | float, Field(ge=0), AfterValidator(_rows)]
Name = Annotated[str, BeforeValidator(lambda v: "none" if v is None else str(v))]
Names = Annotated[tuple[str, ...], BeforeValidator(_words)]
Some = Annotated[Names, Field(min_length=1)]
Hidden = float | dict[str, float | str]


class DataKind(Kind):
    """Settings of a data set; the function of its name in `pyro_vae.data.sets` reads it."""

    binarize: Literal["no", "dynamic", "fixed", "threshold"] = "no"
    """Grey pixels become bits: drawn at every visit (test bits once), drawn once, or x > 1/2."""
    range: Literal["unit", "levels"] = "unit"
    """Grey levels 0..n are divided by n, or stay whole numbers."""
    standardize: bool = False
    """Networks see (x - mean) / sd of the training data, element by element, and densities of real
    numbers are scaled back, so that metrics and outputs are those of x itself."""
    seed: NonNegativeInt = 0
    """Seeds random splits, and bits and holes that are drawn once."""
    holes: Annotated[Hidden, AfterValidator(_hidden)] | None = None
    """Share of elements of x to hide at random, once or, as { rate = 0.5, when = "visit" }, anew
    at every visit."""
    rotate: Annotated[float, Field(ge=0, le=180)] = 0.0
    """Images are turned by up to so many degrees either way (data.pose: when)."""
    shift: NonNegativeFloat = 0.0
    """Images are shifted by up to so many pixels in each direction (data.pose: when)."""
    pose: Literal["once", "visit"] = "once"
    """Whether rotate and shift are drawn once for each image, by data.seed, or at every visit of
    training images, while those of validation and test stay as they are."""
    known: dict[Known, Some] = {}  # noqa: RUF012
    """Additional inputs of model and guide, by name: the label ("label"), columns of a table, or
    regions of an image such as left or top-left; columns and pixels are then not in x."""
    num_labels: PositiveInt | None = None
    """Number of training data that keep their label, evenly over classes; by default all."""

    @property
    def hidden(self) -> Holes | None:
        """What is hidden of x."""
        if isinstance(self.holes, dict):
            return Holes(float(self.holes["rate"]), str(self.holes.get("when", "once")))
        return Holes(self.holes) if isinstance(self.holes, float) else None

    @property
    def hole_words(self) -> tuple[str, ...]:
        """Words and numbers for missing values."""
        return self.holes if isinstance(self.holes, tuple) else ()

    @model_validator(mode="after")
    def _moves(self) -> Self:
        if self.pose == "visit" and not self.rotate and not self.shift:
            raise ValueError("pose: expected rotate or shift beside it; got neither")
        return self

    @model_validator(mode="after")
    def _labels(self) -> Self:
        labels = [name for name, columns in self.known.items() if columns == ("label",)]
        if self.num_labels is not None and len(labels) != 1:
            raise ValueError(
                "num_labels: expected one name in data.known that is the label, as in "
                f'known = {{ y = "label" }}; got {", ".join(labels) or "none"}'
            )
        return self


class HeldOut(DataKind):
    """Data without given splits: rows are shuffled by `seed`, then split."""

    valid: Share = 0.1
    """Rows for validation: a number, or a fraction below 1."""
    test: Share = 0.1
    """Rows for testing: a number, or a fraction below 1."""


class Digits(HeldOut):
    """1797 handwritten digits of 8x8 pixels, grey levels 0..16 (comes with scikit-learn)."""

    kind: Literal["digits"] = "digits"
    range: Literal["unit", "levels"] = "levels"
    valid: Share = 200
    test: Share = 297


class Diabetes(HeldOut):
    """442 patients: age, sex, body mass index, blood pressure, and six values of their blood serum
    (comes with scikit-learn)."""

    kind: Literal["diabetes"] = "diabetes"
    valid: Share = 60
    test: Share = 100


class _Mixture(HeldOut):
    rows: PositiveInt = 5000
    """How many are drawn, by seed."""
    valid: Share = 1000
    """Rows for validation: a number, or a fraction below 1."""
    test: Share = 1000
    """Rows for testing: a number, or a fraction below 1."""
    sigma: PositiveFloat = 0.05
    """Standard deviation around each mode."""


class Ring(_Mixture):
    """An even mixture of 8 Gaussians on a circle in the plane, drawn by seed."""

    kind: Literal["ring"] = "ring"
    num_modes: PositiveInt = 8
    """Number of Gaussians."""
    radius: PositiveFloat = 2.0
    """Radius of the circle."""


class Grid(_Mixture):
    """An even mixture of 25 Gaussians on a square grid in the plane, drawn by seed."""

    kind: Literal["grid"] = "grid"
    side: PositiveInt = 5
    """Number of Gaussians along a side."""
    spacing: PositiveFloat = 2.0
    """Distance between neighbours."""


class MNIST(DataKind):
    """70,000 handwritten digits of 28x28 grey pixels."""

    kind: Literal["mnist"] = "mnist"
    binarize: Literal["no", "dynamic", "fixed", "threshold"] = "dynamic"
    valid: NonNegativeInt = 10_000
    """The last rows of the training set, used for validation."""


class FashionMNIST(DataKind):
    """70,000 images of clothes, 28x28 grey pixels."""

    kind: Literal["fashion-mnist"] = "fashion-mnist"
    valid: NonNegativeInt = 10_000
    """The last rows of the training set, used for validation."""


class StaticMNIST(DataKind):
    """The fixed binarization of MNIST by Larochelle: 50,000 / 10,000 / 10,000 rows of bits."""

    kind: Literal["static-mnist"] = "static-mnist"


class Omniglot(DataKind):
    """32,460 characters of 50 alphabets, resized from 105x105 bits to 28x28 grey pixels."""

    kind: Literal["omniglot"] = "omniglot"
    binarize: Literal["no", "dynamic", "fixed", "threshold"] = "dynamic"
    valid: Share = 0.1
    """Rows of the background set for validation: a number, or a fraction below 1."""


class FreyFaces(HeldOut):
    """1965 frames of one face, 28x20 grey pixels."""

    kind: Literal["freyfaces"] = "freyfaces"
    valid: Share = 200
    test: Share = 200


class CIFAR10(DataKind):
    """60,000 photographs of 10 classes, 3x32x32 pixels."""

    kind: Literal["cifar10"] = "cifar10"
    valid: NonNegativeInt = 5_000
    """The last rows of the training set, used for validation."""


class CelebA(DataKind):
    """202,599 faces: the central 140x140 pixels, resized to 3x32x32."""

    kind: Literal["celeba"] = "celeba"


class PhotoPatches(HeldOut):
    """Patches of 3x32x32 pixels of two photographs, of a palace and of a flower (come with
    scikit-learn)."""

    kind: Literal["photo-patches"] = "photo-patches"
    valid: Share = 0.1
    """Of 120 blocks of 64x64 pixels, those for validation: a number, or a fraction below 1."""
    test: Share = 0.2
    """Blocks for testing: a number, or a fraction below 1."""
    stride: Annotated[PositiveInt, Field(le=32)] = 8
    """How many pixels patches for training are apart; others do not overlap."""


class Sprites(HeldOut):
    """7200 images of a square, an ellipse or a heart, 16x16 pixels, grey levels 0..16: every
    combination of shape, scale, rotation, column and row once (made here)."""

    kind: Literal["sprites"] = "sprites"
    range: Literal["unit", "levels"] = "levels"
    valid: Share = 600
    test: Share = 1200


class Sequences(DataKind):
    """Sequences of steps, padded with NaN to the length of the longest."""

    steps: PositiveInt | None = None
    """Training sequences are cut into chunks of so many steps; by default they stay whole."""


class JSBChorales(Sequences):
    """229 / 76 / 77 chorales of Bach, 88 bits for each quarter note (which keys sound)."""

    kind: Literal["jsb-chorales"] = "jsb-chorales"


class FSDD(Sequences):
    """3000 spoken digits of 6 speakers, 32 frames of 32 log-mel levels."""

    kind: Literal["fsdd"] = "fsdd"
    valid: Share = 0.1
    """Rows of the training set for validation: a number, or a fraction below 1."""
    label: Literal["digit", "speaker"] = "digit"
    """What the label is; data.known also takes either by name."""


class FSDDWaves(DataKind):
    """300 recordings of spoken digits, pieces of samples at 8 kHz, 256 levels by the mu-law."""

    kind: Literal["fsdd-waves"] = "fsdd-waves"
    samples: Annotated[PositiveInt, Field(le=1024)] = 512
    """The number of samples of a piece; what is left at the end of a recording is left out."""
    label: Literal["digit", "speaker"] = "digit"
    """What the label is."""


class File(HeldOut):
    """Your own data: .npy, .npz, a table (CSV, parquet), IDX (.gz), or a folder of images."""

    kind: Literal["file"] = "file"
    path: Path
    """The file or folder."""
    range: Literal["auto", "unit", "levels"] = "auto"  # type: ignore[assignment]
    """Grey levels 0..n are divided by n, or stay whole numbers; auto divides those of images and
    of eight bits."""
    array: str | None = None
    """For an archive .npz: the array with the data."""
    header: Literal["auto", "yes", "no"] = "auto"
    """For a table: whether its first line names the columns."""
    label: Name = "auto"
    """The column of the labels, or none; auto uses one called label, class, target or y."""
    index: Name = "auto"
    """The column that numbers the rows and is left out, or none; auto finds it."""
    drop: Names = ()
    """Columns to leave out."""
    categories: Names = ()
    """Columns to treat as categories, whatever their values look like."""
    holes: Annotated[Hidden | tuple[str, ...], BeforeValidator(_hidden_or_words)] = ()  # type: ignore[assignment]
    """Words and numbers for missing values, in addition to empty cells and the usual words; or a
    share between 0 and 1 of elements to hide at random, as for other data."""
    usual_holes: bool = True
    """Whether NA, NaN, ?, null and none are words for missing values."""
    separator: str = "auto"
    """What separates columns."""
    decimal: Literal["auto", ".", ",", "1,000"] = "auto"
    """The decimal mark; 1,000 if commas group digits."""
    encoding: str = "auto"
    """Of text, such as cp1252; auto detects UTF-8 and UTF-16, and otherwise uses cp1252."""


Data = Annotated[
    Digits
    | Diabetes
    | Ring
    | Grid
    | MNIST
    | FashionMNIST
    | StaticMNIST
    | Omniglot
    | FreyFaces
    | CIFAR10
    | CelebA
    | PhotoPatches
    | Sprites
    | JSBChorales
    | FSDD
    | FSDDWaves
    | File,
    Field(discriminator="kind"),
]
