"""The pages of the site: their code runs, and they are built without a warning."""

import ast
import http.server
import re
import runpy
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch

import pyro_vae as pv
from pyro_vae.train import Callback

ROOT = Path(__file__).parents[1]
HOW_TO = sorted((ROOT / "docs" / "how-to").glob("*.md"))
BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)


def test_every_answer_is_listed():
    tree = (ROOT / "docs/how-to/index.md").read_text().split("```")[1]
    listed = tree.split("\n\n")[1].split()
    assert sorted(listed) == sorted(path.stem for path in HOW_TO if path.stem != "index")


@pytest.mark.slow
@pytest.mark.param_store
@pytest.mark.filterwarnings("ignore::UserWarning")  # a reader sees them
@pytest.mark.parametrize("path", HOW_TO, ids=lambda path: path.stem)
def test_the_code_of_an_answer_runs(path, tmp_path, monkeypatch):
    code = "\n".join(BLOCK.findall(path.read_text()))
    if not code:
        pytest.skip("commands only")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    exec(compile(code, str(path), "exec"), {"__name__": "answer"})


def callbacks_of_the_answer():
    """What the page on watching defines, without its training."""
    code = "\n".join(BLOCK.findall((ROOT / "docs/how-to/watch.md").read_text()))
    classes = [part for part in ast.parse(code).body if isinstance(part, ast.ClassDef)]
    names = {"Callback": Callback}
    exec(compile(ast.Module(classes, []), "watch.md", "exec"), names)
    return names


def trained_with(callback):
    q = pv.posteriors.MeanFieldNormal(pv.nn.MLP(3, [4], 4))
    vae = pv.VAE(pv.priors.StandardNormal(2), pv.likelihoods.Gaussian(pv.nn.MLP(2, [4], 3)), q)
    x = torch.randn(50, 3)
    return pv.fit(vae, x, valid=x, epochs=2, progress=False, callbacks=[callback])


@pytest.mark.filterwarnings("ignore")
def test_wandb_follows_training_offline(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_SILENT", "true")
    history = trained_with(callbacks_of_the_answer()["WandB"]())
    [log] = tmp_path.glob("wandb/offline-run-*/*.wandb")
    wanted = repr(float(history["elbo"][-1]))[:9].encode()
    for _ in range(100):  # it is written by another process
        if wanted in log.read_bytes():
            return
        time.sleep(0.2)
    raise AssertionError(f"{wanted!r} is not in {log.name}")


@pytest.mark.filterwarnings("ignore")
def test_mlflow_follows_training_in_a_folder(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri((tmp_path / "mlruns").as_uri())
    history = trained_with(callbacks_of_the_answer()["MLflow"]())
    client = mlflow.tracking.MlflowClient()
    [run] = client.search_runs(["0"])
    elbos = client.get_metric_history(run.info.run_id, "elbo")
    assert [(m.step, m.value) for m in elbos] == [*enumerate(history["elbo"], 1)]


@pytest.mark.slow
def test_the_site_is_built_without_a_warning(tmp_path):
    pytest.importorskip("myst_nb")
    pytest.importorskip("furo")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html"]
    command += ["-c", str(ROOT / "docs"), str(ROOT), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    pages = list(tmp_path.rglob("*.html"))
    assert len(pages) > 70
    for page in pages:
        loaded = re.findall(
            r'<(?:script|link|img)[^>]*(?:src|href)="(https?:[^"]+)"', page.read_text()
        )
        assert not loaded, f"{page.name} asks another host for {loaded}"
    assert links()["inside"](tmp_path) == []


def links():
    return runpy.run_path(str(ROOT / "scripts" / "links.py"))


def test_a_link_within_the_site_leads_somewhere(tmp_path, capsys):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/b.html").write_text('<h1 id="x">b</h1><iframe src="../c.html"></iframe>')
    good = '<a href="in/b.html#x">b</a><a href="#top"></a><b id="top"></b><a href="https://a.b/c">'
    (tmp_path / "a.html").write_text(good)
    assert links()["inside"](tmp_path) == ["in/b.html: ../c.html is no file"]
    (tmp_path / "c.html").write_text('<a href="in/b.html#y"></a><img src="d.png">')
    broken = ["c.html: in/b.html#y has no such anchor", "c.html: d.png is no file"]
    assert links()["inside"](tmp_path) == broken
    assert capsys.readouterr().out.splitlines()[-1] == "5 links within 3 pages, 2 of them broken"


class Host(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(int(self.path[1:]))
        self.end_headers()

    def log_message(self, *args):
        pass


def test_an_address_that_does_not_answer_is_told():
    ask = links()["ask"]
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Host) as host:
        threading.Thread(target=host.serve_forever, daemon=True).start()
        here = f"http://127.0.0.1:{host.server_port}"
        assert [ask(f"{here}/{code}") for code in (200, 403, 404, 500)] == ["", "", "404", "500"]
        host.shutdown()
    assert ask(f"{here}/200").startswith("nothing, ")
    assert ask("https:///nowhere").startswith("nothing, ")
