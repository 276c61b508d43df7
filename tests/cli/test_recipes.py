"""Recipes whose parts are products of factors: read without torch, trained, evaluated, sampled."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import pyro_vae as pv
from pyro_vae.cli import main
from pyro_vae.config import is_plain, override, read_recipe, to_toml, validate

NET = 'kind = "mlp"\nhidden_features = 16\n'
M2 = """
latent_dim = 4
[data]
kind = "digits"
known = { y = "label" }
num_labels = 50
[prior.y]
kind = "categorical"
latent_dim = 10
[prior.z]
kind = "standard-normal"
[likelihood]
kind = "binomial"
total_count = 16
given = ["z", "y"]
[posterior.y]
kind = "categorical"
[posterior.z]
kind = "mean-field-normal"
given = ["x", "y"]
[train]
epochs = 2
supervision = 20
"""
LAYERS = f"""
[data]
kind = "digits"
[prior.z2]
kind = "standard-normal"
latent_dim = 2
[prior.h]
kind = "net"
given = ["z2"]
latent_dim = 5
[prior.z1]
kind = "mean-field-normal"
latent_dim = 3
given = ["h"]
[prior.z1.encoder]
{NET}
[likelihood]
kind = "binomial"
total_count = 16
given = ["z1", "h"]
[posterior.z1]
kind = "mean-field-normal"
[posterior.z2]
kind = "mean-field-normal"
given = ["x", "z1"]
[train]
epochs = 1
estimator = {{ kind = "iwae", num_particles = 2 }}
"""
CONDITIONAL = """
latent_dim = 2
[data]
kind = "file"
path = "t.csv"
known = { c = ["age", "sex"] }
[prior]
kind = "mean-field-normal"
given = ["c"]
[likelihood]
kind = "gaussian"
given = ["z", "c"]
[posterior]
kind = "mean-field-normal"
given = ["x", "c"]
[train]
epochs = 2
"""


LADDER = """
[data]
kind = "digits"
[prior]
z2 = { kind = "standard-normal", latent_dim = 2 }
z1 = { kind = "mean-field-normal", latent_dim = 3, given = "z2" }
[likelihood]
kind = "binomial"
total_count = 16
given = "z1"
[posterior]
h = { kind = "net", latent_dim = 8 }
z2 = { kind = "mean-field-normal", given = "h" }
z1 = { kind = "corrected", given = ["h", "z2"] }
[train]
epochs = 1
free_bits = 0.5
free_bits_per = "site"
"""
LABELS = """
latent_dim = 2
[data]
kind = "digits"
known = { y = "label" }
[likelihood]
kind = "binomial"
total_count = 16
given = ["z", "y"]
[posterior]
kind = "mean-field-normal"
given = ["x", "y"]
[train]
epochs = 1
"""
REGIONS = LABELS.replace('y = "label"', 'c = ["left", "top"]').replace('"y"', '"c"')

VIEWS = f"""
latent_dim = 2
[data]
kind = "digits"
[likelihood]
kind = "binomial"
total_count = 16
decoder = {{ kind = "mlp", hidden_features = 16 }}
[posterior]
kind = "product-of-experts"
views = ["left", ["top-right", "bottom-right"]]
[posterior.encoder]
{NET}
[train]
epochs = 1
drop_views = 0.4
"""


def written(name, text):
    Path(name).write_text(text)
    return name


def figures(capsys, *args):
    capsys.readouterr()
    assert main(["evaluate", *args, "--num-samples", "10", "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.slow
def test_labels_from_a_recipe(workdir, capsys):
    assert main(["train", written("m2.toml", M2), "--out", "r"]) == 0
    said = capsys.readouterr().out
    assert "50 of 1300 training data keep their y, chosen by data.seed 0: 5 of each class" in said
    assert "ELBO of 200 rows whose y is not told is measured, selecting nothing" in said
    found = figures(capsys, "r")
    assert {"kl_y", "kl_z", "accuracy_y"} <= set(found) and found["num_labelled"] == 297
    assert main(["evaluate", "r", "--num-samples", "10"]) == 0
    printed = capsys.readouterr().out
    assert "accuracy of y:" in printed and "KL        y" in printed
    assert "calibration error of q(y | x):" in printed
    assert "by scikit-learn's MLPClassifier, 100 hidden units, right for 9" in printed
    assert 0 < found["agreement_y"] < 1 and found["num_class_samples"] == 1000
    assert found["accuracy_y_se"] > 0 and found["calibration_error_y_se"] > 0
    assert {p.name for p in Path("r/pictures").iterdir()} == {"classes_y.png", "reliability_y.png"}
    assert main(["sample", "r", "--given", "y=3", "--out", "s.npy"]) == 0
    assert np.load("s.npy").shape == (64, 1, 8, 8)
    for wrong, words in (("y=10", "from 0 to 9"), ("q=1", "NAME one of y, z"), ("y=@no", ".npy")):
        assert main(["sample", "r", "--given", wrong]) == 2
        assert words in capsys.readouterr().err
    vae = pv.load("r")
    data = pv.data.load(validate(read_recipe("m2.toml")).data, quiet=True)
    labelled = ~data.train.known["y"].isnan().any(1)
    assert int(labelled.sum()) == 50
    counts = data.train.known["y"][labelled].sum(0)
    assert counts.min() == counts.max() == 5  # evenly over classes
    torch.testing.assert_close(vae.prior["y"]().mean, torch.full((10,), 0.1))
    flags = ["--data.num-labels", "60"]
    assert main(["train", "--resume", "r", "--train.epochs", "3", *flags]) == 2
    assert "num_labels was 50 and is 60" in capsys.readouterr().err
    assert main(["train", "--resume", "r", "--train.epochs", "3"]) == 0


REGRESSION = """
latent_dim = 2
[data]
kind = "file"
path = "t.csv"
label = "age"
known = { y = "label" }
num_labels = 30
[prior.y]
kind = "standard-normal"
latent_dim = 1
[prior.z]
kind = "standard-normal"
[likelihood]
kind = "gaussian"
given = ["y", "z"]
[posterior.y]
kind = "mean-field-normal"
[posterior.z]
kind = "mean-field-normal"
given = ["x", "y"]
[train]
epochs = 2
supervision = 2
"""


def test_real_labels_from_a_recipe(workdir, capsys):
    """Some ages are told, the others are inferred: semi-supervised regression."""
    torch.manual_seed(0)
    table = torch.randn(100, 4).tolist()
    rows = "\n".join(",".join(f"{v:.3f}" for v in row) for row in table)
    written("t.csv", f"age,height,weight,pulse\n{rows}\n")
    assert main(["train", written("g.toml", REGRESSION), "--out", "r"]) == 0
    assert "30 of 80 training data keep their y" in capsys.readouterr().out
    found = figures(capsys, "r")
    assert found["rmse_y"] > 0 and found["rmse_y_se"] > 0 and "accuracy_y" not in found
    assert main(["evaluate", "r", "--num-samples", "10"]) == 0
    assert "error of y:" in capsys.readouterr().out


@pytest.mark.slow
def test_layers_from_a_recipe(workdir, capsys):
    assert main(["train", written("l.toml", LAYERS), "--out", "r"]) == 0
    assert main(["encode", "r", "--out", "e.csv"]) == 0
    assert Path("e.csv").read_text().startswith("z2_loc_0,z2_loc_1,z2_scale_0")
    before = figures(capsys, "r")
    trained = pv.load("r")
    built = pv.build_vae(validate(read_recipe("r/config.toml")), (1, 8, 8), 16.0, None)
    assert built.state_dict().keys() == trained.state_dict().keys()
    assert figures(capsys, "r")["elbo"] == before["elbo"]
    assert main(["explain", "l.toml"]) == 0
    assert "p(z1 | h)" in capsys.readouterr().out
    assert main(["inspect", "l.toml"]) == 0 and main(["plot", "r"]) == 0


def test_a_ladder_from_a_recipe(workdir, capsys):
    assert main(["train", written("l.toml", LADDER), "--out", "r"]) == 0
    lines = map(json.loads, Path("r/metrics.jsonl").read_text().splitlines())
    (row,) = (r for r in lines if "kl_z2" in r)
    assert row["active_units"] == row["active_z1"] + row["active_z2"]
    vae = pv.load("r")
    assert vae.posterior["z1"].prior is vae.prior["z1"]
    assert figures(capsys, "r")["kl_z1"] > 0
    assert main(["sample", "r", "--hold", "z2", "--num-samples", "16", "--out", "h.npz"]) == 0
    with np.load("h.npz") as arrays:
        assert arrays["x"].shape == (16, 1, 8, 8) and arrays["held"].tolist()[:3] == [0, 0, 1]
    assert main(["sample", "r", "--hold", "z3"]) == 2
    assert "Expected latent sites to hold (z2, z1); got z3" in capsys.readouterr().err
    assert main(["plot", "r"]) == 0 and Path("r/pictures/layers.png").is_file()
    for given, words in (('["z2"]', "as in x, z2; got z2"), ('["x"]', "got x")):
        wrong = LADDER.replace('["h", "z2"]', given)
        with pytest.raises(ValueError, match=f"posterior.z1.given: .*{words}"):
            validate(read_recipe(written("w.toml", wrong)))


@pytest.mark.slow
def test_labels_as_a_condition(workdir, capsys):
    assert main(["train", written("c.toml", LABELS), "--out", "r"]) == 0
    assert figures(capsys, "r")["evidence"] == "p(x | y)"
    assert main(["sample", "r", "--num-samples", "20", "--out", "s.npz"]) == 0
    with np.load("s.npz") as arrays:
        assert arrays["x"].shape == (20, 1, 8, 8)
        assert arrays["y"].tolist() == [str(i // 2) for i in range(20)]
    for count in ("10", "3"):  # ten are as many as there are classes
        args = ["--given", "y=3", "--num-samples", count, "--out", "s.npy"]
        assert main(["sample", "r", *args]) == 0 and len(np.load("s.npy")) == int(count)
    assert main(["reconstruct", "r", "--out", "own.npy"]) == 0
    assert main(["reconstruct", "r", "--given", "y=7", "--out", "seven.npy"]) == 0
    own, sevens = np.load("own.npy"), np.load("seven.npy")
    y = pv.runs.RunFolder.open("r").dataset().test
    rows = y.spread(10)
    same = y.known["y"][rows].argmax(1).numpy() == 7
    assert np.array_equal(own[same], sevens[same]) and not np.array_equal(own, sevens)
    assert main(["plot", "r"]) == 0 and Path("r/pictures/classes.png").is_file()


def test_regions_as_a_condition(workdir, capsys):
    assert main(["train", written("c.toml", REGIONS), "--out", "r"]) == 0
    found = figures(capsys, "r")
    assert found["evidence"] == "p(x | c)" and np.isfinite(found["bits_per_dim"])
    assert main(["sample", "r", "--num-samples", "16", "--out", "s.npz"]) == 0
    with np.load("s.npz") as arrays:
        assert arrays["x"].shape == (16, 16) and len({*arrays["rows"].tolist()}) == 8
    np.save("c.npy", np.zeros((64, 48)))
    assert main(["sample", "r", "--given", "c=@c.npy"]) == 0
    for command in ("reconstruct", "plot"):
        assert main([command, "r"]) == 0
    assert not Path("r/pictures/correlations.png").exists()
    assert main(["evaluate", "r", "--data", "digits", "--num-samples", "10"]) == 0


def test_views_from_a_recipe(workdir, capsys):
    assert main(["train", written("v.toml", VIEWS), "--out", "r"]) == 0
    found = figures(capsys, "r", "--given", "left", "--out", "m.npz")
    assert found["given"] == ["left"] and found["log_conditional"] > found["log_marginal"]
    assert found["log_conditional_mc_se"] > 0 and found["log_conditional_se"] > 0
    with np.load("m.npz") as arrays:
        assert arrays["log_conditional"].shape == arrays["conditional_upper"].shape == (297,)
    assert "log_conditional" not in figures(capsys, "r")
    given = ["--given", "top-left", "bottom-left", "--num-samples", "10"]
    assert main(["evaluate", "r", *given]) == 0
    said = capsys.readouterr().out
    assert "log p(rest | top-left, bottom-left)" in said and "and so no bound" in said
    assert main(["evaluate", "r", "--given", "lfet"]) == 2
    assert "regions of the image" in capsys.readouterr().err
    assert main(["plot", "r"]) == 0
    assert main(["explain", "v.toml"]) == 0 and main(["inspect", "v.toml"]) == 0
    recipe = validate(read_recipe("r/config.toml"))
    assert recipe.posterior.views == (("left",), ("top-right", "bottom-right"))
    assert validate(read_recipe(written("a.toml", to_toml(recipe)))) == recipe
    with pytest.raises(SystemExit) as end:
        main(["train", "v.toml", "--help"])
    assert end.value.code == 0 and "drop-views" in capsys.readouterr().out


def test_codes_from_a_recipe(workdir, capsys):
    flags = ["--train.epochs", "1", "--posterior.num-codes", "8"]
    assert main(["train", "digits-vq", "--out", "r", *flags]) == 0
    said = capsys.readouterr()
    assert "a point among codes" in said.out + said.err and "No validation" not in said.out
    found = figures(capsys, "r")
    assert found["even_rate"] == pytest.approx(8 * np.log(8)) and found["dead_codes"] >= 0
    assert found["code_bits_per_dim"] < found["even_bits_per_dim"]
    assert main(["evaluate", "r", "--num-samples", "10"]) == 0
    assert "bits per dimension\n            perplexity" in capsys.readouterr().out
    assert main(["sample", "r", "--out", "s.npy"]) == 0 and np.load("s.npy").shape[1:] == (1, 8, 8)
    assert main(["explain", "digits-vq"]) == 0
    assert "a point among codes has probability one" in capsys.readouterr().out
    trained = pv.load("r")
    assert trained.prior.codebook is trained.posterior.codebook
    flags = ["--posterior.kind", "mean-field-normal"]
    assert main(["train", "digits-vq", "--out", "q", *flags]) == 2
    assert "Expected a posterior with a codebook" in capsys.readouterr().err


@pytest.mark.slow
def test_pixels_from_a_recipe(workdir, capsys):
    flags = ["--train.epochs", "1", "--likelihood.channels", "4"]
    assert main(["train", "digits-pixelcnn", "--out", "r", *flags]) == 0
    assert np.isfinite(figures(capsys, "r")["log_marginal"])
    for command in ("sample", "reconstruct"):
        assert main([command, "r", "--out", "x.npy"]) == 0
        assert np.load("x.npy").shape[1:] == (1, 8, 8)
    flags = ["--data.kind", "digits", "--data.binarize", "threshold", "--train.epochs", "1"]
    assert main(["train", "mnist-made", "--out", "m", *flags]) == 0
    assert main(["train", "digits-pixelcnn", "--out", "h", "--data.holes", "0.5"]) == 2
    assert "independent elements inside of MissingAtRandom" in capsys.readouterr().err


def test_conditions_from_the_columns_of_a_table(workdir, capsys):
    rows = [f"{i % 7}.5,{'fm'[i % 2]},{i % 3}.25,{i % 5}.75" for i in range(60)]
    written("t.csv", "age,sex,a,b\n" + "\n".join(rows))
    assert main(["train", written("c.toml", CONDITIONAL), "--out", "r"]) == 0
    assert figures(capsys, "r")["evidence"] == "p(x | c)"
    assert main(["evaluate", "r", "--num-samples", "10"]) == 0
    assert "log p(x | c)" in capsys.readouterr().out
    assert main(["sample", "r"]) == 2 and "--given NAME=VALUE" in capsys.readouterr().err
    np.save("c.npy", np.zeros((64, 3)))
    for given in ("c=1.5,0,1", "c=@c.npy"):
        assert main(["sample", "r", "--given", given, "--out", "s.csv"]) == 0
    assert Path("s.csv").read_text().startswith("a,b\n")
    assert main(["sample", "r", "--given", "c=1"]) == 2
    assert main(["evaluate", "r", "--data", "t.csv", "--num-samples", "10"]) == 0
    assert main(["train", "c.toml", "--data.known.c", "agee", "--out", "q"]) == 2
    assert "got agee" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"posterior.z.given": ["x", "w"]}, "posterior.z.given: expected earlier sites or data"),
        ({"prior.z.kind": "standart-normal"}, "did you mean 'standard-normal'"),
        ({"prior.q.kind": "normal"}, "posterior: expected a factor for every latent site; q has"),
        ({"posterior.q.kind": "laplace"}, "also got q"),
        ({"train.estimator": {"kind": "renyi", "alfa": 1}}, "train.alfa: no such setting"),
        ({"likelihood.given": ["v"]}, "likelihood.given: expected earlier sites"),
    ],
)
def test_recipes_that_are_refused(workdir, flags, words):
    with pytest.raises(ValueError, match=words):
        validate(override(read_recipe(written("m2.toml", M2)), flags))


def test_recipes_are_written_back(workdir):
    for text in (M2, LAYERS, CONDITIONAL):
        recipe = validate(read_recipe(written("a.toml", text)))
        assert not is_plain(recipe)
        assert validate(read_recipe(written("a.toml", to_toml(recipe)))) == recipe
    renyi = {"train.estimator": {"kind": "renyi", "alpha": 0.3}}
    train = validate(override(read_recipe("digits"), renyi)).train
    assert (train.estimator, train.alpha) == ("renyi", 0.3)


def test_products_are_read_without_torch(workdir):
    written("m2.toml", M2)
    code = (
        "import sys\nfrom pyro_vae.config import read_recipe, validate\n"
        "validate(read_recipe('m2.toml'))\nassert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_estimators_have_one_list():
    from pyro_vae.config import ESTIMATORS
    from pyro_vae.objectives import ESTIMATORS as OBJECTIVES

    assert set(ESTIMATORS) == set(OBJECTIVES)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"data.known": {}}, "num_labels: expected one name"),
        ({"data.known": {"y": "label", "c": "label"}}, "num_labels: expected one name"),
        ({"data.known": {"x": "label"}, "data.num_labels": None}, "not x or index"),
        ({"data.known": {"c": []}, "data.num_labels": None}, "data.known"),
        ({"data.known": {"c": "label"}}, "train.supervision: expected a latent site"),
        (
            {"data.known": {"c": "label"}, "train.supervision": 0, "train.label_visits": 2},
            "train.label_visits: expected a latent site",
        ),
        ({"data.num_labels": 0}, "data.num_labels"),
        ({"likelihood.decoder": {"kind": "pooled"}}, "one of mlp, conv, posed; got 'pooled'"),
    ],
)
def test_known_data_that_are_refused(workdir, flags, words):
    with pytest.raises(ValueError, match=words):
        validate({**override(read_recipe(written("m2.toml", M2)), {}), **nested(M2, flags)})


def nested(text, flags):
    import tomllib

    values = tomllib.loads(text)
    for dotted, value in flags.items():
        table, key = dotted.split(".")
        values[table][key] = value
    return values


def test_too_many_labels_and_no_column_left(workdir):
    recipe = validate(nested(M2, {"data.num_labels": 99_999}))
    with pytest.raises(ValueError, match=r"data\.num_labels of at most 1300"):
        pv.data.load(recipe.data, quiet=True)
    written("t.csv", "age,sex\n1.5,f\n2.5,m\n3.5,f\n4.5,m\n")
    with pytest.raises(ValueError, match="Expected columns left for x"):
        pv.data.load("t.csv", known={"c": ["age", "sex"]}, quiet=True)
    data = pv.data.load("t.csv", known={"c": "sex"}, valid=0, test=0, quiet=True)
    assert data.train.known["c"].shape == (4, 2)  # one-hot, as categories have no order


@pytest.mark.slow
def test_digits_of_few_labels_at_full_length(workdir, capsys):
    """The recipe as it is: y is inferred, and samples are of the class that was asked for."""
    assert main(["train", "digits-m2", "--out", "r"]) == 0
    found = figures(capsys, "r")
    assert found["accuracy_y"] > 0.8 and found["agreement_y"] > 0.75
    assert found["calibration_error_y"] < 0.15 and found["classifier_accuracy"] > 0.95
