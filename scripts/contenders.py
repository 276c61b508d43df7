"""Workloads of the benchmark, and contenders: each becomes a function that takes n steps."""

import time
from dataclasses import dataclass

import floors
import pyro
import pyro.distributions as dist
import rivals
import torch
import torch.nn.functional as F
from networks import gated
from pyro.infer import SVI, JitTrace_ELBO, Trace_ELBO, TraceGraph_ELBO
from torch import nn

import pyro_vae as pv
from pyro_vae.train import Callback


@dataclass(frozen=True)
class Workload:
    """A VAE, the size of its step, and the steps of a turn."""

    name: str
    x_shape: tuple = (784,)
    hidden: int = 400
    latent_dim: int = 50
    batch_size: int = 128
    kind: str = "mlp"
    particles: int = 1
    steps: int = 40
    lr: float = 1e-3
    device: str = "cpu"
    tf32: bool = False

    @property
    def rows(self) -> int:
        """The rows of an epoch that is one turn."""
        return self.steps * self.batch_size

    def data(self, rows: int = 0) -> torch.Tensor:
        generator = torch.Generator().manual_seed(0)
        uniform = torch.rand(rows or self.batch_size, *self.x_shape, generator=generator)
        return (uniform < 0.4).float().to(self.device)

    def order(self, seed: int) -> torch.Tensor:
        """The row numbers of each step, of shape (steps, batch)."""
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(self.rows, generator=generator)
        return order.view(self.steps, self.batch_size).to(self.device)

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
            prior = pv.priors.Vamp(posterior, self.data(500).cpu())
        likelihood = pv.likelihoods.Bernoulli(decoder, event_dim=len(x))
        return pv.VAE(prior, likelihood, posterior).to(self.device)

    def loss(self):
        """Pyro's loss, or ours where Pyro has no correct one."""
        if self.kind == "bits":
            return TraceGraph_ELBO()
        return pv.objectives.IWAE(self.particles) if self.particles > 1 else Trace_ELBO()

    @property
    def plain(self) -> bool:
        """Whether it is two networks, a Gaussian and bits, which everyone writes alike."""
        return self.kind in ("mlp", "conv") and self.particles == 1


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


# --- Pyro ----------------------------------------------------------------------------------------


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
    if not w.plain:
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


def repeat(step, *args):
    """A function that takes a step n times."""

    def advance(n):
        for _ in range(n):
            step(*args)

    return advance


def stock(w: Workload):
    """Pyro's SVI."""
    vae, loss = w.vae(), w.loss()
    model, guide = programs(w, vae)
    if isinstance(loss, pv.objectives.Objective):
        objective = loss
        loss = lambda *args: objective(*args).loss  # noqa: E731
    svi = SVI(model, guide, pyro.optim.Adam({"lr": w.lr}), loss)
    return repeat(svi.step, w.data())


def jit(w: Workload):
    """Pyro's SVI with the ELBO that PyTorch traces."""
    if not w.plain:
        return None
    model, guide = programs(w, w.vae())
    loss = JitTrace_ELBO(ignore_jit_warnings=True)
    svi = SVI(model, guide, pyro.optim.Adam({"lr": w.lr}), loss)
    return repeat(svi.step, w.data())


# --- PyTorch -------------------------------------------------------------------------------------


def by_hand(w: Workload, compiled: bool = False):
    """What you would write without Pyro: two networks, two formulas, fused Adam."""
    if not w.plain:
        return None
    vae = w.vae()
    optimizer = torch.optim.Adam(vae.parameters(), lr=w.lr, fused=True)

    def loss_of(x):
        loc, log_scale = vae.posterior.encoder(x).chunk(2, -1)
        z = loc + log_scale.exp() * torch.randn_like(loc)
        logits = vae.likelihood.decoder(z)
        kl = (loc.square() + (2 * log_scale).exp() - 2 * log_scale - 1).sum() / 2
        return F.binary_cross_entropy_with_logits(logits, x, reduction="sum") + kl

    loss_of = torch.compile(loss_of) if compiled else loss_of

    def step(x):
        optimizer.zero_grad()
        loss_of(x).backward()
        optimizer.step()

    return repeat(step, w.data())


# --- Ours ----------------------------------------------------------------------------------------


def ours_eager(w: Workload):
    """Our objective and PyTorch's Adam, as in `pv.fit(compile="no")`."""
    if w.kind == "bits":
        return None
    vae = w.vae()
    objective = pv.objectives.IWAE(w.particles) if w.particles > 1 else pv.objectives.ELBO()
    optimizer = torch.optim.Adam(vae.parameters(), lr=w.lr)

    def step(x):
        optimizer.zero_grad()
        objective(vae.model, vae.guide, x).loss.backward()
        optimizer.step()

    return repeat(step, w.data())


def ours(w: Workload):
    """The programs of stock SVI, in our compiled SVI."""
    model, guide = programs(w, w.vae())
    svi = pv.CompiledSVI(model, guide, pyro.optim.Adam({"lr": w.lr}), w.loss())
    return repeat(svi.step, w.data())


def ours_many(w: Workload, count: int):
    """One step of several models, each with rows of its own; of one, its compiled step."""
    from pyro_vae.compile import FusedStep, ManySteps, optimized_parameters

    data = w.data(w.rows)

    def step_of(vae):
        objective = pv.objectives.ELBO()
        optimizer = torch.optim.Adam(vae.parameters(), lr=w.lr)

        def loss(rows):
            terms = objective(vae.model, vae.guide, data[rows])
            terms.loss.backward()
            return [term.detach() for term in terms]

        return FusedStep(loss, optimized_parameters(optimizer))

    steps = [step_of(w.vae()) for _ in range(count)]
    orders = torch.stack([w.order(i) for i in range(count)], 1)
    if count == 1:
        step, batches = steps[0], orders[:, 0].unbind()
    else:
        generators = [torch.Generator(w.device).manual_seed(i) for i in range(count)]
        step = ManySteps(steps, [()] * count, (orders[0, 0],), generators)
        batches = orders.unbind()

    def advance(n):
        for i in range(n):
            step(batches[i % len(batches)])

    return advance


def fit_many(w: Workload, count: int):
    """All that `pv.fit_many` does for as many models, in groups of the size that it chooses.

    A turn is an epoch, with the metrics of its steps and at its end.
    """
    from pyro_vae.config import Train
    from pyro_vae.train.fit import make_run
    from pyro_vae.train.group import Group, group_size

    settings = Train(epochs=10**6, batch_size=w.batch_size, lr=w.lr, compile="yes")
    data = w.data(w.rows)
    runs = [make_run(w.vae(), data, None, settings, seed, None) for seed in range(count)]
    size = group_size(runs[0])
    groups = []
    for i in range(0, count, size):
        some = runs[i : i + size]
        groups.append(Group(some, [str(run.seed) for run in some], False, len(some) > 1))
    for member in (member for group in groups for member in group.members):
        member.begin(resume=False)
        member.advance()

    def advance(n):
        for group in groups:
            for _ in range(n):
                members = group.active
                if group.together:
                    group.step(members, members)
                for member in members:
                    if not group.together:
                        member.step_alone()
                    group.between_steps(member)

    return advance


def fit_epochs(w: Workload, rows: int):
    """Epochs of `pv.fit` on so many rows: a turn is a training, and tells a later epoch's time."""
    data = w.data(rows)

    def advance(n):
        ends = Ends()
        settings = {"batch_size": w.batch_size, "lr": w.lr, "compile": "yes", "progress": False}
        pv.fit(w.vae(), data, epochs=n + 1, callbacks=[ends], **settings)
        return ends.times[-1] - ends.times[0]  # the first compiles

    return advance


class Ends(Callback):
    """Notes when epochs end."""

    def __init__(self):
        self.times = []

    def on_row(self, row):
        self.times.append(time.perf_counter())


# --- All -----------------------------------------------------------------------------------------

CONTENDERS = {
    "stock SVI": stock,
    "JitTrace_ELBO": jit,
    "PyTorch by hand": by_hand,
    "by hand, torch.compile": lambda w: by_hand(w, compiled=True),
    "NumPyro, jit step": rivals.numpyro,
    "NumPyro, scan": lambda w: rivals.numpyro(w, scan=True),
    "pythae": rivals.pythae,
    "ours, eager": ours_eager,
    "ours, compiled": ours,
    "matrix products": floors.products,
    "traffic of Adam": floors.traffic,
}
OF_MANY = {
    "ours, one step": ours_many,
    "ours, as fit_many": fit_many,
    "NumPyro, vmap and scan": rivals.numpyro_many,
}


OTHERS = {
    "pv.fit": fit_epochs,
    "log_marginal": floors.log_marginal,
    "decoder's products": floors.decoder_products,
    "density, element by element": floors.density_pass,
}


def prepare(contender: str, workload: dict, warm: int = 0, **more):
    """Makes a contender by its name and lets it take so many steps; None if there is none."""
    w = Workload(**{**workload, "x_shape": tuple(workload["x_shape"])})
    pyro.enable_validation(False)
    torch.set_float32_matmul_precision("high" if w.tf32 else "highest")
    advance = {**CONTENDERS, **OF_MANY, **OTHERS}[contender](w, **more)
    if advance is None:
        return None

    def timed(n):
        seconds = advance(n)
        if w.device != "cpu":
            torch.cuda.synchronize()
        return seconds

    for n in (3, warm) if warm else ():
        timed(n)
    return timed
