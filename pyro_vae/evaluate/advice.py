r"""From figures to what to try, in words."""

from collections.abc import Mapping
from typing import Any

from .collapse import ACTIVE

HOLES = 0.03  # 0.01 is what two equal distributions have
WORTH = 0.5  # nats per datum; less is not worth a change
Z = 3.0


def advise(parts: Mapping[str, Any]) -> list[str]:
    r"""Says what limits a model and what to try, what may gain most first.

    Arguments:
        parts: The fields of a :class:`Diagnosis`.
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
    log_p = parts["figures"]["log_marginal"]
    better = {name: value for name, value in parts["classical"].items() if value >= log_p}
    if not better:
        return []
    name = max(better, key=lambda n: better[n])
    gain = better[name] - log_p
    return [
        (
            gain + 100,
            f"A model without a network ({name}) is better by {gain:.2f} nats: train longer, or "
            "look for a fault in data, scale or likelihood.",
        )
    ]


def _from_training(parts: Mapping[str, Any]) -> list[tuple[float, str]]:
    gap, error = parts["train_gap"]
    if gap < max(WORTH, Z * error):
        return []
    return [
        (
            gap,
            f"Training data are better by {gap:.2f} +- {error:.2f} nats (ELBO): it overfits. Stop "
            "early (train.patience), take smaller networks, or more data.",
        )
    ]


def _from_gaps(parts: Mapping[str, Any]) -> list[tuple[float, str]]:
    ledger, trained = parts["ledger"], parts["train_ledger"]
    if ledger is None:
        return []
    found = []
    amortization = float(ledger.amortization.mean())
    approximation = float(ledger.approximation.mean())
    if amortization > WORTH:
        sentence = (
            f"The encoder loses {amortization:.2f} nats of the ELBO against the best member of "
            "its own family (amortization gap): take a larger encoder, or train it more often "
            "than the decoder."
        )
        seen = float(trained.amortization.mean()) if trained is not None else amortization
        if amortization - seen > WORTH:
            sentence += f" On training data it loses {seen:.2f}: the encoder overfits."
        found.append((amortization, sentence))
    if approximation > WORTH:
        others = {n: float(v.mean()) for n, v in list(ledger.optima.items())[1:]}
        own = float(next(iter(ledger.optima.values())).mean())
        rich = max(others, key=lambda n: others[n]) if others else ""
        gain = f"; {rich} would win back {others[rich] - own:.2f} of them" if rich else ""
        found.append(
            (
                approximation,
                f"The family of the posterior loses {approximation:.2f} nats of the ELBO "
                f"(approximation gap){gain}: take posterior.kind full-covariance-normal, iaf or "
                "sylvester.",
            )
        )
    return found


def _from_latents(parts: Mapping[str, Any]) -> list[tuple[float, str]]:
    activity, told, ledger = parts["activity"], parts["information"], parts["ledger"]
    active, units = int((activity > ACTIVE).sum()), len(activity)
    found = []
    if active == 0:
        lag = ledger is not None and float(ledger.amortization.mean()) > WORTH
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
    if told is not None and float(told.holes) > HOLES:
        gain = WORTH if told.saturated else float(told.marginal_kl)
        worth = "" if told.saturated else f" and differs from it by {gain:.2f} nats"
        found.append(
            (
                gain,
                f"{float(told.holes):.0%} of the prior lies where the aggregate posterior is not"
                f"{worth}: a learned prior (prior.kind vamp, gaussian-mixture or flow) fits it "
                "better.",
            )
        )
    return found


def _from_calibration(parts: Mapping[str, Any]) -> list[tuple[float, str]]:
    calibration = parts["calibration"]
    if calibration is None or calibration.p_value > 1e-3:
        return []
    covered = float(calibration.coverage(0.5).mean())
    shape = "too narrow" if covered < 0.48 else "too wide" if covered > 0.52 else "off"
    return [
        (
            0.1,
            f"On simulated data the posterior is {shape}: its 50 % intervals hold the truth "
            f"{covered:.0%} of the time (p = {calibration.p_value:.1g}).",
        )
    ]
