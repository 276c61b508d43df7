"""Checkpoints survive crashes, full disks, bit flips and forgery, or are refused."""

import json
import math
import os
import pickle
import signal
import stat
import struct
import subprocess
import sys
import textwrap
import time
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from torch import nn

from pyro_vae.runs import CheckpointCorrupt, CheckpointError, RunLocked, storage
from pyro_vae.runs.state import load_parameters


def tensors(step: int, size: int = 50) -> dict:
    return {"model": {"w": torch.full((size,), float(step)), "b": torch.arange(3)}, "best": {}}


def save(run: Path, step: int, **kwargs) -> Path:
    return storage.save(run, step, tensors(step), {"step": step}, **kwargs)


def check(path: Path) -> int:
    """Reads a checkpoint made by `save`, and returns its step."""
    read, state = storage.read(path)
    assert torch.equal(read["model"]["w"], torch.full_like(read["model"]["w"], state["step"]))
    assert path.name.startswith(f"step-{state['step']:08d}")
    return state["step"]


def script(code: str, *args: object) -> subprocess.CompletedProcess:
    """Runs a program in its own process; it may fork, and must not fail."""
    code = PRELUDE + textwrap.dedent(code)
    command = [sys.executable, "-W", "ignore", "-c", code, *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


PRELUDE = """
import errno, os, random, resource, signal, sys, time
from pathlib import Path
import torch
from pyro_vae.runs import storage
from pyro_vae.runs import CheckpointError

torch.set_num_threads(1)
run = Path(sys.argv[1])
OPERATIONS = "open write fsync chmod mkdir rename unlink rmdir close".split()

def save(step, size=50):
    tensors = {"model": {"w": torch.full((size,), float(step))}, "optimizer": {}}
    return storage.save(run, step, tensors, {"step": step})

def check(path):
    tensors, state = storage.read(path)
    assert (tensors["model"]["w"] == state["step"]).all()
    assert path.name.startswith(f"step-{state['step']:08d}")
    return state["step"]

def check_all():
    for path in (run / "checkpoints").glob("step-*"):
        check(path)

def hook(at, act):
    # calls `act` instead of the at-th file operation from now on
    count = 0
    for name in OPERATIONS:
        def operation(*args, real=getattr(os, name), **kwargs):
            nonlocal count
            count += 1
            if count == at:
                act()
            return real(*args, **kwargs)
        setattr(os, name, operation)

def fork(body):
    pid = os.fork()
    if pid == 0:
        try:
            body()
        except BaseException:
            import traceback
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return pid

def wait(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
"""

# --- Round trips --------------------------------------------------------------------------------


def test_round_trip(tmp_path):
    w = torch.randn(4, 6)
    many = {
        "views": {"t": w.T, "row": w[1], "same": w, "expanded": torch.ones(1).expand(5)},
        "kinds": {
            str(dtype): torch.ones(2, 3).to(dtype)
            for dtype in (torch.float64, torch.bfloat16, torch.int64, torch.bool, torch.uint8)
        }
        | {
            "scalar": torch.tensor(1 / 3),
            "none": torch.empty(0, 3),
            "nan": torch.tensor(math.nan),
        },
        "parameters": {"weight": nn.Parameter(torch.randn(2))},
        "empty": {},
    }
    state = {
        "floats": [0.1, 1e-323, -0.0, math.inf, 2**70, 1 / 3],
        "text": "β \ud800",
        "nested": {"a": [None, True]},
    }
    path = storage.save(tmp_path / "new" / "run", 3, many, state)
    assert path == tmp_path / "new" / "run" / "checkpoints" / "step-00000003"
    read, read_state = storage.read(path)
    assert read_state == state
    assert math.copysign(1, read_state["floats"][2]) == -1
    assert {name: set(group) for name, group in read.items()} == {
        name: set(group) for name, group in many.items()
    }
    for name, group in many.items():
        for key, value in group.items():
            torch.testing.assert_close(
                read[name][key], value.detach(), rtol=0, atol=0, equal_nan=True
            )
            assert not read[name][key].requires_grad
    read["views"]["same"].zero_()  # owned, and not shared
    assert read["views"]["row"].any()

    manifest = json.loads((path / "manifest.json").read_bytes())
    assert manifest["schema"] == 1 and manifest["step"] == 3
    assert manifest["versions"]["torch"] == torch.__version__
    assert set(manifest["versions"]) == {
        "python", "pyro_vae", "torch", "pyro-ppl", "numpy", "safetensors"
    }  # fmt: skip


def test_nan_in_state(tmp_path):
    path = storage.save(tmp_path, 0, {}, {"elbo": math.nan})
    assert math.isnan(storage.read(path)[1]["elbo"])


def test_refuses_bad_arguments(tmp_path):
    with pytest.raises(ValueError, match="Expected a state of JSON values"):
        storage.save(tmp_path, 0, {}, {"t": torch.ones(1)})
    with pytest.raises(ValueError, match="Expected plain words"):
        storage.save(tmp_path, 0, {"../up": {}}, {})
    with pytest.raises(ValueError, match="keep >= 1"):
        save(tmp_path, 0, keep=0)
    assert not (tmp_path / "checkpoints").exists()


def test_permissions(tmp_path):
    old = os.umask(0o027)
    try:
        path = save(tmp_path, 1)
    finally:
        os.umask(old)
    assert {stat.S_IMODE(file.stat().st_mode) for file in path.iterdir()} == {0o644}


def test_keeps_the_newest(tmp_path):
    for step in (9, 10, 11, 99_999_999, 100_000_000):
        save(tmp_path, step)
    names = {path.name for path in (tmp_path / "checkpoints").iterdir()}
    assert names == {"step-99999999", "step-100000000"}
    assert check(storage.newest(tmp_path)) == 100_000_000
    save(tmp_path, 100_000_001, keep=1)
    assert len(list((tmp_path / "checkpoints").iterdir())) == 1


def test_never_prunes_what_it_wrote(tmp_path):
    save(tmp_path, 20)
    save(tmp_path, 30)
    save(tmp_path, 10)  # after a fall-back
    assert check(tmp_path / "checkpoints" / "step-00000010") == 10


def test_save_again(tmp_path):
    save(tmp_path, 1)
    save(tmp_path, 2)
    path = storage.save(tmp_path, 2, {}, {"second": True})
    assert storage.read(path) == ({}, {"second": True})
    names = {path.name for path in (tmp_path / "checkpoints").iterdir()}
    assert names == {"step-00000001", "step-00000002"}


def test_newest_needs_one(tmp_path):
    with pytest.raises(CheckpointError, match="^Expected a checkpoint in .*; got none"):
        storage.newest(tmp_path)
    (tmp_path / "checkpoints" / "step-abc").mkdir(parents=True)
    with pytest.raises(CheckpointError, match="got none"):
        storage.newest(tmp_path)
    with pytest.raises(CheckpointError, match="Expected to read the checkpoint"):
        storage.verify(tmp_path / "nowhere")


# --- Damage -------------------------------------------------------------------------------------


def assert_falls_back(run: Path, name: str) -> None:
    """The newest checkpoint is damaged in file `name`, the one before it is intact."""
    damaged = max((run / "checkpoints").iterdir())
    with pytest.raises(CheckpointCorrupt, match=name):
        storage.verify(damaged)
    with pytest.raises(CheckpointCorrupt, match=name):
        storage.read(damaged)
    with pytest.warns(UserWarning, match=name):
        assert check(storage.newest(run)) == 1


@pytest.fixture
def run(tmp_path):
    save(tmp_path, 1)
    save(tmp_path, 2)
    return tmp_path


@pytest.mark.parametrize("name", ["model.safetensors", "state.json", "manifest.json"])
def test_truncation(run, name):
    file = run / "checkpoints" / "step-00000002" / name
    whole = file.read_bytes()
    for cut in (0, 4, 8, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:cut])
        assert_falls_back(run, name)


@pytest.mark.parametrize("name", ["model.safetensors", "state.json", "manifest.json"])
def test_bit_flips(run, name):
    file = run / "checkpoints" / "step-00000002" / name
    whole = file.read_bytes()
    for i in range(20):
        flipped = bytearray(whole)
        flipped[i * (len(whole) - 1) // 19] ^= 1 << i % 8
        file.write_bytes(flipped)
        # a flip in the manifest may damage the entry of another file
        assert_falls_back(run, name if name != "manifest.json" else "step-00000002")


def test_all_damaged(run):
    for file in run.glob("checkpoints/*/model.safetensors"):
        file.write_bytes(b"")
    with pytest.raises(CheckpointCorrupt, match=r"step-00000002.model.*step-00000001.model"):
        storage.newest(run)


@pytest.mark.parametrize("name", ["model.safetensors", "state.json", "manifest.json"])
def test_missing_file(run, name):
    (run / "checkpoints" / "step-00000002" / name).unlink()
    assert_falls_back(run, name)


def test_extra_file(run):
    (run / "checkpoints" / "step-00000002" / "notes.txt").write_text("mine")
    assert_falls_back(run, "notes.txt")


def test_link_is_not_a_file(run):
    file = run / "checkpoints" / "step-00000002" / "model.safetensors"
    file.rename(run / "elsewhere")
    file.symlink_to(run / "elsewhere")
    assert_falls_back(run, "model.safetensors")


def test_empty_folder(run):
    path = run / "checkpoints" / "step-00000003"
    path.mkdir()
    with pytest.warns(UserWarning, match="manifest.json"):
        assert check(storage.newest(run)) == 2


def forge(path: Path, name: str, data: bytes) -> None:
    """Replaces a file and writes a matching manifest."""
    (path / name).write_bytes(data)
    manifest = json.loads((path / "manifest.json").read_bytes())
    (path / "x").unlink(missing_ok=True)
    manifest["files"][name] = storage._write(path / "x", data)
    (path / "x").unlink()
    (path / "manifest.json").write_bytes(storage._manifest(manifest["step"], manifest["files"]))


def header(text: str, payload: bytes = b"") -> bytes:
    return struct.pack("<Q", len(text)) + text.encode() + payload


@pytest.mark.parametrize(
    "data",
    [
        struct.pack("<Q", 2**62) + b"{}",
        struct.pack("<Q", 2**40) + b"{}" * 1000,
        header('{"a":{"dtype":"F32","shape":[1099511627776],"data_offsets":[0,4398046511104]}}'),
        header('{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}', bytes(8)),  # a hole
        header('{"a":{"dtype":"F33","shape":[1],"data_offsets":[0,4]}}', bytes(4)),
        header("[" * 100_000),
        b"",
    ],
)
def test_forged_tensors(run, data):
    path = run / "checkpoints" / "step-00000002"
    forge(path, "model.safetensors", data)
    storage.verify(path)
    start = time.perf_counter()
    with pytest.raises(CheckpointCorrupt, match="model.safetensors"):
        storage.read(path)
    assert time.perf_counter() - start < 0.5


@pytest.mark.parametrize("data", [b"", b"\xff", b"[" * 100_000, b"{'a'"])
def test_forged_state(run, data):
    path = run / "checkpoints" / "step-00000002"
    forge(path, "state.json", data)
    with pytest.raises(CheckpointCorrupt, match="state.json"):
        storage.read(path)


@pytest.mark.parametrize("text", [b"[]", b"3", b"null", b"{}", b"[" * 100_000, b'{"schema": 1}'])
def test_forged_manifest(run, text):
    (run / "checkpoints" / "step-00000002" / "manifest.json").write_bytes(text)
    assert_falls_back(run, "manifest.json")


def test_other_schema(run, monkeypatch):
    monkeypatch.setattr(storage, "SCHEMA", 2)
    save(run, 3)
    monkeypatch.undo()
    with pytest.raises(CheckpointCorrupt, match="of schema 1; got 2"):
        storage.verify(run / "checkpoints" / "step-00000003")


def test_pickles_are_not_read(run):
    class Malice:
        def __reduce__(self):
            return (Path.touch, (run / "executed",))

    pickle.loads(pickle.dumps(Malice()))
    (run / "executed").unlink()  # it does work

    path = run / "checkpoints" / "step-00000002"
    (path / "model.pt").write_bytes(pickle.dumps(Malice()))
    assert_falls_back(run, "model.pt")
    (path / "model.pt").unlink()
    forge(path, "model.safetensors", pickle.dumps(Malice()))
    forge(path, "state.json", pickle.dumps(Malice()))
    with pytest.raises(CheckpointCorrupt):
        storage.read(path)
    assert not (run / "executed").exists()


# --- Failing writes -----------------------------------------------------------------------------


def test_crash_before_every_operation(tmp_path):
    done = script(
        """
        def body():
            hook(at, lambda: os._exit(9))
            with storage.lock(run):
                save(3)
                save(3)  # again, as after a resume
                save(4)

        with storage.lock(run):
            save(1)
            save(2)
        at, code = 0, 9
        while code == 9:
            at += 1
            code = wait(fork(body))
            found = check(storage.newest(run))
            assert found >= 2, (at, found)
            check_all()
            with storage.lock(run):
                assert not list((run / "checkpoints").glob(".tmp-*"))
        assert code == 0 and check(storage.newest(run)) == 4
        assert len(list((run / "checkpoints").iterdir())) == 2
        print(at)
        """,
        tmp_path,
    )
    assert int(done.stdout) > 80


def test_crash_at_a_single_checkpoint(tmp_path):
    """Replacing the only checkpoint never loses it."""
    script(
        """
        save(3)
        at, code = 0, 9
        while code == 9:
            at += 1
            code = wait(fork(lambda: (hook(at, lambda: os._exit(9)), save(3))))
            assert check(storage.newest(run)) == 3
            check_all()
        assert code == 0 and [p.name for p in (run / "checkpoints").glob("step*")] == ["step-00000003"]
        """,
        tmp_path,
    )


def test_every_operation_fails_once(tmp_path):
    script(
        """
        def fail():
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        def body():
            hook(at, fail)
            try:
                save(2)
                save(3)
            except CheckpointError as error:
                assert error.errno == errno.EIO and "Expected to write the checkpoint" in str(error)
                assert not list((run / "checkpoints").glob(".tmp-2-*/manifest.json"))
                os._exit(9)

        save(1)
        save(2)
        at, code = 0, 9
        while code == 9:
            at += 1
            code = wait(fork(body))
            assert check(storage.newest(run)) >= 2
            check_all()
        assert code == 0 and at > 50
        """,
        tmp_path,
    )


def test_file_too_large(tmp_path):
    script(
        """
        save(1, size=10)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        try:
            save(2, size=50_000)
        except CheckpointError as error:
            assert error.errno == errno.EFBIG and "0.2 MB" in str(error), error
        else:
            raise AssertionError
        assert check(storage.newest(run)) == 1
        assert [p.name for p in (run / "checkpoints").iterdir()] == ["step-00000001"]
        assert check(save(2, size=10)) == 2
        """,
        tmp_path,
    )


@pytest.mark.parametrize("kills", [8, pytest.param(40, marks=pytest.mark.slow)])
def test_kill_at_random(tmp_path, kills):
    done = script(
        """
        def body():
            with storage.lock(run):
                step = check(storage.newest(run))
                while True:
                    step += random.randrange(2)
                    save(step, size=250_000)

        start = time.perf_counter()
        save(0, size=250_000)
        one = time.perf_counter() - start  # more where the machine has other work
        generator, last = random.Random(0), 0
        for _ in range(int(sys.argv[2])):
            pid = fork(body)
            time.sleep(one * generator.uniform(2, 10))
            os.kill(pid, signal.SIGKILL)
            assert wait(pid) == -signal.SIGKILL
            step = check(storage.newest(run))
            assert step >= last
            last = step
            check_all()
        with storage.lock(run):
            assert not list((run / "checkpoints").glob(".tmp-*"))
        print(last)
        """,
        tmp_path,
        kills,
    )
    assert int(done.stdout) > kills / 4


def test_folder_is_a_file(tmp_path):
    (tmp_path / "checkpoints").write_text("")
    with pytest.raises(CheckpointError, match="Expected to write the checkpoint"):
        save(tmp_path, 1)
    with (
        pytest.raises(CheckpointError, match="Expected to lock"),
        storage.lock(tmp_path / "checkpoints"),
    ):
        pass


def test_error_in_safetensors(run, monkeypatch):
    def fail(*args):
        raise storage.SafetensorError("no")

    monkeypatch.setattr("safetensors.torch.save", fail)
    with pytest.raises(CheckpointError, match=r"got: no\. .*Earlier checkpoints are intact"):
        save(run, 3)
    assert check(storage.newest(run)) == 2
    assert not list((run / "checkpoints").glob(".tmp*"))


def test_run_deleted_meanwhile(tmp_path):
    import shutil

    with storage.lock(tmp_path / "run"):
        save(tmp_path / "run", 1)
        shutil.rmtree(tmp_path / "run")
        assert check(save(tmp_path / "run", 2)) == 2


# --- The lock -----------------------------------------------------------------------------------


def test_lock_of_two_processes(tmp_path):
    code = "with storage.lock(run): print(os.getpid(), flush=True); time.sleep(60)"
    command = [sys.executable, "-W", "ignore", "-c", PRELUDE + code, str(tmp_path)]
    other = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert int(other.stdout.readline()) == other.pid
        with pytest.raises(RunLocked, match=f"process {other.pid}"):
            with storage.lock(tmp_path):
                pass
    finally:
        other.send_signal(signal.SIGKILL)
        other.wait()
        other.stdout.close()
    with storage.lock(tmp_path):  # a dead process holds nothing
        assert int((tmp_path / ".lock").read_text()) == os.getpid()


def test_lock_removes_leftovers(run):
    stale = run / "checkpoints" / ".tmp-3-1"
    stale.mkdir()
    (stale / "model.safetensors").write_bytes(b"half")
    with storage.lock(run):
        assert not stale.exists()
        with pytest.raises(RunLocked), storage.lock(run):
            pass
        save(run, 3)
    with storage.lock(run):
        assert check(storage.newest(run)) == 3


def test_lock_where_there_is_none(run, monkeypatch):
    monkeypatch.setattr(storage, "fcntl", None)
    with storage.lock(run), storage.lock(run):
        pass


# --- Parameters, optimizers, random numbers -----------------------------------------------------


def test_load_parameters(tmp_path):
    net, other = nn.Linear(2, 3), nn.Linear(2, 3)
    net.register_buffer("count", torch.tensor(4))
    other.register_buffer("count", torch.tensor(5))
    before = deepcopy(other.state_dict())
    source = Path("step-00000001")

    wrong = net.state_dict() | {"weight": torch.ones(3, 3), "more": torch.ones(1)}
    wrong["count"] = torch.tensor(4.0)
    del wrong["bias"]
    with pytest.raises(ValueError, match="Expected the parameters") as info:
        load_parameters(other, wrong, source)
    message = str(info.value)
    assert "\n" not in message and str(source) in message
    for part in (
        "bias is missing",
        "more is unexpected",
        "weight is (3, 3) torch.float32 instead of (3, 2) torch.float32",
        "count is () torch.float32 instead of () torch.int64",
    ):
        assert part in message
    assert all(torch.equal(other.state_dict()[k], v) for k, v in before.items())

    load_parameters(other, net.state_dict(), source)
    assert all(torch.equal(other.state_dict()[k], v) for k, v in net.state_dict().items())
