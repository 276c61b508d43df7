"""Pictures: on the support, on one scale, with names."""

from pathlib import Path

import numpy as np
import pytest
import torch
from checks import recipe_for

import pyro_vae as pv
from pyro_vae import plot
from pyro_vae.data import Column, Split, as_split
from pyro_vae.plot.canvas import Scale, scale_of
from pyro_vae.plot.data import _correlations, _marginals

LATENTS = [
    ({"kind": "standard-normal"}, {"kind": "mean-field-normal"}),
    ({"kind": "bernoulli"}, {"kind": "bernoulli"}),
    ({"kind": "categorical", "num_categories": 2}, {"kind": "categorical", "num_categories": 2}),
    ({"kind": "relaxed-bernoulli"}, {"kind": "relaxed-bernoulli"}),
    ({"kind": "relaxed-categorical", "num_categories": 2}, {"kind": "relaxed-categorical", "num_categories": 2}),
    ({"kind": "hypersphere-uniform"}, {"kind": "von-mises-fisher"}),
]  # fmt: skip
SHAPE = (1, 4, 4)


def images(count=40):
    return as_split(torch.rand(count, *SHAPE))


def table(count=60):
    x = torch.randn(count, 3).double()
    x[:, 1] = torch.arange(count) % 3
    x[::5, 2] = torch.nan
    columns = (Column("income"), Column("colour", ("red", "green", "blue")), Column("mood"))
    return Split(x, columns=columns)


def mixed(split):
    parts = [
        {"columns": [0, 2], "likelihood": {"kind": "gaussian"}},
        {"columns": [1], "likelihood": {"kind": "categorical", "num_levels": 3}},
    ]
    recipe = recipe_for(
        {"kind": "standard-normal"},
        {"kind": "product", "parts": parts},
        {"kind": "mean-field-normal"},
    )
    return pv.build_vae(recipe, (3,), 1.0, split)


@pytest.mark.parametrize("prior,posterior", LATENTS, ids=lambda kind: kind["kind"])
def test_walks_stay_on_the_support(prior, posterior, monkeypatch):
    split = images()
    recipe = recipe_for(prior, {"kind": "gaussian"}, posterior)
    vae = pv.build_vae(recipe, SHAPE, 1.0, split).eval()
    points = []
    decode = pv.evaluate.decode
    monkeypatch.setattr(
        "pyro_vae.plot.latent.decode", lambda vae, z: (points.append(z), decode(vae, z))[1]
    )
    figure = plot.plot_traversal(vae, split)
    (z,) = points
    assert len(z.unique(dim=0)) > 1
    assert vae.prior().support.check(z).all()
    assert "row 0" in figure.get_suptitle()
    plot.plot_latent(vae, split)


@pytest.mark.parametrize(
    "x,split,wanted",
    [
        (torch.rand(9, *SHAPE), None, (0, 1)),
        (torch.full((9, *SHAPE), 0.5), None, (0, 1)),
        (
            torch.rand(9, *SHAPE),
            Split(torch.ones(9, *SHAPE, dtype=torch.uint8), levels=16),
            (0, 16),
        ),
        (torch.tensor([-2.0, 3.0]), None, (-2, 3)),
        (torch.tensor([4.0, 4.0]) * 0.7, None, (2.8, 3.8)),
    ],
)
def test_scales(x, split, wanted):
    assert scale_of(x, split) == pytest.approx(Scale(*wanted))


def test_all_parts_of_a_figure_have_the_scale_of_the_data():
    split = as_split(4 * torch.rand(40, *SHAPE) - 2)
    recipe = recipe_for(
        {"kind": "standard-normal"}, {"kind": "gaussian"}, {"kind": "mean-field-normal"}
    )
    vae = pv.build_vae(recipe, SHAPE, 1.0, split)
    for figure in (plot.plot_reconstructions(vae, split), plot.plot_samples(vae, split=split)):
        shown = [axis.images[0] for axis in figure.axes if axis.images]
        limits = {image.get_clim() for image in shown[:-1]}
        assert len(limits) == 1 and len(shown) >= 2
        low, high = limits.pop()
        assert low == pytest.approx(-2, abs=0.2) and high == pytest.approx(2, abs=0.2)
        assert any(axis.get_label() == "<colorbar>" for axis in figure.axes)
    unit = images()
    figure = plot.plot_reconstructions(pv.build_vae(recipe, SHAPE, 1.0, unit), unit)
    assert not any(axis.get_label() == "<colorbar>" for axis in figure.axes)


def test_tables_have_names_and_marginals(tmp_path):
    split = table()
    vae = mixed(split)
    paths = plot.plot_run(vae, split, tmp_path, title="runs/a, recipe b, epoch 3")
    assert {path.stem for path in paths} == {
        "samples", "reconstructions", "latent", "correlations", "decoded",
    }  # fmt: skip
    assert all(path.stat().st_size > 5000 for path in paths)
    assert not list(tmp_path.glob(".*"))
    figure = plot.plot_samples(vae, split=split)
    assert [axis.get_title() for axis in figure.axes] == ["income", "colour", "mood"]
    assert [t.get_text() for t in figure.axes[1].get_xticklabels()] == ["red", "green", "blue"]
    heights = [patch.get_height() for patch in figure.axes[1].patches]
    np.testing.assert_allclose(heights[:3], 1 / 3, atol=1e-9)  # of the data
    assert sum(heights[3:6]) == pytest.approx(1)  # of samples
    names = [t.get_text() for t in plot.plot_traversal(vae, split).axes[0].get_xticklabels()]
    assert names == ["income", "colour", "mood"]


def test_correlations_leave_out_holes():
    split = table(400)
    x = split.stored.clone()
    x[:, 0] = 2 * x[:, 2].nan_to_num(0.0) + 0.1 * x[:, 0]
    found = _correlations(x)
    both = ~x[:, 2].isnan()
    wanted = torch.corrcoef(x[both][:, [0, 2]].T)[0, 1]
    torch.testing.assert_close(found[0, 2], wanted, rtol=0.01, atol=0.01)
    torch.testing.assert_close(found, found.T)
    assert _correlations(torch.ones(5, 2)).abs().max() == 0


@pytest.mark.parametrize(
    "labels,classes,names",
    [
        (torch.arange(40) % 2, ("cat", "dog"), ["cat", "dog"]),
        (torch.arange(40) % 3 - 1, (), ["0", "1"]),
        (torch.linspace(0, 1, 40), (), None),
        (torch.where(torch.arange(40) > 3, torch.linspace(0, 1, 40), torch.nan), (), None),
    ],
    ids=["names", "missing", "real", "real and missing"],
)
def test_labels_have_their_colours(labels, classes, names):
    split = Split(torch.rand(40, *SHAPE), labels, classes=classes)
    recipe = recipe_for(
        {"kind": "standard-normal"}, {"kind": "gaussian"}, {"kind": "mean-field-normal"}
    )
    figure = plot.plot_latent(pv.build_vae(recipe, SHAPE, 1.0, split), split)
    legend = figure.axes[0].get_legend()
    if names is None:
        assert legend is None and len(figure.axes) == 2
    else:
        assert [text.get_text() for text in legend.get_texts()] == names
    assert "% of the variance" in figure.axes[0].get_xlabel()


def test_features_are_numbered_with_their_nats():
    split = images()
    recipe = recipe_for(
        {"kind": "standard-normal"},
        {"kind": "gaussian"},
        {"kind": "mean-field-normal"},
        latent_dim=12,
    )
    vae = pv.build_vae(recipe, SHAPE, 1.0, split)
    figure = plot.plot_traversal(vae, split)
    names = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    rates = pv.evaluate.rate_distortion(vae, split, 1).by_feature
    assert len(names) == 10 and "10 of 12 shown" in figure.get_suptitle()
    for name in names:
        number, nats = name.split("\n")
        assert nats == f"{float(rates[int(number[1:]) - 1]):.2f} nats"


def test_pictures_of_a_posterior_by_row(tmp_path: Path):
    split = images()
    recipe = recipe_for({"kind": "standard-normal"}, {"kind": "gaussian"}, {"kind": "per-datum"})
    vae = pv.build_vae(recipe, SHAPE, 1.0, split)
    assert len(plot.plot_run(vae, split, tmp_path)) == 4
    with pytest.raises(ValueError, match="row numbers"):
        plot.plot_reconstructions(vae, split)


def test_dates_are_written_as_dates():
    day = 19_723.0  # 2024-01-01
    truth = torch.stack([day + 30 * torch.arange(6).double(), torch.arange(6).double()], 1)
    columns = (Column("since", dates=True), Column("age"))
    holes = torch.ones(6, 2, dtype=torch.bool)
    split = Split(truth, columns=columns).hiding(holes)
    draws = truth + torch.randn(9, 6, 2)
    rest = [torch.ones(6)] * 5
    found = pv.views.Imputed(draws, draws.mean(0), *rest, "")
    for figure in (
        plot.plot_imputed(found, split),
        _marginals(truth, Split(truth, columns=columns)),
    ):
        figure.canvas.draw()
        labels = [[t.get_text() for t in axis.get_xticklabels()] for axis in figure.axes[:2]]
        offset = figure.axes[0].xaxis.get_offset_text().get_text()
        assert "2024" in " ".join([*labels[0], offset]) and "19" not in "".join(labels[0])
        assert "2024" not in " ".join(labels[1])


def test_vectors_in_time_are_a_few_curves(monkeypatch):
    """Each element of a draw takes a pass, so no more is drawn than is shown."""
    counts, draw = [], pv.distributions.Autoregressive.sample
    vae = pv.VAE(
        pv.priors.StandardNormal(2),
        pv.likelihoods.WaveNet(pv.nn.MLP(2, [4], 2 * 9), num_levels=16, channels=4, num_layers=2),
        pv.posteriors.MeanFieldNormal(pv.nn.MLP(9, [4], 4)),
    )

    def counted(self, sample_shape=torch.Size()):
        counts.append(self.batch_shape.numel())
        return draw(self, sample_shape)

    monkeypatch.setattr(pv.distributions.Autoregressive, "sample", counted)
    figure = pv.plot.plot_samples(vae, 64)
    assert set(counts) == {6}
    assert [len(axis.lines[0].get_ydata()) for axis in figure.axes] == [9] * 12
