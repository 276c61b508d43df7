"""Nothing asks for anything: import, training, evaluation and every command open no socket."""

import subprocess
import sys

import pytest

GUARD = """
import os, sys

def hook(event, args):
    if event.startswith("socket.") and event != "socket.gethostname":
        os.write(2, f"{event} {args}".encode())
        os._exit(7)

sys.addaudithook(hook)
"""
HERE = """
import importlib, pkgutil, torch
import pyro_vae as pv
for found in pkgutil.walk_packages(pv.__path__, "pyro_vae."):
    if "__main__" not in found.name:
        importlib.import_module(found.name)
vae = pv.VAE(pv.priors.StandardNormal(2), pv.likelihoods.Gaussian(pv.nn.MLP(2, [4], 3)),
             pv.posteriors.MeanFieldNormal(pv.nn.MLP(3, [4], 4)))
x = torch.randn(30, 3)
pv.fit(vae, x, valid=x, epochs=2, out="run", progress=False)
pv.load("run", vae=vae)
pv.log_marginal(vae, x, 50), pv.sample(vae, 3), pv.encode(vae, x), pv.reconstruct(vae, x)
"""
COMMANDS = """
from pyro_vae.cli import main
quick = ["--latent-dim", "2", "--train.epochs", "2"]
for words in (
    ["list"], ["show", "digits"], ["train", "digits-plain", "--out", "run", *quick],
    ["train", "--resume", "run", "--train.epochs", "3"], ["runs", "."],
    ["evaluate", "run", "--num-samples", "5"], ["plot", "run"], ["explore", "run"],
    ["sample", "run", "--out", "s.npz"], ["encode", "run", "--out", "z.csv"], ["reconstruct", "run"],
    ["sweep", "digits-plain", "--seeds", "2", "--out", "sweep", *quick],
    ["train", "mnist-vamp", "--data-dir", "nowhere", "--data.kind", "digits", "--out", "other", *quick],
    ["impute", "run"], ["diagnose", "run", "--num-data", "5", "--num-samples", "5", "--num-steps", "3",
     "--num-temperatures", "3"],
):
    code = main(words)
    assert code in (0, 2), (words, code)
    print(words[0], code)
"""


def run_guarded(code, workdir):
    command = [sys.executable, "-W", "ignore", "-c", GUARD + code]
    return subprocess.run(command, cwd=workdir, capture_output=True, text=True)


@pytest.mark.slow
@pytest.mark.parametrize("code", [HERE, COMMANDS], ids=["Python", "commands"])
def test_nothing_opens_a_socket(workdir, code):
    done = run_guarded(code, workdir)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_socket_would_be_seen(workdir):
    done = run_guarded("import urllib.request as r; r.urlopen('http://127.0.0.1:9/')", workdir)
    assert done.returncode == 7 and "socket." in done.stderr
