"""Runs: none is lost, and each finds its recipe and its data again."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import pyro_vae as pv
from pyro_vae.cli import main
from pyro_vae.runs import RunFolder, RunLocked
from pyro_vae.runs.records import differences
from pyro_vae.runs.storage import lock, newest

QUICK = ["--latent-dim", "2", "--likelihood.decoder.hidden-features", "8"]
QUICK += ["--posterior.encoder.hidden-features", "8", "--train.epochs", "2"]


def train(out, *flags):
    return main(["train", "digits-plain", "--out", str(out), *QUICK, *flags])


def tree(folder):
    return {str(p): p.read_bytes() for p in Path(folder).rglob("*") if p.is_file()}


def own_file(name="mine.npy", seed=0, count=100):
    np.save(name, np.random.default_rng(seed).normal(size=(count, 4)).astype("f4"))
    flags = ["--data.kind", "file", "--data.path", name, "--likelihood.kind", "gaussian"]
    return [*flags, "--train.batch-size", "20"]


# --- Replacing ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "flags,code",
    [
        (["--train.optimizer", "adam"], 2),
        (["--train.optimizer-options.weight_decay", "-1"], 2),
        (["--train.estimator", "vimco"], 2),
        (["--likelihood.kind", "bernoulli"], 2),
        (["--data.kind", "file", "--data.path", "nowhere.npy"], 2),
    ],
)
def test_refused_trainings_keep_the_old_run(workdir, flags, code):
    assert train("kept") == 0
    before = tree("kept")
    assert train("kept", "--overwrite", *flags) == code
    assert tree("kept") == before and not list(workdir.rglob(".replaced"))


def test_a_training_that_fails_before_its_first_checkpoint_restores_the_old_run(
    workdir, monkeypatch
):
    assert train("kept") == 0
    before = tree("kept")

    def broken(self, batch):
        raise MemoryError("no room")

    monkeypatch.setattr("pyro_vae.train.run.Run.step", broken)
    assert train("kept", "--overwrite") == 6
    assert tree("kept") == before and not list(workdir.rglob(".replaced"))


def test_the_old_run_is_deleted_when_the_new_one_has_a_checkpoint(workdir, capsys):
    assert train("kept") == 0
    assert train("kept", "--overwrite", "--seed", "5") == 0
    assert "seed = 5" in Path("kept/config.toml").read_text()
    assert not list(workdir.rglob(".replaced"))
    assert train("kept") == 2
    assert "--overwrite" in capsys.readouterr().err


def set_aside(count):
    """The state that kill -9 leaves when `count` files of the old run have been moved aside."""
    from pyro_vae.runs.place import CHECKPOINTS, OWN

    names = [name for name in (*OWN, CHECKPOINTS) if (Path("kept") / name).exists()]
    Path("kept/.replaced").mkdir()
    for name in names[:count]:
        (Path("kept") / name).rename(Path("kept/.replaced") / name)
    return len(names)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("resume", [False, True])
def test_a_killed_replacement_is_undone(workdir, capfd, count, resume):
    assert train("kept") == 0
    before = tree("kept")
    total = set_aside(count)
    if count == total:
        Path("kept/checkpoints/.tmp-5-1").mkdir(parents=True)
        Path("kept/config.toml").write_text("")
        assert main(["evaluate", "kept"]) == 4
        assert "train --resume kept restores it" in capfd.readouterr().err
    if resume:
        assert main(["train", "--resume", "kept"]) == 0
    else:
        RunFolder(Path("kept")).recover()
    assert "restored the run" in capfd.readouterr().err
    assert tree("kept") == before


def test_a_finished_replacement_is_not_undone(workdir):
    assert train("kept") == 0
    before = tree("kept")
    old = Path("kept/.replaced/checkpoints/step-1")
    old.mkdir(parents=True)
    RunFolder(Path("kept")).recover()
    assert tree("kept") == before and not Path("kept/.replaced").exists()


@pytest.mark.parametrize("out", ["kept", "."])
def test_other_files_are_not_touched(workdir, out):
    """A user's table, notes and other runs in the folder survive a replacement."""
    assert train("other") == 0 and train(out) == 0
    mine = {"mine.csv": "1,2", "notes/thesis.tex": "words", "data": "x"}
    for name, text in mine.items():
        Path(out, name).parent.mkdir(exist_ok=True)
        Path(out, name).write_text(text)
    before = tree("other")
    assert train(out, "--overwrite", "--seed", "3") == 0
    assert {name: Path(out, name).read_text() for name in mine} == mine
    assert tree("other") == before and "seed = 3" in Path(out, "config.toml").read_text()


@pytest.mark.parametrize("name", ["config.toml", "metrics.jsonl", "data.json"])
@pytest.mark.parametrize("flags", [[], ["--overwrite"]])
def test_files_that_only_look_like_a_run_are_refused(workdir, capsys, name, flags):
    Path("mine").mkdir()
    Path("mine", name).write_text("title = 'mine'")
    assert train("mine", *flags) == 2
    assert f"{name} would be overwritten" in capsys.readouterr().err
    assert Path("mine", name).read_text() == "title = 'mine'"


def test_outputs_never_overwrite_the_data(workdir, capsys):
    Path("t.csv").write_text("a,b\n" + "".join(f"{i % 7}.5,{i % 5}.25\n" for i in range(60)))
    flags = ["--data.path", "t.csv", "--train.epochs", "1"]
    assert main(["train", "table", "--out", "run", *flags]) == 0
    before = Path("t.csv").read_bytes()
    for command in ("evaluate", "encode", "sample", "reconstruct"):
        assert main([command, "run", "--out", "t.csv"]) == 2, command
        assert "would overwrite them" in capsys.readouterr().err
    assert Path("t.csv").read_bytes() == before


def test_every_writer_acquires_the_lock(workdir, capsys):
    assert train("kept") == 0
    before = tree("kept/checkpoints")
    with lock(Path("kept")):
        for flags in (["--overwrite"], ["--overwrite", "--seed", "3"]):
            assert train("kept", *flags) == 5
        assert main(["train", "--resume", "kept", "--train.epochs", "9"]) == 5
        vae = pv.load("kept")
        with pytest.raises(RunLocked):
            pv.fit(vae, pv.data.load("digits").train, out="kept", overwrite=True, progress=False)
    assert tree("kept/checkpoints") == before
    assert f"process {os.getpid()}" in capsys.readouterr().err


@pytest.mark.slow
def test_two_processes_never_share_a_folder(workdir, capsys):
    command = [sys.executable, "-m", "pyro_vae", "train", "digits-plain", "--out", "one"]
    flags = [*QUICK, "--train.epochs", "100000", "--no-compile"]
    first = subprocess.Popen([*command, *flags], stderr=subprocess.PIPE)
    for _ in range(600):
        if list(Path("one").glob("checkpoints/step-*")):
            break
        time.sleep(0.1)
    assert train("one", "--overwrite") == 5
    assert f"process {first.pid}" in capsys.readouterr().err
    first.send_signal(signal.SIGTERM)
    assert first.wait(60) == 143
    first.stderr.close()
    assert main(["evaluate", "one", "--num-samples", "2"]) == 0


def test_nothing_is_created_in_place_of_a_file(workdir, capsys):
    Path("file").write_text("mine")
    assert train("file") == 2 and train("file/run") == 2
    assert "a file" in capsys.readouterr().err and Path("file").read_text() == "mine"


@pytest.mark.parametrize("out", [".", "link", "deep/../run"])
def test_folders_by_other_names(workdir, monkeypatch, out):
    (workdir / "run").mkdir()
    (workdir / "deep").mkdir()
    (workdir / "link").symlink_to(workdir / "run")
    if out == ".":
        monkeypatch.chdir(workdir / "run")
    assert train(out) == 0
    assert train(out, "--overwrite", "--seed", "3") == 0
    assert "seed = 3" in (workdir / "run" / "config.toml").read_text()
    assert not list(workdir.rglob(".replaced")) and (workdir / "link").is_symlink()


def test_fit_restores_the_old_run_too(workdir):
    vae = pv.VAE(
        pv.priors.StandardNormal(2),
        pv.likelihoods.Gaussian(pv.nn.MLP(2, 8, 4)),
        pv.posteriors.MeanFieldNormal(pv.nn.MLP(4, 8, 4)),
    )
    x = torch.randn(40, 4)
    pv.fit(vae, x, epochs=1, out="r", progress=False)
    before = tree("r")
    with pytest.raises(ValueError, match="overwrite"):
        pv.fit(vae, x, epochs=1, out="r", progress=False)
    with pytest.raises(ValueError, match="options of torch"):
        pv.fit(vae, x, out="r", overwrite=True, progress=False, optimizer_options={"nope": 1.0})
    assert tree("r") == before
    pv.fit(vae, x, epochs=2, out="r", overwrite=True, progress=False)
    assert len((Path("r") / "metrics.jsonl").read_text().splitlines()) == 2


def test_trying_a_batch_changes_nothing(workdir):
    """Neither parameters nor running statistics nor the random numbers of training."""
    from pyro_vae.train.run import Run

    def trained():
        torch.manual_seed(3)
        encoder = torch.nn.Sequential(
            torch.nn.Linear(4, 8),
            torch.nn.BatchNorm1d(8),
            torch.nn.Dropout(0.5),
            torch.nn.Linear(8, 4),
        )
        vae = pv.VAE(
            pv.priors.StandardNormal(2),
            pv.likelihoods.Gaussian(pv.nn.MLP(2, 8, 4), sigma="optimal"),
            pv.posteriors.MeanFieldNormal(encoder),
        )
        pv.fit(vae, x, epochs=2, batch_size=10, progress=False, seed=4)
        return vae.state_dict()

    x = torch.randn(40, 4)
    tried = trained()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "try_out", lambda self: None)
        plain = trained()
    assert all(torch.equal(tried[name], plain[name]) for name in plain)


# --- Resuming -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "flags,word",
    [
        (["--prior.kind", "laplace"], "prior.kind was standard-normal and is laplace"),
        (["--likelihood.kind", "poisson"], "likelihood.kind was binomial and is poisson"),
        (["--posterior.kind", "full-covariance-normal"], "posterior.kind"),
        (["--train.lr", "0.5"], "train.lr"),
        (["--data.seed", "2"], "data.seed"),
        (["--seed", "2"], "seed was 0 and is 2"),
        (["--out", "other"], "--out other"),
        (["--overwrite"], "--overwrite"),
    ],
)
def test_another_training_is_not_resumed(workdir, capsys, flags, word):
    assert train("kept") == 0
    before = tree("kept")
    for recipe in (["digits-plain"], []):
        assert main(["train", *recipe, "--resume", "kept", "--train.epochs", "5", *flags]) == 2
        assert word in capsys.readouterr().err
    assert tree("kept").keys() - {"kept/.lock"} == before.keys() - {"kept/.lock"}
    assert not Path("other").exists()


def test_resuming_needs_no_recipe_and_reports_when_nothing_is_left(workdir, capsys):
    assert train("kept") == 0
    assert main(["train", "fashion-mnist", "--resume", "kept"]) == 2
    assert "'digits-plain'; got 'fashion-mnist'" in capsys.readouterr().err
    assert main(["train", "--resume", "kept"]) == 0
    assert "Nothing left to do: kept has 2 epochs" in capsys.readouterr().out
    assert main(["train", "--resume", "kept", "--train.epochs", "3"]) == 0
    assert "Trained 3 epochs" in capsys.readouterr().out
    assert main(["evaluate", "kept", "--num-samples", "2"]) == 0
    assert "differs" not in capsys.readouterr().err  # config.toml has the new epochs
    assert main(["train"]) == 2
    assert "Expected a recipe" in capsys.readouterr().err


# --- Data of a run ------------------------------------------------------------------------------

COMMANDS = [
    ["evaluate", "run", "--num-samples", "2"],
    ["encode", "run", "--out", "z.npz"],
    ["reconstruct", "run"],
    ["plot", "run"],
    ["compare", "run", "run", "--num-samples", "2"],
    ["diagnose", "run"],
    ["train", "--resume", "run", "--train.epochs", "9"],
]


@pytest.mark.parametrize("seed,count", [(1, 100), (0, 160)], ids=["other values", "more rows"])
def test_other_data_of_the_same_name_are_refused(workdir, capsys, seed, count):
    assert train("run", *own_file()) == 0
    own_file(seed=seed, count=count)
    for command in COMMANDS:
        assert main(command) == 2, command
        assert "differ" in capsys.readouterr().err
    assert main(["evaluate", "run", "--data", "mine.npy", "--num-samples", "2"]) == 0
    own_file()
    assert main(COMMANDS[0]) == 0


def test_the_file_is_found_from_another_folder_or_where_it_was_moved(workdir, capsys, monkeypatch):
    assert train("run", *own_file()) == 0
    (workdir / "elsewhere").mkdir()
    monkeypatch.chdir(workdir / "elsewhere")
    assert main(["evaluate", str(workdir / "run"), "--num-samples", "2"]) == 0
    (workdir / "mine.npy").rename(workdir / "elsewhere" / "mine.npy")
    monkeypatch.chdir(workdir)
    assert main(["evaluate", "run", "--num-samples", "2"]) == 2
    assert "--data-dir" in capsys.readouterr().err
    assert main(["evaluate", "run", "--num-samples", "2", "--data-dir", "elsewhere"]) == 0


@pytest.mark.parametrize(
    "edit",
    [("seed = 0", "seed = 7"), ('kind = "binomial"', 'kind = "poisson"'), ("[data]", "[da")],
)
def test_an_edited_recipe_is_found_and_not_used(workdir, capsys, edit):
    assert train("run") == 0
    assert main(["evaluate", "run", "--num-samples", "5", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    config = Path("run/config.toml")
    config.write_text(config.read_text().replace(*edit))
    assert main(["evaluate", "run", "--num-samples", "5", "--json"]) == 0
    captured = capsys.readouterr()
    assert "config.toml differs" in captured.err
    assert json.loads(captured.out)["elbo"] == figures["elbo"]


def test_differences_are_named_by_their_keys():
    old = {"a": 1, "b": {"c": None, "d": [1]}}
    assert differences(old, {"a": 1, "b": {"c": 2, "d": [1]}, "e": True}) == [
        "b.c was not set and is 2",
        "e was not set and is True",
    ]


def test_rows_join_with_the_users_file(workdir):
    assert train("run", *own_file()) == 0
    x = np.load("mine.npy")
    split = pv.data.load("mine.npy")
    assert sorted(np.concatenate([s.row_numbers for s in split.splits.values()])) == [*range(100)]
    for name, rows in split.splits.items():
        assert np.array_equal(rows.rows(slice(None)), x[rows.row_numbers]), name
    assert main(["encode", "run", "--split", "all", "--out", "z.npz"]) == 0
    z = np.load("z.npz")
    assert z["rows"].tolist() == [*range(100)]
    whole = pv.encode(pv.load("run"), x)
    np.testing.assert_allclose(z["loc"], whole.loc, atol=1e-6)
    assert main(["encode", "run", "--out", "z.csv"]) == 0
    assert main(["evaluate", "run", "--num-samples", "3", "--out", "f.csv"]) == 0
    lines = Path("f.csv").read_text().splitlines()
    assert lines[0].startswith("rows,elbo,log_marginal") and len(lines) == 11
    assert [int(line.split(",")[0]) for line in lines[1:]] == split.test.row_numbers.tolist()
    assert main(["reconstruct", "run", "--num-data", "4", "--out", "r.npz"]) == 0
    shown = np.load("r.npz")
    assert set(shown["rows"]) <= set(split.test.row_numbers.tolist()) and shown["x"].shape == (
        4,
        4,
    )


@pytest.mark.parametrize("name", ["z.txt", "z", "z.png", "z.csv.gz"])
def test_unknown_suffixes_are_refused(workdir, name, capsys):
    assert train("run") == 0
    for command in (["encode", "run"], ["sample", "run"], ["reconstruct", "run"]):
        assert main([*command, "--out", name]) == 2
    assert not list(workdir.glob("z*"))
    assert "Expected --out with the suffix" in capsys.readouterr().err


# --- Threads and pipes --------------------------------------------------------------------------


def test_threads_take_turns():
    x = torch.randn(200, 4)

    def make():
        torch.manual_seed(0)
        return pv.VAE(
            pv.priors.StandardNormal(2),
            pv.likelihoods.Gaussian(pv.nn.MLP(2, 8, 4)),
            pv.posteriors.MeanFieldNormal(pv.nn.MLP(4, 8, 4)),
        )

    alone, together, errors = make(), [make() for _ in range(3)], []
    pv.fit(alone, x, epochs=4, batch_size=20, progress=False)

    def run(vae):
        try:
            pv.fit(vae, x, epochs=4, batch_size=20, progress=False)
            pv.elbo(vae, x)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(vae,)) for vae in together]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    for vae in together:
        assert all(torch.equal(a, b) for a, b in zip(alone.parameters(), vae.parameters()))
    assert torch.distributions.Distribution._validate_args


@pytest.mark.slow
def test_a_closed_pipe_saves_and_is_an_error(workdir):
    command = f"{sys.executable} -m pyro_vae train digits-plain --out run {' '.join(QUICK)}"
    script = f"({command} --train.epochs 400 --no-compile; echo $? > code) | head -n 1"
    subprocess.run(["bash", "-c", script], capture_output=True, timeout=120, check=True)
    assert Path("code").read_text().strip() == "141"
    assert newest(Path("run")).is_dir()


def test_json_is_json(workdir, capsys):
    assert train("run") == 0
    capsys.readouterr()
    assert main(["evaluate", "run", "--num-samples", "1", "--json", "--out", "f.npz"]) == 0

    def refuse(word):
        raise AssertionError(word)

    json.loads(capsys.readouterr().out, parse_constant=refuse)
    assert main(["runs", ".", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out, parse_constant=refuse)["runs"]
    assert row["recipe"] == "digits-plain" and row["epochs"] == 2 and "+-" in row["test"]
    assert main(["evaluate", "run", "--num-samples", "30"]) == 0
    assert main(["evaluate", "run", "--num-samples", "2"]) == 0
    kept = json.loads(Path("run/figures.json").read_text())["test"]
    assert kept["num_importance_samples"] == 30  # metrics from more samples are kept


def test_a_switch_needs_no_value(workdir):
    np.save("x.npy", 1e4 * np.random.default_rng(0).normal(size=(60, 3)))
    flags = ["--data.path", "x.npy", "--data.standardize", "--train.epochs", "1"]
    assert main(["train", "table", "--out", "run", *flags]) == 0
    assert "standardize = true" in Path("run/config.toml").read_text()
    assert main(["train", "table", "--train.lr", "--out", "other"]) == 2


def test_another_family_is_not_resumed():
    def make(prior):
        return pv.VAE(
            prior,
            pv.likelihoods.Gaussian(pv.nn.MLP(2, 8, 4)),
            pv.posteriors.MeanFieldNormal(pv.nn.MLP(4, 8, 4)),
        )

    x = torch.randn(40, 4)
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        pv.fit(make(pv.priors.StandardNormal(2)), x, epochs=1, out=folder, progress=False)
        with pytest.raises(ValueError, match="StandardNormal is now Laplace"):
            vae = make(pv.priors.Laplace(2))
            pv.fit(vae, x, epochs=2, out=folder, resume=True, progress=False)


@pytest.mark.parametrize(
    "change",
    [
        lambda state: {**state, "record": [1, 2]},
        lambda state: {**state, "record": {**state["record"], "data": "x"}},
        lambda state: {**state, "position": 3},
        lambda state: {},
        lambda state: [],
    ],
)
def test_checkpoints_with_other_contents_get_a_message(workdir, capsys, change):
    import hashlib

    assert train("run") == 0
    folder = newest(Path("run"))
    text = json.dumps(change(json.loads((folder / "state.json").read_text()))).encode()
    (folder / "state.json").write_bytes(text)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest.pop("sha256")
    manifest["files"]["state.json"] = {
        "bytes": len(text),
        "sha256": hashlib.sha256(text).hexdigest(),
    }

    def to_json(value):
        return (json.dumps(value, indent=1) + "\n").encode()

    digest = hashlib.sha256(to_json(manifest)).hexdigest()
    (folder / "manifest.json").write_bytes(to_json({**manifest, "sha256": digest}))
    for other in Path("run/checkpoints").iterdir():
        if other != folder:
            import shutil

            shutil.rmtree(other)
    capsys.readouterr()
    for command in (["evaluate", "run"], ["train", "--resume", "run", "--train.epochs", "9"]):
        assert main(command) in (2, 4)
        assert "Expected" in capsys.readouterr().err


def test_parameters_that_are_not_finite_are_refused(workdir, capsys):
    from pyro_vae.runs.storage import read, save

    assert train("run") == 0
    tensors, state = read(newest(Path("run")))
    name = next(iter(tensors["model"]))
    for group in ("model", "best"):
        if name in tensors[group]:
            tensors[group][name].view(-1)[0] = torch.nan
    save(Path("run"), 10_000, tensors, state)
    assert main(["evaluate", "run"]) == 4
    assert f"finite parameters in run/checkpoints/step-00010000; got others in {name}" in (
        capsys.readouterr().err
    )


# --- The object ---------------------------------------------------------------------------------


def test_a_run_gives_access_to_everything(workdir):
    from pyro_vae.runs import load_recipe

    assert train("runs/a") == 0 and train("runs/b") == 0
    os.utime("runs/a/config.toml", (2**31, 2**31))
    run = RunFolder.open("runs/a")
    assert [r.path for r in RunFolder.below(Path("runs"))] == [Path("runs/a"), Path("runs/b")]
    assert RunFolder.newest().path == run.path == RunFolder.newest(run.recipe.name).path
    assert run.recipe == load_recipe("runs/a") and run.written()["name"] == run.recipe.name
    assert run.title == f"runs/a, recipe {run.recipe.name}, epoch {run.recorded.epochs}"
    assert run.metrics()[-1]["epoch"] == run.recorded.epochs == run.summary()["epochs"]
    model, loaded = run.model("cpu").state_dict(), pv.load("runs/a", "cpu").state_dict()
    assert all(torch.equal(model[name], loaded[name]) for name in loaded)
    rows, name, split = run.rows("test")
    assert len(rows) == run.recorded.data["sizes"]["test"] == len(run.dataset().test)
    assert (name, split) == (run.dataset().name, "test")
    with pytest.raises(ValueError, match="Expected a run of 'nobody' below runs/"):
        RunFolder.newest("nobody")


def test_a_truncated_line_of_metrics_is_left_out(workdir):
    run = RunFolder(workdir / "run")
    run.path.mkdir()
    size = run.append({"epoch": 1})
    run.append({"epoch": 2})
    with (run.path / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 3, "lo')
    assert run.metrics() == [{"epoch": 1}, {"epoch": 2}]
    run.cut_metrics(size)
    assert run.metrics() == [{"epoch": 1}] and (run.path / "metrics.jsonl").stat().st_size == size


def test_reading_the_files_of_runs_needs_no_torch(workdir):
    code = (
        "import sys; from pathlib import Path; from pyro_vae.cli import main\n"
        "from pyro_vae.runs import RunFolder\n"
        "RunFolder.below(Path('.')); assert main(['runs', '.']) == 0\n"
        "assert 'torch' not in sys.modules"
    )
    assert train("run") == 0
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    "old,new",
    [("", ""), *[pytest.param(n, n, marks=pytest.mark.slow) for n in (".storage", ".state")]],
)
def test_checkpoint_is_the_old_name_of_runs(old, new):
    code = (
        "import pytest, importlib\n"
        f"with pytest.warns(DeprecationWarning, match='is now pyro_vae.runs{new}[.]'):\n"
        f"    importlib.import_module('pyro_vae.checkpoint{old}')\n"
        "with pytest.warns(DeprecationWarning):\n"
        "    from pyro_vae.checkpoint import RunFolder, get_rng_state, load, newest, save\n"
        "import pyro_vae as pv\n"
        "assert pv.checkpoint.RunFolder is pv.runs.RunFolder is RunFolder\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
