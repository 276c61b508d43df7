"""What every relative has is what it does; autoencoders and GSN against exact answers."""

import contextlib

import pytest
import torch
from torch.func import jacrev, vmap

import pyro_vae as pv
from pyro_vae.gallery import (
    DBM,
    GAN,
    GSN,
    MADE,
    RBM,
    Autoencoder,
    Lacking,
    NormalizingFlow,
    abilities,
)

SHAPE = (1, 2, 3)
X = torch.bernoulli(torch.full((7, *SHAPE), 0.5), generator=torch.Generator().manual_seed(0))
SMALL = {"hidden_features": (8,)}
MAKE = {
    "autoencoder": lambda: Autoencoder(SHAPE, 2, error="cross-entropy", **SMALL),
    "sparse": lambda: Autoencoder(SHAPE, 8, sparsity=0.1, **SMALL),
    "denoising": lambda: Autoencoder(SHAPE, 2, noise=0.2, **SMALL),
    "contractive": lambda: Autoencoder(SHAPE, 2, contraction=0.1, **SMALL),
    "gsn": lambda: GSN(SHAPE, 4, **SMALL),
    "rbm": lambda: RBM(SHAPE, 4),
    "rbm estimated": lambda: RBM((30,), 21, num_temperatures=10, sample_steps=10),
    "dbm": lambda: DBM(SHAPE, 4, 3, sample_steps=10),
}
HAS = {
    "sample": {"gsn", "rbm", "rbm estimated", "dbm"},
    "log_prob": {"rbm", "rbm estimated", "dbm"},
    "reconstruct": {*MAKE},
    "encode": {*MAKE},
}


@pytest.mark.parametrize("name", MAKE)
def test_it_can_what_it_says(name):
    model = MAKE[name]()
    x = X if model.x_shape == SHAPE else torch.bernoulli(torch.full((7, 30), 0.5))
    can = abilities(model, x)
    for ability, has in HAS.items():
        if name in has:
            assert can[ability] == (model.density if ability == "log_prob" else "yes")
        else:
            assert can[ability].endswith(".") and " has no " in can[ability]
    assert model.loss(x).shape == model.score(x).shape == (7,)


def test_a_plain_autoencoder_says_that_it_has_no_density():
    with pytest.raises(Lacking, match=r"An autoencoder has no log p\(x\): it turns data into"):
        MAKE["autoencoder"]().log_prob(X)


def test_a_relative_that_breaks_a_promise_is_found():
    class Wrong(RBM):
        def sample(self, num_samples):
            return super().sample(num_samples) / 2

    with pytest.raises(AssertionError, match=r"samples lie outside"):
        abilities(Wrong(SHAPE, 4), X)


@pytest.mark.usefixtures("float64")
def test_contraction_is_the_squared_jacobian():
    model = Autoencoder(SHAPE, 3, contraction=0.5, x_scale=2.0, **SMALL)
    x = torch.rand(4, *SHAPE)
    jacobian = vmap(jacrev(lambda one: model.encoder(one[None])[0]))(x) * 2.0
    expected = jacobian.square().flatten(1).sum(1)
    assert torch.allclose(model.stretch(x), expected)
    assert torch.allclose(model.loss(x), model.distance(x, model.encode(x)) + 0.5 * expected)


def test_sparse_codes_cannot_cheat_by_scale():
    model = Autoencoder(SHAPE, 8, sparsity=0.3, hidden_features=())
    before = model.loss(X)
    with torch.no_grad():  # smaller codes, larger atoms
        for layer, factor in ((model.encoder.layers[0], 0.5), (model.decoder.layers[0], 2.0)):
            layer.weight.mul_(factor)
    assert torch.allclose(model.loss(X), before)
    assert bool((model.encode(X) == 0).any())


@pytest.mark.parametrize("error,noise", [("squared", 0.5), ("cross-entropy", 0.4)])
def test_noise_is_as_said(error, noise):
    model = Autoencoder((1000,), 2, error=error, noise=noise, hidden_features=(), x_scale=3.0)
    x = torch.ones(50, 1000)
    moved = model.corrupt(x) - x
    if error == "squared":
        assert float(moved.std()) == pytest.approx(1.5, rel=0.02)
    else:  # half of what is replaced changes
        assert float((moved != 0).float().mean()) == pytest.approx(0.2, abs=0.01)


def test_a_chain_of_true_denoising_steps_stays_with_the_data():
    """Two data, 000 and 111: the exact p(x | noisy x) has their distribution as its own."""
    noise = 0.3

    class Exact(GSN):
        def logits(self, x):
            odds = torch.log(torch.tensor((1 - noise / 2) / (noise / 2)))
            ones = pv.gallery.autoencoder.salt_and_pepper(x, noise).sum(1, keepdim=True)
            all_ones = torch.bernoulli((odds * (2 * ones - 3)).sigmoid())
            return (200 * all_ones - 100).expand(-1, 3)

    model = Exact((3,), 2, noise=noise, **SMALL)
    x = torch.bernoulli(torch.full((4000, 1), 0.5)).expand(-1, 3)
    after = model.chain(x, 20)
    assert bool((after == after[:, :1]).all()) and float((after != x).float().mean()) > 0.3
    assert abs(float(after[:, 0].mean()) - 0.5) < 4.3 * 0.5 / 4000**0.5


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: Autoencoder(SHAPE, 2, noise=-1.0), "noise, sparsity and contraction of zero"),
        (lambda: Autoencoder(SHAPE, 2, sparsity=float("nan")), "noise, sparsity and contraction"),
        (lambda: Autoencoder(SHAPE, 2, "cross-entropy", noise=1.5), "noise as a probability"),
        (lambda: Autoencoder(SHAPE, 2, x_scale=0.0), "x_scale as a positive number"),
        (lambda: Autoencoder(SHAPE, 2, "crossentropy"), "error 'squared' or 'cross-entropy'; got"),
        (lambda: GAN(SHAPE, smooth="spectral"), "smooth 'spectral-norm' or 'gradient-penalty'"),
        (lambda: GAN(SHAPE, hidden_features=(8, 0)), "hidden_features as whole numbers of at le"),
        (lambda: NormalizingFlow(SHAPE, transform="afine"), "transform 'spline' or 'affine'"),
        (lambda: MADE(SHAPE, hidden_features=()), "hidden_features of a hidden layer or more"),
        (lambda: GSN(SHAPE, noise=1.5), "noise as a probability and hidden_noise of zero or more"),
        (lambda: RBM(SHAPE, num_hidden=0), "num_hidden as a whole number"),
    ],
)
def test_mistakes_get_a_sentence(make, words):
    with pytest.raises(ValueError, match=f"^Expected {words}"):
        make()


def test_cross_entropy_is_of_numbers_from_0_to_1():
    """Of others it has no least value, and training would run away from them."""
    for error, words in (("cross-entropy", r"values in \[0, 1\].*Binarize"), ("squared", None)):
        model = Autoencoder((3,), 2, error, **SMALL)
        with pytest.raises(ValueError, match=words) if words else contextlib.nullcontext():
            pv.fit(model, torch.full((8, 3), 16.0), epochs=1, progress=False, compile="no")
