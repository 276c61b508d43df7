"""Published results can be reproduced: the script's settings build, train, are judged and shown."""

import json
import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from test_scripts import ROOT, restored

import pyro_vae as pv
from pyro_vae.config import REGISTRY, Train, validate
from pyro_vae.data.inputs import with_known

NAMES = (
    "iwae-one-layer",
    "iwae-two-layers",
    "m2-labels",
    "ppca",
    "altosaar",
    "vamp",
    "miwae",
    "belief-network",
    "jsb",
)


@pytest.fixture
def scripts(monkeypatch):
    """The modules in scripts/."""
    monkeypatch.syspath_prepend(ROOT / "scripts")
    with restored():
        import imputation
        import reproduce
        import results

        yield SimpleNamespace(reproduce=reproduce, results=results, imputation=imputation)


def few(kind, quiet=True, **options):
    """A dozen rows of the shape of a data set, and of its kind."""
    config = validate(options, REGISTRY["data"][kind])
    if kind == "jsb-chorales":
        return pv.data.Dataset.make(config, few_bars())
    shape = (1, 28, 20) if kind == "freyfaces" else (1, 28, 28)
    levels = 1 if kind == "static-mnist" else 255
    generator = torch.Generator().manual_seed(0)
    splits = {
        part: pv.data.Split(
            torch.randint(levels + 1, (12, *shape), generator=generator, dtype=torch.uint8),
            torch.arange(12) % 10,
            levels=levels,
            source=f"{kind}/{part}",
        )
        for part in ("train", "valid", "test")
    }
    dataset = pv.data.Dataset.make(config, splits)
    return with_known(dataset, 10) if config.known else dataset


def few_bars():
    """A dozen sequences of up to ten steps of 88 bits, one shorter than the next."""
    x = (torch.rand(12, 10, 88, generator=torch.Generator().manual_seed(0)) < 0.1).float()
    x[torch.arange(10) > torch.arange(12)[:, None].clamp(1)] = float("nan")
    return {
        part: pv.data.as_split(x, f"a few bars, {part}") for part in ("train", "valid", "test")
    }


def few_patients(load):
    """The table of a loader, cut to twelve rows and nine columns."""

    def cut(**options):
        data = load(**options)
        x, whole = data.holes[:12, :9], data.whole[:12, :9]
        train = pv.data.as_split(x.float(), "a few patients")
        return SimpleNamespace(**{**vars(data), "train": train, "holes": x, "whole": whole})

    return cut


def two_steps(target, kind):
    """A target with the settings of one of its schedules, but for two steps and few samples."""
    schedule = getattr(target, kind)
    settings = {**schedule.settings, "train.epochs": 1, "train.batch_size": 6}
    if "data.num_labels" in [*target.variants.values()][0].settings:
        settings["data.num_labels"] = 10
    if target.judge == "holes":
        settings["columns"] = 9
    rows = {"variants": (), "seeds": 1, "samples": 30}
    return replace(target, **{kind: replace(schedule, settings=settings, **rows)})


@pytest.mark.parametrize("name", NAMES)
def test_settings_are_settings(name, scripts):
    """Those of every variant under both schedules are a recipe's, or of a function and `fit`."""
    target = scripts.reproduce.TARGETS[name]
    for schedule in filter(None, (target.full, target.medium, target.short)):
        assert {*schedule.variants} <= {*target.variants} and schedule.hours > 0
        for variant in target.variants:
            values = scripts.reproduce.values_of(target, schedule, variant)
            if callable(target.base):
                validate(values["train"], Train)
            else:
                validate(values)


@pytest.mark.parametrize("name", NAMES)
def test_a_target_takes_two_steps_and_is_judged(name, scripts, monkeypatch, tmp_path):
    """Every variant, by the script's own functions; a second call trains nothing again."""
    reproduce, kind = scripts.reproduce, "full"
    assert tuple(reproduce.TARGETS) == NAMES
    monkeypatch.setattr(pv.data, "load", few)
    monkeypatch.setattr(scripts.imputation, "DIMS", (2,))
    target = two_steps(reproduce.TARGETS[name], kind)
    if name == "miwae":
        target = replace(target, load=few_patients(target.load))
    monkeypatch.setitem(reproduce.TARGETS, name, target)
    first = reproduce.reproduce(name, kind, 0, (), tmp_path)
    assert [*first["runs"]] == [*target.variants]
    assert {run["steps"] for run in first["runs"].values()} == {2}
    published = {(v, f) for v in target.variants for f in target.variants[v].goals}
    figures = {(row["variant"], row["figure"]): row for row in first["figures"]}
    assert published <= {*figures}
    assert all(math.isfinite(row["value"]) for row in first["figures"])
    again = reproduce.reproduce(name, kind, 0, (), tmp_path)
    assert again["figures"] == first["figures"]
    json.dumps(first, allow_nan=False)
    assert name in scripts.results.page({name: target}, {name: {kind: first}})


def test_two_targets_are_compared_where_both_are_there(scripts, monkeypatch, tmp_path):
    reproduce = scripts.reproduce
    monkeypatch.setattr(pv.data, "load", few)
    for name in NAMES[:2]:
        monkeypatch.setitem(reproduce.TARGETS, name, two_steps(reproduce.TARGETS[name], "short"))
    without = reproduce.reproduce(NAMES[1], "short", 0, ["k=1"], tmp_path)
    reproduce.reproduce(NAMES[0], "short", 0, ["k=1"], tmp_path)
    result = reproduce.reproduce(NAMES[1], "short", 0, ["k=1"], tmp_path)
    assert {row["verdict"] for row in without["figures"]} <= {scripts.results.SHORT, ""}
    (row,) = result["figures"][len(without["figures"]) :]
    assert row["variant"] == "k=1 less iwae-one-layer/k=1" and row["published"] == 1.43


def test_verdicts(scripts):
    verdict = scripts.results.verdict
    assert verdict(-86.3, -86.76, 0.5, short=False) == "within the tolerance"
    assert verdict(-87.5, -86.76, 0.5, short=False) == "outside by 0.24"
    assert verdict(-86.76, -86.76, 0.5, short=True) == scripts.results.SHORT
    assert verdict(0.3, None, None, short=False) == ""


def test_the_page_is_that_of_the_results(scripts):
    """Numbers are never typed, and words never belong to other numbers."""
    results = scripts.results
    found = results.read_results()
    assert results.PAGE.read_text() == results.page(scripts.reproduce.TARGETS, found)
    for kinds in found.values():
        for kind, result in kinds.items():
            for row in result["figures"]:
                said = results.verdict(
                    row["value"], row["published"], row["tolerance"], kind != "full"
                )
                assert row["verdict"] == said


def test_ppca_of_a_table_without_holes_is_the_closed_form(scripts):
    x = torch.randn(200, 3).double() @ torch.randn(3, 8).double() + 0.3 * torch.randn(200, 8)
    x = x + torch.randn(8)
    fit = scripts.imputation.ppca(x, 2, steps=500)
    law = torch.distributions.MultivariateNormal(
        fit.mean, fit.w @ fit.w.T + fit.noise * torch.eye(8)
    )
    best = pv.gallery.ppca(x, x, 2)
    torch.testing.assert_close(law.log_prob(x).mean(), best.mean(), atol=1e-6, rtol=0)


def test_ppca_fills_holes_with_conditional_means(scripts):
    """And no other parameters make what is there more likely: the gradient is zero."""
    x = torch.randn(60, 2).double() @ torch.randn(2, 5).double() + 0.5 * torch.randn(60, 5)
    x[torch.rand(60, 5) < 0.3] = torch.nan
    x[x.isnan().all(1), 0] = 0.0
    fit = scripts.imputation.ppca(x, 1, steps=1000)
    parameters = [t.clone().requires_grad_() for t in (fit.w, fit.mean, fit.noise)]
    w, mean, noise = parameters
    covariance, total = w @ w.T + noise * torch.eye(5), 0.0
    for row, filled in zip(x, fit.filled):
        o, m = ~row.isnan(), row.isnan()
        inside = covariance[o][:, o]
        law = torch.distributions.MultivariateNormal(mean[o], inside)
        total = total + law.log_prob(row[o])
        gain = covariance[m][:, o] @ torch.linalg.solve(inside, row[o] - mean[o])
        torch.testing.assert_close(filled[m], (mean[m] + gain).detach())
    for gradient in torch.autograd.grad(total, parameters):
        assert float(gradient.abs().max()) < 1e-3
