"""Does a model of spoken digits say what it is asked to? A classifier listens.

    pyro-vae train fsdd-cvae-labels --out runs/spoken
    python scripts/spoken_digits.py runs/spoken --out digits.wav

The classifier, a network of scikit-learn, is fitted to the log-mel frames of the training clips.
It judges real clips of the test set, samples of the model, and both once more after they have
been sound: Griffin-Lim and back to log-mel frames. The file has three samples of each digit.
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor

import pyro_vae as pv
from pyro_vae.data import log_mel, to_waves, write_wav
from pyro_vae.evaluate import Judge, Mean, judge_of


def heard(judge: Judge, x: Tensor, digit: Tensor) -> Mean:
    """How often the classifier finds the digit."""
    return Mean.of((judge.classes_of(x) == digit).double(), "of the clips")


def as_sound(x: Tensor) -> Tensor:
    """Log-mel levels of what clips sound like."""
    return ((log_mel(to_waves(x)) + 60) / 90).clamp(0, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--num-samples", type=int, default=60, help="samples of each digit")
    parser.add_argument("--out", type=Path, help="a .wav file")
    args = parser.parse_args()
    vae, data = pv.load(args.run), pv.data.fsdd()
    assert data.test is not None and data.test.labels is not None
    judge = judge_of(data.train)
    digit = torch.arange(10).repeat_interleave(args.num_samples)
    drawn = pv.sample(vae, len(digit), y=torch.eye(10)[digit])
    real = data.test.rows(slice(None))
    for name, x, asked in (("real", real, data.test.labels), ("drawn", drawn, digit)):
        print(f"{name} clips      {heard(judge, x, asked)}")
        print(f"{name}, as sound  {heard(judge, as_sound(x), asked)}")
    if args.out is not None:
        write_wav(args.out, to_waves(drawn.unflatten(0, (10, -1))[:, :3].flatten(0, 1)))


if __name__ == "__main__":
    main()
