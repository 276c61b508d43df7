"""Stops writers everywhere: `python writers.py FOLDER [WRITER ...]`. A program of its own, as it forks.

Each writer replaces files by longer ones. It is killed before its n-th operation on names, and at its
2^n-th byte, and has a full disk there, for n = 0, 1, 2, ... until it succeeds.
"""

import os
import resource
import signal
import sys
import traceback
from pathlib import Path

import numpy as np
import torch

from pyro_vae.cli.groups import Measured, save_ranking
from pyro_vae.cli.output import write_arrays
from pyro_vae.data.original import Original
from pyro_vae.data.sets import _shrink
from pyro_vae.data.sound import write_wav
from pyro_vae.evaluate.importance import LogMarginal, _Cache
from pyro_vae.plot.canvas import new_figure, save
from pyro_vae.runs import RunFolder
from pyro_vae.views import onnx
from pyro_vae.writing import write_text

OUT = Path("out")
EVENTS = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate"}
KILLED, FULL = 9, 4


def arrays(size):
    return {"x": np.arange(100.0 * size).reshape(-1, 4), "rows": np.arange(25 * size)}


def table(size):
    rows = [[str(i), "ü"] for i in range(50 * size)]
    Original(["a", "b"], rows, [], [], ";").write(OUT / "t.csv", rows)


def cache(size):
    kept = _Cache(None, None, None, 1, 0)
    kept.path, kept.about = OUT / "cache.npz", "it"
    for _ in range(size):
        kept.add(LogMarginal(*(torch.zeros(30) for _ in LogMarginal._fields)))


def picture(size):
    figure, _ = new_figure(1, 1, (1 + size, 1))
    save(figure, OUT / "p.png", dpi=40)


def photographs(size):
    from PIL import Image

    face = Path("face.png")
    if not face.exists():
        Image.new("RGB", (178, 218)).save(face)
    _shrink([face] * size, OUT / "faces.npy")


def ranking(size):
    groups = {str(i): (torch.arange(5.0)[None] * (i + 1), [Path(str(i))]) for i in range(size)}

    class Groups(Measured):
        def groups(self):
            return groups

    save_ranking(OUT, Groups([], [torch.zeros(5)], {}, "test"), {}, {})


def files_of_a_run(size):
    RunFolder(OUT).write({"config.toml": "a = 1\n" * size, "data.json": "{}" * size})
    RunFolder(OUT).write({"figures.json": "[1]" * 10 * size})


def graphs(size):
    class Graph:
        def save(self, path):
            Path(path).write_bytes(b"graph" * 40 * size)

    class Model(torch.nn.Module):
        latents, conditions, posterior, likelihood = ["z"], [], None, None

    onnx._graph = lambda *args: Graph()
    onnx._tried = lambda module, rows: (rows, None)
    onnx.export_onnx(Model(), OUT, torch.zeros(2, 2))


WRITERS = {
    "page": lambda size: write_text(OUT / "page.html", "<b>" * 200 * size),
    "npz": lambda size: write_arrays(OUT / "a.npz", arrays(size)),
    "npy": lambda size: write_arrays(OUT / "a.NPY", arrays(size)),
    "csv": lambda size: write_arrays(OUT / "a.csv", arrays(size)),
    "table": table,
    "sound": lambda size: write_wav(OUT / "s.wav", torch.zeros(size, 400)),
    "cache": cache,
    "picture": picture,
    "photographs": photographs,
    "ranking": ranking,
    "run": files_of_a_run,
    "onnx": graphs,
}


def contents():
    return {p.name: p.read_bytes() for p in OUT.iterdir() if not p.name.startswith(".")}


def leftovers():
    return [p for p in OUT.iterdir() if ".partial" in p.name]


def forked(action):
    """The exit code of an action in a process of its own."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            action()
            code = 0
        except BaseException as error:
            said = str(error).startswith("Expected to write ")
            code = FULL if said and isinstance(error, OSError) and error.errno else 1
            if code == 1:
                traceback.print_exc()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def crash_before_name(n):
    count = 0

    def hook(event, args):
        nonlocal count
        if event in EVENTS and str(args[0]).startswith(("out", str(OUT.resolve()))):
            count += 1
            if count == n + 1:
                os._exit(KILLED)

    sys.addaudithook(hook)


def killed_at_byte(n):
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**n, resource.RLIM_INFINITY))
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)


def full_at_byte(n):
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**n, resource.RLIM_INFINITY))


def stopped_everywhere(write):
    """Checks a writer wherever it is stopped, and returns how often it was."""
    write(1)
    old = contents()
    assert forked(lambda: write(2)) == 0
    new = contents()
    assert old.keys() == new.keys() and all(old[name] != new[name] for name in old)
    write(1)
    tried = 0
    for prepare in (crash_before_name, killed_at_byte, full_at_byte):
        n, code = 0, KILLED
        while code != 0:
            code = forked(lambda: (prepare(n), write(2)))
            assert code in (0, FULL, KILLED, -signal.SIGXFSZ), (prepare.__name__, n, code)
            assert code != FULL or not leftovers()
            for name, content in contents().items():
                assert content in (old[name], new[name]), (prepare.__name__, n, name)
            assert contents().keys() == old.keys()
            n, tried = n + 1, tried + (code != 0)
    write(1)
    assert contents() == old and not leftovers()
    return tried


def main():
    torch.set_num_threads(1)
    os.chdir(sys.argv[1])
    OUT.mkdir()
    tried = {}
    for name in sys.argv[2:] or WRITERS:
        for path in OUT.iterdir():
            path.unlink()
        tried[name] = stopped_everywhere(WRITERS[name])
    print(*tried.items(), sum(tried.values()), sep="\n")


if __name__ == "__main__":
    main()
