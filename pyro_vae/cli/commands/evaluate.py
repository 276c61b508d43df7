import contextlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from ...config import RelativeRecipe
from ...runs.records import to_json
from .. import relatives
from ..factors import lines as of_factors
from ..factors import scored
from ..labels import judged
from ..labels import lines as of_labels
from ..ood import detected
from ..ood import lines as of_strangers
from ..output import announce, at_least_one, check_out, write_arrays
from ..samples import check_drawn, check_samples, compare_drawn
from ..shared import OnAnyRows, keys_of, mean


@dataclass(kw_only=True)
class Evaluate(OnAnyRows):
    r"""Prints the ELBO and log p(x) of a run on its test data, or on your own data."""

    takes_relatives: ClassVar[bool] = True

    num_samples: int = 500
    """Importance samples per datum."""
    seed: int = 0
    """Seeds the samples."""
    out: Path | None = None
    """A .csv or .npz file for the metrics of each datum, with its row number."""
    cache: Path | None = None
    """A .npz file that caches finished rows, to continue after an interruption."""
    given: tuple[str, ...] = ()
    """Regions of an image, as in left, or columns of a table, as in age bmi: adds log p of the
    rest given these, by a model of data with holes."""
    samples: int = 0
    """Draw so many data and compare them with the data: one law, precision and recall, copies."""
    simulated: bool = False
    """Add ELBO and EUBO of simulated data; their mean log p(x) lies in between."""
    against: str | None = None
    """A data set of another kind, by name, or a file: adds how well log p(x), likelihood regret
    and typicality tell it from the run's data."""
    num_against: int = 200
    """The number of data of each kind that --against takes at most."""
    json: bool = False
    """Print one JSON object."""

    def __call__(self) -> None:
        from ...evaluate import evaluate
        from ...evaluate.diagnosis import simulated
        from ...ranks import here

        check_out(self.out, (".csv", ".npz"))
        check_out(self.cache, (".npz",), "--cache")
        at_least_one(self.num_samples, "--num-samples")
        check_samples(self.samples)
        at_least_one(self.num_against, "--num-against")
        run = self.opened()
        if isinstance(run.recipe, RelativeRecipe):
            relatives.evaluate(self, run)
            return
        vae = run.model(self.device)
        split, name, which = self.rows(run, vae)
        check_drawn(self, vae, split)
        others = self.others(run, vae) if self.against else None
        announce(f"Evaluating {len(split)} data with {self.num_samples} samples each.")
        by_datum: dict[str, Any] = {}
        metrics = {
            "data": name,
            "split": which,
            **evaluate(
                vae, split, self.num_samples, seed=self.seed, cache=self.cache, by_datum=by_datum
            ),
            **(simulated(vae, seed=self.seed) if self.simulated else {}),
        }
        if self.given:
            metrics |= self.conditional(vae, split, by_datum)
        metrics |= scored(vae, split, self.seed)
        if others is not None:
            metrics |= {"against": self.against}
            metrics |= detected(vae, split, *others, self.num_against, self.seed)
        own = self.data is None
        compared = compare_drawn(self, run, vae, split)
        metrics |= compared.record() if compared else {}
        metrics |= judged(run, vae, split, self.data_dir, self.seed, draw=own)
        if here().rank:
            return
        if own:
            run.keep_evaluation(self.split, metrics)
        if self.out is not None:
            with contextlib.redirect_stdout(sys.stderr if self.json else sys.stdout):
                write_arrays(self.out, {**keys_of(split), **by_datum})
        print(to_json(metrics) if self.json else page(metrics, vae.latents))
        if compared and not self.json:
            print(compared)

    def others(self, run: Any, vae: Any) -> tuple[Any, Any]:
        r"""Data of another kind, and further data of the run's kind, for validation if any."""
        from ...checks import take

        outside, *_ = run.rows(self.split, self.against, self.data_dir)
        held = "valid" if run.recorded.data["sizes"].get("valid") else "train"
        reference, *_ = run.rows(held, None, self.data_dir)
        skip = run.recipe.train.skip_checks
        both = (rows.forgetting(vae.latents) for rows in (outside, reference))
        outside, reference = (take(vae, rows, skip_checks=skip) for rows in both)
        return outside, reference

    def conditional(self, vae: Any, split: Any, by_datum: dict[str, Any]) -> dict[str, Any]:
        r"""How likely the rest of x is given a part of it."""
        from ...evaluate import Mean, log_conditional, verdict

        options: dict[str, Any] = {"seed": self.seed, "skip_checks": bool(split.violation)}
        given = [int(word) if word.isdigit() else word for word in self.given]
        found = log_conditional(vae, split, given, self.num_samples, **options)
        columns = {"log_conditional": found.log_conditional}
        columns |= {"conditional_lower": found.lower, "conditional_upper": found.upper}
        by_datum.update({name: values.cpu().numpy() for name, values in columns.items()})
        judged = verdict(found)
        return {
            "given": [*self.given],
            **Mean.of(found.log_conditional).record("log_conditional"),
            "log_conditional_mc_se": found.mean_se,
            "log_conditional_verdict": judged.colour,
            "log_conditional_reason": judged.reason,
        }


def page(metrics: dict[str, Any], latents: Any) -> str:
    r"""The metrics as text."""
    label = f"log {metrics['evidence']}"
    lines = [
        f"{metrics['data']}, {metrics['split']}, {metrics['num_data']} data, in nats per datum:",
        f"  ELBO      {mean(metrics, 'elbo')}",
        f"  {label:10s}{mean(metrics, 'log_marginal')}"
        f"  (Monte Carlo +- {metrics['log_marginal_mc_se']:.3f}, "
        f"{metrics['num_importance_samples']} samples, median ESS {metrics['ess_median']:.0f})",
    ]
    rates = {n: metrics[f"kl_{n}"] for n in latents if f"kl_{n}" in metrics}
    if rates:
        lines.append("  KL        " + ", ".join(f"{n} {float(v):.3f}" for n, v in rates.items()))
    if "num_steps" in metrics:
        each = ", ".join(
            f"{said} {metrics[f'{name}_per_step']:.3f} +- {metrics[f'{name}_per_step_se']:.3f}"
            for name, said in (("elbo", "ELBO"), ("log_marginal", label))
        )
        lines.append(f"  per step: {each}, of {metrics['num_steps']} steps")
    lines += of_labels(metrics) + of_factors(metrics)
    if "bits_per_dim" in metrics:
        lines.append(f"  {metrics['bits_per_dim']:.4f} bits per dimension, from {label}")
    lines += of_codes(metrics)
    lines.append(f"  {metrics['verdict']}: {metrics['reason']}")
    if "no 95 %" in str(metrics["log_marginal_errors"]):
        lines.append(f"  {metrics['log_marginal_errors']}")
    if "given" in metrics:
        lines += [
            f"  log p(rest | {', '.join(metrics['given'])})",
            f"  {'':10s}{mean(metrics, 'log_conditional')}"
            f"  (Monte Carlo +- {metrics['log_conditional_mc_se']:.3f})",
            f"  {metrics['log_conditional_verdict']}: {metrics['log_conditional_reason']}",
        ]
    if "simulated_num_data" in metrics:
        count = metrics["simulated_num_data"]
        lines.append(f"  {count} simulated data, with mean log p(x) between")
        lines += [f"  {n.upper():10s}{mean(metrics, f'simulated_{n}')}" for n in ("elbo", "eubo")]
    lines += of_strangers(metrics)
    if "not_a_density" in metrics:
        lines.append(f"  Not a density: {metrics['not_a_density']}")
    return "\n".join(lines)


def of_codes(metrics: dict[str, Any]) -> list[str]:
    r"""What the nearest codes cost, in lines."""
    if "code_rate" not in metrics:
        return []
    even, bits = metrics["even_rate"], metrics["code_bits_per_dim"]
    return [
        f"  codes     rate {mean(metrics, 'code_rate').strip()} by the prior, {even:.3f} evenly: "
        f"{bits:.4f} and {metrics['even_bits_per_dim']:.4f} bits per dimension",
        f"            perplexity {metrics['perplexity']:.1f}, {metrics['dead_codes']} dead",
    ]
