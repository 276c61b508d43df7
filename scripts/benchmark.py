"""What a training step costs: ours against stock Pyro, hand-written PyTorch, NumPyro and pythae.

    pip install -e '.[bench]'                         # the other contenders
    python scripts/benchmark.py steps                 # all workloads, ten minutes on two cores
    python scripts/benchmark.py steps --workloads digits mnist --rounds 9
    python scripts/benchmark.py epochs                # with data loading, and time to a target
    python scripts/benchmark.py evaluate              # log p(x) at 5000 samples, and its floor
    python scripts/benchmark.py scaling               # by batch size, latent size, particles

All contenders of a workload run in one process, in turns, on the same random bits, with the same
architecture, batch, Adam and float32. Each number is the median over the rounds, with the lowest
and the highest; ratios are ratios of medians. The floor is the step's matrix products, by the
faster of two libraries, and PyTorch's fused Adam. Run nothing else on the machine meanwhile.
"""

import argparse
import contextlib
import io
import json
import math
import platform
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyro
import pyro.distributions as dist
import torch
import torch.nn.functional as F
from pyro.infer import SVI, JitTrace_ELBO, Trace_ELBO, TraceGraph_ELBO
from torch import nn

import pyro_vae as pv

LR = 1e-3


@dataclass(frozen=True)
class Workload:
    """A VAE and the size of its step."""

    name: str
    x_shape: tuple = (784,)
    hidden: int = 400
    latent_dim: int = 50
    batch_size: int = 128
    kind: str = "mlp"
    particles: int = 1
    steps: int = 40

    def data(self, rows: int = 0) -> torch.Tensor:
        generator = torch.Generator().manual_seed(0)
        return (
            torch.rand(rows or self.batch_size, *self.x_shape, generator=generator) < 0.4
        ).float()

    def vae(self) -> pv.VAE:
        """The VAE, with the same parameters every time."""
        torch.manual_seed(0)
        x, h, z = self.x_shape, self.hidden, self.latent_dim
        bits, outputs = self.kind == "bits", z if self.kind == "bits" else 2 * z
        if self.kind == "conv":
            encoder, decoder = pv.nn.ConvEncoder(x, outputs), pv.nn.ConvDecoder(z, x)
        else:
            outputs = outputs + 32 if self.kind == "iaf" else outputs
            network = gated if self.kind == "vamp" else pv.nn.MLP
            sizes = [300, 300] if self.kind == "vamp" else [h]
            encoder, decoder = network(x, sizes, outputs), network(z, sizes, x)
        if bits:
            posterior, prior = pv.posteriors.Bernoulli(encoder), pv.priors.Bernoulli(z)
        elif self.kind == "iaf":
            posterior, prior = pv.posteriors.IAF(encoder, z), pv.priors.StandardNormal(z)
        else:
            posterior, prior = pv.posteriors.MeanFieldNormal(encoder), pv.priors.StandardNormal(z)
        if self.kind == "vamp":
            prior = pv.priors.Vamp(posterior, self.data(500))
        return pv.VAE(prior, pv.likelihoods.Bernoulli(decoder, event_dim=len(x)), posterior)

    def loss(self):
        """Pyro's loss, or ours where Pyro has no correct one."""
        if self.kind == "bits":
            return TraceGraph_ELBO()
        return pv.objectives.IWAE(self.particles) if self.particles > 1 else Trace_ELBO()


class Gated(nn.Module):
    """A layer whose outputs are multiplied by gates, as in the VampPrior's paper."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.values, self.gates = nn.Linear(inputs, outputs), nn.Linear(inputs, outputs)

    def forward(self, x):
        return self.values(x) * self.gates(x).sigmoid()


def gated(x, sizes, y):
    first, last = (math.prod(s) if isinstance(s, tuple) else s for s in (x, y))
    widths = [first, *sizes]
    return nn.Sequential(*map(Gated, widths, sizes), nn.Linear(sizes[-1], last))


WORKLOADS = {
    w.name: w
    for w in (
        Workload("digits", (64,), 64, 8, 32, steps=400),
        Workload("mnist"),
        Workload("vamp500", latent_dim=40, batch_size=100, kind="vamp", steps=10),
        Workload("iaf", latent_dim=32, kind="iaf", steps=20),
        Workload("bits", (64,), 64, 8, 32, kind="bits", steps=200),
        Workload("conv", (1, 28, 28), 0, 32, 100, kind="conv", steps=5),
        Workload("iwae50", batch_size=20, particles=50, steps=10),
    )
}


# --- Contenders: each makes a function that takes n steps ----------------------------------------


def with_baseline(w: Workload, vae: pv.VAE):
    """For Bernoulli latents: a guide with a neural baseline, in the form that Pyro expects."""
    if w.kind != "bits":
        return vae.guide
    net = nn.Sequential(nn.Linear(w.x_shape[0], w.hidden), nn.Tanh(), nn.Linear(w.hidden, 1))
    net.append(nn.Flatten(0))

    def guide(x, **kwargs):
        pyro.module(f"baseline{id(vae)}", net)
        baseline = {"nn_baseline": net, "nn_baseline_input": x}
        with pyro.poutine.infer_config(config_fn=lambda site: {"baseline": baseline}):
            return vae.guide(x, **kwargs)

    return guide


def programs(w: Workload, vae: pv.VAE):
    """Model and guide: as in Pyro's own example if the VAE is a plain one, else ours."""
    if w.kind not in ("mlp", "conv") or w.particles > 1:
        return vae.model, with_baseline(w, vae)
    encoder, decoder = vae.posterior.encoder, vae.likelihood.decoder

    def model(x):
        pyro.module(f"decoder{id(vae)}", decoder)
        with pyro.plate("data", len(x)):
            loc = x.new_zeros(len(x), w.latent_dim)
            z = pyro.sample("z", dist.Normal(loc, 1.0).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=decoder(z)).to_event(len(w.x_shape)), obs=x)

    def guide(x):
        pyro.module(f"encoder{id(vae)}", encoder)
        with pyro.plate("data", len(x)):
            loc, log_scale = encoder(x).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))

    return model, guide


def stock(w: Workload):
    vae, x, loss = w.vae(), w.data(), w.loss()
    model, guide = programs(w, vae)
    if isinstance(loss, pv.objectives.Objective):
        objective = loss
        loss = lambda *args: objective(*args).loss  # noqa: E731
    svi = SVI(model, guide, pyro.optim.Adam({"lr": LR}), loss)

    def advance(n):
        for _ in range(n):
            svi.step(x)

    return advance


def jit(w: Workload):
    if w.kind not in ("mlp", "conv") or w.particles > 1:
        return None
    model, guide = programs(w, w.vae())
    x, loss = w.data(), JitTrace_ELBO(ignore_jit_warnings=True)
    svi = SVI(model, guide, pyro.optim.Adam({"lr": LR}), loss)

    def advance(n):
        for _ in range(n):
            svi.step(x)

    return advance


def by_hand(w: Workload, compiled: bool = False):
    """What you would write without Pyro: two networks, two formulas, fused Adam."""
    if w.kind not in ("mlp", "conv") or w.particles > 1:
        return None
    vae, x = w.vae(), w.data()
    optimizer = torch.optim.Adam(vae.parameters(), lr=LR, fused=True)

    def loss_of(x):
        loc, log_scale = vae.posterior.encoder(x).chunk(2, -1)
        z = loc + log_scale.exp() * torch.randn_like(loc)
        logits = vae.likelihood.decoder(z)
        kl = (loc.square() + (2 * log_scale).exp() - 2 * log_scale - 1).sum() / 2
        return F.binary_cross_entropy_with_logits(logits, x, reduction="sum") + kl

    loss_of = torch.compile(loss_of) if compiled else loss_of

    def advance(n):
        for _ in range(n):
            optimizer.zero_grad()
            loss_of(x).backward()
            optimizer.step()

    return advance


def ours_eager(w: Workload):
    """Our objective and PyTorch's Adam, as in `pv.fit(compile="no")`."""
    if w.kind == "bits":
        return None
    vae, x = w.vae(), w.data()
    objective = pv.objectives.IWAE(w.particles) if w.particles > 1 else pv.objectives.ELBO()
    optimizer = torch.optim.Adam(vae.parameters(), lr=LR)

    def advance(n):
        for _ in range(n):
            optimizer.zero_grad()
            objective(vae.model, vae.guide, x).loss.backward()
            optimizer.step()

    return advance


def ours(w: Workload):
    model, guide = programs(w, w.vae())
    x = w.data()
    svi = pv.CompiledSVI(model, guide, pyro.optim.Adam({"lr": LR}), w.loss())

    def advance(n):
        for _ in range(n):
            svi.step(x)

    advance(2)
    return advance


def numpyro_step(w: Workload, scan: bool = False):
    """The same VAE in NumPyro: a jitted step, or an epoch of them in one scan."""
    if w.kind != "mlp" or w.particles > 1:
        return None
    import jax
    import jax.numpy as jnp
    import numpyro
    import numpyro.distributions as dist
    from numpyro.infer import SVI, Trace_ELBO

    def weights(net):
        return [
            (jnp.asarray(m.weight.detach().T.numpy()), jnp.asarray(m.bias.detach().numpy()))
            for m in net.modules()
            if isinstance(m, nn.Linear)
        ]

    def apply(layers, x):
        (a, b), (c, d) = layers
        return jnp.tanh(x @ a + b) @ c + d

    vae = w.vae()
    decoder0, encoder0 = weights(vae.likelihood.decoder), weights(vae.posterior.encoder)

    def model(x):
        decoder = numpyro.param("decoder", decoder0)
        with numpyro.plate("data", len(x)):
            z = numpyro.sample("z", dist.Normal(jnp.zeros(w.latent_dim), 1).to_event(1))
            numpyro.sample("x", dist.Bernoulli(logits=apply(decoder, z)).to_event(1), obs=x)

    def guide(x):
        encoder = numpyro.param("encoder", encoder0)
        with numpyro.plate("data", len(x)):
            loc, log_scale = jnp.split(apply(encoder, x), 2, -1)
            numpyro.sample("z", dist.Normal(loc, jnp.exp(log_scale)).to_event(1))

    x = jnp.asarray(w.data().numpy())
    svi = SVI(model, guide, numpyro.optim.Adam(LR), Trace_ELBO())
    state = [svi.init(jax.random.PRNGKey(0), x)]
    update = jax.jit(svi.update)
    epoch = jax.jit(
        lambda state: jax.lax.scan(lambda s, _: svi.update(s, x), state, length=w.steps)
    )

    def advance(n):
        if scan and n % w.steps == 0:
            for _ in range(n // w.steps):
                state[0], losses = epoch(state[0])
        else:
            for _ in range(n):
                state[0], losses = update(state[0], x)
        losses.block_until_ready()

    return advance


def pythae(w: Workload):
    """pythae's trainer over batches of the same size, including its data loader."""
    if w.kind != "mlp" or w.particles > 1:
        return None
    import logging

    logging.disable(logging.INFO)
    from pythae.data.datasets import BaseDataset
    from pythae.models import VAE, VAEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder
    from pythae.trainers import BaseTrainer, BaseTrainerConfig

    vae = w.vae()

    class Encoder(BaseEncoder):
        def __init__(self):
            super().__init__()
            self.net = vae.posterior.encoder

        def forward(self, x):
            loc, log_variance = self.net(x).chunk(2, -1)
            return ModelOutput(embedding=loc, log_covariance=log_variance)

    class Decoder(BaseDecoder):
        def __init__(self):
            super().__init__()
            self.net = vae.likelihood.decoder

        def forward(self, z):
            return ModelOutput(reconstruction=self.net(z).sigmoid())

    config = VAEConfig(input_dim=w.x_shape, latent_dim=w.latent_dim, reconstruction_loss="bce")
    rows = w.batch_size * w.steps
    trainer = BaseTrainer(
        VAE(config, Encoder(), Decoder()),
        BaseDataset(w.data(rows), torch.zeros(rows)),
        training_config=BaseTrainerConfig(
            output_dir=tempfile.mkdtemp(),
            per_device_train_batch_size=w.batch_size,
            learning_rate=LR,
            optimizer_cls="Adam",
        ),
    )
    trainer.prepare_training()

    def advance(n):
        with contextlib.redirect_stderr(io.StringIO()):  # its progress bar
            for epoch in range(max(1, n // w.steps)):
                trainer.train_step(epoch)

    return advance


def products(w: Workload):
    """The matrix products of a step: forward, and two of each backward."""
    if w.kind != "mlp" or w.particles > 1:
        return None
    d, h, z, b = w.x_shape[0], w.hidden, w.latent_dim, w.batch_size
    pairs = []
    for i, o, first in ((d, h, True), (h, 2 * z, False), (z, h, False), (h, d, False)):
        x, weight, grad = torch.ones(b, i), torch.ones(o, i), torch.ones(b, o)
        pairs += [(x, weight.t()), (grad.t(), x)] + ([] if first else [(grad, weight)])

    def advance(n):
        for _ in range(n):
            for a, c in pairs:
                torch.mm(a, c)

    return advance


def products_and_adam(w: Workload):
    """The same, plus one pass over parameters, gradients and moments."""
    multiply = products(w)
    if multiply is None:
        return None
    vae = w.vae()
    for p in vae.parameters():
        p.grad = torch.ones_like(p)
    optimizer = torch.optim.Adam(vae.parameters(), lr=LR, fused=True)

    def advance(n):
        for _ in range(n):
            multiply(1)
            optimizer.step()

    return advance


CONTENDERS: dict[str, Callable] = {
    "stock SVI": stock,
    "JitTrace_ELBO": jit,
    "PyTorch by hand": by_hand,
    "by hand, torch.compile": lambda w: by_hand(w, compiled=True),
    "NumPyro, jit step": numpyro_step,
    "NumPyro, scan": lambda w: numpyro_step(w, scan=True),
    "pythae": pythae,
    "ours, eager": ours_eager,
    "ours, compiled": ours,
    "matrix products": products,
    "floor: products and Adam": products_and_adam,
}


# --- Measuring -----------------------------------------------------------------------------------


def prepare(w: Workload, names: list[str]) -> tuple[dict, dict]:
    """Makes the contenders of a workload, and the seconds until each is at full speed."""
    ready, seconds = {}, {}
    for name in names:
        start = time.perf_counter()
        try:
            advance = CONTENDERS[name](w)
            if advance is None:
                continue
            advance(3)
            advance(w.steps)
        except ImportError as error:
            print(f"  {name}: not installed ({error.name})")
            continue
        ready[name], seconds[name] = advance, time.perf_counter() - start
    return ready, seconds


def in_turns(ready: dict, steps: int, rounds: int) -> dict[str, list[float]]:
    """Milliseconds per step, in rounds in which every contender takes its turn."""
    times = {name: [] for name in ready}
    for _ in range(rounds):
        for name, advance in ready.items():
            n = max(steps // 10, 5) if name == "stock SVI" else steps
            start = time.perf_counter()
            advance(n)
            times[name].append((time.perf_counter() - start) / n * 1e3)
    return times


def table(times: dict, seconds: dict) -> list[dict]:
    """Prints and returns a row for each contender."""
    median = {name: statistics.median(row) for name, row in times.items()}
    stock_time, floor = median.get("stock SVI"), median.get("floor: products and Adam")
    print(
        f"  {'':28s}{'ms/step':>10s}{'lowest':>9s}{'highest':>9s}{'x stock':>9s}"
        f"{'/ floor':>9s}{'start s':>9s}"
    )
    rows = []
    for name, row in times.items():
        faster = stock_time / median[name] if stock_time else None
        above = median[name] / floor if floor else None
        cells = [f"{v:9.2f}" if v else " " * 9 for v in (faster, above)]
        print(
            f"  {name:28s}{median[name]:10.4f}{min(row):9.4f}{max(row):9.4f}{''.join(cells)}"
            f"{seconds.get(name, 0):9.1f}",
            flush=True,
        )
        rows.append(
            {"contender": name, "median_ms": median[name], "ms": row, "times_stock": faster}
            | {"over_floor": above, "seconds_to_start": seconds.get(name)}
        )
    return rows


def steps(args) -> dict:
    results = {}
    for name in args.workloads:
        w = WORKLOADS[name]
        print(f"{name}: x {w.x_shape}, hidden {w.hidden}, z {w.latent_dim}, batch {w.batch_size}")
        ready, seconds = prepare(w, args.contenders)
        results[name] = table(in_turns(ready, w.steps, args.rounds), seconds)
    return results


def epochs(args) -> dict:
    """Epochs of MNIST end to end, and the seconds to a test ELBO, compiled and not."""
    recipe = pv.config.validate(
        pv.config.override(pv.config.read_recipe("mnist-mean-field"), {"train.batch_size": 128})
    )
    data = pv.data.load(recipe.data)
    rows = []
    for compile_steps in ("no", "yes"):
        vae = pv.build_vae(recipe, data.train.x_shape, data.train.scale, data.train)
        start, reached, marks = time.perf_counter(), None, []
        settings = {**recipe.train.model_dump(), "compile": compile_steps, "epochs": args.epochs}
        history = pv.fit(vae, data.train, valid=data.test, progress=False, **settings)
        elbos = history["elbo"]
        marks = history["seconds"]
        reached = next((s for s, e in zip(marks, elbos) if e >= args.target), None)
        each = np.diff(marks).tolist()
        row = {
            "compile": compile_steps,
            "median_epoch_seconds": statistics.median(each),
            "first_epoch_seconds": marks[0],
            "seconds_to_target": reached,
            "target_elbo": args.target,
            "last_elbo": elbos[-1],
            "total_seconds": time.perf_counter() - start,
        }
        print(json.dumps(row), flush=True)
        rows.append(row)
    return {"epochs": rows}


def evaluate(args) -> dict:
    """Importance samples per second, against the decoder alone on as many."""
    w = WORKLOADS["mnist"]
    vae, x, samples = w.vae().eval(), w.data(20), 5000
    z = torch.randn(samples, w.latent_dim)

    def ours(n):
        for _ in range(n):
            pv.log_marginal(vae, x, samples)

    def floor(n):
        with torch.no_grad():
            for _ in range(n * len(x)):
                vae.likelihood.decoder(z)

    times = in_turns({"log_marginal": ours, "floor: the decoder": floor}, 1, args.rounds)
    rows = []
    for name, row in times.items():
        rate = len(x) * samples / statistics.median(row) * 1e3
        rows.append({"contender": name, "samples_per_second": rate, "ms": row})
        print(f"  {name:24s}{rate / 1e6:8.3f} million samples per second")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"  peak memory of the process {peak:.0f} MiB")
    return {"evaluate": rows, "peak_mib": peak}


def scaling(args) -> dict:
    """The cost of our compiled step by batch size, latent size and particles."""
    base, results = WORKLOADS["mnist"], {}
    sweeps = {"batch_size": (32, 128, 512), "latent_dim": (10, 50, 200), "particles": (1, 5, 50)}
    for field, values in sweeps.items():
        for value in values:
            w = replace(base, **{field: value}, steps=10)
            ready, seconds = prepare(w, ["stock SVI", "ours, compiled"])
            print(f"{field} {value}")
            results[f"{field}={value}"] = table(in_turns(ready, w.steps, args.rounds), seconds)
    return results


def machine() -> dict:
    return {
        "processor": processor(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "pyro": pyro.__version__,
        "python": platform.python_version(),
        "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def processor() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def main() -> None:
    description = __doc__.split("\n\n")[0]
    parser = argparse.ArgumentParser(description=description)
    modes = {f.__name__: f for f in (steps, epochs, evaluate, scaling)}
    parser.add_argument("mode", nargs="?", default="steps", choices=modes)
    parser.add_argument("--workloads", nargs="+", default=list(WORKLOADS), choices=WORKLOADS)
    parser.add_argument("--contenders", nargs="+", default=list(CONTENDERS), choices=CONTENDERS)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--epochs", type=int, default=10, help="of the mode epochs")
    parser.add_argument("--target", type=float, default=-110.0, help="test ELBO, nats per datum")
    parser.add_argument("--json", type=Path, help="also write the results to this file")
    args = parser.parse_args()
    pyro.enable_validation(False)
    np.random.seed(0)
    print(json.dumps(machine()))
    results = {"machine": machine(), **modes[args.mode](args)}
    if args.json:
        args.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
