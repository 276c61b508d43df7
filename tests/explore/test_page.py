"""The page: one file that asks for nothing, of every kind of model; the command that writes it."""

import json
import re
import runpy
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from kinds import KINDS
from torch import nn

import pyro_vae as pv
from pyro_vae.cli import main
from pyro_vae.explore import explorer_page, facts
from pyro_vae.explore.recording import SIDE

SCRIPT = Path(__file__).parents[2] / "scripts" / "page.py"


def small(decoder: nn.Module | None = None) -> tuple[pv.VAE, torch.Tensor]:
    decoder = decoder or pv.nn.MLP(2, [8], (1, 4, 4))
    likelihood = pv.likelihoods.Binomial(decoder, 16, event_dim=3)
    vae = pv.VAE(
        pv.priors.StandardNormal(2),
        likelihood,
        pv.posteriors.MeanFieldNormal(pv.nn.MLP((1, 4, 4), [8], 4, scale=16.0)),
    )
    return vae, torch.randint(17, (50, 1, 4, 4)).float()


def content_of(page: str) -> dict:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page)
    return json.loads(found.group(1))


def test_the_page_is_whole_and_asks_for_nothing():
    vae, x = small()
    page = explorer_page(vae, x, title="<b> & co", run="runs/a")
    content = content_of(page)
    assert page.count("<script") == 2 and "<!--" not in page
    assert "<title>&lt;b> & co" not in page and "<title>&lt;b> &amp; co</title>" in page
    assert not re.findall(r'(?:src|href)="(?!data:)', page) and "default-src 'none'" in page
    assert content["count"] == 50 and content["sites"][0]["size"] == 2 and not content["unseen"]
    assert content["x"]["form"] == "image" and {*content["graphs"]} == {"decode", "look"}


def test_rows_are_spread_and_scores_are_those_of_evaluation():
    vae, x = small()
    split = pv.data.as_split(x)
    content = content_of(explorer_page(vae, split, 10))
    assert content["count"] == 10
    found = facts.scores(vae, split)
    expected = pv.elbo(vae, x, 400)
    z = (found.elbo - expected).mean() / ((found.elbo - expected).std() / len(x) ** 0.5)
    assert abs(z) < 5 and (found.log_p >= found.elbo - 1e-6).all()


def test_quantiles_find_the_middle_and_what_is_outside():
    loc, scale = torch.randn(400, 2), torch.full((400, 2), 0.5)
    draws = loc + scale * torch.randn(400, 2)
    levels = facts.quantiles(loc, scale, draws)
    assert (levels.diff() >= 0).all() and len(levels) == 101
    shifted = facts.quantiles(loc, scale, draws + 20)
    assert shifted[100] < levels[1]  # planted: nobody lives there
    exact = torch.distributions.MultivariateNormal(torch.zeros(2), 1.25 * torch.eye(2))
    median = float(exact.log_prob(exact.sample((20_000,))).median())
    assert abs(float(levels[50]) - median) < 0.15


def test_axes_are_principal_and_the_same_each_time():
    loc = torch.randn(300, 4) * torch.tensor([3.0, 0.1, 1.0, 0.1])
    centre, directions, shares = facts.axes(loc)
    assert directions[0].abs().argmax() == 0 and directions[1].abs().argmax() == 2
    torch.testing.assert_close(directions @ directions.T, torch.eye(2), atol=1e-5, rtol=0)
    assert shares[0] > 0.8 and torch.equal(facts.axes(loc.flip(0))[1].sign(), directions.sign())
    assert facts.axes(loc[:, :2])[2] == [1.0, 0.0] and not centre.isnan().any()


class Decides(nn.Module):
    """Somebody's own network, whose values decide what it does."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(2, 16)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        y = self.net(z)
        return (y if float(y.sum()) > 0 else y - 1).unflatten(-1, (1, 4, 4))


def test_a_network_that_cannot_be_recorded_is_decoded_on_a_grid():
    vae, x = small(Decides())
    content = content_of(explorer_page(vae, x))
    assert content["graphs"] == {} and "cannot run its networks" in content["reason"]
    assert content["grid"]["z"]["side"] == SIDE
    own = content_of(explorer_page(small()[0], x, grid=True))
    assert own["grid"] and own["reason"] == "as --grid asks for"


def test_a_page_that_is_too_large_takes_the_grid(monkeypatch):
    monkeypatch.setattr("pyro_vae.explore.page.MOST", 2000)
    content = content_of(explorer_page(*small()))
    assert content["graphs"] == {} and "MB" in content["reason"]


def test_what_is_no_vae_is_refused():
    with pytest.raises(ValueError, match="Expected a VAE, whose parts are explored; got tuple"):
        explorer_page((lambda x=None, batch_size=1: None, lambda x: None), torch.zeros(3, 2))
    with pytest.raises(ValueError, match="max_data"):
        explorer_page(*small(), 0)


QUICK = ("conditional", "semi-supervised")


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in KINDS]
)
def test_every_kind_of_model_has_a_page(name):
    kind = KINDS[name]()
    if not hasattr(kind.vae, "posterior"):
        with pytest.raises(ValueError, match="Expected a VAE"):
            explorer_page(kind.vae, kind.x, **kind.known)
        return
    known = {n: v for n, v in kind.known.items() if n not in kind.vae.latents}
    content = content_of(explorer_page(kind.vae, kind.x, **known))
    assert [site["name"] for site in content["sites"]] == [*kind.vae.latents]
    assert content["grid"] is None and {"decode", "look"} <= {*content["graphs"]}
    assert all("draw" in graph["outputs"] for n, graph in content["graphs"].items() if n != "look")


def test_the_bundle_is_that_of_the_source():
    script = runpy.run_path(str(SCRIPT))
    bundle = (script["FOLDER"] / "bundle.js").read_text(encoding="utf-8")
    assert script["digest"]() in bundle.splitlines()[0], "run `make page`"
    assert "</script" not in bundle and "http" not in bundle.replace("http://www.w3.org", "")
    esbuild = shutil.which("esbuild")
    if esbuild is None or shutil.which("node") is None:
        pytest.skip("esbuild is not there")
    version = subprocess.run([esbuild, "--version"], capture_output=True, text=True).stdout
    if version.strip() != script["VERSION"]:
        pytest.skip("another esbuild is there")
    for name, text in script["parts"]([esbuild]).items():
        assert (script["FOLDER"] / name).read_text(encoding="utf-8") == text, name


def test_the_command_writes_a_page(workdir, capsys):
    x = np.random.default_rng(0).normal(size=(60, 3))
    rows = "\n".join(["a,b,c", *(",".join(f"{v:.3f}" for v in row) for row in x)])
    Path("t.csv").write_text(rows)
    flags = ["--data.path", "t.csv", "--train.epochs", "1", "--latent-dim", "2"]
    main(["train", "table", "--out", "run", *flags])
    main(["explore", "run", "--max-data", "5"])
    assert "explore.html" in capsys.readouterr().out
    content = content_of(Path("run/explore.html").read_text(encoding="utf-8"))
    assert content["run"] == "run" and [c["name"] for c in content["columns"]] == ["a", "b", "c"]
    for wrong, said in (
        (["explore", "nowhere"], "Expected the folder of a run"),
        (["explore", "run", "--out", "page.txt"], "suffix .html"),
        (["explore", "run", "--max-data", "0"], "--max-data"),
    ):
        assert main(wrong) == 2
        assert said in capsys.readouterr().err
