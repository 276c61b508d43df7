"""Which modes of a ring of 8 and a grid of 25 Gaussians do generative models reach?

    python scripts/mode_coverage.py
    python scripts/mode_coverage.py --data ring --models gan flow --seeds 1 --effort 4

Each model is trained on 3000 rows and draws 2500 samples. A mode is covered if a tenth of its fair
share of samples lies within three standard deviations. It prints a line for each training, then
means and standard deviations over seeds. `--effort 4` trains four times as long.
"""

import argparse
import time

import torch

import pyro_vae as pv
from pyro_vae.data import Dataset, centres_of
from pyro_vae.evaluate import log_marginal, mode_coverage
from pyro_vae.gallery import GAN, Diffusion, NormalizingFlow

MLP, SAMPLES = pv.nn.MLP, 2500


def vae(scale):
    posterior = pv.posteriors.MeanFieldNormal(MLP(2, [64, 64], 4, "SiLU", scale=scale))
    return pv.VAE(
        pv.priors.StandardNormal(2),
        pv.likelihoods.Gaussian(MLP(2, [64, 64], 2, "SiLU"), "fixed", 0.05),  # else z is ignored
        posterior,
    )


def gan(scale):
    return GAN((2,), 8, (64, 64), penalty=0.02, activation="LeakyReLU", x_scale=scale)


def diffusion(scale):
    return Diffusion((2,), x_scale=scale)


def flow(scale):
    return NormalizingFlow((2,), 2, (64, 64), num_bins=16, x_scale=scale)


SLOWER = {"schedule": "cosine", "progress": False}
MODELS = {
    "vae": (vae, {"epochs": 100, "batch_size": 250, "lr": 4e-3, "compile": "no"}),
    "flow": (flow, {"epochs": 50, "batch_size": 250, "lr": 4e-3}),
    "diffusion": (diffusion, {"epochs": 125, "batch_size": 250, "lr": 2e-3}),
    "gan": (
        gan,
        {"epochs": 100, "batch_size": 64, "lr": 1e-3, "optimizer_options": {"betas": (0.5, 0.99)}},
    ),
}


def trained(name: str, data: Dataset, seed: int, effort: float):
    make, settings = MODELS[name]
    settings = {**settings, "epochs": max(1, round(effort * settings["epochs"]))}
    torch.manual_seed(seed)
    model = make(float(data.train.stored.std()))
    pv.fit(model, data.train, seed=seed, **SLOWER, **settings)
    return model


def measured(name: str, data: Dataset, seed: int, effort: float = 1.0) -> dict[str, float]:
    """Modes, shares and, where there is one, log p(x) of test data, of one training."""
    start = time.process_time()
    model = trained(name, data, seed, effort)
    seconds = time.process_time() - start
    torch.manual_seed(seed)
    test = data.test.rows(slice(None))
    log_p = float("nan")
    if name == "vae":
        x = pv.sample(model, SAMPLES, seed=seed)
        log_p = float(log_marginal(model, test, 500).log_marginal.mean())
    else:
        x = model.sample(SAMPLES)
        if model.density != "none":
            with torch.no_grad():
                log_p = float(model.log_prob(test).mean())
    found = mode_coverage(x, centres_of(data.config), data.config.sigma)
    return {
        "covered": found.covered,
        "near": float(found.near),
        "divergence": float(found.divergence),
        "log p(x)": log_p,
        "CPU s": seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Counts the modes that models reach.")
    parser.add_argument("--data", nargs="+", choices=("ring", "grid"), default=["ring", "grid"])
    parser.add_argument("--models", nargs="+", choices=MODELS, default=[*MODELS])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--effort", type=float, default=1.0, help="times the epochs")
    args = parser.parse_args()
    torch.set_num_threads(1)
    for kind in args.data:
        data = pv.data.load(kind, quiet=True)
        for name in args.models:
            rows = []
            for seed in range(args.seeds):
                rows.append(measured(name, data, seed, args.effort))
                shown = ", ".join(f"{key} {value:.3f}" for key, value in rows[-1].items())
                print(f"{kind:5s} {name:10s} seed {seed}: {shown}", flush=True)
            columns = {key: torch.tensor([float(row[key]) for row in rows]) for key in rows[0]}
            shown = ", ".join(f"{k} {v.mean():.3f} +- {v.std():.3f}" for k, v in columns.items())
            print(f"{kind:5s} {name:10s} {args.seeds} seeds: {shown}", flush=True)


if __name__ == "__main__":
    main()
