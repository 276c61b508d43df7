"""Elements hidden on purpose: once or at every visit, and what depends on them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from checks import bound

import pyro_vae as pv
from pyro_vae.config import validate
from pyro_vae.data import as_split, fingerprint, hidden_by, moments
from pyro_vae.evaluate.summary import seen_elements

DIGITS = {"kind": "digits"}


def recipe(**data):
    return validate(
        {
            "latent_dim": 3,
            "data": {**DIGITS, **data},
            "likelihood": {
                "kind": "binomial",
                "total_count": 16,
                "decoder": {"kind": "mlp", "hidden_features": [16]},
            },
            "posterior": {
                "kind": "mean-field-normal",
                "encoder": {"kind": "mlp", "hidden_features": [16]},
            },
        }
    )


def share(x):
    return float(x.isnan().double().mean())


def test_holes_once_are_the_same_at_every_visit():
    data = pv.data.load("digits", holes=0.3)
    rows = slice(0, 500)
    first = data.train.rows(rows)
    assert first.isnan().equal(data.train.rows(rows).isnan())
    for split in data.splits.values():
        count = len(split) * 64
        assert abs(share(split.rows(slice(None))) - 0.3) < bound(6) * (0.21 / count) ** 0.5
    whole = pv.data.load("digits")
    shown = data.test.rows(slice(None))
    assert torch.equal(
        torch.where(shown.isnan(), whole.test.rows(slice(None)), shown),
        whole.test.rows(slice(None)),
    )
    assert data.test.stored.dtype == torch.uint8 and "30% of the elements" in data.notes
    again, other = (pv.data.load("digits", holes=0.3, seed=seed) for seed in (0, 1))
    assert fingerprint(again.test) == fingerprint(data.test)
    masks = [d.train.holes.sum() for d in (data, other)]
    assert masks[0] != masks[1]


def test_holes_at_every_visit_are_drawn_anew_in_training_alone():
    data = pv.data.load("digits", holes={"rate": 0.5, "when": "visit"})
    first, second = (data.train.rows(slice(0, 200)) for _ in range(2))
    assert not first.isnan().equal(second.isnan())
    assert abs(share(first) - 0.5) < bound(1) * (0.25 / first.numel()) ** 0.5
    assert data.valid.rows(slice(0, 9)).isnan().equal(data.valid.rows(slice(0, 9)).isnan())
    frozen = data.train.freeze(3)
    assert frozen.rows(slice(0, 9)).isnan().equal(frozen.rows(slice(0, 9)).isnan())
    assert moments(data.train)[0].equal(moments(pv.data.load("digits").train)[0])


def test_patterns_of_holes_have_their_own_fingerprints():
    x = as_split(torch.arange(24.0).reshape(4, 6))
    holes = torch.zeros(4, 6, dtype=torch.bool)
    other = holes.clone()
    holes[1, 2] = other[2, 1] = True
    splits = [
        x,
        x.hiding(holes),
        x.hiding(other),
        replace(x, hole_rate=0.5),
        replace(x, hole_rate=0.4),
    ]
    assert len({fingerprint(split) for split in splits}) == 5


def test_splits_keep_their_holes():
    data = pv.data.load("digits", holes=0.3)
    rows = torch.tensor([5, 2])
    taken = data.train.take(rows)
    assert taken.rows(slice(None)).isnan().equal(data.train.rows(rows).isnan())
    every = data.all()
    at = every.row_numbers.tolist().index(int(data.test.row_numbers[0]))
    assert every.rows(torch.tensor([at])).isnan().equal(data.test.rows(slice(0, 1)).isnan())
    bits = pv.data.load("digits", holes=0.3, binarize="dynamic").train
    values = bits.rows(slice(0, 50))
    assert set(values[~values.isnan()].unique().tolist()) == {0.0, 1.0}
    assert bits.freeze(0).rows(slice(0, 50)).isnan().equal(values.isnan())


def test_columns_that_are_given_leave_holes_in_the_others(tmp_path):
    table = np.random.default_rng(0).normal(size=(60, 3))
    np.savetxt(tmp_path / "t.csv", table, delimiter=",", header="a,b,c", comments="")
    data = pv.data.load(tmp_path / "t.csv", holes=0.5, known={"c": "c"}, quiet=True)
    assert data.train.holes.shape == (48, 2) and not data.train.known["c"].isnan().any()
    words = pv.data.load(tmp_path / "t.csv", holes=-999, quiet=True)
    assert words.train.holes is None and words.config.hole_words == ("-999",)


def test_bits_count_what_is_there():
    split = pv.data.load("digits", holes=0.25).test
    there = int((~split.rows(slice(None)).isnan()).sum())
    assert seen_elements(split) == there < len(split) * 64
    built = pv.build_vae(recipe(holes=0.25), (1, 8, 8), split.scale, split)
    figures = pv.evaluate.evaluate(built, split.take(slice(0, 20)), 20)
    few = seen_elements(split.take(slice(0, 20)))
    nats = -figures["log_marginal"] * 20
    assert figures["bits_per_dim"] == pytest.approx(nats / few / np.log(2))


@pytest.mark.filterwarnings("ignore:Not to be trusted")  # by so few steps
def test_what_is_hidden_changes_nothing():
    """Values under holes are others, and every figure is the same, bit for bit."""
    split = pv.data.load("digits", holes=0.4).test.take(slice(0, 30))
    other = replace(split, stored=torch.where(split.holes, 16 - split.stored, split.stored))
    assert not other.stored.equal(split.stored)
    vae = pv.build_vae(recipe(holes=0.4), (1, 8, 8), split.scale, split)
    for figure in (
        lambda s: pv.elbo(vae, s, 3),
        lambda s: pv.log_marginal(vae, s, 20).log_marginal,
        lambda s: pv.impute(vae, s, 2, method="gibbs", num_particles=20, num_steps=8).draws,
    ):
        assert figure(split).equal(figure(other))


def test_regions_that_are_hidden():
    split = pv.data.load("digits").test
    holes = hidden_by(split, "bottom", 0)
    assert holes[0, 0].sum() == 32 and holes[0, 0, 4:].all()
    assert abs(float(hidden_by(split, "random:0.2", 1).double().mean()) - 0.2) < 0.02
    for words, told in [
        ("random:2", "Expected a share"),
        ("middle", "bottom"),
        ("random", "share"),
    ]:
        with pytest.raises(ValueError, match=told):
            hidden_by(split, words, 0)
    with pytest.raises(ValueError, match="Expected images, of which left is a region"):
        hidden_by(as_split(torch.zeros(3, 4)), "left", 0)


def test_likelihoods_of_whole_data_are_told():
    split = pv.data.load("digits", holes=0.4).test
    vae = pv.build_vae(recipe(), (1, 8, 8), split.scale, split)
    with pytest.raises(ValueError, match="got Binomial. Set likelihood.missing to at-random"):
        pv.elbo(vae, split)
    with pytest.raises(ValueError, match="--likelihood.missing at-random"):
        pv.elbo(vae, torch.full((2, 1, 8, 8), torch.nan))
