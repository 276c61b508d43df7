"""Standardized data: networks see them, densities and outputs are those of the data themselves."""

from pathlib import Path

import numpy as np
import pytest
import torch
from checks import bound
from scipy import stats

import pyro_vae as pv
from pyro_vae import config
from pyro_vae.build import build_vae, find_units
from pyro_vae.cli import main
from pyro_vae.config import validate
from pyro_vae.data import as_split

SHIFT = torch.tensor([1000.0, -3.0, 0.0, 40.0])
UNIT = torch.tensor([250.0, 0.01, 1.0, 7.0])
LAWS = {
    "gaussian": lambda x, law: stats.norm.logpdf(x, law.loc, law.scale),
    "laplace": lambda x, law: stats.laplace.logpdf(x, law.loc, law.scale),
    "student-t": lambda x, law: stats.t.logpdf(x, law.df, law.loc, law.scale),
}


def recipe(likelihood, standardize=True, **more):
    net = {"kind": "mlp", "hidden_features": [8]}
    return validate(
        {
            "latent_dim": 2,
            "data": {"kind": "file", "path": "x.npy", "standardize": standardize},
            "likelihood": {"decoder": net, **likelihood}
            if "parts" not in likelihood
            else likelihood,
            "posterior": {"kind": "mean-field-normal", "encoder": net},
            **more,
        }
    )


def data(count=500):
    return SHIFT + UNIT * torch.randn(count, 4)


@pytest.mark.parametrize("kind", LAWS)
def test_the_density_has_its_jacobian(kind, float64):
    x = data().double()
    vae = build_vae(recipe({"kind": kind}), (4,), 1.0, as_split(x))
    shift, unit = find_units(as_split(x), (4,))
    torch.testing.assert_close(shift, x.mean(0))
    torch.testing.assert_close(unit, x.std(0, correction=0))
    vae.requires_grad_(False)
    z = torch.randn(7, 2)
    law = vae.likelihood(z)
    y = law.base_dist
    vae.likelihood.shift = vae.likelihood.unit = None
    inner = vae.likelihood(z).base_dist  # of (x - shift) / unit
    x = x[:7]
    by_hand = inner.log_prob((x - shift) / unit).sum(-1) - unit.log().sum()
    torch.testing.assert_close(law.log_prob(x), by_hand)
    scipy = torch.as_tensor(LAWS[kind](x.numpy(), y))
    torch.testing.assert_close(y.log_prob(x), scipy)


def test_outputs_are_in_the_units_of_the_data():
    x = data(2000)
    vae = build_vae(recipe({"kind": "gaussian", "sigma": "per-column"}), (4,), 1.0, as_split(x))
    drawn = pv.sample(vae, 4000, "mean")
    assert ((drawn.mean(0) - SHIFT).abs() < 2 * UNIT).all()
    samples = vae.likelihood(torch.zeros(1, 2)).sample((4000,))[:, 0]
    law = vae.likelihood(torch.zeros(1, 2)).base_dist
    z = (samples.double().mean(0) - law.mean.double()[0]) / (law.scale.double() / 4000**0.5)
    assert z.abs().max() < bound(4)


@pytest.mark.parametrize("sigma", ["shared", "per-column", "per-element", "optimal"])
def test_training_does_not_know_the_unit(sigma, float64):
    """The ELBO of c x is that of x minus D log c, after training, too."""
    torch.manual_seed(1)
    x = torch.randn(200, 4) @ torch.randn(4, 4)
    bounds = []
    for scale in (torch.ones(4), UNIT):
        scaled = as_split(x * scale + 3.0)
        vae = build_vae(recipe({"kind": "gaussian", "sigma": sigma}), (4,), 1.0, scaled)
        pv.fit(vae, scaled, epochs=5, batch_size=50, progress=False, compile="no")
        bounds.append(float(pv.elbo(vae, scaled).mean()) + float(scale.log().sum()))
    assert bounds[0] == pytest.approx(bounds[1], abs=1e-6)


def test_only_real_columns_of_a_product_are_scaled_back():
    x = data()
    x[:, 1] = torch.poisson(torch.full((500,), 3.0))
    x[::4, 2] = torch.nan
    parts = [
        {"columns": [0, 2, 3], "likelihood": {"kind": "gaussian"}},
        {"columns": [1], "likelihood": {"kind": "poisson"}},
    ]
    vae = build_vae(recipe({"kind": "product", "parts": parts}), (4,), 1.0, as_split(x))
    gaussian, poisson = vae.likelihood.parts
    torch.testing.assert_close(gaussian.shift, x[:, [0, 2, 3]].nanmean(0))
    assert not hasattr(poisson, "shift")
    assert float(pv.evaluate.decode(vae, torch.zeros(1, 2))[0, 1]) == pytest.approx(3, abs=1)
    assert torch.isfinite(pv.elbo(vae, x)).all()


def test_constant_and_empty_columns_keep_their_unit():
    x = data()
    x[:, 0] = 5.0
    shift, unit = find_units(as_split(x), (4,))
    assert shift[0] == 5 and unit[0] == 1
    x[:, 2] = torch.nan
    shift, unit = find_units(as_split(x), (4,))
    assert shift[2] == 0 and unit[2] == 1 and torch.isfinite(unit).all()


def test_from_the_command_line_to_a_table_of_samples(workdir, capsys):
    rng = np.random.default_rng(0)
    rows = [f"{1e4 + 900 * u:.2f};{v:.4f}".replace(".", ",") for u, v in rng.normal(size=(120, 2))]
    Path("t.csv").write_text("income;mood\n" + "\n".join(rows))
    flags = ["--data.kind", "file", "--data.path", "t.csv", "--data.standardize", "true"]
    flags += ["--likelihood.kind", "gaussian", "--latent-dim", "2", "--train.epochs", "3"]
    assert main(["train", "digits-plain", "--out", "run", *flags]) == 0
    assert "decimal comma" in capsys.readouterr().out
    vae = pv.load("run")  # the units come from the checkpoint
    assert float(vae.likelihood.shift[0]) == pytest.approx(1e4, abs=500)
    assert main(["sample", "run", "--num-samples", "300", "--out", "s.csv"]) == 0
    lines = Path("s.csv").read_text().splitlines()
    assert lines[0] == "income,mood" and len(lines) == 301
    assert np.mean([float(line.split(",")[0]) for line in lines[1:]]) == pytest.approx(
        1e4, abs=900
    )
    assert main(["evaluate", "run", "--num-samples", "5"]) == 0
    assert float(vae.likelihood(torch.zeros(1, 2)).base_dist.scale[0, 0].detach()) > 100


def test_columns_have_names_in_a_recipe(workdir):
    Path("t.csv").write_text(
        "a,sex,n\n" + "".join(f"{i / 7},{'fm'[i % 2]},{i % 3}\n" for i in range(60))
    )
    Path("r.toml").write_text(
        'latent_dim = 2\n[data]\nkind = "file"\npath = "t.csv"\n[likelihood]\nkind = "product"\n'
        'parts = [{ columns = ["n"], likelihood = { kind = "poisson" } },\n'
        '{ columns = ["sex"], likelihood = { kind = "bernoulli" } },\n'
        '{ columns = ["a"], likelihood = { kind = "gaussian" } }]\n[train]\nepochs = 1\n'
    )
    assert main(["train", "r.toml", "--out", "run"]) == 0
    parts = pv.runs.RunFolder("run").recipe.likelihood.parts
    assert [part.columns for part in parts] == [(2,), (1,), (0,)]
    assert main(["sample", "run", "--num-samples", "9", "--out", "s.csv"]) == 0
    lines = Path("s.csv").read_text().splitlines()
    assert lines[0] == "a,sex,n" and {line.split(",")[1] for line in lines[1:]} <= {"f", "m"}
    Path("r.toml").write_text(Path("r.toml").read_text().replace('"sex"', '"gender"'))
    assert main(["train", "r.toml", "--out", "other"]) == 2


def test_other_files_are_read_as_the_training_data_were(workdir, capsys):
    Path("t.csv").write_text("sex,a\n" + "".join(f"{'fm'[i % 2]},{i}.5\n" for i in range(40)))
    dataset = pv.data.load("t.csv")
    form = dataset.record()["form"]
    Path("u.csv").write_text("note,a,sex\nhello,7.5,m\nyou,8.5,m\n")
    split, _ = pv.data.whole_file(Path("u.csv"), dataset.config, "test", form)
    assert split.rows(slice(None)).tolist() == [[1.0, 7.5], [1.0, 8.5]]
    assert "not in the training data: note" in capsys.readouterr().err
    Path("u.csv").write_text("a,sex\n7.5,x\n")
    with pytest.raises(ValueError, match="one of f, m.*got 'x'"):
        pv.data.whole_file(Path("u.csv"), dataset.config, "test", form)
    Path("u.csv").write_text("a\n7.5\n")
    with pytest.raises(ValueError, match="none called sex"):
        pv.data.whole_file(Path("u.csv"), dataset.config, "test", form)
    Path("u.csv").write_text("gender,age\nm,7.5\n")  # other names are other columns
    with pytest.raises(ValueError, match="none called sex, a"):
        pv.data.whole_file(Path("u.csv"), dataset.config, "test", form)
    Path("u.csv").write_text("m,7.5\nf,2.5\nm,1\n")  # no names: by their places
    split, _ = pv.data.whole_file(Path("u.csv"), dataset.config, "test", form)
    assert split.rows(slice(0, 2)).tolist() == [[1.0, 7.5], [0.0, 2.5]]
    Path("n.csv").write_text("".join(f"{i},{i * 7 % 5},{i / 3},{i % 2}\n" for i in range(20)))
    nameless = pv.data.load("n.csv", label="3")  # the first column numbers the rows
    assert [column.name for column in nameless.train.columns] == ["1", "2"]
    Path("o.csv").write_text("4,2,9.5,1\n9,1,8.5,0\n")
    other, _ = pv.data.whole_file(
        Path("o.csv"), nameless.config, "test", nameless.record()["form"]
    )
    assert other.rows(slice(None)).tolist() == [[2.0, 9.5], [1.0, 8.5]]
    assert other.labels.tolist() == [1, 0]
    np.save("p.npy", np.random.default_rng(0).integers(0, 200, (30, 4, 4)).astype("u1"))
    pictures = pv.data.load(config.File(path="p.npy"))
    np.save("q.npy", np.full((3, 4, 4), 9, "u1"))
    other, _ = pv.data.whole_file(
        Path("q.npy"), pictures.config, "test", pictures.record()["form"]
    )
    assert float(other.rows(slice(0, 1)).max()) == pytest.approx(9 / 255)


def test_codes_are_not_real_numbers(workdir):
    Path("t.csv").write_text("sex,a\n" + "".join(f"{'fm'[i % 2]},{i}.5\n" for i in range(40)))
    split = pv.data.load("t.csv", valid=0, test=0).train
    vae = build_vae(recipe({"kind": "gaussian"}), (2,), 1.0, split)
    with pytest.warns(UserWarning, match="codes of categories for real numbers, in sex"):
        pv.fit(vae, split, epochs=1, progress=False)
