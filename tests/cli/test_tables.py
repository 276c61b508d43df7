"""Tables of mixed columns as recipes: limits, zeros, ordered levels, with holes."""

from pathlib import Path

import numpy as np
import pytest

import pyro_vae as pv
from pyro_vae.cli import main
from pyro_vae.config import override, read_recipe, to_toml, validate
from pyro_vae.likelihoods import Censored, Gamma, Hurdle, LogNormal, Ordinal, Poisson

RECIPE = """
latent_dim = 2
[data]
kind = "file"
path = "t.csv"
standardize = true
[likelihood]
kind = "product"
parts = [
  { columns = ["age", "titre"], likelihood = { kind = "censored", family = { kind = "gaussian", sigma = "per-column" }, upper = 50 } },
  { columns = ["spent"], likelihood = { kind = "hurdle", family = { kind = "gamma", shape = 2 } } },
  { columns = ["visits"], likelihood = { kind = "hurdle", family = { kind = "poisson" } } },
  { columns = ["income"], likelihood = { kind = "log-normal" } },
  { columns = ["days"], likelihood = { kind = "gamma", shape = 3 } },
  { columns = ["answer"], likelihood = { kind = "ordinal", num_levels = 5 } },
]
[train]
epochs = 3
batch_size = 20
compile = "no"
"""
ONE = """
latent_dim = 2
[data]
kind = "file"
path = "x.npy"
[likelihood]
kind = "censored"
lower = -1.0
family = { kind = "laplace", scale = 0.5 }
decoder = { kind = "mlp", hidden_features = [8] }
"""


def table(count=80):
    draw = np.random.default_rng(0)
    columns = {
        "age": draw.uniform(20, 50, count).round(1),
        "titre": draw.normal(40, 15, count).clip(max=50).round(2),
        "spent": draw.gamma(2, 30, count).round(2) * (draw.random(count) < 0.6),
        "visits": draw.poisson(1.0, count),
        "income": draw.lognormal(10, 0.5, count).round(),
        "days": draw.gamma(3, 4, count).round(3) + 0.001,
        "answer": draw.integers(0, 5, count),
    }
    rows = [",".join(columns)]
    for i in range(count):
        cells = [str(values[i]) for values in columns.values()]
        cells[i % 7] = "NA" if i % 3 == 0 else cells[i % 7]
        rows.append(",".join(cells))
    Path("t.csv").write_text("\n".join(rows) + "\n")


def test_a_table_of_such_columns_trains_and_is_sampled(workdir, capsys):
    table()
    Path("r.toml").write_text(RECIPE)
    assert main(["train", "r.toml", "--out", "r", "--device", "cpu"]) == 0, capsys.readouterr().err
    vae = pv.load("r")
    kinds = [type(part) for part in vae.likelihood.parts]
    assert kinds == [Censored, Hurdle, Hurdle, LogNormal, Gamma, Ordinal]
    assert isinstance(vae.likelihood.parts[2].family, Poisson)
    assert vae.likelihood.parts[0].family.shift is not None  # networks see standardized columns
    x = pv.sample(vae, 200)
    assert vae.likelihood.support.check(x).all() and (x[:, 2] == 0).any()
    assert pv.sample(vae, 20, "mean").isfinite().all()
    assert main(["evaluate", "r", "--num-samples", "10"]) == 0, capsys.readouterr().err
    recipe = validate(read_recipe("r.toml"))
    Path("again.toml").write_text(to_toml(recipe))
    assert validate(read_recipe("again.toml")) == recipe


def test_a_value_beyond_a_limit_is_refused_in_its_column(workdir, capsys):
    table()
    Path("r.toml").write_text(RECIPE.replace("upper = 50", "upper = 45"))
    assert main(["train", "r.toml", "--out", "r"]) == 2
    told = capsys.readouterr().err
    assert "Expected values in the numbers up to 45, the support of Product in this column" in told
    Path("r.toml").write_text(
        RECIPE.replace(
            '{ kind = "hurdle", family = { kind = "gamma", shape = 2 } }', '{ kind = "gamma" }'
        )
    )
    assert main(["train", "r.toml", "--out", "r"]) == 2
    assert 'a hurdle ({ kind = "hurdle", family' in capsys.readouterr().err


def test_a_wrapper_has_the_network_and_its_family_has_none(workdir):
    Path("one.toml").write_text(ONE)
    recipe = validate(read_recipe("one.toml"))
    vae = pv.build_vae(recipe, (3,), 1.0, None)
    assert vae.likelihood.decoder is vae.likelihood.family.decoder
    assert float(vae.likelihood.family.log_scale.detach().exp()) == pytest.approx(0.5)
    flags = {"likelihood.kind": "hurdle", "likelihood.family.kind": "beta"}
    said = []
    recipe = validate(override(read_recipe("one.toml"), flags, said))
    assert recipe.likelihood.decoder.hidden_features == (8,) and "lower" in said[0]
    assert pv.build_vae(recipe, (3,), 1.0, None).likelihood.decoder.out_shape == (9,)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"likelihood.kind": "hurdle"}, None),
        ({"likelihood.family.kind": "gausian"}, "family.kind: expected one of gaussian, laplace"),
        ({"likelihood.family.kind": "hurdle"}, "likelihood.family.kind: expected one of"),
        ({"likelihood.family.sigma": "shared"}, "likelihood.family.sigma: no such setting"),
        ({"likelihood.family.decoder": {}}, "likelihood.family.decoder: no such setting"),
        ({"likelihood.upper": "high"}, "likelihood.upper: input should be a valid number"),
        ({"likelihood.kind": "gaussian", "likelihood.lower": 1}, "it belongs to censored"),
    ],
)
def test_wrappers_that_are_refused(workdir, flags, words):
    Path("one.toml").write_text(ONE)
    values = override(read_recipe("one.toml"), flags)
    if words is None:
        del values["likelihood"]["family"]
        words = "likelihood.family: this setting has no default; set a value. The likelihood of"
    with pytest.raises(ValueError, match=words):
        validate(values)


def test_help_of_a_wrapper_needs_no_family(workdir, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["train", "digits-plain", "--likelihood.kind", "censored", "--help"])
    assert stop.value.code == 0 and "--likelihood.upper" in capsys.readouterr().out


def test_a_wrapper_allows_holes_at_random(workdir, capsys):
    x = np.random.default_rng(0).normal(size=(60, 3)).clip(min=-1.0).astype("f4")
    x[::4, 1] = np.nan
    np.save("x.npy", x)
    Path("one.toml").write_text(ONE)
    flags = ["--likelihood.missing", "at-random", "--train.epochs", "2", "--train.compile", "no"]
    assert main(["train", "one.toml", "--out", "r", "--device", "cpu", *flags]) == 0
    likelihood = pv.load("r").likelihood
    assert isinstance(likelihood, pv.likelihoods.MissingAtRandom)
    assert isinstance(likelihood.family, Censored) and likelihood.family.lower == -1.0
