"""Regions of images as conditions: no pixel is lost, and none is seen twice."""

import pytest
import torch

import pyro_vae as pv
from pyro_vae.data import Split
from pyro_vae.data.regions import give_regions, region

WORDS = ["bottom-left", "left", ["left", "top"], ["top-right", "bottom-left"]]


def images(**options):
    torch.manual_seed(0)
    x = torch.randint(0, 17, (6, 1, 8, 8), dtype=torch.uint8)
    return Split(x, levels=16, **options)


@pytest.mark.parametrize("words", WORDS, ids=str)
def test_an_image_is_put_together_again(words):
    words = [words] if isinstance(words, str) else words
    whole = images()
    split = give_regions(whole, {"c": words, "y": ("label",)})
    x, known = split.batch(slice(None))
    assert x.shape[1] + known["c"].shape[1] == 64 and float(known["c"].max()) <= 1
    assert split.picture.whole(x, known, split.scale).equal(whole.rows(slice(None)))
    unknown = split.picture.whole(x, {}, split.scale)
    assert unknown[:, 0].isnan().equal(region(words, 8, 8).expand(6, 8, 8))
    twin = split.picture.whole(x.flip(1), known, split.scale)  # pixels in another order
    assert not twin.equal(whole.rows(slice(None)))


def test_three_quadrants_are_all_but_one():
    assert region(["left", "top"], 4, 4).equal(~region(["bottom-right"], 4, 4))
    assert int(region(["top", "bottom"], 5, 3).sum()) == 15


@pytest.mark.parametrize("binarize", ["dynamic", "fixed", "threshold"])
def test_bits_are_drawn_of_the_rest_alone(binarize):
    data = pv.data.digits(known={"c": "left", "y": "label"}, binarize=binarize)
    for split in data.splits.values():
        x, known = split.take(slice(0, 20)).batch(slice(None))
        assert {*x.unique().tolist()} <= {0.0, 1.0} and x.shape == (20, 32)
        assert known["c"].shape == (20, 32) and len(known["c"].unique()) > 2  # still grey
        assert known["y"].shape == (20, 10)
    assert data.form()["picture"] == [1, 8, 8]


@pytest.mark.parametrize(
    "known,words",
    [
        ({"c": ["middle"]}, "got 'middle'"),
        ({"c": ["left"], "d": ["top"]}, "share no pixel; got d"),
        ({"c": ["left", "right"]}, "Expected pixels left for x"),
    ],
)
def test_regions_that_are_refused(known, words):
    with pytest.raises(ValueError, match=words):
        give_regions(images(), known)


def test_tables_and_mapped_arrays(tmp_path):
    import numpy as np

    table = Split(torch.zeros(4, 3))
    assert give_regions(table, {"c": ("left",)}) is table
    np.save(tmp_path / "x.npy", np.zeros((4, 1, 8, 8)))
    mapped = Split(np.load(tmp_path / "x.npy", mmap_mode="r"))
    with pytest.raises(ValueError, match="Expected images in memory"):
        give_regions(mapped, {"c": ("left",)})
