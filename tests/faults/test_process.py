"""Signals, closed outputs, too little memory, and odd surroundings of the process."""

import contextlib
import fcntl
import os
import pty
import resource
import signal
import subprocess
import sys
import termios
import threading
import time
from pathlib import Path

import pytest
import torch
from checks import D, needs_data
from training import QUIET, equal, vae

import pyro_vae as pv
from pyro_vae.cli import main
from pyro_vae.runs import storage
from pyro_vae.train import Callback, saving

DATA = torch.randn(40, D, generator=torch.Generator().manual_seed(1))
OPTIONS = {"batch_size": 10, "lr": 1e-2, **QUIET}
COMMAND = [sys.executable, "-m", "pyro_vae", "train", "digits-plain", "--latent-dim", "2"]
COMMAND += ["--likelihood.decoder.hidden-features", "8", "--no-compile", "--out", "run"]
ENDLESS = [*COMMAND, "--train.epochs", "100000"]
in_main_thread = pytest.mark.skipif(
    threading.current_thread() is not threading.main_thread(), reason="signals need a main thread"
)


# --- Signals ------------------------------------------------------------------------------------


class Send(Callback):
    """Sends a signal in the middle of a training."""

    def __init__(self, number):
        self.number = number

    def on_row(self, row):
        if row["epoch"] == 2:
            os.kill(os.getpid(), self.number)


@in_main_thread
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_saves_and_its_training_goes_on_bit_for_bit(tmp_path, capsys, number):
    ours = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
    outer = signal.signal(number, ours)  # under nohup SIGHUP is ignored
    whole, model, before = vae(), vae(), signal.getsignal(number)
    pv.fit(whole, DATA, epochs=4, **OPTIONS)
    wanted = KeyboardInterrupt if number == signal.SIGINT else SystemExit
    with pytest.raises(wanted) as left:
        pv.fit(model, DATA, epochs=4, out=tmp_path, callbacks=[Send(number)], **OPTIONS)
    assert wanted is KeyboardInterrupt or left.value.code == 128 + number
    assert f"{signal.Signals(number).name}: saving" in capsys.readouterr().err
    assert signal.getsignal(number) == before
    signal.signal(number, outer)
    assert storage.read(storage.newest(tmp_path))[1]["position"]["step"] == 9
    resumed = vae(3)
    pv.fit(resumed, DATA, epochs=4, out=tmp_path, resume=True, **OPTIONS)
    assert equal(whole, resumed)


@in_main_thread
def test_a_hangup_that_is_ignored_stays_ignored(tmp_path):
    """As under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        callbacks = [Send(signal.SIGHUP)]
        history = pv.fit(vae(), DATA, epochs=4, out=tmp_path, callbacks=callbacks, **OPTIONS)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert history["epoch"] == [1, 2, 3, 4]


@pytest.fixture
def popen():
    """Starts processes, which end with the test."""
    processes = []

    def start(*args, **options):
        processes.append(subprocess.Popen(*args, **options))
        return processes[-1]

    yield start
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate()


def with_checkpoint(process, workdir, meanwhile=lambda: None):
    """Waits until a training has a checkpoint."""
    deadline = time.monotonic() + 120
    while not list(workdir.glob("run/checkpoints/step-*")):
        assert process.poll() is None and time.monotonic() < deadline
        meanwhile()
        time.sleep(0.05)


def newest_step(workdir):
    return storage.read(storage.newest(workdir / "run"))[1]["position"]["step"]


@pytest.mark.slow
def test_a_second_signal_ends_at_once(workdir, popen):
    """Here while the first one waits for a checkpoint that hangs."""
    code = (
        "import os, sys, threading, time\n"
        "from pyro_vae.cli import main\nfrom pyro_vae.runs import storage\n"
        "def later():\n"
        "    while not os.path.exists('run/metrics.jsonl'): time.sleep(0.05)\n"
        "    storage.save = lambda *args, **options: time.sleep(600)\n"
        "    print('hangs', flush=True)\n"
        "threading.Thread(target=later, daemon=True).start()\n"
        f"sys.exit(main({ENDLESS[3:]!r}))\n"
    )
    command = [sys.executable, "-c", code]
    process = popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert any("hangs" in line for line in process.stdout)
    process.send_signal(signal.SIGTERM)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(3)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 143


@pytest.mark.slow
def test_an_interrupt_reaches_a_job_of_the_background(workdir, popen):
    """A shell starts such a job with SIGINT ignored."""
    ignore = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_IGN)}
    process = popen(ENDLESS, cwd=workdir, stderr=subprocess.PIPE, text=True, **ignore)
    with_checkpoint(process, workdir)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130 and "SIGINT: saving" in said and newest_step(workdir) > 0


@pytest.mark.slow
def test_an_interrupt_of_the_first_seconds_has_no_traceback(workdir, popen):
    """Python itself ends with one before it has read the command."""
    for seconds in (0.1, 0.4, 0.8, 1.6, 3.2):
        process = popen(ENDLESS, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        time.sleep(seconds)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=100)
        by_python = process.returncode == -signal.SIGINT
        assert by_python or (process.returncode == 130 and "Traceback" not in said), said


@pytest.mark.slow
def test_a_terminal_that_is_closed_saves(workdir, popen):
    """Its process gets SIGHUP, and can write no more."""
    ours, theirs = pty.openpty()
    os.set_blocking(ours, False)
    process = popen(
        ENDLESS, cwd=workdir, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )  # fmt: skip
    os.close(theirs)

    def read():
        with contextlib.suppress(OSError):
            os.read(ours, 100_000)

    with_checkpoint(process, workdir, read)
    step = newest_step(workdir)
    os.close(ours)
    assert process.wait(100) == 129 and newest_step(workdir) >= step


# --- Outputs ------------------------------------------------------------------------------------


class Full:
    """An output that takes nothing."""

    def __init__(self, error=OSError):
        self.error = error

    def write(self, text):
        raise self.error(28, "No space left on device")

    def flush(self):
        self.write("")

    def isatty(self):
        return False


def test_who_wants_numbers_is_told_that_they_are_lost(capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdout", Full())
    assert main(["list"]) == 4
    assert "Expected to print what was found; got: No space left" in capsys.readouterr().err


def test_a_log_on_a_full_disk_does_not_stop_training(tmp_path, monkeypatch):
    monkeypatch.setattr(saving, "SECONDS_BETWEEN", 0.0)
    whole, model = vae(), vae()
    pv.fit(whole, DATA, epochs=3, **OPTIONS)
    monkeypatch.setattr(sys, "stdout", Full())
    options = {**OPTIONS, "progress": True}
    history = pv.fit(model, DATA, epochs=3, out=tmp_path, **options)
    assert history["epoch"] == [1, 2, 3] and equal(whole, model)
    monkeypatch.setattr(sys, "stdout", Full(BrokenPipeError))
    with pytest.raises(BrokenPipeError):
        pv.fit(vae(), DATA, epochs=3, out=tmp_path / "piped", **options)
    assert storage.newest(tmp_path / "piped").is_dir()


@pytest.mark.slow
@pytest.mark.parametrize(
    "change,shell,out",
    [
        ({"LC_ALL": "C", "PYTHONUTF8": "0"}, "{}", "run"),
        ({"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, "{}", "größer β"),
        ({}, "{}", "ein Lauf/größer β"),
        ({}, "{}", os.fsdecode(b"run\xff")),
        ({"HOME": "/proc", "XDG_CACHE_HOME": ""}, "{}", "run"),
        ({"TMPDIR": "/nowhere"}, "unset HOME; {}", "run"),
        ({"PYTHONHASHSEED": "1"}, "{}", "run"),
        ({"PYTHONHASHSEED": "2"}, "{}", "run"),
        ({"PYTHONOPTIMIZE": "1"}, "{}", "run"),
        ({"PYTHONOPTIMIZE": "2"}, "{}", "run"),
        ({"PYTHONWARNINGS": "error"}, "{}", "run"),
        ({"OMP_NUM_THREADS": "many"}, "{}", "run"),
        ({}, "{} <&- >&- 2>&-", "run"),
        ({}, "{} > /dev/full 2> /dev/full", "run"),
        ({}, "umask 777; {}", "run"),
    ],
    ids=["C", "C, unicode", "unicode", "bytes", "no home", "no TMPDIR", "hash 1", "hash 2", "-O", "-OO", "warnings",
         "threads", "closed outputs", "full outputs", "umask"],
)  # fmt: skip
def test_odd_surroundings_change_nothing(workdir, change, shell, out, expected_parameters):
    command = [*COMMAND[:-1], str(workdir / out), "--train.epochs", "2"]
    if change.get("PYTHONWARNINGS"):  # those of packages that are not ours
        command[1:1] = ["-W", "ignore::DeprecationWarning", "-W", "ignore::FutureWarning"]
    shell = shell.format(" ".join(f"'{word}'" for word in command))
    env = {**os.environ, "OMP_NUM_THREADS": "1", **change}
    done = subprocess.run(["bash", "-c", shell], env=env, capture_output=True)
    assert done.returncode == 0, done.stderr
    found = storage.read(storage.newest(workdir / out))[0]["model"]
    assert all(torch.equal(found[name], value) for name, value in expected_parameters.items())


def test_a_working_folder_that_was_deleted_is_refused(workdir, capsys, monkeypatch):
    monkeypatch.chdir(workdir)
    (workdir / "gone").mkdir()
    os.chdir("gone")
    (workdir / "gone").rmdir()
    assert main(["list"]) == 4
    assert "got one that was deleted" in capsys.readouterr().err


@pytest.fixture(scope="module")
def expected_parameters(tmp_path_factory):
    out = tmp_path_factory.mktemp("expected") / "run"
    assert main([*COMMAND[3:-1], str(out), "--train.epochs", "2"]) == 0
    return storage.read(storage.newest(out))[0]["model"]


# --- Memory -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error,words",
    [
        (RuntimeError("[enforce] DefaultCPUAllocator: can't allocate memory: you tried 9 bytes\nx"), "you tried 9"),
        (MemoryError(), "MemoryError"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), "2.00 GiB"),
    ],
)  # fmt: skip
def test_too_little_memory_has_a_remedy(workdir, monkeypatch, capsys, error, words):
    def full(self, *args, **kwargs):
        raise error

    monkeypatch.setattr("pyro_vae.train.steps.Eager.__call__", full)
    assert main([*COMMAND[3:], "--train.epochs", "1"]) == 6
    said = capsys.readouterr().err.splitlines()[-1]
    assert "batch_size 100" in said and words in said and "Lower train.batch_size" in said


def test_other_errors_of_a_step_stay_what_they_are(monkeypatch):
    def wrong(self, *args, **kwargs):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr("pyro_vae.train.steps.Eager.__call__", wrong)
    with pytest.raises(RuntimeError, match="^mat1 and mat2"):
        pv.fit(vae(), DATA, epochs=1, **OPTIONS)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["digits", pytest.param("mnist-mean-field", marks=needs_data)])
def test_four_gigabytes_are_enough(workdir, recipe):
    """Of addresses, of which far fewer are used; for training and evaluation."""
    limit = {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))}
    program = [sys.executable, "-m", "pyro_vae"]
    for words in (
        ["train", recipe, "--out", "run", "--train.epochs", "1"],
        ["evaluate", "run", "--num-samples", "5"],
    ):
        done = subprocess.run(
            [*program, *words], cwd=workdir, capture_output=True, text=True, **limit
        )
        assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_batch_that_does_not_fit_into_memory(workdir):
    limit = {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))}
    command = [*COMMAND, "--train.num-particles", "100000", "--train.epochs", "1"]
    done = subprocess.run(command, cwd=workdir, capture_output=True, text=True, **limit)
    assert done.returncode == 6, done.stderr
    assert "Lower train.batch_size" in done.stderr and "Traceback" not in done.stderr
    assert not Path(workdir / "run" / "checkpoints").exists()
