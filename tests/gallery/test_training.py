"""Relatives are trained, stopped, resumed and asked from the command line as VAEs are."""

import json

import numpy as np
import pytest
import torch
from torch import nn

import pyro_vae as pv
from pyro_vae.cli import main
from pyro_vae.gallery import GSN, RBM, Autoencoder, Relative
from pyro_vae.train.run import NumericsError

X = torch.bernoulli(torch.full((50, 6), 0.3), generator=torch.Generator().manual_seed(0))
VALID = X[:20]
OPTIONS = {"epochs": 6, "batch_size": 8, "lr": 1e-2, "progress": False}


class Duel(Relative):
    """Two losses with opposite aims, each for its own parameter."""

    measures = ("loss", "other")

    def __init__(self):
        super().__init__((6,))
        self.first = nn.Parameter(torch.zeros(6))
        self.second = nn.Parameter(torch.ones(6))

    def loss(self, x):
        return (x - self.first).square().sum(1) - (self.first * self.second).sum()

    def step(self, x, update):
        loss = self.loss(x).mean()
        norm = update(loss, [self.first])
        other = (self.first.detach() * self.second).sum() + self.second.square().sum()
        update(other, [self.second])
        return [loss, other, norm]


MAKE = {
    "rbm": lambda: RBM((6,), 4, num_chains=10),
    "gsn": lambda: GSN((6,), 3, hidden_features=(5,)),
    "duel": Duel,
}


@pytest.mark.parametrize("name", MAKE)
def test_resume_is_bit_for_bit(tmp_path, monkeypatch, name):
    from pyro_vae.train.run import Run

    torch.manual_seed(0)
    whole = MAKE[name]()
    options = {**OPTIONS, "valid": VALID, "patience": 5, "checkpoint_steps": 5}
    torch.manual_seed(0)
    cut, step = MAKE[name](), Run.step

    def dying(self, *batch):
        if self.position.step == 23:
            raise MemoryError("the plug is pulled")
        step(self, *batch)

    expected = pv.fit(whole, X, out=tmp_path / "whole", **options)
    with monkeypatch.context() as patch, pytest.raises(MemoryError):
        patch.setattr(Run, "step", dying)
        patch.setattr("pyro_vae.train.saving.SECONDS_BETWEEN", 0.0)
        pv.fit(cut, X, out=tmp_path / "cut", **options)
    torch.manual_seed(7)
    resumed = MAKE[name]()
    history = pv.fit(resumed, X, out=tmp_path / "cut", resume=True, **options)
    assert history["loss"] == expected["loss"] and history["score"] == expected["score"]
    for key, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[key]), key


def test_a_step_of_its_own_moves_what_it_names():
    """One optimizer, two groups: the same as two optimizers by hand."""
    model, by_hand = Duel(), Duel()
    history = pv.fit(model, X, epochs=3, batch_size=50, lr=0.1, progress=False)
    optimizers = [torch.optim.Adam([p], lr=0.1) for p in (by_hand.first, by_hand.second)]
    for _ in range(3):
        for optimizer, loss in zip(
            optimizers,
            (
                lambda: by_hand.loss(X).mean(),
                lambda: (
                    (by_hand.first.detach() * by_hand.second).sum() + by_hand.second.square().sum()
                ),
            ),
        ):
            optimizer.zero_grad()
            loss().backward()
            optimizer.step()
    assert torch.allclose(model.first, by_hand.first, atol=1e-6)
    assert torch.allclose(model.second, by_hand.second, atol=1e-6)
    assert len(history["other"]) == 3 and "kl_weight" not in history.rows[0]


def test_early_stopping_keeps_the_best():
    model = Autoencoder((6,), 2, hidden_features=())
    history = pv.fit(model, X, valid=VALID, patience=2, **{**OPTIONS, "epochs": 500, "lr": 0.3})
    scores, kept = history["score"], model.score(VALID).detach().mean()
    assert len(scores) < 500 and max(scores) == pytest.approx(float(kept))


def test_a_step_that_is_not_finite_changes_nothing():
    class Sick(Duel):
        sick = False

        def loss(self, x):
            return super().loss(x) * (float("inf") if self.sick else 1.0)

    model = Sick()
    model.sick = True
    with pytest.raises(ValueError, match="finite loss at the start"):
        pv.fit(model, X, **OPTIONS)
    model.sick = False

    class Falls:
        def on_start(self, run):
            run.vae.sick = True

        def on_row(self, row): ...

        def on_end(self, history): ...

    before = model.first.detach().clone()
    with pytest.raises(NumericsError, match="parameters are unchanged"):
        pv.fit(model, X, callbacks=[Falls()], **{**OPTIONS, "epochs": 20})
    assert torch.equal(model.first, before)


def test_mistakes_get_a_sentence():
    model = RBM((6,), 4)
    for data, options, words in [
        (X * 0.5, {}, "Expected values in {0, 1}, the support of rbm; got 0.5"),
        (X[:, :5], {}, r"Expected x of shape \(N, 6\); got \(N, 5\)"),
        (pv.data.as_split(X, c=X), {}, "Expected x alone"),
        (X, {"kl_weight": 2.0}, "without the bound of a VAE"),
        (X, {"compile": "yes"}, "only VAEs are compiled"),
    ]:
        with pytest.raises(ValueError, match=words):
            pv.fit(model, data, **{**OPTIONS, **options})


SMALL = ["--train.epochs", "2", "--model.num-hidden", "6", "--model.num-chains", "10"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gallery") / "run"
    assert main(["train", "digits-rbm", "--out", str(folder), *SMALL]) == 0
    return folder


def test_commands_work_on_a_relative(run, tmp_path, capsys):
    assert main(["evaluate", str(run), "--json"]) == 0
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert figures["can"]["log_prob"] == "exact" and figures["log_prob_se"] > 0
    assert main(["sample", str(run), "--num-samples", "4", "--out", str(tmp_path / "x.npy")]) == 0
    assert main(["reconstruct", str(run)]) == main(["plot", str(run)]) == 0
    assert main(["encode", str(run), "--out", str(tmp_path / "code.npz")]) == 0
    assert main(["train", "--resume", str(run), "--train.epochs", "3"]) == 0
    assert main(["runs", str(run.parent), "--json"]) == 0
    capsys.readouterr()
    model = pv.load(run)
    assert isinstance(model, RBM) and model.weights.shape == (64, 6)


@pytest.mark.parametrize(
    "args,words",
    [
        (
            ["explore", "RUN"],
            "whose model is rbm, a relative. Those are taken by pyro-vae train",
        ),
        (["evaluate", "RUN", "--given", "left"], "Expected no --given for rbm"),
        (["evaluate", "RUN", "--against", "mnist"], "Expected no --against for rbm"),
        (["evaluate", "RUN", "--num-samples", "50"], "Expected no --num-samples for rbm"),
        (["inspect", "digits-rbm"], "asks for p(z), p(x | z) and q(z | x)"),
        (["train", "digits", "--model.kind", "rbm"], "in the place of prior, likelihood"),
        (["train", "digits-rbm", "--train.kl-weight", "2"], "without the bound of a VAE"),
        (["train", "digits-rbm", "--model.kind", "rmb"], "did you mean 'rbm'?"),
        (["tune", "digits-rbm", "--search", "train.lr=1e-4..1e-2"], "Use pyro-vae sweep"),
    ],
)
def test_commands_say_what_does_not_apply(run, capsys, args, words):
    assert main([str(run) if arg == "RUN" else arg for arg in args]) == 2
    assert words in capsys.readouterr().err


def test_a_sweep_says_what_each_relative_has(tmp_path, capsys):
    out, epochs = str(tmp_path / "sweep"), ["--train.epochs", "1"]
    grid = ["--grid", "model.kind=made,autoencoder,gan", "--seeds", "2"]
    assert main(["sweep", "digits-rbm", *grid, *epochs, "--out", out]) == 0
    found = json.loads((tmp_path / "sweep" / "sweep.json").read_text())
    [made], [autoencoder, gan] = found["settings"], found["others"]
    assert made["density"] == "exact" and made["num_seeds"] == 2 and made["log_marginal_se"] > 0
    assert "no log p(x)" in autoencoder["lacks"] and "squared_error" not in gan
    runs = [path.name for path in (tmp_path / "sweep").iterdir() if path.is_dir()]
    assert len(runs) == 6 and found["best_by_validation"] == "model=made"
    own = [str(path) for path in sorted((tmp_path / "sweep").glob("model=autoencoder*"))]
    errors = []
    for path in own:
        capsys.readouterr()
        assert main(["evaluate", path, "--json"]) == 0
        errors.append(json.loads(capsys.readouterr().out.splitlines()[-1])["squared_error"])
    assert autoencoder["squared_error"] == pytest.approx(sum(errors) / 2)
    assert main(["compare", out]) == 0
    printed = capsys.readouterr().out
    assert "exact  2 seeds" in printed and "Without log p(x), on 297 test data:" in printed


def test_samples_need_no_data(tmp_path, monkeypatch, capsys):
    """As of a VAE: neither a test split nor the file; what needs rows is told to use others."""
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", X.numpy().astype("u1"))
    data = ["--data.kind", "file", "--data.path", "x.npy", "--data.valid", "0", "--data.test", "0"]
    assert main(["train", "digits-rbm", "--out", "run", *data, *SMALL]) == 0
    assert "pyro-vae plot run --split train" in capsys.readouterr().out
    assert main(["plot", "run"]) == 2
    assert "Use --split train" in capsys.readouterr().err
    assert main(["plot", "run", "--split", "train"]) == 0
    (tmp_path / "x.npy").unlink()
    assert main(["sample", "run", "--out", "drawn.npy"]) == 0
    assert np.load("drawn.npy").shape == (64, 6)


def test_many_relatives_are_those_that_fit_trains():
    models = pv.fit_many(Duel, X, seeds=[0, 1], grid={"train.lr": [0.1]}, epochs=2, progress=False)
    for trained in models:
        alone = Duel()
        pv.fit(alone, X, seed=trained.seed, epochs=2, lr=0.1, progress=False)
        assert torch.equal(alone.first, trained.vae.first)
        assert torch.equal(alone.second, trained.vae.second)
