r"""What evaluation says of latent sites that have labels in training."""

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..data import Split
    from ..runs import RunFolder


def labelled_sites(run: "RunFolder", vae: Any) -> list[str]:
    r"""The latent sites whose values are labels of the data."""
    known = run.recipe.data.known
    return [n for n, columns in known.items() if n in vae.latents and columns == ("label",)]


def judged(
    run: "RunFolder", vae: Any, split: "Split", data_dir: Path | None, seed: int, draw: bool
) -> dict[str, Any]:
    r"""The metrics of sites that have labels in training, and their pictures in the run's folder.

    Arguments:
        run: The run.
        vae: Its model.
        split: Data with labels.
        data_dir: Where to look first for the training data.
        seed: Seeds the samples of classes.
        draw: Whether to draw pictures.
    """
    from ..evaluate import classification, encode_sites

    found: dict[str, Any] = {}
    if split.labels is None:
        return found
    labels = split.labels.cpu()
    for site in labelled_sites(run, vae):
        guess = encode_sites(vae, split)[site].loc.cpu()
        if labels.is_floating_point():
            found |= _distance(guess[:, 0].double(), labels.double(), site)
            continue
        if not bool((labels >= 0).any()):
            continue
        judgement = classification(guess, labels, seed=seed)
        found |= {**judgement.record(site), "num_labelled": int(judgement.size.sum())}
        if draw:
            from ..plot import plot_reliability

            _save(run, f"reliability_{site}", plot_reliability(judgement, site))
        if not vae.conditions:
            found |= _samples(run, vae, split, site, guess.shape[1], data_dir, seed, draw)
    return found


def _distance(guess: Any, labels: Any, site: str) -> dict[str, Any]:
    r"""The root mean square error of a real label, with its standard error."""
    from ..statistics import Mean

    there = ~labels.isnan()
    if not bool(there.any()):
        return {}
    mean = Mean.of((guess - labels)[there].square())
    root = Mean(mean.value**0.5, mean.se / (2 * mean.value**0.5) if mean.value else 0.0, "")
    return {**root.record(f"rmse_{site}"), "num_labelled": int(there.sum())}


def _samples(
    run: "RunFolder",
    vae: Any,
    split: "Split",
    site: str,
    count: int,
    data_dir: Path | None,
    seed: int,
    draw: bool,
) -> dict[str, Any]:
    r"""How often a classifier finds the class that was asked for, and a picture of each class."""
    from ..evaluate import agreement, judge_of
    from ..plot.canvas import is_image

    judge = judge_of(run.dataset(data_dir, "train").train)
    found = agreement(vae, site, judge, count, seed=seed)
    if draw and is_image(split.rows(slice(0, 1))):
        from ..plot import plot_classes

        names = [*split.classes][:count] or [str(i) for i in range(count)]
        _save(run, f"classes_{site}", plot_classes(vae, site, names, seed=seed, split=split))
    return {
        **found.rate.record(f"agreement_{site}"),
        "num_class_samples": count * 100,
        "classifier": judge.name,
        **judge.accuracy(split).record("classifier_accuracy"),
    }


def _save(run: "RunFolder", name: str, figure: Any) -> None:
    r"""Writes a picture, unless the folder is not writable."""
    from ..plot.canvas import save
    from ..ranks import here

    if here().rank:
        return
    with contextlib.suppress(OSError):
        folder = run.path / "pictures"
        folder.mkdir(parents=True, exist_ok=True)
        save(figure, folder / f"{name}.png", run.title)


def lines(metrics: dict[str, Any]) -> list[str]:
    r"""The metrics as text, a line for each."""
    said = []
    for name, value in metrics.items():
        head, _, site = name.partition("_")
        if name.endswith(("_se", "_by_chance")) or head not in ("accuracy", "rmse", "agreement"):
            continue
        error = metrics[f"{name}_se"]
        if head == "rmse":
            said.append(
                f"  error of {site}: {value:.4f} +- {error:.4f}, root of the mean square over "
                f"{metrics['num_labelled']}"
            )
        elif head == "accuracy":
            said.append(
                f"  accuracy of {site}: {value:.1%} +- {error:.1%} of {metrics['num_labelled']}"
            )
            off = f"calibration_error_{site}"
            said.append(
                f"  calibration error of q({site} | x): {metrics[off]:.3f} +- "
                f"{metrics[f'{off}_se']:.3f} ({metrics[f'{off}_by_chance']:.3f} by chance, if "
                "calibrated)"
            )
        else:
            said.append(
                f"  samples that are the {site} asked for: {value:.1%} +- {error:.1%} of "
                f"{metrics['num_class_samples']},\n    by {metrics['classifier']}, right for "
                f"{metrics['classifier_accuracy']:.1%} +- {metrics['classifier_accuracy_se']:.1%} "
                "of these data"
            )
    return said
