"""What training says while it runs."""

import io
import re
import sys

import pytest
import torch

import pyro_vae as pv
from pyro_vae.train.progress import Progress

N, MLP = pv.posteriors.MeanFieldNormal, pv.nn.MLP


def test_lines_say_epoch_terms_sites_and_time(capsys):
    torch.manual_seed(0)
    vae = pv.VAE(
        pv.Sites(z2=pv.priors.StandardNormal(2), z1=N(MLP(2, [4], 6)).given("z2")),
        pv.likelihoods.Gaussian(MLP(3, [4], 5)).given("z1"),
        pv.Sites(z1=N(MLP(5, [4], 6)), z2=N(MLP(3, [4], 4)).given("z1")),
    )
    x = torch.randn(40, 5)
    pv.fit(vae, x, valid=x, epochs=40)
    lines = capsys.readouterr().out.splitlines()
    epochs = [int(line.split("/")[0].split()[1]) for line in lines if line.startswith("epoch")]
    assert epochs == [1, *range(2, 41, 2)]
    number = r"-?\d+\.\d+"
    assert re.fullmatch(
        rf"epoch 1/40  loss {number}  kl {number} \(z1 {number}, z2 {number}\)  nats per datum  "
        rf"\d active \(z2 \d, z1 \d\)  [\d.]+ s an epoch, [\d.]+ (s|min) left", lines[0]
    ), lines[0]  # fmt: skip
    assert re.fullmatch(rf"validation ELBO {number} \+- {number} nats", lines[1])
    assert lines[-2].startswith("epoch 40/40") and "left" not in lines[-2]


def test_a_slow_epoch_has_a_line_after_minutes(capsys, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("pyro_vae.train.progress.time.monotonic", lambda: now[0])
    display = Progress(True, 1000, 10)
    with display:
        for epoch in range(1, 41):
            now[0] += 40.0
            display.show({"epoch": epoch, "loss": 1.0, "kl": 0.5})
    lines = capsys.readouterr().out.splitlines()
    said = [int(line.split("/")[0].split()[1]) for line in lines]
    assert said == [1, 9, 17, 25, 33]  # the first, and whenever 300 s have passed
    assert lines[-1].endswith("40 s an epoch, 10.7 h left")


def test_a_terminal_has_a_line_below_the_bar(monkeypatch):
    screen = io.StringIO()
    screen.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", screen)
    display = Progress(True, 10, 5)
    with display:
        for epoch in (1, 2):
            display.advance(5 * epoch)
            display.show({"epoch": epoch, "loss": 3.25, "kl": 0.5, "active_units": 2})
            display.show({"epoch": epoch, "elbo": -4.0, "elbo_se": 0.25})
    shown = screen.getvalue()
    assert "10/50" in shown and "epoch 2/10  loss 3.25  kl 0.50  nats per datum  2 active" in shown
    assert "an epoch" in shown and "validation ELBO -4.00 +- 0.25 nats" in shown


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"epoch": 3}, "epoch 3/3  no step was finite"),
        ({"epoch": 3, "elbo": -1.0, "elbo_se": None}, "validation ELBO -1.00 nats"),
    ],
)
def test_rows_without_numbers_are_said(row, words, capsys):
    with Progress(True, 3, 1) as display:
        display.show(row)
    assert capsys.readouterr().out == f"{words}\n"
