"""One step taken apart adds up to the loss; every common mistake has its own sentence."""

import copy
import re

import pyro
import pyro.distributions as dist
import pytest
import torch
from checks import linear_gaussian
from pyro import poutine
from pyro.infer import Trace_ELBO
from torch import nn

import pyro_vae as pv

B, D, L = 8, 5, 2


def vae(**parts):
    made = {
        "prior": pv.priors.StandardNormal(L),
        "likelihood": pv.likelihoods.Bernoulli(pv.nn.MLP(L, [16], D)),
        "posterior": pv.posteriors.MeanFieldNormal(pv.nn.MLP(D, [16], 2 * L)),
    }
    return pv.VAE(**{**made, **parts})


def bits():
    return torch.bernoulli(torch.full((B, D), 0.5))


# --- The microscope -----------------------------------------------------------------------------------


def test_terms_add_up_to_the_loss_of_pyro():
    model, x = vae().double(), bits().double()
    step = pv.inspect_step(model, x, seed=3)
    assert [(row.program, row.name) for row in step.rows] == [
        ("guide", "z"),
        ("model", "z"),
        ("model", "x"),
    ]
    torch.manual_seed(3)
    loss = Trace_ELBO().loss(model.model, model.guide, x) / B
    assert abs(step.loss - loss) < 1e-6 and abs(sum(r.term for r in step.rows) - loss) < 1e-6
    assert step.rows[0].batch_shape == (B,) and step.rows[2].event_shape == (D,)
    assert step.rows[0].plates == "data" and not step.rows[2].masked
    assert all(line in str(step) for line in ("Bernoulli", "nats per datum", "gradient"))


def test_gradients_are_those_of_the_terms():
    model, x = linear_gaussian(D, L, 0.5), torch.randn(B, D)
    step = pv.inspect_step(model, x)
    torch.manual_seed(0)
    q = model.posterior(x)
    z = q.rsample()
    model.zero_grad()
    (-model.likelihood(z).log_prob(x).sum() / B).backward()
    norm = sum(float(p.grad.square().sum()) for p in model.parameters() if p.grad is not None)
    assert step.rows[2].gradient == pytest.approx(norm**0.5, rel=1e-4)


def test_scales_and_masks_are_seen():
    model, x = vae(), bits()

    def half(x):
        with poutine.scale(scale=0.5), poutine.mask(mask=torch.arange(B) < 4):
            return model.model(x)

    step = pv.inspect_step((half, model.guide), x)
    row = step.rows[-1]
    assert row.scale == 0.5 and row.masked
    whole = pv.inspect_step(model, x).rows[-1]
    assert abs(row.log_density) < 0.5 * abs(whole.log_density)


def test_looking_moves_nothing():
    model, x = vae(), bits()
    before, rng = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    pv.inspect_step(model, x)
    assert pv.explain_error(model, x) is None
    assert torch.equal(rng, torch.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(before.values(), model.state_dict().values()))
    assert all(p.grad is None for p in model.parameters())


def test_a_wrong_program_is_not_inspected():
    with pytest.raises(ValueError, match="Expected a batch of data"):
        pv.inspect_step(vae(), bits()[0])


# --- Mistakes -----------------------------------------------------------------------------------------

BROKEN = {}


def broken(sentence):
    """Registers a function that makes a program with one mistake, its data and its sentence."""

    def register(make):
        BROKEN[make.__name__] = (make, sentence)
        return make

    return register


class Nets(nn.Module):
    """Model and guide of one's own, by hand, to be broken in one place."""

    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = nn.Linear(D, 2 * L), nn.Linear(L, D)

    def q(self, x):
        loc, log_scale = self.encoder(x).chunk(2, -1)
        return dist.Normal(loc, log_scale.exp()).to_event(1)

    def p(self):
        return dist.Normal(torch.zeros(L), 1.0).to_event(1)

    def likelihood(self, z):
        return dist.Bernoulli(logits=self.decoder(z)).to_event(1)

    def model(self, x):
        pyro.module("nets", self)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", self.p())
            pyro.sample("x", self.likelihood(z), obs=x)

    def guide(self, x):
        pyro.module("nets", self)
        with pyro.plate("data", len(x)):
            pyro.sample("z", self.q(x))


@broken("Expected data as a tensor; got a ndarray")
def data_as_numpy():
    return vae(), bits().numpy()


@broken("Expected a batch of data, of shape [B, 5]; got one datum of shape [5]. Write x[None]")
def one_datum():
    return vae(), bits()[0]


@broken("Expected data in floating point, which networks multiply; got torch.int64")
def integers():
    return vae(), bits().long()


@broken("Expected finite data; got nan in row 3, position (1,)")
def a_hole():
    x = bits()
    x[3, 1] = torch.nan
    return vae(), x


@broken("Expected data of the dtype of the parameters, torch.float32; got torch.float64")
def double_data():
    return vae(), bits().double()


@broken("Expected model and guide to take the same arguments, the data first; the guide did not")
def guide_without_data():
    nets = Nets()
    return (nets.model, lambda: None), bits()


@broken("Expected names of sites that differ; got two sites 'z' in the guide")
def one_name_twice():
    nets = Nets()

    def guide(x):
        with pyro.plate("data", len(x)):
            for _ in range(2):
                pyro.sample("z", nets.q(x))

    return (nets.model, guide), bits()


@broken("Expected nested plates of different dimensions; got two of one in the guide")
def plates_that_collide():
    nets = Nets()

    def guide(x):
        with pyro.plate("data", len(x), dim=-1), pyro.plate("pixels", D, dim=-1):
            pyro.sample("z", nets.q(x))

    return (nets.model, guide), bits()


@broken("Expected a batch_shape with one dimension for each plate around 'z' (data); got [8, 2]")
def forgotten_event():
    nets = Nets()
    nets.q = lambda x: dist.Normal(nets.encoder(x)[:, :L], 1.0)
    return (nets.model, nets.guide), bits()


@broken("Expected a batch_shape with one dimension for each plate around 'z' (data); got [5, 5]")
def forgotten_event_that_fits_by_chance():
    prior = dist.Normal(torch.zeros(5), 1.0)
    encoder, decoder = nn.Linear(D, 5), nn.Linear(5, D)

    def model(x):
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", prior)
            pyro.sample("x", dist.Bernoulli(logits=decoder(z)).to_event(1), obs=x)

    def guide(x):
        pyro.module("encoder", encoder)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(encoder(x), 1.0))

    return (model, guide), bits()[:5]


@broken("Expected plates of the size of what is in them; got plate 'data' of 100 around 'z'")
def plate_of_another_size():
    nets = Nets()

    def guide(x):
        with pyro.plate("data", 100):
            pyro.sample("z", nets.q(x))

    return (nets.model, guide), bits()


@broken("Expected an encoder that takes x of 5 numbers; got a layer that takes 7")
def encoder_for_other_data():
    return vae(posterior=pv.posteriors.MeanFieldNormal(nn.Linear(7, 4))), bits()


@broken("Expected a decoder that takes z of 2 numbers; got a layer that takes 3")
def decoder_for_other_latents():
    nets = Nets()
    nets.decoder = nn.Linear(3, D)
    return (nets.model, nets.guide), bits()


@broken("Expected a guide that runs; it ended with KeyError")
def anything_else():
    return (Nets().model, lambda x: {}["q"]), bits()


@broken("Expected a model that observes the data; got none observed among z, x")
def nothing_observed():
    nets = Nets()

    def model(x):
        pyro.module("nets", nets)
        with pyro.plate("data", len(x)):
            pyro.sample("x", nets.likelihood(pyro.sample("z", nets.p())))

    return (model, nets.guide), bits()


@broken("Expected a guide that samples latent variables only; got the observed site 'x'")
def guide_that_observes():
    nets = Nets()

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", nets.q(x))
            pyro.sample("x", dist.Normal(x, 1.0).to_event(1), obs=x)

    return (nets.model, guide), bits()


@broken("Expected a guide for every latent variable; got none for 'z': the guide samples latent")
def another_name():
    nets = Nets()

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("latent", nets.q(x))

    return (nets.model, guide), bits()


@broken("Expected the guide to sample the model's latent variables; got 'extra', which the model")
def a_site_too_many():
    nets = Nets()

    def guide(x):
        nets.guide(x)
        pyro.sample("extra", dist.Normal(torch.tensor(0.0), 1.0))

    return (nets.model, guide), bits()


@broken("Expected parameters to train; got none from model and guide")
def invisible_networks():
    nets = Nets()

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", nets.p())
            pyro.sample("x", nets.likelihood(z), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", nets.q(x))

    return (model, guide), bits()


@broken("Expected 'z' inside a plate, as its batch_shape [8] says that data are independent")
def no_plate():
    nets = Nets()

    def guide(x):
        pyro.module("nets", nets)
        pyro.sample("z", nets.q(x))

    return (nets.model, guide), bits()


@broken("Expected data in the batch of 'z', one event each; got the event [8, 2] in the guide")
def an_event_too_many():
    nets = Nets()
    nets.q = lambda x: dist.Normal(nets.encoder(x)[:, :L], 1.0).to_event(2)

    def guide(x):
        pyro.module("nets", nets)
        pyro.sample("z", nets.q(x))

    return (nets.model, guide), bits()


@broken("Expected z of one size in guide and model; got 1 and 2")
def encoder_with_too_few_outputs():
    return vae(posterior=pv.posteriors.MeanFieldNormal(nn.Linear(D, 2))), bits()


@broken("Expected 'z' in the same plates in guide and model; got 'rows' (dim=-1) and 'data'")
def plates_of_other_names():
    nets = Nets()

    def guide(x):
        pyro.module("nets", nets)
        with pyro.plate("rows", len(x)):
            pyro.sample("z", nets.q(x))

    return (nets.model, guide), bits()


@broken("Expected x of shape [8, 5], as the likelihood's event shape says; got [8, 1, 5]")
def data_with_a_dimension_more():
    nets = Nets()
    nets.q = lambda x: Nets.q(nets, x[:, 0])
    return (nets.model, nets.guide), bits()[:, None]


@broken("Expected scale of 'z' in greater than")
def negative_scale():
    nets = Nets()
    nets.q = lambda x: dist.Normal(*nets.encoder(x).chunk(2, -1), validate_args=False).to_event(1)
    return (nets.model, nets.guide), bits()


@broken("Expected x in the support of Bernoulli, {0, 1}; got values from")
def grey_pixels():
    return vae(), torch.rand(B, D)


@broken("Expected a guide that samples 'z' where the prior has it")
def a_guide_that_leaves_the_prior():
    nets = Nets()
    nets.p = lambda: dist.Gamma(torch.ones(L), 1.0).to_event(1)
    return (nets.model, nets.guide), bits()


@broken("Expected finite log densities; got -inf for 'x' in the model")
def a_probability_of_zero():
    nets = Nets()
    nets.likelihood = lambda z: dist.Normal(1e30 * nets.decoder(z), 1e-30).to_event(1)
    return (nets.model, nets.guide), torch.randn(B, D)


@pytest.mark.param_store
@pytest.mark.parametrize("name", BROKEN)
def test_a_mistake_has_its_sentence(name):
    make, sentence = BROKEN[name]
    program, x = make()
    told = pv.explain_error(program, x)
    assert told is not None and told.startswith(sentence), told
    assert re.fullmatch(r"Expected .*; (got|it|the) .*\.", told, re.DOTALL), told


def test_there_are_twenty_and_each_is_its_own():
    sentences = [sentence for _, sentence in BROKEN.values()]
    assert len(set(sentences)) >= 20


@pytest.mark.param_store
def test_good_programs_have_none():
    nets = Nets()
    assert pv.explain_error((nets.model, nets.guide), bits()) is None
    mixed = vae(likelihood=pv.likelihoods.Gaussian(pv.nn.MLP(L, [16], D)))
    assert pv.explain_error(mixed, torch.randn(B, D)) is None
