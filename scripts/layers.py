"""Which layers of a hierarchy live, and what are they worth? Cures on digits or MNIST as bits.

    python scripts/layers.py                             # two and five layers, digits
    python scripts/layers.py --data mnist --layers 2 --passes 1

MNIST is searched for in PYRO_VAE_DATA, then downloaded.
"""

import argparse
from functools import partial
from typing import Any

import torch

import pyro_vae as pv
from pyro_vae.evaluate import Mean, rank, rate_distortion, site_activities

N, MLP, Net = pv.posteriors.MeanFieldNormal, pv.nn.MLP, pv.Net
SHAPES = {"digits": (1, 8, 8), "mnist": (1, 28, 28)}
SIZES = {"digits": (32, 16, 8, 4, 2), "mnist": (64, 32, 16, 8, 4)}
WIDTHS = {"digits": (128, 64, 64, 32, 32), "mnist": (200, 100, 100, 50, 50)}


def hierarchy(data: str, layers: int, guide: str) -> pv.VAE:
    """p(x | z1) p(z1 | z2) ..., with a guide that goes up, or comes down as a ladder."""
    shape, sizes, widths = SHAPES[data], SIZES[data][:layers], WIDTHS[data][:layers]
    prior: dict[str, Any] = {f"z{layers}": pv.priors.StandardNormal(sizes[-1])}
    for i in reversed(range(1, layers)):
        net = MLP(sizes[i], [widths[i]], 2 * sizes[i - 1])
        prior[f"z{i}"] = N(net).given(f"z{i + 1}")
    decoder = MLP(sizes[0], [widths[0]], shape)
    likelihood = pv.likelihoods.Bernoulli(decoder, event_dim=3).given("z1")
    posterior: dict[str, Any] = {}
    if guide == "up":
        for i, before in enumerate([shape, *sizes[:-1]]):
            factor = N(MLP(before, [widths[i]], 2 * sizes[i]))
            posterior[f"z{i + 1}"] = factor.given(f"z{i}" if i else "x")
    else:
        for i, before in enumerate([shape, *widths[:-1]]):
            net = MLP(before, [widths[i]], widths[i])
            posterior[f"h{i + 1}"] = Net(net).given(f"h{i}" if i else "x")
        posterior[f"z{layers}"] = N(MLP(widths[-1], [], 2 * sizes[-1])).given(f"h{layers}")
        for i in reversed(range(1, layers)):
            evidence = MLP(widths[i - 1], [], 2 * sizes[i - 1])
            factor = pv.posteriors.Corrected(evidence, prior[f"z{i}"])
            posterior[f"z{i}"] = factor.given(f"h{i}", f"z{i + 1}")
    return pv.VAE(pv.Sites(prior), likelihood, pv.Sites(posterior))


def ways_of(epochs: int) -> dict[str, tuple[str, dict[str, Any]]]:
    """The guide of each contender, and its settings of training."""
    warm, free = {"kl_warmup_epochs": epochs / 2}, {"free_bits": 1.0, "free_bits_per": "site"}
    up = {"plain": ("up", {}), "warm-up": ("up", warm), "free bits": ("up", free)}
    return {**up, "ladder": ("ladder", {}), "ladder, warm-up": ("ladder", warm)}


def share(vae: pv.VAE, rows: int = 200, draws: int = 20) -> float:
    """How much of the variance of E[x | z1] the layers above z1 decide."""
    x = pv.views.sample_held(vae, ["z2"], rows, draws).x
    within = x.var(1).mean()
    between = x.mean(1).var(0).mean() - within / draws  # less what the draws leave
    return float(between / (between + within))


def measured(vae: pv.VAE, data: Any) -> tuple[dict[str, float], dict[str, float], float, float]:
    """KL terms and active units by layer, the share, and the ELBO."""
    rates = rate_distortion(vae, data.test, 10)
    terms = {site: float(rate) for site, rate in rates.by_site.items()}
    active = site_activities(vae, data.train)
    units = {site: float((active[site] > 0.01).sum()) for site in terms}
    return terms, units, share(vae), -float(rates.rate + rates.distortion)


def over_seeds(values: list[float], digits: int) -> str:
    mean = Mean.of(torch.tensor(values))
    return f"{mean:.{digits}f} +- {mean.se:.{digits}f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", choices=[*SIZES], default="digits")
    parser.add_argument("--layers", type=int, nargs="+", default=[2, 5])
    parser.add_argument("--ways", nargs="+", help="some of the contenders")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--passes", type=int, default=8, help="passes over the data in an epoch")
    args = parser.parse_args()
    data = pv.data.digits(binarize="dynamic") if args.data == "digits" else pv.data.mnist()
    train = data.train.take(torch.arange(len(data.train)).repeat(args.passes))  # bits drawn anew
    settings = {"epochs": args.epochs, "lr": 5e-3, "schedule": "cosine", "progress": False}
    for layers in args.layers:
        logs = {}
        print(f"| {layers} layers | KL term, nats | active units | share of z2 | test ELBO |")
        print("|---|---|---|---|---|", flush=True)
        for name, (guide, way) in ways_of(args.epochs).items():
            if args.ways and name not in args.ways:
                continue
            make = partial(hierarchy, args.data, layers, guide)
            models = pv.fit_many(make, train, seeds=range(args.seeds), **settings, **way)
            terms, units, shares, bounds = zip(*(measured(m.vae, data) for m in models))
            evidence = [pv.log_marginal(m.vae, data.test, 100).log_marginal for m in models]
            logs[name] = torch.stack(evidence)
            sites = [f"z{i + 1}" for i in range(layers)]
            both = (
                ", ".join(f"{s} {over_seeds([row[s] for row in rows], 1)}" for s in sites)
                for rows in (terms, units)
            )
            cells = [*both, over_seeds([*shares], 2), over_seeds([*bounds], 2)]
            print(f"| {name} | {' | '.join(cells)} |", flush=True)
        for row in rank(logs):
            mean, se = row["log_marginal"], row["log_marginal_se"]
            line = f"{row['setting']:16s}log p(x) {mean:.2f} +- {se:.2f} nats per datum"
            if best := row.get("to_best"):
                line += f"; to the best {best['difference']:.2f} +- {best['difference_se']:.2f}"
            print(line)


if __name__ == "__main__":
    main()
