"""What sequences cost without a deep model: independent steps, and a linear state space.

    python scripts/sequence_baselines.py --data jsb-chorales
    python scripts/sequence_baselines.py --data fsdd --latent-dim 16 --steps 1000

Independent steps have the mean of each bit, or mean and variance of each element, over all
training steps. The linear state space z_t = A z_{t-1} + noise, x_t = C z_t + noise is fitted by
the gradient of its exact log p(x), which the Kalman filter has. All numbers are nats per step of
the test set.
"""

import argparse
import math

import torch
from torch import Tensor, nn

import pyro_vae as pv
from pyro_vae.statistics import Mean


class StateSpace(nn.Module):
    """A linear state space with Gaussian noise: states have noise of unit variance."""

    def __init__(self, latent_dim: int, size: int) -> None:
        super().__init__()
        self.a = nn.Parameter(0.9 * torch.eye(latent_dim))
        self.c = nn.Parameter(0.1 * torch.randn(size, latent_dim))
        self.shift, self.log_noise = (
            nn.Parameter(torch.zeros(size)),
            nn.Parameter(torch.zeros(size)),
        )
        self.start = nn.Parameter(torch.zeros(latent_dim))
        self.spread = nn.Parameter(torch.eye(latent_dim))  # of the first state

    def forward(self, x: Tensor) -> Tensor:
        """log p(x) of sequences of shape (N, T, D) without holes, by the Kalman filter."""
        eye, total = torch.eye(len(self.a)), torch.zeros(len(x))
        mean, cov = self.start.expand(len(x), -1), self.spread @ self.spread.T
        for t in range(x.shape[1]):
            if t:
                mean, cov = mean @ self.a.T, self.a @ cov @ self.a.T + eye
            seen = self.c @ cov @ self.c.T + (2 * self.log_noise).exp().diag()
            factor = torch.linalg.cholesky(seen)
            error = x[:, t] - self.shift - mean @ self.c.T
            white = torch.linalg.solve_triangular(factor, error.T, upper=False)
            total = total - white.square().sum(0) / 2 - factor.diagonal().log().sum()
            gain = torch.cholesky_solve(self.c @ cov, factor)
            mean, cov = mean + error @ gain, cov - (self.c @ cov).T @ gain
        return total - x[0].numel() * math.log(2 * math.pi) / 2


def independent(train: Tensor, test: Tensor, bits: bool) -> Tensor:
    """log p(x) of each sequence where all elements are independent of each other."""
    rows = train.flatten(0, 1)
    rows = rows[~rows.isnan().any(-1)]
    if bits:
        law = torch.distributions.Bernoulli((rows.sum(0) + 1) / (len(rows) + 2))
    else:
        law = torch.distributions.Normal(rows.mean(0), rows.std(0))
    parts = law.log_prob(test.nan_to_num())
    return torch.where(test.isnan(), 0.0, parts).sum((1, 2))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", choices=["jsb-chorales", "fsdd"], default="jsb-chorales")
    parser.add_argument("--latent-dim", type=int, default=16)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--rows", type=int, help="training sequences, by default all")
    args = parser.parse_args()
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    data = pv.data.load(args.data)
    assert data.test is not None
    train, test = (split.rows(slice(None)) for split in (data.train, data.test))
    train = train[: args.rows]
    lengths = (~test.isnan()).any(-1).sum(-1)
    bits = args.data == "jsb-chorales"
    alone = Mean.ratio(independent(train, test, bits), lengths, "nats per step")
    print(f"independent steps       {alone}")
    if bits:
        return
    shift, unit = train.mean((0, 1)), train.std((0, 1))
    model = StateSpace(args.latent_dim, train.shape[2])
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, args.steps)
    for _ in range(args.steps):
        optimizer.zero_grad()
        loss = -model((train - shift) / unit).mean()
        loss.backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        values = model((test - shift) / unit) - test.shape[1] * unit.log().sum()
    print(
        f"linear state space, {args.latent_dim:<3d} {Mean.ratio(values, lengths, 'nats per step')}"
    )


if __name__ == "__main__":
    main()
