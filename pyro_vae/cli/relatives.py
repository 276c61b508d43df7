r"""What commands do on a run whose model is a relative of the VAE."""

import contextlib
import sys
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from ..runs.records import to_json
from .output import at_least_one, save_plot, write_arrays, write_data
from .samples import check_drawn, compare_drawn
from .shared import keys_of, mean

if TYPE_CHECKING:
    from ..runs import RunFolder


def evaluate(command: Any, run: "RunFolder") -> None:
    r"""Prints what a relative has, and what that is worth on data."""
    from ..evaluate import evaluate_relative
    from ..ranks import here

    of_vaes = ("cache", "given", "simulated", "against", "num_against", "num_samples")
    model = _model(command, run, *of_vaes)
    split, name, which = command.rows(run, model)
    check_drawn(command, model, split)
    by_datum: dict[str, Any] = {}
    found = evaluate_relative(model, split, seed=command.seed, by_datum=by_datum)
    metrics = {"data": name, "split": which, **found}
    compared = compare_drawn(command, run, model, split)
    metrics |= compared.record() if compared else {}
    if here().rank:
        return
    if command.data is None:
        run.keep_evaluation(command.split, metrics)
    if command.out is not None:
        with contextlib.redirect_stdout(sys.stderr if command.json else sys.stdout):
            write_arrays(command.out, {**keys_of(split), **by_datum})
    print(to_json(metrics) if command.json else page(metrics))
    if compared and not command.json:
        print(compared)


def page(metrics: dict[str, Any]) -> str:
    r"""The metrics as text."""
    from ..statistics import Mean

    can = metrics["can"]
    lines = [f"{metrics['data']}, {metrics['split']}, {metrics['num_data']} data:"]
    if "log_prob" in metrics:
        figure = mean(metrics, "log_prob")
        lines.append(f"  log p(x)  {figure} nats per datum, {can['log_prob']}")
        if "log_prob_mc_se" in metrics:
            error = Mean(0.0, metrics["log_prob_mc_se"]).error
            lines.append(f"            and {error} by the estimate of log Z, which all data share")
    if "squared_error" in metrics:
        lines.append(f"  squared error of a reconstruction {mean(metrics, 'squared_error')}")
    lines += [f"  {said}" for said in can.values() if said.endswith(".")]
    return "\n".join(lines)


def sample(command: Any, run: "RunFolder") -> None:
    r"""Draws and plots new data."""
    from ..plot.relatives import plot_relative_samples
    from ..programs import undisturbed

    model = _model(command, run, "given", "hold", "what")
    count = at_least_one(command.num_samples, "--num-samples")
    figure = plot_relative_samples(model, num_samples=count, seed=command.seed)
    save_plot(figure, run.path, "samples", run.title)
    if command.out is not None:
        with undisturbed(model, command.seed):
            x = model.sample(count)
        write_data(command.out, x.cpu().numpy(), run.recorded.form, {}, "sample")


def reconstruct(command: Any, run: "RunFolder") -> None:
    r"""Plots data and their reconstructions."""
    from ..plot.relatives import plot_relative_reconstructions
    from ..programs import undisturbed

    model = _model(command, run, "given", "what")
    count = at_least_one(command.num_data)
    split, *_ = command.rows(run, model)
    figure = plot_relative_reconstructions(model, split, count, seed=command.seed)
    save_plot(figure, run.path, "reconstructions", run.title)
    if command.out is not None:
        seen = split.freeze(command.seed).take(split.spread(count))
        with undisturbed(model, command.seed):
            x = model.reconstruct(seen.rows(slice(None)))
        write_data(command.out, x.cpu().numpy(), run.recorded.form, keys_of(seen), "mean")


def encode(command: Any, run: "RunFolder") -> None:
    r"""Writes the code of each datum."""
    import torch

    from ..programs import undisturbed

    model = _model(command, run)
    split, *_ = command.rows(run, model)
    with undisturbed(model, 0):
        codes = torch.cat([model.encode(x) for x in split.freeze(0).chunks()])
    write_arrays(command.out, {"code": codes.cpu().numpy(), **keys_of(split)})


def _model(command: Any, run: "RunFolder", *of_vaes: str) -> Any:
    r"""The model of a run, once no flag is set that only VAEs have."""
    for field in fields(command):
        if field.name in of_vaes and getattr(command, field.name) != field.default:
            flag = "--" + field.name.replace("_", "-")
            raise ValueError(
                f"Expected no {flag} for {run.recipe.model.kind}, which is no VAE; got "
                f"{getattr(command, field.name)!r}. Leave it out."
            )
    return run.model(command.device)
