"""Each remedy in an error message works: training succeeds with it."""

import re

import numpy as np
import pytest

from pyro_vae import cli

RECIPE = """
name = "own"
latent_dim = 2
device = "cpu"
[data]
kind = "file"
path = "x.npy"
{extra}
[prior]
kind = "standard-normal"
[likelihood]
kind = "{likelihood}"
[posterior]
kind = "mean-field-normal"
[train]
epochs = 1
batch_size = 20
compile = "no"
"""
RNG = np.random.default_rng(0)
DATA = {
    "shares": RNG.random((60, 6)).astype("f4"),
    "images in [0, 1]": RNG.random((60, 1, 4, 4)).astype("f4"),
    "real numbers": RNG.normal(size=(60, 6)).astype("f4"),
    "levels": RNG.integers(0, 17, (60, 6)).astype("u1"),
    "images": RNG.integers(0, 256, (60, 1, 4, 4)).astype("u1"),
    "counts": RNG.poisson(3, (60, 6)).astype("i4"),
}
LIKELIHOODS = ["bernoulli", "beta", "continuous-bernoulli", "poisson", "binomial", "categorical"]
LIKELIHOODS += ["negative-binomial", "gaussian", "log-normal", "ordinal"]


def train(tmp_path, *flags):
    out = tmp_path / f"run{len(list(tmp_path.glob('run*')))}"
    try:
        cli.main(["train", "r.toml", "--out", str(out), *flags])
    except SystemExit as stop:
        return stop.code
    return 0


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("binarize", ["no", "dynamic"])
def test_remedies_work(data, likelihood, binarize, workdir, capsys):
    np.save("x.npy", DATA[data])
    extra = f'binarize = "{binarize}"'
    (workdir / "r.toml").write_text(RECIPE.format(likelihood=likelihood, extra=extra))
    if not train(workdir):
        return
    told = capsys.readouterr().err
    assert "Expected" in told and "Traceback" not in told
    ways = [re.findall(r"--[\w.-]+ [\w-]+", way) for way in re.split(r" or ", told)]
    ways = [way for way in ways if way]
    assert ways, told
    for way in ways:
        flags = [word for flag in way for word in flag.split()]
        assert train(workdir, *flags) == 0, f"{told}\n{way}\n{capsys.readouterr().err}"
