"""Tables as they occur: every row and column is read, and each decision is reported."""

import gzip
from pathlib import Path

import numpy as np
import pytest
import torch

import pyro_vae as pv
from pyro_vae.data import as_split
from pyro_vae.data.text import number

NAN = float("nan")

# name of the case; file; options; x; names of columns; labels; part of the notes
READ = [
    ("a BOM before data", "\ufeff1,2\n3,4\n", {}, [[1, 2], [3, 4]], "01", None, "is data"),
    ("a missing value first", ",2,3\n4,5,6\n", {}, [[NAN, 2, 3], [4, 5, 6]], "012", None, "is data"),
    ("a question mark first", "?,2\n4,5\n", {}, [[NAN, 2], [4, 5]], "01", None, "missing values"),
    ("only missing values first", ",,\n1,2,3\n", {}, [[NAN] * 3, [1, 2, 3]], "012", None, "is data"),
    ("numbered columns", "0,1,2\n.5,.2,.7\n", {}, [[0.5, 0.2, 0.7]], "012", None, "ascending"),
    ("two numbered columns", "0,1\n.5,.2\n", {}, [[0.5, 0.2]], "01", None, "ascending"),
    ("bits", "0,1\n1,0\n", {}, [[0, 1], [1, 0]], "01", None, "is data"),
    ("counting data without a header", "0,1,2\n3,4,5\n", {"header": "no"}, [[0, 1, 2], [3, 4, 5]], "012", None, "is data"),
    ("years", "2019,2020\n1,2\n3,4\n", {}, [[1, 2], [3, 4]], ["2019", "2020"], None, "ascending"),
    ("a word and years", "land,2019,2020\nA,1,2\nB,3,4\nA,5,6\n", {}, [[0, 1, 2], [1, 3, 4], [0, 5, 6]], ["land", "2019", "2020"], None, "A 0, B 1"),
    ("data with words", "5.1,setosa\n4.9,setosa\n6,other\n", {}, [[5.1, 1], [4.9, 1], [6, 0]], "01", None, "is data"),
    ("only words, no names", "red,s\nblue,l\nred,l\nblue,s\n", {}, [[1, 1], [0, 0], [1, 0], [0, 1]], "01", None, "is data"),
    ("pandas' index", ",a\n0,1.5\n1,2.5\n", {}, [[1.5], [2.5]], "a", None, "numbers the rows"),
    ("a filtered index", ",a\n3,1.5\n9,2.5\n", {}, [[1.5], [2.5]], "a", None, "numbers the rows"),
    ("an index of text", ",a\ng1,1.5\ng2,2.5\n", {}, [[1.5], [2.5]], "a", None, "names the rows"),
    ("a given index", "g,a\ng1,1.5\ng2,2.5\n", {"index": "g"}, [[1.5], [2.5]], "a", None, "names the rows"),
    ("an index that is kept", ",a\n0,1.5\n1,2.5\n", {"index": "none"}, [[0, 1.5], [1, 2.5]], "0a", None, ""),
    ("a column id", "id,a\n1,1.5\n2,2.5\n3,3.5\n", {}, [[1.5], [2.5], [3.5]], "a", None, "column id"),
    ("time is no index", "t,a\n0,1.5\n1,2.5\n2,3.5\n", {}, [[0, 1.5], [1, 2.5], [2, 3.5]], "ta", None, ""),
    ("R's row names", '"a" "b"\n"1" 1.5 2\n"2" 2.5 3\n', {}, [[1.5, 2], [2.5, 3]], "ab", None, "spaces"),
    ("numpy.savetxt", "# a b\n1.0 2.0\n3.0 4.0\n", {}, [[1, 2], [3, 4]], "ab", None, "spaces"),
    ("columns aligned by spaces", "  1.0   2.0\n 13.0   4.0\n", {}, [[1, 2], [13, 4]], "01", None, "spaces"),
    ("comments above", "# by X\n# at noon\na,b\n1,2\n", {}, [[1, 2]], "ab", None, ""),
    ("semicolons, decimal commas", "a;b\n1,5;2,25\n", {}, [[1.5, 2.25]], "ab", None, "decimal comma"),
    ("points group digits", "a;b\n1.234,5;2\n", {}, [[1234.5, 2]], "ab", None, "decimal comma"),
    ("commas group digits", 'a,b\n"1,234",2.5\n', {}, [[1234, 2.5]], "ab", None, "thousands"),
    ("Excel's hint", "sep=;\na;b\n1;2\n", {}, [[1, 2]], "ab", None, "semicolons"),
    ("tabs", "a\tb\n1\t2\n", {}, [[1, 2]], "ab", None, "tabs"),
    ("a separator at the end", "a,b,\n1,2,\n3,4,\n", {}, [[1, 2], [3, 4]], "ab", None, "empty last column"),
    ("old line endings", "a,b\r1,2\r3,4\r", {}, [[1, 2], [3, 4]], "ab", None, ""),
    ("blank lines", "\n1,2\n\n3,4\n\n", {}, [[1, 2], [3, 4]], "01", None, ""),
    ("one column", "a\n1\n2\n", {}, [[1], [2]], "a", None, ""),
    ("one name twice", "a,a\n1,2\n", {}, [[1, 2]], ["a", "a.1"], None, "two columns"),
    ("custom words for missing values", "a,b\n-999,2\n.,4\n", {"holes": ["-999", "."]}, [[NAN, 2], [NAN, 4]], "ab", None, "without any value"),
    ("yes and no", "a,b\nyes,1\n,2\nno,4\nyes,3\n", {}, [[1, 1], [NAN, 2], [0, 4], [1, 3]], "ab", None, "no 0, yes 1"),
    ("codes with leading zeros", "z,b\n012,1\n912,2\n012,3\n", {}, [[0, 1], [1, 2], [0, 3]], "zb", None, "012 0, 912 1"),
    ("numbers with leading zeros", "a,b\n001,002\n010,020\n", {}, [[1, 2], [10, 20]], "ab", None, ""),
    ("given categories", "a,b\n3,1\n7,2\n", {"categories": ["a"]}, [[0, 1], [1, 2]], "ab", None, "3 0, 7 1"),
    ("a column left out", "a,b\nx,1\ny,2\n", {"drop": ["a"]}, [[1], [2]], "b", None, "left out by --data.drop"),
    ("percentages", "a,b\n12%,1\n13 %,2\n", {}, [[0.12, 1], [0.13, 2]], "ab", None, "percentages"),
    ("dates", "d,b\n1970-01-03,1\n1970-02-01T12:00,2\n", {}, [[2, 1], [31.5, 2]], "db", None, "days since"),
    ("dates with points", "d;b\n13.02.1970;1\n", {}, [[43, 1]], "db", None, "days since"),
    ("dates with slashes", "d,b\n13/02/1970,1\n01/02/1970,2\n", {}, [[43, 1], [31, 2]], "db", None, "days since"),
    ("labels", "a,label\n1,0\n2,3\n", {}, [[1], [2]], "a", [0, 3], "label column: label"),
    ("labels with missing values", "a,label\n1,0\n2,\n", {}, [[1], [2]], "a", [0, -1], "missing (-1)"),
    ("labels of text", "a,class\n1,x\n2,\n3,y\n", {}, [[1], [2], [3]], "a", [0, -1, 1], "2 classes: x, y"),
    ("real labels", "a,target\n1,2.75\n2,-0.5\n", {}, [[1], [2]], "a", [2.75, -0.5], "real numbers"),
    ("y next to x", "x,y\n1,2\n3,4\n", {}, [[1, 2], [3, 4]], "xy", None, "next to x is a feature"),
    ("y alone", "a,y\n1,2\n3,4\n", {}, [[1], [3]], "a", [2, 4], "label column: y"),
    ("label as a feature", "a,label\n1,0\n2,1\n", {"label": "none"}, [[1, 0], [2, 1]], ["a", "label"], None, ""),
    ("a given label", "a,b\n1,0\n2,1\n", {"label": "b"}, [[1], [2]], "a", [0, 1], ""),
    ("a typo in a column left out", "a,b\n1,2\n3,x\n", {"drop": ["b"]}, [[1], [3]], "a", None, ""),
    ("labels of numbers and words", "a,label\n1,2\n3,x\n", {}, [[1], [3]], "a", [0, 1], "2 classes: 2, x"),
    ("an index of numbers and words", "k,a\n1,2\nx,3\n", {"index": "k"}, [[2], [3]], "a", None, ""),
    ("large numbers", "a,b\n1e20,2\n3e21,3\n", {}, [[1e20, 2], [3e21, 3]], "ab", None, ""),
    ("two columns for labels", "a,label,y\n1,0,5\n2,1,6\n", {}, [[1, 5], [2, 6]], "ay", [0, 1], "y stays a feature"),
]  # fmt: skip

REFUSED = [
    ("a typo", "a,b\n1,2\n3,x\n", {}, r"'x' in .*line 3, column 2 \(b\).*--data.holes x.*--data.drop b"),
    ("names or data?", "id,2,3\n4,5,6\n", {}, "either names or data.*--data.header"),
    ("digits of another alphabet", "٣,2\n4,5\n", {}, "either names or data"),
    ("identifiers", "plate,b\n1_2,2\n1_3,4\n", {}, "numbers or categories in column 'plate'.*--data.index plate"),
    ("names of people", "n,b\n" + "".join(f"p{i},1\n" for i in range(60)), {}, "60 different texts"),
    ("large identifiers", "k,b\n12345678901234567,1\n", {}, "identifiers.*--data.drop k"),
    ("two decimal marks", "a;b\n1,5;2.5\n", {}, "--data.decimal"),
    ("ambiguous dates", "d,b\n01/02/2024,1\n03/04/2024,2\n", {}, "unambiguous dates.*2024-12-31"),
    ("dates that are not dates", "d,b\n2024-02-31,1\n", {}, "dates in column 'd'"),
    ("rows of other lengths", "1,2\n3\n", {}, "Expected 2 columns; got 1 in .*line 2"),
    ("an open quote", '1,"2\n3,4\n', {}, "Close every quote"),
    ("a cell without end", "a,b\n" + "1" * 200_000 + ",2\n5,6\n", {}, r"'1{37}\.\.\.'"),
    ("only names", "a,b\n", {}, "rows below the names"),
    ("nothing", "", {}, "empty file"),
    ("zero bytes", "a,b\n1,\x002\n", {}, "binary"),
    ("no such label", "a,b\n1,2\n", {"label": "c"}, "columns a, b for data.label; got 'c'"),
    ("no such column", "a,b\n1,2\n", {"drop": "c"}, "data.drop; got 'c'"),
    ("another encoding", "a,b\n1,2\n", {"encoding": "klingon"}, "--data.encoding"),
]  # fmt: skip


def read(path, **options):
    quiet = options.pop("quiet", False)
    return pv.data.load(pv.config.File(path=path, valid=0, test=0, **options), quiet=quiet)


def in_order(split):
    order = split.row_numbers.argsort()
    return split.stored[order], None if split.labels is None else split.labels[order]


@pytest.mark.parametrize("case", READ, ids=lambda case: case[0])
def test_tables_that_are_read(tmp_path, case):
    _, text, options, x, names, labels, note = case
    path = tmp_path / "t.csv"
    path.write_bytes(text.encode())
    dataset = read(path, **options)
    found, own = in_order(dataset.train)
    np.testing.assert_allclose(found, np.array(x, dtype=float), rtol=1e-12)
    assert [column.name for column in dataset.train.columns] == [*names]
    assert (None if own is None else own.tolist()) == labels
    assert note in dataset.notes
    assert dataset.record()["notes"] == dataset.notes


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case[0])
def test_tables_that_are_refused(tmp_path, case):
    _, text, options, words = case
    path = tmp_path / "t.csv"
    path.write_bytes(text.encode())
    with pytest.raises(ValueError, match=words) as error:
        read(path, **options)
    assert str(error.value).startswith("Expected") and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "encoding,word",
    [("utf-16", ""), ("utf-16-le", "utf-16-le"), ("utf-16-be", "utf-16-be"), ("utf-32", ""),
     ("utf-8-sig", ""), ("cp1252", "cp1252")],
)  # fmt: skip
def test_encodings(tmp_path, encoding, word):
    (tmp_path / "t.csv").write_bytes("größe,b\n1.5,2\n".encode(encoding))
    dataset = read(tmp_path / "t.csv")
    assert dataset.train.columns[0].name == "größe" and word in dataset.notes
    (tmp_path / "t.csv").write_bytes("größe,b\n1.5,2\n".encode("latin-1"))
    assert read(tmp_path / "t.csv", encoding="latin-1").train.columns[0].name == "größe"


@pytest.mark.parametrize("name", ["t.tsv", "t.txt", "t.data", "t.csv.gz"])
def test_other_names_of_tables(tmp_path, name):
    content = b"a,b\n1,2\n3,4\n"
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    assert read(tmp_path / name).train.stored.shape == (2, 2)


@pytest.mark.parametrize(
    "cell,decimal,value",
    [("1_000", ".", None), ("٣", ".", None), ("0x10", ".", None), ("1e3", ".", 1000.0),
     ("-.5", ".", -0.5), ("5.", ".", 5.0), ("1,5", ".", None), ("1,5", ",", 1.5),
     ("1.5", ",", None), ("1.234", ",", 1234.0), ("12,34", "1,000", None), ("1,234", "1,000", 1234.0),
     ("", ".", None), ("+7", ".", 7.0), ("--7", ".", None), ("1 000", ".", None)],
)  # fmt: skip
def test_numbers(cell, decimal, value):
    assert number(cell, decimal) == value


def test_data_frames():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(
        {
            "a": [1.5, None, 3],
            "c": pd.Categorical(["hi", "lo", "hi"], categories=["lo", "hi"]),
            "d": pd.to_datetime(["1970-01-02", None, "1970-01-03"]),
            "i": pd.array([1, None, 3], "Int64"),
            "b": pd.array([True, None, False], "boolean"),
            "s": ["x", "y", "x"],
            "label": [0, 1, 2],  # in memory, all columns are features
        }
    )
    wanted = [[1.5, 1, 1, 1, 1, 0, 0], [NAN, 0, NAN, NAN, NAN, 1, 1], [3, 1, 2, 3, 0, 0, 2]]
    split = as_split(frame)
    np.testing.assert_array_equal(split.stored, wanted)
    assert [c.name for c in split.columns] == [*frame.columns]
    assert split.columns[1].categories == ("lo", "hi")
    pl = pytest.importorskip("polars")
    np.testing.assert_array_equal(
        as_split(pl.from_pandas(frame.drop(columns="c")).lazy()).stored, np.delete(wanted, 1, 1)
    )
    counts = as_split(pd.DataFrame({"a": [1, 2], "b": [3, 4]}))
    assert counts.stored.dtype == torch.int64 and counts.levels == 4
    with pytest.raises(ValueError, match="nested values"):
        as_split(pd.DataFrame({"a": [[1], [2]]}))
    with pytest.raises(ValueError, match="identifiers"):
        as_split(pd.DataFrame({"a": [2**60 + 1, 2]}))
    with pytest.raises(ValueError, match="different texts"):
        as_split(pd.DataFrame({"a": ["x1", "x2"]}))


def test_parquet_and_feather(tmp_path):
    pd, _ = pytest.importorskip("pandas"), pytest.importorskip("pyarrow")
    frame = pd.DataFrame(
        {
            "a": [1.5, None, 3],
            "c": pd.Categorical(["hi", "lo", "hi"], ["lo", "hi"]),
            "label": ["u", "v", "u"],
        }
    )
    frame.to_parquet(tmp_path / "t.parquet")
    frame.to_feather(tmp_path / "t.feather")
    for name in ("t.parquet", "t.feather"):
        dataset = read(tmp_path / name)
        x, labels = in_order(dataset.train)
        np.testing.assert_array_equal(x, [[1.5, 1], [NAN, 0], [3, 1]])
        assert labels.tolist() == [0, 1, 0] and dataset.train.classes == ("u", "v")
        assert dataset.train.columns[1].categories == ("lo", "hi")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1")
    with pytest.raises(ValueError, match=r"Expected a table in .*bad\.parquet"):
        read(tmp_path / "bad.parquet")


def test_parquet_without_its_reader(tmp_path, monkeypatch):
    import sys

    (tmp_path / "t.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ValueError, match=r"pip install 'pyro_vae\[tables\]'.*CSV"):
        read(tmp_path / "t.parquet")


def test_a_dataset_reports_decisions(tmp_path, capsys):
    path = Path(tmp_path / "t.csv")
    path.write_text("a;class\n1,5;x\n2,5;y\n3,5;x\n")
    text = str(read(path))
    assert "data: label column: class" in capsys.readouterr().err
    assert repr(read(path)) == text and read(path, quiet=True) and not capsys.readouterr().out
    assert text.startswith("file: train 3, x of shape (1,)")
    assert "decimal comma" in text and "label column: class" in text
    with pytest.raises(ValueError, match=r"did you mean 'mnist'"):
        pv.data.load("mnits")


LARGE = "t,a\n" + "".join(f"{1_700_000_000 + 60 * i},{i % 7}\n" for i in range(40))


@pytest.mark.parametrize(
    ("text", "options", "x", "names", "note"),
    [
        ("a,b\n-999.0,2\n1,-999\n", {"holes": -999}, [[NAN, 2], [1, NAN]], "ab", "missing values: a 1, b 1"),
        ("a,b\n1,2\n3,4\n", {"holes": "x"}, [[1, 2], [3, 4]], "ab", "nothing is 'x'"),
        ("a,c\n1,NA\n2,NO\n3,NA\n", {"usual_holes": False}, [[1, 0], [2, 1], [3, 0]], "ac", "NA 0"),
        (",a\n7,1.5\n3,2.5\n9,0.5\n", {}, [[1.5], [2.5], [0.5]], "a", "numbers the rows"),
        ("id,a\n7,1.5\n3,2.5\n9,0.5\n", {}, [[1.5], [2.5], [0.5]], "a", "column id"),
        ("a\n0,5\n1,5\n1,7\n", {}, [[0.5], [1.5], [1.7]], "a", "decimal comma"),
        ("0,1\n4,5\n2,7\n", {}, [[0, 1], [4, 5], [2, 7]], "01", "first line is data"),
        ("0\n1.5\n2.5\n", {}, [[1.5], [2.5]], "0", "names the columns"),
        ("0\n3\n2\n", {}, [[0], [3], [2]], "0", "first line is data"),
        ("a,a\n1,2\n3,4\n", {}, [[1, 2], [3, 4]], ["a", "a.1"], "one is now a.1"),
        ("a,b\nx,1,2\ny,3,4\n", {}, [[1, 2], [3, 4]], "ab", "one cell more"),
    ],
)  # fmt: skip
def test_findings_are_reported(tmp_path, text, options, x, names, note):
    path = tmp_path / "t.csv"
    path.write_text(text)
    dataset = read(path, **options)
    np.testing.assert_array_equal(in_order(dataset.train)[0], np.array(x, float))
    assert [column.name for column in dataset.train.columns] == [*names]
    assert note in dataset.notes


@pytest.mark.parametrize(
    ("name", "text", "options", "words"),
    [
        ("t.csv", "city,b\nParis, France,0.5\nParis, Texas,1.5\n", {}, "Quote cells that contain"),
        ("t.csv", "a,i\n1,12345678901234567890\n2,12345678901234567891\n", {}, "identifiers"),
        ("t.csv", "a,b\n1,2\n3,4\n", {"array": "x"}, "data.array, but a table"),
        ("t.csv", "a,b\n1,2\n3,4\n", {"label": "a", "drop": ("a",)}, "same in data.drop"),
        ("t.csv", "a,b\n1,2\n3,4\n", {"separator": "ab"}, "one character"),
    ],
)
def test_tables_are_refused_with_a_remedy(tmp_path, name, text, options, words):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=words):
        read(tmp_path / name, **options)


def test_large_numbers_are_not_rounded_silently(workdir):
    from pyro_vae.cli import main

    Path("t.csv").write_text(LARGE)
    flags = ["--data.path", "t.csv", "--train.epochs", "1", "--data.standardize", "true"]
    assert main(["train", "table", *flags, "--out", "r"]) == 2 and not Path("r").exists()
    assert main(["train", "table", *flags, "--out", "r", "--train.precision", "float64"]) == 0
    assert main(["evaluate", "r", "--num-samples", "10"]) == 0
    with pytest.raises(ValueError, match=r"'t' .*tell apart|tell apart.*'t'"):
        vae = pv.build.build_vae(pv.runs.RunFolder("r").recipe, (2,), 1.0, None).float()
        pv.elbo(vae, read(Path("t.csv"), quiet=True).train)


def table_vae(dim, latent_dim=2):
    return pv.VAE(
        pv.priors.StandardNormal(latent_dim),
        pv.likelihoods.Gaussian(pv.nn.MLP(latent_dim, [4], dim)),
        pv.posteriors.MeanFieldNormal(pv.nn.MLP(dim, [4], 2 * latent_dim)),
    )


def test_data_frames_keep_the_codes_of_training(tmp_path):
    pandas = pytest.importorskip("pandas")
    train = pandas.DataFrame({"a": [0.5, 1.5, 2.5, 0.1], "c": ["u", "v", "w", "u"]})
    other = pandas.DataFrame({"c": ["w", "w"], "extra": [1, 2], "a": [1.0, 2.0]})
    vae = table_vae(2)
    with pytest.raises(ValueError, match="not trained on a DataFrame"):
        pv.elbo(vae, other)
    with pytest.warns(UserWarning, match="codes of categories"):
        pv.fit(vae, train, epochs=1, progress=False, out=tmp_path / "r")
    codes = torch.tensor([[1.0, 2.0], [2.0, 2.0]])
    torch.testing.assert_close(pv.elbo(vae, other), pv.elbo(vae, codes))
    again = pv.load(tmp_path / "r", vae=table_vae(2))
    torch.testing.assert_close(pv.elbo(again, other), pv.elbo(vae, codes))
    with pytest.raises(ValueError, match="as in training; got 'x'"):
        pv.elbo(vae, other.assign(c=["x", "u"]))
    with pytest.raises(ValueError, match="got none called c"):
        pv.elbo(vae, other[["a"]])


def test_types_of_data_frames():
    pandas = pytest.importorskip("pandas")
    import datetime

    split = pv.data.as_split(pandas.DataFrame({"z": ["01", "02", "01"], "b": [1, 2, 3]}))
    assert split.columns[0].categories == ("01", "02")
    for bad, words in (
        ({"a": ["1.5", "2.5", "oops"]}, "got 'oops' in .*row 2"),
        ({"a": [datetime.time(1), datetime.time(2)]}, "type time"),
        ({"a": [1 + 2j, 2j]}, "type complex"),
        ({"a": pandas.period_range("2024-01", periods=2, freq="M")}, "type Period"),
    ):
        with pytest.raises(ValueError, match=words):
            pv.data.as_split(pandas.DataFrame(bad))


def test_an_index_in_parquet_is_not_a_feature(tmp_path):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": [0.5, 1.5, 2.5]}, index=[7, 3, 9])
    frame.to_parquet(tmp_path / "t.parquet")
    assert [c.name for c in read(tmp_path / "t.parquet").train.columns] == ["a"]
    frame.index = pandas.date_range("2024-01-01", periods=3)
    frame.to_parquet(tmp_path / "t.parquet")
    assert [c.name for c in read(tmp_path / "t.parquet").train.columns] == ["a"]


def test_columns_of_dates_say_so(tmp_path):
    (tmp_path / "t.csv").write_text("d,b\n1970-01-03,1\n1970-02-01,2\n")
    columns = read(tmp_path / "t.csv").train.columns
    assert [(c.name, c.dates) for c in columns] == [("d", True), ("b", False)]
    pandas = pytest.importorskip("pandas")
    since = pandas.to_datetime(["1970-01-03", "1970-02-01"])
    frame = pandas.DataFrame({"d": since, "o": list(since.date), "span": since - since[0]})
    assert [c.dates for c in as_split(frame).columns] == [True, True, False]
