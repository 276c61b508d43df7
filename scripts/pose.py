"""Is the pose of an image one latent variable, and the content free of it?

    python scripts/pose.py                                  # MNIST, in PYRO_VAE_DATA or downloaded
    python scripts/pose.py --data digits --rows 1300 --epochs 100 --out pose.png

Two VAEs are trained on the same turned and shifted images: a recipe with a latent pose, and its
plain twin, whose networks and number of latent features are the same. Then images that are upright
are turned by known angles: how much do the features move? And logistic regression tells the digit
from what each VAE keeps of it. Errors are those of means over test images.
"""

import argparse
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

import pyro_vae as pv
from pyro_vae.config import override, read_recipe, validate
from pyro_vae.data import Split
from pyro_vae.evaluate import Mean, encode_sites
from pyro_vae.nn import moved

ANGLES = torch.arange(-40, 41, 10)


def recipes(data: str) -> dict[str, Any]:
    """The recipe with a pose, and the plain one."""
    posed = read_recipe(f"{data}-posed")
    plain = {k: v for k, v in posed.items() if k != "prior"}
    likelihood = {k: v for k, v in posed["likelihood"].items() if k != "given"}
    plain["likelihood"] = {**likelihood, "decoder": likelihood["decoder"]["net"]}
    plain["posterior"] = posed["posterior"]["pose"]
    plain["latent_dim"] = 3 + posed["prior"]["z"]["latent_dim"]
    return {"posed": posed, "plain": plain}


def turned(vae: pv.VAE, upright: Split, degrees: float) -> dict[str, Tensor]:
    """E[z | x] of every site, of images turned by an angle."""
    pose = torch.tensor([math.radians(degrees), 0.0, 0.0]).expand(len(upright), 3)
    x = moved(upright.stored.float(), pose, "zeros").round().to(upright.stored.dtype)
    return {name: law.loc for name, law in encode_sites(vae, replace(upright, stored=x)).items()}


def moves(vae: pv.VAE, upright: Split) -> dict[str, Any]:
    """What turning does to the features: change of the angle in degrees, of the shift in pixels,
    and of the others, squared, in units of the distance between two images."""
    at = [turned(vae, upright, float(a)) for a in ANGLES]
    zero = at[len(at) // 2]
    found: dict[str, Any] = {}
    if "pose" in zero:
        change = torch.stack([p["pose"] - zero["pose"] for p in at], 1)
        found["angle"] = change[..., 0].rad2deg()
        found["shift"] = change[..., 1:].square().mean(2).sqrt()
    content = torch.stack([p["z"] - zero["z"] for p in at], 1).square().sum(2)
    between = 2 * zero["z"].var(0).sum()
    found["content"] = content / between
    return found


def slopes(change: Tensor) -> Tensor:
    """The slope of each image's change in its angle, by least squares."""
    a = ANGLES.to(change)
    return (change * a).sum(1) / a.square().sum()


def accuracy(vae: pv.VAE, train: Split, test: Split) -> Tensor:
    """Whether logistic regression on E[z | x] finds the digit, for each test image."""
    rows = [encode_sites(vae, split)["z"].loc.double().numpy() for split in (train, test)]
    judge = LogisticRegression(max_iter=500).fit(rows[0], train.labels.numpy())
    return torch.from_numpy(judge.predict(rows[1]) == test.labels.numpy()).double()


def picture(found: dict[str, dict[str, Any]], out: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    angle = found["posed"]["angle"]
    left.plot(ANGLES, ANGLES, color="0.7", label="slope 1")
    left.errorbar(
        ANGLES, angle.mean(0), angle.std(0), fmt="o", label="mean and spread over images"
    )
    left.set(xlabel="the image is turned by (degrees)", ylabel="its latent angle moves by")
    left.legend(frameon=False)
    for name, values in found.items():
        mean, spread = values["content"].mean(0), values["content"].std(0)
        right.errorbar(ANGLES, mean, spread / len(angle) ** 0.5, fmt="o-", label=name)
    right.set(xlabel="the image is turned by (degrees)", ylim=(0, None))
    right.set_ylabel("squared move of the content\n(1: another image)")
    right.legend(frameon=False)
    figure.savefig(out, dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", choices=["mnist", "digits"], default="mnist")
    parser.add_argument("--rows", type=int, default=20_000, help="training images")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--out", type=Path, help="a file for the picture")
    args = parser.parse_args()
    found, right = {}, {}
    for name, values in recipes(args.data).items():
        warm = {"train.epochs": args.epochs, "train.kl-warmup-epochs": args.epochs / 4}
        recipe = validate(override(values, warm))
        data = pv.data.load(recipe.data)
        train, test = data.train.take(slice(0, args.rows)), data.test
        assert test is not None
        vae = pv.build_vae(recipe, train.x_shape, train.scale, train)
        settings = {k: v for k, v in recipe.train.model_dump().items() if k != "epochs"}
        pv.fit(vae, train, epochs=args.epochs, progress=False, **settings)
        bound = Mean.of(pv.elbo(vae, test))
        still = pv.data.load(recipe.data.model_copy(update={"rotate": 0.0, "shift": 0.0}))
        assert still.test is not None
        found[name] = moves(vae, still.test.take(slice(0, 1000)))
        right[name] = accuracy(vae, train, test)
        print(f"{name}: test ELBO {bound}, digit found {Mean.of(right[name], '')}")
    angle = found["posed"]["angle"]
    slope = Mean.of(slopes(angle), "degrees per degree")
    residual = (angle - float(slope) * ANGLES).square().mean().sqrt()
    print(f"slope of the latent angle {slope}; residual {float(residual):.2f} degrees")
    print(f"the shift moves by {float(found['posed']['shift'].mean()):.3f} pixels on average")
    for name, values in found.items():
        share = Mean.of(values["content"].mean(1), "of the distance between images, squared")
        print(f"{name}: the content moves by {share}")
    print(f"content tells the digit better by {Mean.of(right['posed'] - right['plain'], '')}")
    if args.out is not None:
        picture(found, args.out)


if __name__ == "__main__":
    np.seterr(all="ignore")
    main()
