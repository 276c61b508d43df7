"""Folders of images: what is data, and with which depth, channels and classes."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import pyro_vae as pv
from pyro_vae import config

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (8, 6), dtype=np.uint8)

WIDE = GREY[None].astype(float)


def save(path, image, **options):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(path, **options)


def read(folder, **options):
    return pv.data.load(config.File(path=folder, valid=0, test=0, **options))


def rgba(alpha):
    pixels = np.zeros((8, 6, 4), np.uint8)
    pixels[..., 0] = 255
    pixels[..., 3] = alpha
    return pixels


@pytest.mark.parametrize(
    "image,suffix,shape,x,note",
    [
        (GREY, "png", (1, 8, 6), GREY[None] / 255, "divided by 255"),
        (GREY > 99, "png", (1, 8, 6), GREY[None] > 99, "bits"),
        (Image.fromarray(GREY).convert("LA"), "png", (1, 8, 6), GREY[None] / 255, ""),
        (Image.fromarray(GREY).convert("P"), "png", (1, 8, 6), GREY[None] / 255, ""),
        ((GREY.astype("u2") * 16), "png", (1, 8, 6), WIDE * 16 / 4095, "divided by 4095"),
        ((GREY.astype("u2") * 257), "tif", (1, 8, 6), WIDE * 257 / 65535, "divided by 65535"),
        (GREY.astype("i4") * 9, "tif", (1, 8, 6), WIDE * 9 / 4095, "divided by 4095"),
        (GREY.astype("f4") / 7 - 3, "tiff", (1, 8, 6), GREY[None].astype("f4") / 7 - 3, ""),
        (rgba(255), "png", (3, 8, 6), np.stack([np.ones((8, 6)), *np.zeros((2, 8, 6))]), ""),
        (rgba(0), "png", (3, 8, 6), np.ones((3, 8, 6)), "transparent parts (alpha)"),
        (Image.fromarray(rgba(255)).convert("RGB").convert("CMYK"), "tif", (3, 8, 6), None, "CMYK"),
        (Image.fromarray(GREY).convert("RGB"), "PNG", (3, 8, 6), np.stack([GREY] * 3) / 255, ""),
    ],
    ids=["8 bits", "1 bit", "LA", "palette", "12 in 16 bits", "16 bits", "32 bits", "real", "opaque", "transparent", "CMYK", "upper case"],
)  # fmt: skip
def test_depths_and_channels(tmp_path, image, suffix, shape, x, note):
    for i in range(2):
        save(tmp_path / f"{i}.{suffix}", image)
    dataset = read(tmp_path)
    assert dataset.train.x_shape == shape and note in dataset.notes
    if x is not None:
        np.testing.assert_allclose(dataset.train.rows(slice(0, 1))[0], x, atol=1e-6)


@pytest.mark.parametrize("names", [("train", "val", "test"), ("Training", "validation", "Test")])
def test_splits_and_classes(tmp_path, names):
    for split, count in zip(names, (3, 2, 1)):
        for label in ("cat", "dog"):
            for i in range(count):
                save(tmp_path / split / label / f"{i}.png", GREY)
    dataset = read(tmp_path)
    assert {n: len(s) for n, s in dataset.splits.items()} == {"train": 6, "valid": 4, "test": 2}
    assert dataset.train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert dataset.train.classes == ("cat", "dog") and "cat, dog" in dataset.notes
    assert dataset.record()["form"]["classes"] == ["cat", "dog"]


def test_files_that_are_not_data(tmp_path):
    for name in (
        "a/1.png",
        "b/2.png",
        "a/.ipynb_checkpoints/1.png",
        ".hidden/3.png",
        "__MACOSX/4.png",
        "a/._1.png",
    ):
        save(tmp_path / name, GREY)
    (tmp_path / "a" / "notes.txt").write_text("hi")
    dataset = read(tmp_path)
    assert len(dataset.train) == 2 and dataset.train.classes == ("a", "b")
    assert "4 hidden files" in dataset.notes


@pytest.mark.parametrize("suffix", ["tif", "gif", "webp"])
def test_every_page_is_an_image(tmp_path, suffix):
    pages = [Image.fromarray(np.full((8, 8), 60 * i, np.uint8)) for i in range(4)]
    options = {"lossless": True} if suffix == "webp" else {}
    pages[0].save(tmp_path / f"s.{suffix}", save_all=True, append_images=pages[1:], **options)
    dataset = read(tmp_path)
    assert len(dataset.train) == 4 and "4 pages in 1 files" in dataset.notes
    means = dataset.train.stored.double().flatten(1).mean(1).sort().values
    np.testing.assert_allclose(means, [0, 60, 120, 180], atol=2)


def test_grey_among_colour(tmp_path):
    save(tmp_path / "a.png", GREY)
    save(tmp_path / "b.png", np.stack([GREY] * 3, -1))
    dataset = read(tmp_path)
    assert dataset.train.x_shape == (3, 8, 6) and "1 grey images" in dataset.notes


def test_images_are_turned_upright(tmp_path):
    image = Image.fromarray(GREY)
    exif = image.getexif()
    exif[274] = 6
    save(tmp_path / "a.jpg", image, exif=exif)
    dataset = read(tmp_path)
    assert dataset.train.x_shape == (1, 6, 8) and "EXIF" in dataset.notes


@pytest.mark.parametrize(
    "files,words",
    [
        ({"a.png": GREY, "b.png": GREY[:4]}, r"one size.*b\.png"),
        ({"a.png": GREY, "b.png": GREY.astype("u2") * 9}, r"one depth.*b\.png"),
        ({"train/a.png": GREY, "other/b.png": GREY}, "splits .* or classes"),
        ({"train/a.png": GREY, "b.png": GREY}, "splits .* or classes"),
        ({"test/a.png": GREY}, "to train on"),
    ],
)  # fmt: skip
def test_folders_that_are_refused(tmp_path, files, words):
    for name, image in files.items():
        save(tmp_path / name, image)
    with pytest.raises(ValueError, match=words):
        read(tmp_path)


def test_broken_and_missing_images(tmp_path):
    (tmp_path / "table.csv").write_text("1,2")
    with pytest.raises(ValueError, match=r"got none. It has table\.csv"):
        read(tmp_path)
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n123")
    with pytest.raises(ValueError, match=r"Expected an image in .*a\.png"):
        read(tmp_path)


def test_images_that_are_left_out_and_unknown_classes(tmp_path):
    for name in ("train/cat/a.png", "train/dog/b.png", "test/c.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((2, 2), np.uint8)).save(tmp_path / name)
    (tmp_path / "train" / "d.heic").write_bytes(b"?")
    dataset = pv.data.load(tmp_path, valid=0, quiet=True)
    assert dataset.train.classes == ("cat", "dog")
    assert dataset.test.labels.tolist() == [-1]
    assert "1 images in none (-1)" in dataset.notes and "(.heic)" in dataset.notes
