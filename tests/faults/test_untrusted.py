"""Files from strangers: nothing in them is run, and none takes more memory than it is worth."""

import gzip
import io
import json
import pickle
import re
import struct
import tarfile
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyro
import pytest
import torch
from hostile import HOSTILE
from PIL import Image
from pyro.distributions import constraints
from torch import nn

import pyro_vae as pv
from pyro_vae import report
from pyro_vae.data.files import read
from pyro_vae.explore import explorer_page
from pyro_vae.plot.canvas import new_figure
from pyro_vae.runs.param_store import read_param_store

ROOT = Path(pv.__file__).parent


class Executed:
    def __reduce__(self):
        return Path.touch, (Path("executed"),)


# --- Pickles ------------------------------------------------------------------------------------


def test_nothing_is_unpickled():
    """Every use of a format that can run code, in all files."""
    found = set()
    for path in ROOT.rglob("*.py"):
        text = path.read_text()
        for word in re.findall(r"pickle\.loads?\(|allow_pickle=True|weights_only=False", text):
            found.add((str(path.relative_to(ROOT)), word))
        loads = re.findall(r"(?<!safetensors\.)torch\.load\((.*)\)", text)
        assert all("weights_only=True" in arguments for arguments in loads), path
        loads = re.findall(r"np\.load\(.*", text)
        assert all("allow_pickle=False" in arguments for arguments in loads), path
        assert not re.search(
            r"get_param_store\(\)\.load|import (dill|cloudpickle|joblib)|yaml", text
        )
    # its own message to its own process, by a pipe
    assert found == {("compile/ahead.py", "pickle.load(")}


def test_parameter_stores_of_pyro_are_read_without_running_them(workdir):
    state = {
        "params": {"a": torch.randn(3), "net$$$w": torch.randn(2, 2)},
        "constraints": {"a": constraints.positive, "net$$$w": constraints.real},
    }
    with pyro.get_param_store().scope(state):
        pyro.get_param_store().save("ps.pt")
        wanted = {name: value.detach().clone() for name, value in pyro.get_param_store().items()}
    with pyro.get_param_store().scope(read_param_store("ps.pt")) as _:
        found = dict(pyro.get_param_store().items())
        assert found.keys() == wanted.keys()
        assert all(torch.equal(found[name], wanted[name]) for name in wanted)


@pytest.mark.parametrize("name", ["code", "class", "other", "deflated", "text", "cut", "mixed"])
def test_hostile_parameter_stores_are_refused(workdir, name):
    good = {"params": {"a": torch.zeros(2)}, "constraints": {"a": constraints.real}}
    torch.save(good, "good.pt")
    whole = Path("good.pt").read_bytes()
    if name == "code":
        torch.save({**good, "constraints": {"a": Executed()}}, "ps.pt")
    elif name == "class":
        torch.save({**good, "constraints": {"a": nn.Linear(1, 1)}}, "ps.pt")
    elif name == "other":
        torch.save({"params": [torch.zeros(2)], "constraints": {}}, "ps.pt")
    elif name == "mixed":
        torch.save({**good, "constraints": {"a": torch.zeros(1)}}, "ps.pt")
    elif name == "deflated":
        torch.save({**good, "params": {"a": torch.zeros(30_000_000)}}, "big.pt")
        with zipfile.ZipFile("big.pt") as old, zipfile.ZipFile("ps.pt", "w", 8) as new:
            for member in old.infolist():
                new.writestr(member.filename, old.read(member))
        assert Path("ps.pt").stat().st_size < 1e6
    else:
        Path("ps.pt").write_bytes(whole[: len(whole) // 2] if name == "cut" else b"hello")
    with pytest.raises(
        ValueError, match=r"^Expected parameters and constraints.*ps\.pt; got ."
    ) as e:
        read_param_store("ps.pt")
    assert not Path("executed").exists() and len(str(e.value).splitlines()) == 1
    if name == "code":  # the twin: Pyro runs it
        try:
            torch.load("ps.pt", weights_only=False)
        finally:
            assert Path("executed").exists()


@pytest.mark.parametrize("name", ["freyfaces", "omniglot", "jsb-chorales"])
def test_data_sets_are_never_pickles(workdir, monkeypatch, capsys, name):
    """Where a pickle has the name of a data set."""
    monkeypatch.setenv("PYRO_VAE_DATA", str(workdir))
    monkeypatch.setattr("urllib.request.urlopen", lambda *a, **k: (_ for _ in ()).throw(OSError("offline")))  # fmt: skip
    folder = workdir / name
    folder.mkdir()
    for suffix in ("npz", "pkl", "npy"):
        (folder / f"{name}.{suffix}").write_bytes(pickle.dumps(Executed()))
    with pytest.raises(ValueError):
        pv.data.load(name)
    assert not Path("executed").exists()


# --- Bombs and paths ----------------------------------------------------------------------------


def test_compressed_bombs_are_refused_before_they_are_opened(tmp_path):
    header = struct.pack(">HBB2I", 0, 8, 2, 2**16, 2**16)
    (tmp_path / "a-idx2-ubyte.gz").write_bytes(gzip.compress(header + bytes(10**7), 9, mtime=0))
    Image.new("L", (20_000, 20_000)).save(tmp_path / "a.png")
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        array = io.BytesIO()
        np.lib.format.write_array_header_1_0(array, {"descr": "|u1", "fortran_order": False, "shape": (10**8,)})  # fmt: skip
        with archive.open("x.npy", "w") as member:
            member.write(array.getvalue())
            for _ in range(100):
                member.write(bytes(10**6))
    for name in ("a-idx2-ubyte.gz", "a.png", "a.npz"):
        with pytest.raises(ValueError, match="Expected"):
            read(tmp_path / name)


def test_paths_in_archives_lead_nowhere(workdir):
    """A member called ../../x.npy is an array like others; nothing is unpacked to the disk."""
    array = io.BytesIO()
    np.save(array, np.zeros((4, 2)))
    Path("data").mkdir()
    with zipfile.ZipFile("data/a.npz", "w") as archive:
        for name in ("../../x.npy", f"{workdir.parent}/escaped.npy", "x.npy"):
            archive.writestr(name, array.getvalue())
    read(Path("data/a.npz"), pv.config.File(path="data/a.npz", array="x"))
    with tarfile.open("data/b.tar", "w") as archive:
        for name in ("../../escaped", "link"):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = (tarfile.SYMTYPE, "/etc") if name == "link" else (b"0", "")
            archive.addfile(info)
    with pytest.raises(ValueError, match="Expected"):
        read(Path("data/b.tar"))
    assert not list(workdir.parent.glob("escaped*"))
    assert sorted(p.name for p in Path("data").iterdir()) == ["a.npz", "b.tar"]
    text = "".join(path.read_text() for path in ROOT.rglob("*.py"))
    assert "extractall" not in text and "unpack_archive" not in text


# --- Pages --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def hostile():
    """A page about data whose every name is hostile, and what it holds."""
    columns = tuple(pv.data.Column(name, (HOSTILE[0], HOSTILE[1])) for name in HOSTILE)
    x = torch.randint(2, (30, len(HOSTILE))).float()
    split = pv.data.Split(x, torch.arange(30) % 3, columns=columns, classes=HOSTILE[:3])
    width = len(HOSTILE)
    vae = pv.VAE(
        pv.priors.StandardNormal(2),
        pv.likelihoods.Gaussian(pv.nn.MLP(2, [4], width)),
        pv.posteriors.MeanFieldNormal(pv.nn.MLP(width, [4], 4)),
    )
    return explorer_page(vae, split, title=HOSTILE[0], run=HOSTILE[1])


def test_hostile_names_stay_text_in_the_explorer(hostile):
    """No markup comes from data, and the page may ask for nothing."""
    assert hostile.count("<script") == 2 and hostile.count("</script>") == 2
    assert "<img" not in hostile and 'onerror="' not in hostile
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', hostile, re.S)[1]
    assert "<" not in data
    content = json.loads(data)
    assert [column["name"] for column in content["columns"]] == [*HOSTILE]
    assert content["title"] == HOSTILE[0] and content["run"] == HOSTILE[1]
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', hostile)[1]
    allowed = dict(part.split(" ", 1) for part in policy.split("; "))
    assert allowed.pop("default-src") == "'none'"
    assert allowed == {"script-src": "'unsafe-inline'", "style-src": "'unsafe-inline'", "img-src": "data: blob:"}  # fmt: skip


def test_the_explorer_makes_markup_of_nothing():
    """Its sources write text and never parse it, run it, or ask for anything."""
    sources = "".join(p.read_text() for p in (ROOT / "explore" / "src").glob("*.js"))
    words = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|fetch\("
    words += r"|XMLHttpRequest|WebSocket|EventSource|sendBeacon|import\(|window\.open|createContextualFragment"  # fmt: skip
    assert len(sources) > 10_000 and not re.search(words, sources)


def test_hostile_names_stay_text_in_a_diagnosis(monkeypatch):
    section = (HOSTILE[0], [(HOSTILE[1], HOSTILE[0])], [HOSTILE[1]])
    monkeypatch.setattr(report, "sections", lambda diagnosis: [section])
    diagnosis = SimpleNamespace(verdict=SimpleNamespace(colour="green"))
    figure, _ = new_figure(1, 1, (1, 1))
    page = report.html(diagnosis, HOSTILE[0], {HOSTILE[1]: figure})
    assert "<script" not in page and page.count("<img") == 1 and 'onerror="' not in page
    assert page.count("&lt;script&gt;") == 4
