"""Completed files in the form of the user's own."""

import csv
import datetime as dt
import re

import numpy as np
import pytest

from pyro_vae.cli import main

TABLE = """
latent_dim = 2
[data]
kind = "file"
path = "people.csv"
standardize = true
[likelihood]
kind = "product"
parts = [
  { columns = ["age", "income", "since", "share"], likelihood = { kind = "gaussian", sigma = "per-column" } },
  { columns = ["city"], likelihood = { kind = "categorical", num_levels = 3 } },
]
[train]
epochs = 15
lr = 1e-2
"""
COLUMNS = ["id", "city", "age", "since", "income", "share", "label"]
CITIES = ["Bern", "Oslo", "Rome"]


def people(count=90):
    rng, day = np.random.default_rng(0), dt.date(2020, 1, 1)
    rows = []
    for i in range(count):
        a = rng.normal()
        city = CITIES[int(np.clip(round(a + 1 + 0.3 * rng.normal()), 0, 2))]
        since = day + dt.timedelta(days=int(400 + 100 * a + 10 * rng.normal()))
        row = [
            i + 1,
            city,
            int(40 + 10 * a),
            since.isoformat(),
            f"{1000 + 200 * a:.2f}",
            f"{50 + 10 * a:.0f}%",
            "ab"[i % 2],
        ]
        for j in (1, 2, 3, 4, 5):
            if rng.random() < 0.15:
                row[j] = "" if j != 2 else "NA"
        rows.append([str(cell) for cell in row])
    return rows


def read(path):
    with path.open(newline="") as file:
        head, *rows = csv.reader(file)
    return head, rows


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("impute")
    with (folder / "people.csv").open("w", newline="") as file:
        csv.writer(file).writerows([COLUMNS, *people()])
    recipe = folder / "people.toml"
    recipe.write_text(TABLE.replace("people.csv", str(folder / "people.csv")))
    assert main(["train", str(recipe), "--out", str(folder / "run")]) == 0
    return folder


FORMS = {1: "|".join(CITIES), 2: r"\d\d", 3: r"20\d\d-\d\d-\d\d", 4: r"\d{3,4}\.\d+", 5: r"\d+%"}


def test_a_table_comes_back_in_its_own_form(run, capsys):
    out, own = run / "full.csv", run / "people.csv"
    flags = ["--data", str(own), "--out", str(out), "--num-samples", "3"]
    assert main(["impute", str(run / "run"), *flags]) == 0
    said = capsys.readouterr().out
    before, after = read(own), read(out)
    assert before[0] == after[0] and len(after[1]) == 90
    holes = 0
    for old, new in zip(before[1], after[1]):
        for j, (a, b) in enumerate(zip(old, new)):
            if a in ("", "NA"):
                assert re.fullmatch(FORMS[j], b), (j, b)
                holes += 1
            else:
                assert a == b
    assert f"{holes} of 450 elements of 90 data were missing" in said and "k-hat" in said
    head, rows = read(run / "full-draws.csv")
    assert head == ["imputation", *COLUMNS] and len(rows) == 270
    assert [row[0] for row in rows[::90]] == ["1", "2", "3"]
    assert all(re.fullmatch(FORMS[1], row[2]) for row in rows)
    first = next(i for i, row in enumerate(before[1]) if row[4] == "")
    assert len({rows[first + 90 * k][5] for k in range(3)}) == 3
    assert str(out) in said and (run / "run/pictures/imputed.png").is_file()


def test_hidden_cells_are_compared_with_the_truth(run, capsys):
    flags = ["--split", "all", "--holes", "random:0.2", "--method", "gibbs"]
    flags += ["--num-steps", "20", "--num-data", "30"]
    assert main(["impute", str(run / "run"), *flags]) == 0
    said = capsys.readouterr().out
    assert re.search(r"Of \d+ hidden categories, \d+\.\d% are right", said)
    assert "standard deviations of their column" in said and "R-hat" in said
    assert len(read(run / "run/imputed.csv")[1]) == 30


def test_decimal_commas_and_other_dates_are_kept(run, tmp_path, capsys):
    _, rows = read(run / "people.csv")
    rows = [
        [row[0], row[1], row[2], row[3], row[4].replace(".", ","), row[5], row[6]] for row in rows
    ]
    (tmp_path / "deutsch.csv").write_text("\n".join(";".join(row) for row in [COLUMNS, *rows]))
    flags = ["--data", str(tmp_path / "deutsch.csv"), "--out", str(tmp_path / "o.csv")]
    assert main(["impute", str(run / "run"), *flags]) == 0
    lines = (tmp_path / "o.csv").read_text().splitlines()
    place = next(i for i, row in enumerate(rows) if row[4] == "")
    assert lines[0] == ";".join(COLUMNS) and re.fullmatch(
        r"\d+,\d+", lines[place + 1].split(";")[4]
    )


def test_parquet_is_completed(run, tmp_path, capsys):
    """Of a typed table: a table of text with its columns, names of categories, and row numbers."""
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    frame = pandas.read_csv(run / "people.csv", parse_dates=["since"])
    frame["share"] = frame["share"].str.rstrip("%").astype(float) / 100
    frame.to_parquet(tmp_path / "people.parquet")
    flags = ["--data", str(tmp_path / "people.parquet"), "--out", str(tmp_path / "o.csv")]
    assert main(["impute", str(run / "run"), *flags, "--num-samples", "2"]) == 0
    text = capsys.readouterr().out
    head, rows = read(tmp_path / "o.csv")
    assert head == ["rows", *COLUMNS[1:6]] and len(rows) == 90, text
    assert {row[1] for row in rows} == {*CITIES} and all(all(row) for row in rows)
    there = frame["income"].notna()
    for i in np.flatnonzero(there):
        assert float(rows[i][4]) == pytest.approx(frame["income"][i], rel=1e-4)
    assert len(read(tmp_path / "o-draws.csv")[1]) == 180


def test_images_are_completed_by_a_run_of_whole_data(tmp_path, capsys):
    small = [
        "--train.epochs",
        "2",
        "--latent-dim",
        "2",
        "--likelihood.decoder.hidden-features",
        "16",
    ]
    run = str(tmp_path / "run")
    assert main(["train", "digits-plain", "--out", run, *small]) == 0
    flags = ["--holes", "bottom", "--num-data", "6", "--num-samples", "2"]
    assert main(["impute", run, *flags]) == 2
    assert "Take method='gibbs'" in capsys.readouterr().err
    assert main(["impute", run, *flags, "--method", "gibbs", "--num-steps", "8"]) == 0
    said = capsys.readouterr().out
    assert "192 of 384 elements of 6 data were missing" in said
    with np.load(tmp_path / "run/imputed.npz") as arrays:
        assert arrays["draws"].shape == (2, 6, 1, 8, 8) and arrays["x"].shape == (6, 1, 8, 8)
        assert (arrays["draws"] == arrays["draws"].round()).all()
        assert (arrays["draws"][0, :, :, :4] == arrays["x"][:, :, :4]).all()
    assert (tmp_path / "run/pictures/imputed.png").is_file()
    out = tmp_path / "some.npy"
    assert (
        main(
            [
                "impute",
                run,
                *flags,
                "--method",
                "nuts",
                "--num-steps",
                "8",
                "--num-data",
                "1",
                "--out",
                str(out),
            ]
        )
        == 0
    )
    assert np.load(out).shape == (1, 1, 8, 8) and np.load(tmp_path / "some-draws.npy").shape == (
        2,
        1,
        8,
        8,
    )


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--holes", "middle"], "Expected holes as random:0.5"),
        (["--holes", "left"], "Expected images, of which left is a region"),
        (["--num-samples", "0"], "--num-samples of at least 1"),
        (["--out", "x.txt"], "Expected --out with the suffix"),
    ],
)
def test_what_cannot_be_completed(run, flags, words, capsys):
    assert main(["impute", str(run / "run"), *flags]) == 2
    assert words in capsys.readouterr().err


def test_a_recipe_hides_elements(tmp_path, capsys):
    small = [
        "--train.epochs",
        "2",
        "--latent-dim",
        "2",
        "--likelihood.decoder.hidden-features",
        "16",
    ]
    run = str(tmp_path / "run")
    assert main(["train", "digits-plain", "--data.holes", "0.4", "--out", run, *small]) == 0
    assert "40% of the elements of x are hidden, once, by data.seed" in capsys.readouterr().out
    assert main(["evaluate", run, "--num-samples", "20"]) == 0
    assert "bits per dimension" in capsys.readouterr().out
    assert main(["impute", run, "--num-data", "5", "--num-samples", "1"]) == 0
    assert "Root mean square error" in capsys.readouterr().out
