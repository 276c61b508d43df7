r"""A folder of images: which of its files are data, their classes, depths and channels."""

from pathlib import Path
from typing import Any

import numpy as np

from .arrays import MAX_BYTES
from .content import Content, first_of

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")
OTHERS = (
    ".heic", ".heif", ".avif", ".jp2", ".jxl", ".ppm", ".pgm", ".pbm", ".tga", ".ico", ".svg",
    ".dcm", ".nii", ".raw", ".cr2", ".nef", ".dng", ".psd", ".jfif", ".apng",
)  # fmt: skip
SPLITS = {
    "train": "train",
    "training": "train",
    "val": "valid",
    "valid": "valid",
    "validation": "valid",
    "dev": "valid",
    "test": "test",
    "testing": "test",
}


def read_images(folder: Path) -> Content:
    r"""Reads the images of a folder, in the order of their names.

    Folders ``train``, ``val`` and ``test`` are splits, other folders are classes. Every page of a
    file is an image. Hidden files and folders are left out.

    Returns:
        Images of shape `(N, C, H, W)`, with their classes as labels.

    Raises:
        ValueError: There are no images, or they differ in size or depth.
    """
    facts: list[str] = []
    paths = sorted(folder.rglob("*"))
    seen = [path for path in paths if not _hidden(path.relative_to(folder))]
    every, files = (
        [p for p in some if p.suffix.lower() in SUFFIXES and p.is_file()] for some in (paths, seen)
    )
    if len(files) < len(every):
        facts.append(f"left out: {len(every) - len(files)} hidden files")
    if strange := [path for path in seen if path.suffix.lower() in OTHERS]:
        kinds = sorted({p.suffix.lower() for p in strange})
        facts.append(f"left out: {len(strange)} images of other formats ({', '.join(kinds)})")
    if not files:
        others = sorted({p.name for p in folder.iterdir() if p.is_file()})[:3]
        hint = f" It has {', '.join(others)}; pass a file to read it." if others else ""
        raise ValueError(f"Expected images ({', '.join(SUFFIXES)}) in {folder}; got none.{hint}")
    places = _places(files, folder)
    images, pages = _read_all(files, facts)
    owners = [place for place, count in zip(places, pages) for _ in range(count)]
    named = sorted({name for _, name in owners} - {"."}) or ["."]
    if named != ["."]:
        loose = sum(name == "." for _, name in owners)
        facts.append(
            f"{len(named)} classes, by folder: {first_of(named)}"
            + (f"; {loose} images in none (-1)" if loose else "")
        )
    codes = {name: i for i, name in enumerate(named)}
    found: dict[str, np.ndarray] = {}
    labels: dict[str, np.ndarray] = {}
    for split in dict.fromkeys(split for split, _ in owners):
        rows = [i for i, (own, _) in enumerate(owners) if own == split]
        found[split] = np.stack([images[i] for i in rows])
        labels[split] = np.array([codes.get(owners[i][1], -1) for i in rows])
    if "" not in found:
        sizes = ", ".join(f"{name} {len(rows)}" for name, rows in found.items())
        facts.append(f"splits by folder: {sizes}")
    return Content(found, labels, classes=tuple(named), facts=facts)


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in path.parts)


def _places(files: list[Path], folder: Path) -> list[tuple[str, str]]:
    r"""The split and the class of each file, by the folders above it."""
    paths = [path.relative_to(folder).parts[:-1] for path in files]
    tops = {parts[0].lower() if parts else "" for parts in paths}
    by_split = bool(tops & {*SPLITS})
    if by_split and (strange := tops - {*SPLITS}):
        names = ", ".join(sorted(name or "images beside them" for name in strange))
        raise ValueError(
            f"Expected splits (train, val, test) or classes as folders of {folder}; "
            f"got both: {', '.join(sorted(tops & {*SPLITS}))} and {names}. Move the others away."
        )
    if not by_split:
        return [("", "/".join(parts) or ".") for parts in paths]
    return [(SPLITS[parts[0].lower()], "/".join(parts[1:]) or ".") for parts in paths]


def _read_all(files: list[Path], facts: list[str]) -> tuple[list[np.ndarray], list[int]]:
    r"""Every page of every file, all with the same size, depth and number of channels; and the
    number of pages of each file."""
    from PIL import Image, UnidentifiedImageError

    images: list[np.ndarray] = []
    pages: list[int] = []
    changes: dict[str, int] = {}
    held = 0
    for path in files:
        try:
            with Image.open(path) as image:
                pages.append(getattr(image, "n_frames", 1))
                for page in range(pages[-1]):
                    image.seek(page)
                    images.append(_pixels(image, path, changes))
                    held += images[-1].nbytes
        except (UnidentifiedImageError, OSError, EOFError, SyntaxError) as error:
            raise ValueError(f"Expected an image in {path}; got {error}.") from None
        except Image.DecompressionBombError as error:
            raise ValueError(
                f"Expected an image of plausible size in {path}; got {error}."
            ) from None
        if held > MAX_BYTES:
            raise ValueError(
                f"Expected images that fit into memory in {path.parent}; got more than 8 GB. "
                "Resize them first."
            )
        _check_alike(images[0], images[-1], files[0], path)
    if len(images) > len(files):
        facts.append(f"every page is an image: {len(images)} pages in {len(files)} files")
    if len({len(array) for array in images}) > 1:  # grey and colour images
        grey = sum(len(array) == 1 for array in images)
        images = [np.repeat(p, 3, 0) if len(p) == 1 else p for p in images]
        facts.append(f"{grey} grey images get three equal channels, as others are in colour")
    facts.extend(f"{count} images: {change}" for change, count in changes.items())
    return images, pages


def _pixels(image: Any, path: Path, changes: dict[str, int]) -> np.ndarray:
    r"""One page as `(C, H, W)`; transparent colours are laid over white."""
    from PIL import Image, ImageOps

    def note(change: str) -> None:
        changes[change] = changes.get(change, 0) + 1

    if path.suffix.lower() == ".png":
        with path.open("rb") as file:
            head = file.read(26)
        if head[24:25] == b"\x10" and head[25] in (2, 4, 6):
            note("16 bits per channel are read as 8, which is what Pillow supports for colour")
    turned = ImageOps.exif_transpose(image)
    if turned.size != image.size or turned.getexif() != image.getexif():
        note("rotated as their EXIF data say")
    image = turned
    if image.mode == "P":
        image = image.convert("RGBA" if "transparency" in image.info else "RGB")
        pixels = np.asarray(image)
        if (pixels[..., :1] == pixels[..., :3]).all():
            image = image.convert("LA" if image.mode == "RGBA" else "L")
    if image.mode in ("LA", "RGBA", "PA", "La", "RGBa"):
        image = image.convert("RGBA") if image.mode in ("PA", "RGBa") else image
        image = image.convert("LA") if image.mode == "La" else image
        colour = "L" if image.mode == "LA" else "RGB"
        if np.asarray(image.getchannel("A")).min() < 255:
            white = Image.new(image.mode, image.size, "white")
            over = Image.alpha_composite(white.convert("RGBA"), image.convert("RGBA"))
            image = over.convert(colour)
            note("transparent parts (alpha) are laid over white")
        else:
            image = image.convert(colour)
    elif image.mode in ("CMYK", "YCbCr", "HSV", "LAB", "RGBX"):
        note(f"{image.mode} is converted to RGB")
        image = image.convert("RGB")
    pixels = np.asarray(image)
    pixels = pixels.astype(pixels.dtype.newbyteorder("="))
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def _check_alike(first: np.ndarray, other: np.ndarray, start: Path, path: Path) -> None:
    if other.shape[1:] != first.shape[1:]:
        raise ValueError(
            f"Expected images of one size, {first.shape[1:]} as {start}; got "
            f"{other.shape[1:]} in {path}. Resize all to one size first."
        )
    if other.dtype != first.dtype:
        raise ValueError(
            f"Expected images of one depth, {first.dtype} as {start}; got {other.dtype} in "
            f"{path}. Save all with the same depth."
        )
