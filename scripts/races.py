"""One contender of the race: a training from its imports to a test ELBO, a line for each epoch.

    python scripts/races.py "NumPyro" race.npz --target -105 --max-epochs 30

`scripts/benchmark.py race` writes the file, with bits and the first parameters of the networks,
and starts this for each contender. Nothing is imported but what the contender needs.
"""

import argparse
import json
import time

import numpy as np

BATCH, LR, CHUNK = 128, 1e-3, 1000  # CHUNK: test data at a time


class Race:
    """The data, and when a training has arrived: every test ELBO is of one sample a datum."""

    def __init__(self, file, target, max_epochs):
        with np.load(file) as arrays:
            self.arrays = {name: arrays[name] for name in arrays.files}
        self.train, self.test = (self.arrays[k].astype(np.float32) for k in ("train", "test"))
        self.target, self.max_epochs, self.epoch = target, max_epochs, 0

    def over(self, elbo):
        """Measures and prints the test ELBO after an epoch; tells whether training ends here."""
        begun = time.perf_counter()
        value = elbo()
        self.epoch += 1
        seconds = time.perf_counter() - begun
        print(json.dumps({"elbo": value, "evaluating": seconds}), flush=True)
        return value >= self.target or self.epoch == self.max_epochs

    def layers(self, network):
        """Weights, of shape (outputs, inputs), and biases of both layers."""
        return [[self.arrays[f"{network}{i}.{part}"] for part in ("w", "b")] for i in (0, 1)]

    @property
    def latent_dim(self):
        return self.arrays["decoder0.w"].shape[1]


def networks(race):
    """Encoder and decoder in PyTorch."""
    import torch
    from torch import nn

    made = []
    for name in ("encoder", "decoder"):
        linears = []
        for weight, bias in race.layers(name):
            linear = nn.Linear(*weight.shape[::-1])
            with torch.no_grad():
                linear.weight.copy_(torch.from_numpy(weight))
                linear.bias.copy_(torch.from_numpy(bias))
            linears.append(linear)
        made.append(nn.Sequential(linears[0], nn.Tanh(), linears[1]))
    return made


def fit(race, compile_steps):
    """`pv.fit` as anyone would call it."""
    import torch

    import pyro_vae as pv
    from pyro_vae.train import Callback

    encoder, decoder = networks(race)
    prior, likelihood = (
        pv.priors.StandardNormal(race.latent_dim),
        pv.likelihoods.Bernoulli(decoder),
    )
    vae = pv.VAE(prior, likelihood, pv.posteriors.MeanFieldNormal(encoder))
    train, test = torch.from_numpy(race.train), torch.from_numpy(race.test)

    class Ends(Callback):
        def on_start(self, run):
            self.run = run

        def on_row(self, row):
            if race.over(lambda: float(pv.elbo(vae, test).mean())):
                self.run.stop()

    settings = {"epochs": race.max_epochs, "batch_size": BATCH, "lr": LR, "progress": False}
    pv.fit(vae, train, compile=compile_steps, callbacks=[Ends()], **settings)


def svi(race):
    """A script in Pyro, as in its own example."""
    import pyro
    import pyro.distributions as dist
    import torch
    from pyro.infer import SVI, Trace_ELBO

    pyro.enable_validation(False)
    encoder, decoder = networks(race)
    train, test = torch.from_numpy(race.train), torch.from_numpy(race.test)

    def model(x):
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(len(x), race.latent_dim), 1).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=decoder(z)).to_event(1), obs=x)

    def guide(x):
        pyro.module("encoder", encoder)
        with pyro.plate("data", len(x)):
            loc, log_scale = encoder(x).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))

    svi = SVI(model, guide, pyro.optim.Adam({"lr": LR}), Trace_ELBO())

    def elbo():
        return -sum(svi.evaluate_loss(x) for x in test.split(CHUNK)) / len(test)

    while True:
        for rows in torch.randperm(len(train)).split(BATCH):
            svi.step(train[rows])
        if race.over(elbo):
            return


def pythae(race):
    """pythae's trainer, an epoch at a time."""
    import rivals
    import torch

    encoder, decoder = networks(race)
    train, test = torch.from_numpy(race.train), torch.from_numpy(race.test)
    trainer = rivals.pythae_trainer(encoder, decoder, train, race.latent_dim, LR, BATCH)

    def elbo():
        with torch.no_grad():
            losses = [float(trainer.model({"data": x}).loss) for x in test.split(CHUNK)]
        return -sum(losses) / len(losses)

    while True:
        rivals.train_epoch(trainer, race.epoch + 1)
        if race.over(elbo):
            return


def numpyro(race):
    """NumPyro, an epoch in one scan; rows beyond whole batches wait for the next epoch."""
    import jax
    import jax.numpy as jnp
    import rivals

    encoder, decoder = (
        [(jnp.asarray(weight.T), jnp.asarray(bias)) for weight, bias in race.layers(name)]
        for name in ("encoder", "decoder")
    )
    svi = rivals.numpyro_svi(encoder, decoder, race.latent_dim, LR)
    train = jnp.asarray(race.train)
    test = jnp.asarray(race.test).reshape(-1, CHUNK, race.test.shape[1])
    state = svi.init(jax.random.PRNGKey(0), train[:BATCH])

    @jax.jit
    def epoch(state, key):
        order = jax.random.permutation(key, len(train))
        rows = order[: len(train) // BATCH * BATCH].reshape(-1, BATCH)
        return jax.lax.scan(lambda s, row: svi.update(s, train[row]), state, rows)[0]

    @jax.jit
    def evaluate(state):
        return -jax.lax.map(lambda x: svi.evaluate(state, x), test).sum() / (len(test) * CHUNK)

    while True:
        state = jax.block_until_ready(epoch(state, jax.random.PRNGKey(race.epoch + 1)))
        if race.over(lambda state=state: float(evaluate(state))):
            return


RUNNERS = {
    "pv.fit": lambda race: fit(race, "auto"),
    "pv.fit, compile=no": lambda race: fit(race, "no"),
    "pv.fit, compile=yes": lambda race: fit(race, "yes"),
    "Pyro's SVI": svi,
    "pythae": pythae,
    "NumPyro": numpyro,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("runner", choices=RUNNERS)
    parser.add_argument("file")
    parser.add_argument("--target", type=float, default=-100.0)
    parser.add_argument("--max-epochs", type=int, default=30)
    args = parser.parse_args()
    RUNNERS[args.runner](Race(args.file, args.target, args.max_epochs))


if __name__ == "__main__":
    main()
