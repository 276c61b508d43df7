"""MADE, PixelCNN and WaveNet: exact by enumeration, ordered, and the plain likelihood without their network."""

import itertools

import pyro
import pytest
import torch
from checks import bound, z_scores
from pyro.infer import SVI, Trace_ELBO

import pyro_vae as pv
from pyro_vae.likelihoods import (
    MADE,
    Bernoulli,
    Categorical,
    DiscretizedLogistic,
    PixelCNN,
    WaveNet,
)

MLP = pv.nn.MLP
L = 2
FORMS = {
    "made-bits": (MADE, (9,), 2, {"hidden_features": [12, 12]}),
    "made-levels": (MADE, (1, 2, 2), 3, {"hidden_features": [12]}),
    "pixels-bits": (PixelCNN, (1, 3, 3), 2, {"channels": 6, "num_layers": 2, "kernel_size": 3}),
    "pixels-levels": (PixelCNN, (1, 2, 2), 3, {"channels": 6, "num_layers": 3, "kernel_size": 5}),
    "pixels-colours": (PixelCNN, (2, 2, 2), 2, {"channels": 6, "num_layers": 2, "kernel_size": 3}),
    "waves": (WaveNet, (4,), 3, {"num_components": 2, "channels": 6, "num_layers": 2}),
}
every = pytest.mark.parametrize("form", FORMS)
pytestmark = pytest.mark.usefixtures("float64")


def made(form):
    """A likelihood with random weights, and all data that there are."""
    torch.manual_seed(0)
    family, shape, levels, options = FORMS[form]
    each = 6 if family is WaveNet else levels - 1
    outputs = (each * shape[0], *shape[1:])
    likelihood = family(MLP(L, [8], outputs), levels, event_dim=len(shape), **options)
    for parameter in likelihood.parameters():
        parameter.data += 0.5 * torch.randn_like(parameter)
    size = torch.Size(shape).numel()
    x = torch.tensor([*itertools.product(range(levels), repeat=size)]).double()
    return likelihood, x.reshape(-1, *shape)


def total(likelihood, x, z):
    with torch.no_grad():
        return likelihood(z[:, None].expand(-1, len(x), L)).log_prob(x).exp().sum(1)


def shift_masks(likelihood):
    """Plants a mask that is off by one: an element sees itself."""
    if isinstance(likelihood, MADE):
        for name in dict(likelihood.made.named_buffers()):
            likelihood.made.get_buffer(name)[:] = True
    elif isinstance(likelihood, WaveNet):
        likelihood.waves.register_forward_pre_hook(lambda m, a: (a[0].roll(-1, -1), a[1]))
    else:
        likelihood.pixels.layers[0].left.mask[..., -1] = True


@every
def test_sums_to_one(form):
    likelihood, x = made(form)
    z = torch.randn(3, L)
    assert (total(likelihood, x, z) - 1).abs().max() < 1e-12
    shift_masks(likelihood)
    assert (total(likelihood, x, z) - 1).abs().max() > 1e-2  # the twin


@every
def test_an_element_sees_all_those_before_it_and_no_other(form):
    likelihood, x = made(form)
    law, some = likelihood(torch.randn(20, L)), torch.rand(20, *x.shape[1:], requires_grad=True)
    logits = law.logits(some, law.context).sum((0, -1)).flatten()
    rows = [torch.autograd.grad(row, some, retain_graph=True)[0] for row in logits]
    sees = (torch.stack(rows) != 0).any(1).flatten(1)
    order = torch.tensor(law.order or range(len(sees)))
    sees = sees[order][:, order]
    earlier = torch.ones_like(sees).tril(-1)
    assert not sees[~earlier].any()
    assert sees[earlier].double().mean() > (0.7 if "made" in form else 0.99)


@every
def test_samples_are_of_the_density(form):
    likelihood, x = made(form)
    law = likelihood(torch.randn(1, L))
    drawn, flat = law.sample((16000,)).flatten(1), x.flatten(1)
    pairs = (flat[:, :, None] * flat[:, None]).flatten(1)
    products = (drawn[:, :, None] * drawn[:, None]).flatten(1)
    with torch.no_grad():
        p = law.log_prob(x).exp()
    limit = bound(len(pairs.T))
    assert z_scores(products, (p[:, None] * pairs).sum(0)).abs().max() < limit
    if form == "pixels-levels":  # whose elements depend too little on each other
        return
    law.order = [*reversed(law.order or range(len(drawn.T)))]  # the twin: drawn the other way
    drawn = law.sample((16000,)).flatten(1)
    products = (drawn[:, :, None] * drawn[:, None]).flatten(1)
    assert z_scores(products, (p[:, None] * pairs).sum(0)).abs().max() > limit


@every
def test_without_its_network_it_is_the_plain_likelihood(form):
    family, shape, levels, options = FORMS[form]
    likelihood, x = made(form)
    own = {MADE: "made", PixelCNN: "pixels", WaveNet: "waves"}[family]
    own = getattr(likelihood, own)
    for parameter in own.parameters():
        parameter.data.zero_()
    z = torch.randn(len(x), L)
    law = likelihood(z)
    if family is WaveNet:
        plain = DiscretizedLogistic(likelihood.decoder, levels, 2)(z)
    elif levels == 2:
        plain = Bernoulli(likelihood.decoder, event_dim=len(shape))(z)
    else:
        outputs = torch.cat([torch.zeros(len(x), *shape), likelihood.decoder(z)], 1)
        plain = Categorical(torch.nn.Identity(), levels, event_dim=len(shape))
        plain.decode = lambda z: outputs
        plain = plain(z)
    torch.testing.assert_close(law.log_prob(x), plain.log_prob(x))
    torch.testing.assert_close(law.mean, plain.mean)
    if family is not WaveNet:  # the plain one knows no variance
        torch.testing.assert_close(law.variance, plain.variance)


@every
def test_batch_shapes_broadcast(form):
    likelihood, x = made(form)
    z = torch.randn(3, 4, L)
    law = likelihood(z)
    whole = law.log_prob(x[:4])
    assert law.batch_shape == (3, 4) and whole.shape == (3, 4)
    torch.testing.assert_close(whole[1, 2], likelihood(z[1, 2]).log_prob(x[2]))
    assert law.expand((2, 3, 4)).log_prob(x[0]).shape == (2, 3, 4)
    assert law.sample((5,)).shape == (5, 3, 4, *x.shape[1:])


def test_it_learns_what_elements_say_of_each_other():
    """The second half repeats the first: bits that no independent likelihood repeats."""
    torch.manual_seed(0)
    x = torch.bernoulli(torch.full((400, 1, 2, 3), 0.5))
    x[..., 1, :] = x[..., 0, :]
    likelihood = PixelCNN(MLP(L, [8], (1, 2, 3)), channels=8, num_layers=2, kernel_size=3)
    encoder = MLP((1, 2, 3), [8], 2 * L)
    vae = pv.VAE(pv.priors.StandardNormal(L), likelihood, pv.posteriors.MeanFieldNormal(encoder))
    pv.fit(vae, x, epochs=12, batch_size=50, lr=2e-2, progress=False, compile="no")
    drawn = pv.sample(vae, 400)
    assert (drawn[..., 0, :] == drawn[..., 1, :]).double().mean() > 0.98
    assert pv.elbo(vae, x).mean() > -2.3  # -3 log 2 = -2.08 at best; independent bits: -4.16


@pytest.mark.parametrize("form", ["made-levels", "pixels-colours", "waves"])
def test_a_compiled_step_is_that_of_svi(form):
    losses = []
    for compiled in (False, True):
        likelihood, x = made(form)
        posterior = pv.posteriors.MeanFieldNormal(
            torch.nn.Sequential(torch.nn.Flatten(1 - x.dim()), MLP(x[0].numel(), [8], 2 * L))
        )
        vae = pv.VAE(pv.priors.StandardNormal(L), likelihood, posterior)
        torch.manual_seed(1)
        if compiled:
            adam = torch.optim.Adam
            svi = pv.CompiledSVI(vae.model, vae.guide, adam, Trace_ELBO(), backend="graph")
        else:
            svi = SVI(vae.model, vae.guide, pyro.optim.Adam({"lr": 1e-3}), Trace_ELBO())
        losses.append([float(svi.step(x[:20])) for _ in range(4)])
    assert losses[0] == pytest.approx(losses[1], rel=1e-9)


def test_what_is_refused():
    bits = MADE(MLP(L, [], 4))
    for wrong, words in [
        (lambda: pv.likelihoods.MissingAtRandom(bits), "independent elements inside of Missing"),
        (
            lambda: pv.likelihoods.Product(torch.nn.Identity(), [(range(4), bits)]),
            "of Product; got MADE",
        ),
        (lambda: MADE(MLP(L, [], 4), num_levels=1), "at least 2; got 1"),
        (lambda: MADE(torch.nn.Linear(L, 4)), "Pass x_shape="),
        (lambda: MADE(MLP(L, [], (1, 2, 2))), "Set event_dim to 3"),
        (lambda: PixelCNN(MLP(L, [], 4), event_dim=1), "Use made for other data"),
        (lambda: WaveNet(MLP(L, [], (2, 2, 2)), event_dim=3), "Use pixel-cnn for images"),
        (lambda: PixelCNN(MLP(L, [], (1, 2, 2)), kernel_size=4), "odd kernel_size"),
        (lambda: PixelCNN(MLP(L, [], (3, 2, 2)), channels=2), "hidden channels as the 3"),
    ]:
        with pytest.raises(ValueError, match=words):
            wrong()


def test_no_sample_depends_on_one_behind_it():
    """Of a whole piece, exactly: what is behind may be anything."""
    torch.manual_seed(0)
    likelihood = WaveNet(MLP(L, [8], 9 * 100), num_components=3, channels=8, num_layers=5)
    law, x = likelihood(torch.randn(1, L)), torch.randint(256, (1, 100)).double()
    other = x.clone()
    other[:, 50:] = torch.randint(256, (50,)).double()
    terms = [law.given(each).log_prob(each)[0] for each in (x, other)]
    assert torch.equal(terms[0][:50], terms[1][:50])
    reach = torch.autograd.functional.jacobian(lambda x: law.logits(x, law.context)[0, 99, 0], x)
    assert torch.equal(reach[0].nonzero()[:, 0], torch.arange(99 - 33, 99))  # 2^5 + 1 before it
