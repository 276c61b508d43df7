"""Loading of data: sets by name, files by path, DataFrames."""

import datetime

import numpy as np
import pytest
import torch

import pyro_vae as pv
from pyro_vae import config

TABLE = """id,height,species,seen,kind
0,1.5,cat,2024-01-02,wild
1,,dog,2024-01-03,tame
2,2.5,cat,,wild
3,3.5,,2024-02-01,tame
4,4.5,dog,2024-02-02,wild
5,5.5,cat,2024-02-03,tame
"""
COLUMNS = {
    "id": range(6),
    "height": [1.5, None, 2.5, 3.5, 4.5, 5.5],
    "species": ["cat", "dog", "cat", None, "dog", "cat"],
    "seen": [None if d is None else datetime.date(2024, *d) for d in
             [(1, 2), (1, 3), None, (2, 1), (2, 2), (2, 3)]],
    "kind": ["wild", "tame"] * 3,
}  # fmt: skip
OPTIONS = {"label": "species", "valid": 1, "test": 2, "seed": 3}


@pytest.fixture
def csv(tmp_path):
    (tmp_path / "animals.csv").write_text(TABLE)
    return tmp_path


def same(a, b):
    assert a.splits.keys() == b.splits.keys()
    for name in a.splits:
        one, other = a.splits[name], b.splits[name]
        assert torch.equal(one.stored.nan_to_num(-7), other.stored.nan_to_num(-7))
        assert (one.labels is None) == (other.labels is None)
        assert one.labels is None or torch.equal(one.labels, other.labels)
        assert (one.columns, one.classes) == (other.columns, other.classes)


def test_every_set_has_a_function_with_its_options():
    assert {*config.REGISTRY["data"]} - {"file"} == {
        name.replace("_", "-") for name in vars(pv.data) if callable(getattr(pv.data, name))
        and name.replace("_", "-") in config.REGISTRY["data"]
    }  # fmt: skip
    assert pv.data.mnist.__name__ == "mnist" and "binarize='dynamic'" in pv.data.mnist.__doc__
    same(pv.data.digits(valid=100, seed=2), pv.data.load(config.Digits(valid=100, seed=2)))
    same(pv.data.digits(), pv.data.load("digits"))


def test_sets_that_are_downloaded_by_name_or_function(tmp_path):
    np.savez(tmp_path / "freyfaces.npz", images=np.zeros((9, 28, 20), np.uint8))
    (tmp_path / "freyfaces").mkdir()
    (tmp_path / "freyfaces.npz").rename(tmp_path / "freyfaces" / "freyfaces.npz")
    for folder in (tmp_path, str(tmp_path)):
        data = pv.data.freyfaces(folder, valid=2, test=3)
        same(data, pv.data.load("freyfaces", folder, valid=2, test=3))
        assert len(data.train) == 4


@pytest.mark.parametrize(
    "call,sentence",
    [
        (lambda: pv.data.load("mnits"), r"got 'mnits' \(did you mean 'mnist'\?\)"),
        (lambda: pv.data.mnist(binarise="no"), r"binarise: .*\(did you mean 'binarize'\?\)"),
        (lambda: pv.data.load("digits", valdi=3), r"valdi: .*\(did you mean 'valid'\?\)"),
        (lambda: pv.data.load("t.csv", lable="y"), r"lable: .*\(did you mean 'label'\?\)"),
        (lambda: pv.data.load(np.zeros((3, 2))), r"type ndarray\. Use pv\.data\.as_split"),
        (lambda: pv.data.load(config.Digits(), valid=3), "with a kind of data. Set them"),
        (lambda: pv.data.from_dataframe(np.zeros((3, 2))), r"type ndarray\. Use pv\.data\.as_"),
    ],
)
def test_unknown_names_are_refused(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
def test_a_dataframe_is_read_as_the_file_is(csv, library, capsys):
    package = pytest.importorskip(library)
    frame = package.table(COLUMNS | {"id": [*range(6)]}) if library == "pyarrow" else (
        package.DataFrame({k: [*v] for k, v in COLUMNS.items()})
    )  # fmt: skip
    data = pv.data.from_dataframe(frame, **OPTIONS)
    assert "days since" in capsys.readouterr().err
    same(data, pv.data.load(csv / "animals.csv", **OPTIONS, quiet=True))
    assert isinstance(data, pv.data.Dataset) and len(data.train) == 3
    assert [c.name for c in data.train.columns] == ["height", "seen", "kind"]  # id is left out
    assert data.train.classes == ("cat", "dog") and data.label == "species"
    text = "numbers the rows" in data.notes and "days since" in data.notes
    assert text and "2 categories" in data.notes


def test_a_dataframe_has_the_options_of_a_table(csv):
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({k: [*v] for k, v in COLUMNS.items()})
    options = {"label": "none", "drop": ["id", "seen"], "holes": [2.5], "valid": 0, "test": 0}
    data = pv.data.from_dataframe(frame, **options, quiet=True)
    same(data, pv.data.load(str(csv / "animals.csv"), **options, quiet=True))
    assert data.train.labels is None and int(data.train.stored.isnan().sum()) == 3
    known = pv.data.from_dataframe(frame, known={"c": "kind"}, label="species", quiet=True)
    assert known.train.known["c"].shape[1] == 2
    with pytest.raises(ValueError, match="for data.label; got 'spezies', which the DataFrame"):
        pv.data.from_dataframe(frame, label="spezies")
    with pytest.raises(ValueError, match=r"data\.separator, but a typed table takes"):
        pv.data.from_dataframe(frame, separator=";")
    with pytest.raises(ValueError, match="Use pv.data.from_dataframe"):
        pv.data.load(frame)


def test_old_names_of_readers_work():
    with pytest.warns(DeprecationWarning, match="pyro_vae.data.files.read_file"):
        from pyro_vae.data.files import own
    assert own is pv.data.files.read_file
