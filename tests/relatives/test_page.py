"""The gallery's members, their graphs and the page."""

import json
from xml.etree import ElementTree

import pytest
import torch

import pyro_vae as pv
from pyro_vae.cli import main
from pyro_vae.config import validate
from pyro_vae.gallery import RBM, Autoencoder
from pyro_vae.relatives import GRAPHS, MEMBERS, AsRelative, Floor, draw_graph, gallery_page
from pyro_vae.relatives.portrait import Portrait, pooled, portrait
from pyro_vae.statistics import Mean

BITS = torch.bernoulli(torch.full((60, 1, 4, 4), 0.4), generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def floor():
    rows = pv.data.as_split(BITS)
    return Floor("patches", rows, rows, None)


@pytest.mark.parametrize("name", MEMBERS)
def test_every_member_has_a_recipe_and_a_graph(name):
    if MEMBERS[name].model is not None:
        validate({"data": {"kind": "digits"}, "model": MEMBERS[name].model})
    drawn = ElementTree.fromstring(draw_graph(name))
    texts = [element.text for element in drawn.iter() if element.tag.endswith("text")]
    assert [*GRAPHS[name].boxes] == texts[: len(GRAPHS[name].boxes)]
    assert (
        len(GRAPHS[name].arrows) == len(GRAPHS[name].boxes) - 1 and GRAPHS.keys() == MEMBERS.keys()
    )


def test_the_page_says_what_is_there_and_what_is_not(floor):
    made: list[Portrait] = [
        portrait("RBM", RBM((1, 4, 4), 4, sample_steps=20), floor, 1.0, False, 0),
        portrait("autoencoder", Autoencoder((1, 4, 4), 2), floor, 1.0, False, 0),
    ]
    page = gallery_page(floor, made)
    assert page.count("<svg") == 2 and page.count("<img") == 2  # of data and of the RBM
    assert "nats<br><small>exact</small>" in page and "squared error" in page
    assert "<li>An autoencoder has no sampler: it turns" in page
    assert made[0].likeness.num_samples == 500 and made[1].likeness is None


def test_figures_over_seeds_have_the_errors_of_seeds_and_data(floor):
    one = portrait("RBM", RBM((1, 4, 4), 4, sample_steps=5), floor, 1.0, False, 0)
    other = one._replace(log_prob=Mean(one.log_prob + 3, one.log_prob.se), seconds=2.0)
    both = pooled([one, other])
    assert both.log_prob == pytest.approx(one.log_prob + 1.5) and both.seconds == 1.5
    spread = 3 / 2**0.5 / 2**0.5  # the standard deviation of two, over the root of their number
    assert both.log_prob.se == pytest.approx((spread**2 + one.log_prob.se**2) ** 0.5)
    masses = one.likeness.masses  # equal in both: the error is that of the data
    assert both.likeness.masses.chi2.se == pytest.approx(masses.chi2.se)
    assert both.likeness.masses.p_value == min(1.0, 2 * masses.p_value)
    assert pooled([one]) is one and both.record()["num_seeds"] == 2


def test_a_vae_does_what_the_gallery_asks(floor):
    net = {"hidden_features": [8]}
    vae = pv.VAE(
        pv.priors.StandardNormal(2),
        pv.likelihoods.Bernoulli(pv.nn.MLP(2, **net, out_features=(1, 4, 4)), 3),
        pv.posteriors.MeanFieldNormal(pv.nn.MLP((1, 4, 4), **net, out_features=4)),
    )
    with torch.no_grad():
        vae.posterior.encoder.layers[-1].weight.zero_()  # q(z | x) is the prior
    found = portrait("VAE", AsRelative(vae, (1, 4, 4)), floor, 1.0, False, 0)
    assert found.can["log_prob"] == "lower bound" and found.can["encode"] == "yes"
    exact = pv.evaluate.Mean.of(pv.log_marginal(vae, BITS, 2000).log_marginal)
    assert abs(found.log_prob - exact) < 0.05  # of 200 importance samples


def test_mistakes_get_a_sentence(workdir, capsys):
    for args, words in [
        (["--only", "RMB"], "did you mean 'RBM'?"),
        (["--out", "page.txt"], "suffix .html"),
        (["--epochs", "0"], "--epochs of at least 1"),
        (["--seeds", "0"], "--seeds of at least 1"),
    ]:
        assert main(["gallery", "digits", *args]) == 2
        assert words in capsys.readouterr().err
    assert main(["gallery", "diabetes"]) == 2
    assert "Expected grey levels" in capsys.readouterr().err


@pytest.mark.slow
def test_the_command_trains_and_draws(workdir, capsys):
    args = ["gallery", "digits", "--only", "VAE", "GAN", "flow", "--epochs", "2", "--seeds", "2"]
    assert main([*args, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [m["name"] for m in found["members"]] == ["VAE", "GAN", "flow"]
    page = (workdir / "gallery.html").read_text()
    assert page.count("<svg") == 3 and "with seed 0 to 1: figures are means" in page
