r"""Samples of a run's model beside its data, for `evaluate --samples`."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..data import Split
    from ..evaluate import TwoSample
    from ..runs import RunFolder


def check_samples(number: int) -> None:
    r"""Refuses numbers of samples too small to compare; 0 is none at all."""
    from ..evaluate.two_sample import FEWEST

    if number != 0 and number < FEWEST:
        raise ValueError(
            f"Expected at least {FEWEST} samples to compare with data, or 0 for none; got "
            f"--samples {number}."
        )


def check_drawn(command: Any, model: Any, split: "Split") -> None:
    r"""Refuses, before anything is measured, samples that the model cannot draw, or data that they
    cannot be compared with.

    Raises:
        ValueError: The model cannot draw without a condition, or has no sampler; or data are few.
    """
    from ..evaluate.two_sample import FEWEST

    if not command.samples:
        return
    if len(split) < 2 * FEWEST:
        raise ValueError(
            f"Expected at least {2 * FEWEST} data for --samples, half of which are the floor; got "
            f"{len(split)}. Leave the flag out, or take more data."
        )
    if "sample" in getattr(model, "lacks", ()):
        model.sample(1)  # says why not
    if getattr(model, "drawn_under", ()):
        raise ValueError(
            f"Expected a model that draws x by itself for --samples; got one of x given "
            f"{', '.join(model.drawn_under)}. Leave the flag out, and compare samples under a "
            "condition by pyro_vae.evaluate.compare_samples."
        )


def compare_drawn(
    command: Any, run: "RunFolder", model: Any, split: "Split"
) -> "TwoSample | None":
    r"""Draws the samples that a command asks for, and compares them with its data and the training
    data; nothing if it asks for none.
    """
    from ..evaluate import compare_samples

    if not command.samples:
        return None
    x = _drawn(model, command.samples, command.seed)
    train = run.dataset(command.data_dir, "train").train
    if train.x_shape != split.x_shape:  # training sequences are cut into chunks
        raise ValueError("Expected data of one length for --samples; got sequences.")
    return compare_samples(x, split, train=train, seed=command.seed)


def _drawn(model: Any, count: int, seed: int) -> Any:
    r"""New data, of a VAE or of a relative."""
    from ..gallery import Relative
    from ..programs import undisturbed
    from ..views import sample

    if isinstance(model, Relative):
        with undisturbed(model, seed):
            return model.sample(count)
    return sample(model, count, seed=seed)
