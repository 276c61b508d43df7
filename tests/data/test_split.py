"""Splits: x is computed from stored data by a recorded rule, and every value is checked."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from checks import bound
from torch.distributions import constraints

import pyro_vae as pv
from pyro_vae import config
from pyro_vae.data import Split, as_split, check, fingerprint, load, moments

GREY = torch.randint(
    256, (500, 1, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
)


def split(**rule):
    return Split(GREY, levels=255, **rule)


def own(path, **options):
    return load(config.File(path=path, **options))


# --- From stored values to x --------------------------------------------------------------------


def test_rules():
    index = torch.tensor([3, 7])
    assert torch.equal(split(range="unit").rows(index), GREY[index].float() / 255)
    assert torch.equal(split(range="levels").rows(index), GREY[index].float())
    assert torch.equal(split(binarize="threshold").rows(index), (GREY[index] > 127).float())
    assert set(split(binarize="dynamic").rows(index).unique().tolist()) == {0.0, 1.0}
    assert split(range="levels").scale == 255 and split(range="unit").scale == 1


def test_dynamic_bits_have_the_pixels_probabilities():
    grey = torch.tensor([[[[0, 51, 128, 255]]]], dtype=torch.uint8)
    many = Split(grey.expand(40_000, 1, 1, 4), levels=255, binarize="dynamic")
    p = grey.double().flatten() / 255
    n = len(many)
    z = (many.rows(slice(None)).double().mean(0).flatten() - p) / (p * (1 - p) / n).sqrt().clamp(
        min=1e-9
    )
    assert z.abs().max() < bound(4)
    twin = (many.rows(slice(None)).double().mean(0).flatten() - p**2.2) / (
        p * (1 - p) / n
    ).sqrt().clamp(min=1e-9)
    assert twin.abs().max() > bound(4)


def test_bits_are_drawn_again_or_frozen():
    dynamic = split(binarize="dynamic")
    assert not torch.equal(dynamic.rows(slice(9)), dynamic.rows(slice(9)))
    state = torch.get_rng_state()
    frozen = dynamic.freeze(3)
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(frozen.rows(slice(9)), dynamic.freeze(3).rows(slice(9)))
    assert not torch.equal(frozen.stored, dynamic.freeze(4).stored)
    assert frozen.stored.dtype == torch.uint8 and frozen.stored.max() == 1


def test_mean_uses_probabilities_and_no_random_numbers():
    state = torch.get_rng_state()
    torch.testing.assert_close(
        moments(split(binarize="dynamic"))[0], GREY.double().mean(0) / 255, rtol=1e-6, atol=1e-6
    )
    torch.testing.assert_close(moments(split(range="levels"))[0], GREY.double().mean(0))
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize(
    "x",
    [
        GREY,
        GREY.bool(),
        GREY.int(),
        GREY.half(),
        GREY.double(),
        GREY.numpy(),
        GREY.numpy().astype(np.uint16),
    ],
)
def test_plain_arrays_are_not_changed(x):
    rows = as_split(x).rows(slice(5))
    assert rows.dtype == torch.float32
    assert torch.equal(rows, torch.as_tensor(np.asarray(x).astype("float32"))[:5])


@pytest.mark.parametrize(
    "x",
    [np.array([["a"]]), np.array([[{}]]), np.zeros((0, 3)), np.zeros(3)],
    ids=["text", "objects", "empty", "flat"],
)
def test_arrays_that_are_not_data(x):
    with pytest.raises(ValueError, match="Expected"):
        as_split(x)


# --- Refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "x,support,words",
    [
        (
            torch.full((5, 2), 0.5),
            constraints.boolean,
            ["{0, 1}", "0.5", "row 0", "binarize", "gaussian"],
        ),
        (
            torch.tensor([[0.0], [17.0]]),
            constraints.integer_interval(0, 16),
            ["{0, ..., 16}", "17", "row 1"],
        ),
        (torch.tensor([[0.0, np.nan]]), constraints.real, ["nan", "row 0", "(1,)"]),
        (torch.tensor([[0.0, np.inf]]), constraints.real, ["inf", "row 0"]),
    ],
)
def test_values_outside_the_support_are_named(x, support, words):
    with pytest.raises(ValueError) as error:
        check(as_split(x, "mine.npy"), support, "Family")
    for word in [*words, "mine.npy", "Family"]:
        assert word in str(error.value)


def test_the_remedies_for_grey_pixels():
    with pytest.raises(
        ValueError, match=r"binarize dynamic.*gaussian.*binomial --likelihood.total-count 255"
    ):
        check(split(range="unit"), constraints.boolean, "Bernoulli")
    with pytest.raises(ValueError, match="range levels"):
        check(split(range="unit"), constraints.integer_interval(0, 255), "Binomial")
    check(split(binarize="dynamic"), constraints.boolean, "Bernoulli")
    check(split(range="levels"), constraints.integer_interval(0, 255), "Binomial")


@pytest.mark.slow
def test_refusals_do_not_depend_on_validation_or_asserts():
    code = (
        "import torch, pyro, pyro_vae as pv\n"
        "pyro.enable_validation(False)\n"
        "q = pv.posteriors.MeanFieldNormal(pv.nn.MLP(4, [8], 4))\n"
        "vae = pv.VAE(pv.priors.StandardNormal(2), pv.likelihoods.Bernoulli(pv.nn.MLP(2, [8], 4)), q)\n"
        "try: pv.fit(vae, torch.rand(9, 4), progress=False)\n"
        "except ValueError as error: print(error)\n"
    )
    out = subprocess.run(
        [sys.executable, "-O", "-c", code], capture_output=True, text=True, check=True
    )
    assert "the support of Bernoulli" in out.stdout


# --- Larger than memory -------------------------------------------------------------------------


def test_mapped_arrays_are_read_by_rows(tmp_path, monkeypatch):
    import pyro_vae.data.archives as files

    np.save(tmp_path / "x.npy", GREY.numpy())
    monkeypatch.setattr(files, "MAP_BYTES", 100)
    data = own(tmp_path / "x.npy", range="unit", valid=50, test=0.2)
    assert isinstance(data.train.stored, np.memmap)
    assert (len(data.train), len(data.valid), len(data.test)) == (350, 50, 100)
    assert torch.equal(data.train.rows(torch.tensor([5, 2])), GREY[[5, 2]].float() / 255)
    assert torch.equal(data.test.rows(slice(0, 3)), GREY[400:403].float() / 255)
    posterior = pv.posteriors.MeanFieldNormal(pv.nn.MLP((1, 4, 4), [8], 4))
    likelihood = pv.likelihoods.Gaussian(pv.nn.MLP(2, [8], (1, 4, 4)), event_dim=3)
    history = pv.fit(
        pv.VAE(pv.priors.StandardNormal(2), likelihood, posterior),
        data.train,
        epochs=2,
        progress=False,
    )
    assert len(history["loss"]) == 2


def test_fingerprints_see_every_byte_in_memory():
    other = GREY.clone()
    other[77, 0, 2, 2] ^= 1
    assert fingerprint(Split(GREY)) != fingerprint(Split(other))
    assert fingerprint(Split(GREY)) == fingerprint(Split(GREY.clone()))
