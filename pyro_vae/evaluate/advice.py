r"""From figures to what to try, in words."""

from collections.abc import Mapping
from math import sqrt
from typing import Any

from torch import Tensor
from torch.distributions import constraints

from .. import posteriors, priors
from ..distributions import same
from .collapse import ACTIVE

HOLES = 0.03  # 0.01 is what two equal distributions have
WORTH = 0.5  # nats per datum; less is not worth a change
Z = 3.0
SIMPLE = (
    posteriors.MeanFieldNormal,
    posteriors.CommittedRateNormal,
    posteriors.Laplace,
    posteriors.LowRankNormal,
    posteriors.Householder,
)


def advise(parts: Mapping[str, Any]) -> list[str]:
    r"""Says what limits a model and what to try, what may gain most first.

    Arguments:
        parts: The fields of a :class:`Diagnosis`, ``classical`` datum by datum, and the ``vae``
            that it is about.
    """
    found: list[tuple[float, str]] = [
        *_against_classical(parts),
        *_from_training(parts),
        *_from_gaps(parts),
        *_from_latents(parts),
        *_from_calibration(parts),
    ]
    ordered = [sentence for _, sentence in sorted(found, key=lambda pair: -pair[0])]
    return ordered or [
        "Nothing stands out. Gains are left in the likelihood and in larger networks."
    ]


def _against_classical(parts: Mapping[str, Any]) -> list[tuple[float, str]]:
    r"""Models without a network that are better datum by datum, beyond the error of that."""
    found = []
    for name, values in parts["classical"].items():
        ours = parts["estimate"].log_marginal
        gain, error = _mean(values.double().cpu() - ours.double().cpu())
        if gain > Z * error:
            found.append((gain, error, name))
    if not found:
        return []
    gain, error, name = max(found)
    return [
        (
            gain + 100,
            f"A model without a network ({name}) is better by {gain:.2f} +- {error:.2f} nats: "
            "train longer, or look for a fault in data, scale or likelihood.",
        )
    ]


def _from_training(parts: Mapping[str, Any]) -> list[tuple[float, str]]:
    gap, error = parts["train_gap"]
    if not _overfits(parts):
        return []
    ledger, trained = parts["ledger"], parts["train_ledger"]
    smaller = "smaller networks"
    if ledger is not None and _lags(ledger):  # what is said of the encoder is said below
        smaller = "a smaller decoder" if trained is not None else smaller
    return [
        (
            gap,
            f"Training data are better by {gap:.2f} +- {error:.2f} nats (ELBO): it overfits. Stop "
            f"early (train.patience), take {smaller}, or more data.",
        )
    ]


def _overfits(parts: Mapping[str, Any]) -> bool:
    gap, error = parts["train_gap"]
    return bool(gap > max(WORTH, Z * error))


def _lags(ledger: Any) -> bool:
    r"""Whether the encoder loses more than the error of that."""
    lost = float(ledger.amortization.mean())
    return bool(lost > max(WORTH, Z * ledger.error(ledger.amortization)))


def _from_gaps(parts: Mapping[str, Any]) -> list[tuple[float, str]]:
    ledger, trained = parts["ledger"], parts["train_ledger"]
    if ledger is None or "own" not in ledger.optima:
        return []
    found = []
    lost, error = float(ledger.amortization.mean()), ledger.error(ledger.amortization)
    if _lags(ledger):
        sentence = (
            f"The encoder loses {lost:.2f} +- {error:.2f} nats of the ELBO against the best "
            "member of its own family (amortization gap): "
        )
        seen, other = lost, error
        if trained is not None:
            seen = float(trained.amortization.mean())
            other = trained.error(trained.amortization)
        if lost - seen > max(WORTH, Z * sqrt(error**2 + other**2)):
            sentence += (
                f"on training data it loses {seen:.2f}, so it overfits. Take a smaller encoder, "
                "more data, or stop early (train.patience)."
            )
        elif _overfits(parts):
            sentence += (
                f"on training data it loses as much ({seen:.2f}), so it is not the encoder that "
                "overfits. Train it more often than the decoder."
            )
        else:
            sentence += "take a larger encoder, or train it more often than the decoder."
        found.append((lost, sentence))
    lost, error = float(ledger.approximation.mean()), ledger.error(ledger.approximation)
    if lost > max(WORTH, Z * error):
        (_, own), *others = ledger.optima.items()
        gains = [(name, *_mean(bound - own)) for name, bound in others]
        gains = [gain for gain in gains if gain[1] > max(WORTH, Z * gain[2])]
        gain = ""
        if gains:
            name, back, se = max(gains, key=lambda g: g[1])
            gain = f"; {name} would win back {back:.2f} +- {se:.2f} of them"
        tried = any(name == "full-covariance" for name, _ in others)
        won = any(name == "full-covariance" for name, *_ in gains)
        kinds = posteriors_for(parts["vae"], full_covariance=won or not tried)
        remedy = (
            f": take posterior.kind {_listed(kinds)}"
            if kinds
            else (
                ". No richer family of such latent variables is at hand: fewer of them, or "
                "others, would depend less on each other"
            )
        )
        found.append(
            (
                lost,
                f"The family of the posterior loses {lost:.2f} +- {error:.2f} nats of the ELBO "
                f"(approximation gap){gain}{remedy}.",
            )
        )
    return found


def posteriors_for(vae: Any, full_covariance: bool = True) -> list[str]:
    r"""Richer families than the posterior's that go with the prior.

    Arguments:
        vae: The VAE.
        full_covariance: Whether one may help: not where its best member has shown that it does
            not.
    """
    if not _is_real(vae):
        return []
    kinds = {"iaf": posteriors.IAF, "sylvester": posteriors.Sylvester}
    if full_covariance and isinstance(vae.posterior, SIMPLE):
        kinds = {"full-covariance-normal": posteriors.FullCovarianceNormal, **kinds}
    return [kind for kind, cls in kinds.items() if not isinstance(vae.posterior, cls)]


def priors_for(vae: Any) -> list[str]:
    r"""Learned priors that go with the posterior, and are not the one in use."""
    if not _is_real(vae):
        return []
    kinds = {
        "vamp": priors.Vamp,
        "gaussian-mixture": priors.GaussianMixture,
        "flow": priors.Flow,
    }
    if vae.posterior.density != "anywhere" or vae.posterior.index:
        kinds.pop("vamp")
    return [kind for kind, cls in kinds.items() if not isinstance(vae.prior, cls)]


def _is_real(vae: Any) -> bool:
    return all(same(part.support, constraints.real) for part in (vae.prior, vae.posterior))


def _listed(kinds: list[str]) -> str:
    return " or ".join(filter(None, [", ".join(kinds[:-1]), kinds[-1]]))


def _mean(values: Tensor) -> tuple[float, float]:
    error = float(values.std()) / len(values) ** 0.5 if len(values) > 1 else float("inf")
    return float(values.mean()), error


def _from_latents(parts: Mapping[str, Any]) -> list[tuple[float, str]]:
    activity, told, ledger = parts["activity"], parts["information"], parts["ledger"]
    active, units = int((activity > ACTIVE).sum()), len(activity)
    found = []
    if active == 0:
        lag = ledger is not None and _lags(ledger)
        cause = (
            "The encoder lags behind (its amortization gap is large): train it several times a "
            "step until the rate rises."
            if lag
            else "The decoder does without z: warm the KL term up (train.kl_warmup_epochs), set "
            "free bits (train.free_bits), lower train.kl_weight, or take a weaker decoder."
        )
        found.append((1000.0, f"No latent unit is active: the posterior has collapsed. {cause}"))
    elif active < units / 2:
        found.append(
            (
                0.0,
                f"{active} of {units} latent units are active; the others cost nothing and say "
                "nothing. A latent_dim nearer to that trains as well.",
            )
        )
    worthy = told is not None and (told.saturated or float(told.marginal_kl) > WORTH)
    if told is not None and float(told.holes) > HOLES and worthy:
        gain = WORTH if told.saturated else float(told.marginal_kl)
        worth = "" if told.saturated else f" and differs from it by {gain:.2f} nats"
        kinds = priors_for(parts["vae"])
        remedy = f": a learned prior (prior.kind {_listed(kinds)}) fits it better" if kinds else ""
        found.append(
            (
                gain,
                f"{float(told.holes):.0%} of the prior lies where the aggregate posterior is not"
                f"{worth}{remedy}.",
            )
        )
    return found


def _from_calibration(parts: Mapping[str, Any]) -> list[tuple[float, str]]:
    calibration = parts["calibration"]
    if calibration is None or calibration.p_value > 1e-3:
        return []
    covered = float(calibration.coverage(0.5).mean())
    what = f"({calibration.p}, by {calibration.worst})"
    blind = float(calibration.contraction.nan_to_num().max()) < 0.05
    if blind:
        sentence = f"On simulated data the posterior tells nothing that the prior does not {what}."
    elif 0.48 <= covered <= 0.52:
        sentence = f"On simulated data the posterior is off {what}."
    else:
        shape = "too narrow" if covered < 0.48 else "too wide"
        sentence = (
            f"On simulated data the posterior is {shape}: its 50 % intervals hold the truth "
            f"{covered:.0%} of the time {what}."
        )
    return [(0.1, sentence)]
