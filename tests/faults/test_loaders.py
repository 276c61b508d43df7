"""Workers of a user's DataLoader that die, raise or hang; and no process of our own that could."""

import ast
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset

import pyro_vae as pv
from pyro_vae.data import arrays as arrays
from pyro_vae.data import as_split


class Rows(IterableDataset):
    """Eight rows, of which the fourth makes trouble."""

    def __init__(self, trouble):
        self.trouble = trouble

    def __iter__(self):
        for i in range(8):
            if i == 3:
                self.trouble()
            yield torch.full((2,), float(i))


def killed():
    os.kill(os.getpid(), signal.SIGKILL)


def ended():
    os._exit(0)


def raises():
    raise ValueError("row 3 is broken")


def hangs():
    time.sleep(60)


TROUBLE = {
    "killed": "exited unexpectedly|killed by signal",
    "ended": "exited unexpectedly",
    "hangs": "timed out",
}


def test_an_error_in_a_worker_is_told_with_its_batch():
    loader = DataLoader(Rows(raises), batch_size=1, num_workers=1)
    with pytest.raises(ValueError, match="number 4: .*worker process 0.*row 3 is broken") as error:
        as_split(loader)
    assert len(str(error.value).splitlines()) == 1 and loader.timeout == 0


@pytest.mark.slow
@pytest.mark.parametrize("trouble", TROUBLE)
def test_a_worker_in_trouble_ends_training_within_seconds(trouble):
    """In a process of its own, as torch raises errors in signal handlers afterwards."""
    code = (
        f"import sys, pyro_vae as pv; sys.path[:0] = [{str(Path(__file__).parent)!r}]\n"
        "import test_loaders as here\n"
        "here.arrays.PATIENCE = 3.0\n"
        f"loader = here.DataLoader(here.Rows(here.{trouble}), batch_size=1, num_workers=1)\n"
        "try: here.as_split(loader)\n"
        "except ValueError as error: print(error, flush=True); here.os._exit(2)\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 2, done.stderr
    assert re.search(f"number 4: .*({TROUBLE[trouble]})", done.stdout), done.stdout


def test_rows_of_a_data_set_need_no_worker():
    """A loader of a data set with rows is read here, in order: its workers are never started."""

    class Here(torch.utils.data.Dataset):
        def __len__(self):
            return 5

        def __getitem__(self, i):
            assert os.getpid() == home
            return torch.full((2,), float(i))

    home = os.getpid()
    loader = DataLoader(Here(), batch_size=2, shuffle=True, num_workers=2)
    assert as_split(loader).stored[:, 0].tolist() == [0, 1, 2, 3, 4]


def test_nothing_here_forks():
    """Other processes are programs of their own, so that neither CUDA nor a script is in them."""
    found = set()
    for path in Path(pv.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if any(n.split(".")[0] in ("multiprocessing", "concurrent") or "torch.multi" in n for n in names):  # fmt: skip
                found.add(path.name)
            if getattr(node, "attr", "") in ("fork", "forkpty", "DataLoader"):
                found.add(path.name)
    assert found <= {"parallel.py", "ranks.py"}, found


@pytest.mark.slow
def test_a_script_without_a_guard_trains_once(tmp_path):
    """Also while another process compiles its step, and in workers that it spawns itself."""
    script = tmp_path / "script.py"
    script.write_text(
        "import torch, pyro_vae as pv\n"
        "print('begins', flush=True)\n"
        "vae = pv.VAE(pv.priors.StandardNormal(2), pv.likelihoods.Bernoulli(pv.nn.MLP(2, [4], 5)),\n"
        "    pv.posteriors.MeanFieldNormal(pv.nn.MLP(5, [4], 4)))\n"
        "class Stop(pv.train.Callback):\n"
        "    def on_start(self, run): self.run = run\n"
        "    def on_row(self, row): self.run.stop()\n"
        "x = torch.randint(2, (40, 5)).float()\n"
        "pv.fit(vae, x, epochs=9000, batch_size=20, progress=False, callbacks=[Stop()])\n"
        "print('ends', flush=True)\n"
    )
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=250
    )
    assert done.stdout.split() == ["begins", "ends"], done.stdout + done.stderr
