r"""From a diagnosis to what to try, in words."""

from collections.abc import Iterator
from math import hypot
from typing import Any

from torch.distributions import constraints

from .. import posteriors, priors
from ..distributions import same
from ..statistics import Mean
from .collapse import ACTIVE
from .gaps import Ledger

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
Advice = Iterator[tuple[float, str]]
r"""What may be gained, and what to do for it."""


def advise(vae: Any, diagnosis: Any) -> list[str]:
    r"""Says what limits a model and what to try, what may gain most first.

    Arguments:
        vae: The VAE.
        diagnosis: What was found about it.
    """
    found = [
        *_against_classical(diagnosis),
        *_from_training(diagnosis),
        *_from_gaps(vae, diagnosis),
        *_from_latents(vae, diagnosis),
        *_from_calibration(diagnosis),
    ]
    ordered = [sentence for _, sentence in sorted(found, key=lambda pair: -pair[0])]
    return ordered or [
        "Nothing stands out. Gains are left in the likelihood and in larger networks."
    ]


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
    kinds = {"vamp": priors.Vamp, "gaussian-mixture": priors.GaussianMixture, "flow": priors.Flow}
    if vae.posterior.density != "anywhere" or vae.posterior.index:
        kinds.pop("vamp")
    return [kind for kind, cls in kinds.items() if not isinstance(vae.prior, cls)]


# --- What is found ------------------------------------------------------------------------------


def _against_classical(diagnosis: Any) -> Advice:
    r"""Models without a network that are better datum by datum, beyond the error of that."""
    better = {name: gain for name, gain in diagnosis.gains.items() if gain.exceeds(0.0, Z)}
    if better:
        name, gain = max(better.items(), key=lambda item: item[1])
        yield (
            gain + 100,
            f"A model without a network ({name}) is better by {gain:.2f} +- {gain.se:.2f} nats: "
            "train longer, or look for a fault in data, scale or likelihood.",
        )


def _from_training(diagnosis: Any) -> Advice:
    gap = diagnosis.train_gap
    if gap.exceeds(WORTH, Z):
        lags = _lags(diagnosis.ledger) and diagnosis.train_ledger is not None
        smaller = "a smaller decoder" if lags else "smaller networks"  # the encoder has its own
        yield (
            gap,
            f"Training data are better by {gap:.2f} +- {gap.se:.2f} nats (ELBO): it overfits. "
            f"Stop early (train.patience), take {smaller}, or more data.",
        )


def _lags(ledger: Ledger | None) -> bool:
    r"""Whether the encoder loses more than the error of that."""
    return ledger is not None and ledger.mean(ledger.amortization).exceeds(WORTH, Z)


def _from_gaps(vae: Any, diagnosis: Any) -> Advice:
    ledger = diagnosis.ledger
    if ledger is None or "own" not in ledger.optima:
        return
    lost = ledger.mean(ledger.amortization)
    if _lags(ledger):
        yield (
            lost,
            f"The encoder loses {lost:.2f} +- {lost.se:.2f} nats of the ELBO against the best "
            f"member of its own family (amortization gap): {_for_encoder(lost, diagnosis)}",
        )
    lost = ledger.mean(ledger.approximation)
    if lost.exceeds(WORTH, Z):
        (_, own), *others = ledger.optima.items()
        gains = {name: Mean.of(bound - own) for name, bound in others}
        gains = {name: gain for name, gain in gains.items() if gain.exceeds(WORTH, Z)}
        won = ""
        if gains:
            name, back = max(gains.items(), key=lambda item: item[1])
            won = f"; {name} would win back {back:.2f} +- {back.se:.2f} of them"
        full = "full-covariance"
        kinds = posteriors_for(vae, full_covariance=full in gains or full not in dict(others))
        remedy = (
            f": take posterior.kind {_listed(kinds)}"
            if kinds
            else ". No richer family of such latent variables is at hand: fewer of them, or "
            "others, would depend less on each other"
        )
        yield (
            lost,
            f"The family of the posterior loses {lost:.2f} +- {lost.se:.2f} nats of the ELBO "
            f"(approximation gap){won}{remedy}.",
        )


def _for_encoder(lost: Mean, diagnosis: Any) -> str:
    r"""What to do about an encoder that loses, on training data as well or on new ones alone."""
    trained = diagnosis.train_ledger
    seen = lost if trained is None else trained.mean(trained.amortization)
    if Mean(lost - seen, hypot(lost.se, seen.se)).exceeds(WORTH, Z):
        return (
            f"on training data it loses {seen:.2f}, so it overfits. Use a smaller encoder, more "
            "data, or stop early (train.patience)."
        )
    if diagnosis.train_gap.exceeds(WORTH, Z):
        return (
            f"on training data it loses as much ({seen:.2f}), so it is not the encoder that "
            "overfits. Train it more often than the decoder."
        )
    return "take a larger encoder, or train it more often than the decoder."


def _from_latents(vae: Any, diagnosis: Any) -> Advice:
    activity, info = diagnosis.activity, diagnosis.information
    active, units = int((activity > ACTIVE).sum()), len(activity)
    if active == 0:
        cause = (
            "The encoder lags behind (its amortization gap is large): train it several times a "
            "step until the rate rises."
            if _lags(diagnosis.ledger)
            else "The decoder does without z: warm the KL term up (train.kl_warmup_epochs), set "
            "free bits (train.free_bits), lower train.kl_weight, or take a weaker decoder."
        )
        yield 1000.0, f"No latent unit is active: the posterior has collapsed. {cause}"
    elif active < units / 2:
        yield (
            0.0,
            f"{active} of {units} latent units are active; the others cost nothing and say "
            "nothing. A latent_dim nearer to that trains as well.",
        )
    worthy = info is not None and (info.saturated or float(info.marginal_kl) > WORTH)
    if info is not None and float(info.holes) > HOLES and worthy:
        gain = WORTH if info.saturated else float(info.marginal_kl)
        worth = "" if info.saturated else f" and differs from it by {gain:.2f} nats"
        kinds = priors_for(vae)
        remedy = f": a learned prior (prior.kind {_listed(kinds)}) fits it better" if kinds else ""
        yield (
            gain,
            f"{float(info.holes):.0%} of the prior lies where the aggregate posterior is not"
            f"{worth}{remedy}.",
        )


def _from_calibration(diagnosis: Any) -> Advice:
    calibration = diagnosis.calibration
    if calibration is None or calibration.p_value > 1e-3:
        return
    covered = float(calibration.coverage(0.5).mean())
    what = f"({calibration.p}, by {calibration.worst})"
    if float(calibration.contraction.nan_to_num().max()) < 0.05:
        info = f"tells nothing that the prior does not {what}"
    elif 0.48 <= covered <= 0.52:
        info = f"is off {what}"
    else:
        info = (
            f"is too {'narrow' if covered < 0.48 else 'wide'}: its 50 % intervals hold the truth "
            f"{covered:.0%} of the time {what}"
        )
    yield 0.1, f"On simulated data the posterior {info}."


def _is_real(vae: Any) -> bool:
    return all(same(part.support, constraints.real) for part in (vae.prior, vae.posterior))


def _listed(kinds: list[str]) -> str:
    return " or ".join(filter(None, [", ".join(kinds[:-1]), kinds[-1]]))
