"""The same VAEs in other libraries: NumPyro and pythae, for `contenders.py` and `races.py`.

Importing this imports none of them, nor PyTorch.
"""

import contextlib
import io
import tempfile


def numpyro_svi(encoder0, decoder0, latent_dim, lr):
    """A VAE of two networks, each given as weights and biases of two layers."""
    import jax.numpy as jnp
    import numpyro
    import numpyro.distributions as dist
    from numpyro.infer import SVI, Trace_ELBO

    def apply(layers, x):
        (a, b), (c, d) = layers
        return jnp.tanh(x @ a + b) @ c + d

    def model(x):
        decoder = numpyro.param("decoder", decoder0)
        with numpyro.plate("data", len(x)):
            z = numpyro.sample("z", dist.Normal(jnp.zeros(latent_dim), 1).to_event(1))
            numpyro.sample("x", dist.Bernoulli(logits=apply(decoder, z)).to_event(1), obs=x)

    def guide(x):
        encoder = numpyro.param("encoder", encoder0)
        with numpyro.plate("data", len(x)):
            loc, log_scale = jnp.split(apply(encoder, x), 2, -1)
            numpyro.sample("z", dist.Normal(loc, jnp.exp(log_scale)).to_event(1))

    return SVI(model, guide, numpyro.optim.Adam(lr), Trace_ELBO())


def numpyro_of(w):
    """The VAE of a workload, with the parameters of ours; returns jax and the SVI."""
    import jax

    if w.device != "cpu":
        precision = "tensorfloat32" if w.tf32 else "float32"
        jax.config.update("jax_default_matmul_precision", precision)
    vae = w.vae()
    layers = [
        [
            (to_jax(layer.weight.detach().T), to_jax(layer.bias.detach()))
            for layer in network.modules()
            if hasattr(layer, "weight")
        ]
        for network in (vae.posterior.encoder, vae.likelihood.decoder)
    ]
    return jax, numpyro_svi(*layers, w.latent_dim, w.lr)


def to_jax(tensor):
    import jax.numpy as jnp

    return jnp.asarray(tensor.cpu().numpy())


def numpyro(w, scan=False):
    """A jitted step, or as many steps as a turn has in one scan."""
    if w.kind != "mlp" or w.particles > 1:
        return None
    jax, svi = numpyro_of(w)
    x = to_jax(w.data())
    state = [svi.init(jax.random.PRNGKey(0), x)]
    update = jax.jit(svi.update)
    turn = jax.jit(lambda s: jax.lax.scan(lambda s, _: svi.update(s, x), s, length=w.steps))

    def advance(n):
        if scan and n % w.steps == 0:
            for _ in range(n // w.steps):
                state[0], losses = turn(state[0])
        else:
            for _ in range(n):
                state[0], losses = update(state[0], x)
        losses.block_until_ready()

    return advance


def numpyro_many(w, count):
    """Steps of several models: a scan, mapped over them; each model takes rows of its own."""
    jax, svi = numpyro_of(w)
    data = to_jax(w.data(w.rows))
    keys = jax.random.split(jax.random.PRNGKey(1), count)
    states = [jax.vmap(lambda key: svi.init(key, data[: w.batch_size]))(keys)]
    rows = jax.numpy.stack([to_jax(w.order(i)) for i in range(count)])

    def turn(state, rows):
        return jax.lax.scan(lambda s, row: svi.update(s, data[row]), state, rows)

    turn = jax.jit(jax.vmap(turn))

    def advance(n):
        for _ in range(max(1, n // w.steps)):
            states[0], losses = turn(states[0], rows)
        losses.block_until_ready()

    return advance


def pythae_trainer(encoder, decoder, data, latent_dim, lr, batch_size, cuda=False):
    """A trainer of pythae for two of our networks."""
    import logging

    import torch

    logging.disable(logging.INFO)
    from pythae.data.datasets import BaseDataset
    from pythae.models import VAE, VAEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder
    from pythae.trainers import BaseTrainer, BaseTrainerConfig

    class Encoder(BaseEncoder):
        def __init__(self):
            super().__init__()
            self.net = encoder

        def forward(self, x):
            loc, log_variance = self.net(x).chunk(2, -1)
            return ModelOutput(embedding=loc, log_covariance=log_variance)

    class Decoder(BaseDecoder):
        def __init__(self):
            super().__init__()
            self.net = decoder

        def forward(self, z):
            return ModelOutput(reconstruction=self.net(z).sigmoid())

    shape, folder = tuple(data.shape[1:]), tempfile.TemporaryDirectory()
    config = VAEConfig(input_dim=shape, latent_dim=latent_dim, reconstruction_loss="bce")
    trainer = BaseTrainer(
        VAE(config, Encoder(), Decoder()),
        BaseDataset(data, torch.zeros(len(data))),
        training_config=BaseTrainerConfig(
            output_dir=folder.name,
            per_device_train_batch_size=batch_size,
            learning_rate=lr,
            optimizer_cls="Adam",
            no_cuda=not cuda,
        ),
    )
    trainer.prepare_training()
    trainer.folder = folder  # which is there as long as the trainer
    return trainer


def train_epoch(trainer, epoch):
    with contextlib.redirect_stderr(io.StringIO()):  # its progress bar
        trainer.train_step(epoch)


def pythae(w):
    """pythae's trainer over batches of the same size, including its data loader."""
    if w.kind != "mlp" or w.particles > 1:
        return None
    vae, data = w.vae(), w.data(w.batch_size * w.steps).cpu()
    networks = vae.posterior.encoder, vae.likelihood.decoder
    cuda = w.device != "cpu"
    trainer = pythae_trainer(*networks, data, w.latent_dim, w.lr, w.batch_size, cuda)

    def advance(n):
        for epoch in range(max(1, n // w.steps)):
            train_epoch(trainer, epoch)

    return advance
