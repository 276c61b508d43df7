"""Bits per dimension of patches of photographs, beside models without a network.

    pyro-vae train photo-patches --out runs/photo
    python scripts/colour.py runs/photo

All are probabilities of the same whole levels. Probabilistic PCA is a density: its bound is that
of levels with uniform noise of one level added (dequantization). Errors are over the 64x64 blocks
of the photographs that the four patches come from; differences are paired.
"""

import argparse
import math
from pathlib import Path

import torch
from torch import Tensor

import pyro_vae as pv
from pyro_vae.evaluate import Mean
from pyro_vae.gallery.classical import independent_pixels, ppca


def bits(log_p: Tensor, dim: int) -> Tensor:
    """Bits per dimension of each block."""
    return -log_p.double().cpu().unflatten(0, (-1, 4)).mean(1) / (dim * math.log(2))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--latent-dim", type=int, default=64, help="of PCA")
    parser.add_argument("--num-samples", type=int, default=100)
    args = parser.parse_args()
    data = pv.data.photo_patches(range="levels")
    assert data.test is not None
    x = data.test.rows(slice(None)).double()
    generator = torch.Generator().manual_seed(0)
    noisy = x + torch.rand(x.shape, generator=generator, dtype=x.dtype) - 0.5
    vae = pv.load(args.run)
    found = {
        "independent pixels": independent_pixels(data.train, data.test),
        f"PCA, {args.latent_dim}": ppca(data.train, noisy, args.latent_dim),
        "VAE, ELBO": pv.elbo(vae, data.test, 10),
        "VAE, log p(x)": pv.log_marginal(vae, data.test, args.num_samples).log_marginal,
    }
    dim = x[0].numel()
    best = bits(found["VAE, log p(x)"], dim)
    for name, log_p in found.items():
        each = bits(log_p, dim)
        saved = Mean.of(each - best, "")
        print(f"{name:20s} {Mean.of(each, 'bits per dimension')}; to the VAE {saved}")


if __name__ == "__main__":
    main()
