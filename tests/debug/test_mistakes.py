"""Every common mistake has its own sentence, and good programs are not blamed."""

import re
import sys
import warnings
from importlib import import_module

import pyro
import pyro.distributions as dist
import pytest
import torch
from nets import B, D, L, Nets, bits, vae
from pyro.infer import Trace_ELBO
from pyro.infer.autoguide import AutoNormal
from torch import nn

import pyro_vae as pv

BROKEN = {}


def broken(sentence):
    """Registers a function that makes a program with one mistake, its data and its sentence."""

    def register(make):
        BROKEN[make.__name__] = (make, sentence)
        return make

    return register


@broken("Expected data as a tensor; got an object of type ndarray")
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


@broken("Expected 'z' in the same plates in guide and model; got 'rows' of 8 (dim=-1) and 'data'")
def plates_of_other_names():
    nets = Nets()

    def guide(x):
        pyro.module("nets", nets)
        with pyro.plate("rows", len(x)):
            pyro.sample("z", nets.q(x))

    return (nets.model, guide), bits()


@broken("Expected x of shape [8, 5], as the likelihood says; got [8, 1, 5]")
def data_with_a_dimension_more():
    nets = Nets()
    nets.q = lambda x: Nets.q(nets, x[:, 0])
    return (nets.model, nets.guide), bits()[:, None]


@broken("Expected scale of 'z' in the positive numbers")
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


@broken("Expected data as a tensor; got a list that holds one, as a DataLoader yields it")
def a_batch_of_a_loader():
    return vae(), [bits()]


@broken("Expected at least one datum; got x of shape [0, 5]")
def no_rows():
    return vae(), bits()[:0]


@broken("Expected x of shape [B, 5], as the decoder makes it; got [8, 1, 5]. Write x.flatten(1)")
def images_for_a_vae_of_vectors():
    return vae(), bits()[:, None]


@broken("Expected x of shape [B, 5], as the decoder makes it; got [5, 8]. Write x.T")
def columns_for_rows():
    return vae(), bits().T


@broken("Expected an encoder that takes x of 5 numbers; got a layer that takes 10, and x of shape")
def images_for_a_program_of_vectors():
    nets = Nets()
    nets.encoder = nn.Linear(2 * D, 2 * L)
    return (nets.model, nets.guide), bits().repeat(2, 1).reshape(B, 2, D)


@broken(
    "Expected data of the dtype of the parameters, torch.float32; got torch.float64. Write x.to"
)
def double_data_for_functions():
    nets = Nets()
    return (lambda x: nets.model(x), lambda x: nets.guide(x)), bits().double()


@broken(
    "Expected a distribution at site 'x'; got an object of type method. Call what makes the distribution"
)
def a_likelihood_that_is_not_called():
    nets = Nets()

    def model(x):
        pyro.module("nets", nets)
        with pyro.plate("data", len(x)):
            pyro.sample("z", nets.p())
            pyro.sample("x", nets.likelihood, obs=x)

    return (model, nets.guide), bits()


@broken("Expected a distribution of Pyro's at site 'z'; got Independent of torch.distributions")
def a_distribution_of_torch():
    nets = Nets()
    normal = torch.distributions.Normal(torch.zeros(B, L), 1.0)
    nets.p = lambda: torch.distributions.Independent(normal, 1)
    return (nets.model, nets.guide), bits()


@broken("Expected the observed 'x' as a tensor; got an object of type ndarray")
def an_array_at_its_site():
    nets = Nets()

    def model(x):
        pyro.module("nets", nets)
        with pyro.plate("data", len(x)):
            pyro.sample("x", nets.likelihood(pyro.sample("z", nets.p())), obs=x.numpy())

    return (model, nets.guide), bits()


@broken("Expected a batch_shape with one dimension for each plate around 'z' (data); got [2]")
def a_prior_without_its_event():
    nets = Nets()
    nets.p = lambda: dist.Normal(torch.zeros(L), 1.0)
    return (nets.model, nets.guide), bits()


@broken("Expected z to be one event in guide and model; got the event shapes [2] and []")
def a_prior_of_one_number():
    nets = Nets()
    nets.p = lambda: dist.Normal(0.0, 1.0)
    return (nets.model, nets.guide), bits()


@broken("Expected z of one size in guide and model; got 2 and 3")
def a_prior_of_another_size():
    return vae(prior=pv.priors.StandardNormal(3)), bits()


@broken("Expected every tensor with gradients to be shown to Pyro; got 2 that no step would move")
def an_encoder_that_is_hidden():
    nets = Nets()

    def model(x):
        pyro.module("decoder", nets.decoder)
        with pyro.plate("data", len(x)):
            pyro.sample("x", nets.likelihood(pyro.sample("z", nets.p())), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", nets.q(x))

    return (model, guide), bits()


@broken("Expected every tensor with gradients to be shown to Pyro; got 4 that no step would move")
def a_second_model_under_the_names_of_the_first():
    Nets().model(bits())
    second = Nets()
    return (second.model, second.guide), bits()


@broken(
    "Expected 'z' in the same plates in guide and model; got 'data' of 8 (dim=-1) and 'data' of"
)
def a_plate_of_all_data_in_the_model_alone():
    nets = Nets()

    def model(x):
        pyro.module("nets", nets)
        with pyro.plate("data", 1000):
            pyro.sample("x", nets.likelihood(pyro.sample("z", nets.p())), obs=x)

    return (model, nets.guide), bits()


@broken("Expected x of shape [8, 1], as the likelihood says; got [8, 5]")
def a_decoder_of_one_output():
    nets = Nets()
    nets.decoder = nn.Linear(L, 1)
    return (nets.model, nets.guide), bits()


@broken("Expected x in the support of ContinuousBernoulli, [0, 1]; got values from")
def pixels_up_to_255():
    likelihood = pv.likelihoods.ContinuousBernoulli(pv.nn.MLP(L, [16], D))
    return vae(likelihood=likelihood), 255 * bits()


@broken("Expected x in the support of Beta, (0, 1); got values from 0 to 1. Move the ends inside")
def the_ends_of_the_unit_interval():
    return vae(likelihood=pv.likelihoods.Beta(pv.nn.MLP(L, [16], 2 * D))), bits()


@broken("Expected a guide that samples 'z' where the prior has it, in [-2.5, 2.5]; the guide's")
def a_guide_that_leaves_the_prior_now_and_then():
    nets = Nets()
    nets.p = lambda: dist.Uniform(torch.full((L,), -2.5), 2.5).to_event(1)
    return (nets.model, nets.guide), bits()


@broken("Expected the posterior's support inside the prior's")
def a_posterior_of_bits_under_a_normal_prior():
    return vae(posterior=pv.posteriors.Bernoulli(pv.nn.MLP(D, [16], L))), bits()


@broken(
    "Expected logits of 'x' in the real numbers; got values from nan to nan in the model. Some"
)
def an_overflow():
    nets = Nets()
    nets.encoder.bias.data[L:] = 200.0
    return (nets.model, nets.guide), bits()


@broken(
    "Expected x of shape (batch, 8), as the likelihood's event shape says; got (8, 1, 8, 8). Set"
)
def images_without_event_dim():
    return vae(
        likelihood=pv.likelihoods.Bernoulli(pv.nn.MLP(L, [16], (1, 8, 8))),
        posterior=pv.posteriors.MeanFieldNormal(pv.nn.MLP((1, 8, 8), [16], 2 * L)),
    ), torch.bernoulli(torch.full((B, 1, 8, 8), 0.5))


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
    assert len(set(sentences)) == len(sentences) >= 20


GOOD = {}


def good(make):
    """Registers a function that makes a program without a mistake, and its data."""
    GOOD[make.__name__] = make
    return make


@good
def by_hand():
    nets = Nets()
    return (nets.model, nets.guide), bits()


@good
def a_vae_of_numbers():
    return vae(likelihood=pv.likelihoods.Gaussian(pv.nn.MLP(L, [16], D))), torch.randn(B, D)


@good
def a_table_with_holes():
    parts = [
        ([0, 1], pv.likelihoods.Gaussian(pv.nn.MLP(L, [16], 2))),
        ([2, 3, 4], pv.likelihoods.Bernoulli(pv.nn.MLP(L, [16], 3))),
    ]
    x = bits()
    x[2, 3] = x[4, 0] = torch.nan
    posterior = pv.posteriors.MeanFieldNormal(
        nn.Sequential(pv.nn.Observed(), pv.nn.MLP(2 * D, [16], 2 * L))
    )
    return vae(likelihood=pv.likelihoods.Product(nn.Identity(), parts), posterior=posterior), x


@good
def subsampling_inside():
    nets = Nets()

    def model(x):
        pyro.module("nets", nets)
        with pyro.plate("data", len(x), subsample_size=4) as rows:
            pyro.sample("x", nets.likelihood(pyro.sample("z", nets.p())), obs=x[rows])

    def guide(x):
        pyro.module("nets", nets)
        with pyro.plate("data", len(x), subsample_size=4) as rows:
            pyro.sample("z", nets.q(x[rows]))

    return (model, guide), bits()


@good
def a_loop_over_data():
    nets = Nets()

    def model(x):
        pyro.module("nets", nets)
        for i in pyro.plate("data", len(x)):
            z = pyro.sample(f"z_{i}", nets.p())
            pyro.sample(f"x_{i}", nets.likelihood(z), obs=x[i])

    def guide(x):
        pyro.module("nets", nets)
        for i in pyro.plate("data", len(x)):
            pyro.sample(f"z_{i}", nets.q(x[i]))

    return (model, guide), bits()


@good
def notes_and_factors():
    nets = Nets()

    def model(x):
        pyro.module("nets", nets)
        pyro.factor("decay", -0.01 * nets.decoder.weight.square().sum())
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", nets.p())
            pyro.deterministic("means", nets.decoder(z).sigmoid())
            pyro.factor("x", nets.likelihood(z).log_prob(x))

    def guide(x):
        pyro.module("nets", nets)
        pyro.factor("pull", -nets.encoder.weight.square().sum(), has_rsample=True)
        with pyro.plate("data", len(x)):
            pyro.deterministic("loc", nets.encoder(x), event_dim=1)
            pyro.sample("z", nets.q(x))

    return (model, guide), bits()


@good
def words_by_their_numbers():
    nets = Nets()
    nets.embedding, nets.decoder = nn.Embedding(7, 3), nn.Linear(L, 7 * D)
    nets.encoder = nn.Linear(3 * D, 2 * L)
    nets.q = lambda x: Nets.q(nets, nets.embedding(x).flatten(1))
    nets.likelihood = lambda z: dist.Categorical(
        logits=nets.decoder(z).unflatten(-1, (D, 7))
    ).to_event(1)
    return (nets.model, nets.guide), torch.randint(7, (B, D))


@good
def holes_under_a_mask_by_hand():
    nets = Nets()
    nets.q = lambda x: Nets.q(nets, x.nan_to_num())

    def model(x):
        pyro.module("nets", nets)
        seen, known = ~x.isnan(), x.nan_to_num()
        with pyro.plate("data", len(x)):
            logits = nets.decoder(pyro.sample("z", nets.p()))
            pyro.sample("x", dist.Bernoulli(logits=logits).mask(seen).to_event(1), obs=known)

    x = bits()
    x[1, 2] = torch.nan
    return (model, nets.guide), x


@good
def a_plate_on_the_left():
    nets = Nets()

    def plated(site):
        def program(x):
            pyro.module("nets", nets)
            with pyro.plate("data", len(x), dim=-2):
                site(x[:, None])

        return program

    def model(x):
        pyro.sample("x", nets.likelihood(pyro.sample("z", nets.p())), obs=x)

    return (plated(model), plated(lambda x: pyro.sample("z", nets.q(x)))), bits()


@good
def a_component_that_is_summed_over():
    nets, centres = Nets(), torch.randn(3, L)

    def model(x):
        pyro.module("nets", nets)
        with pyro.plate("data", len(x)):
            c = pyro.sample("c", dist.Categorical(torch.ones(3)), infer={"enumerate": "parallel"})
            z = pyro.sample("z", dist.Normal(centres[c], 1.0).to_event(1))
            pyro.sample("x", nets.likelihood(z), obs=x)

    return (model, nets.guide), bits()


@good
def a_distribution_without_a_support():
    class Shifted(dist.TorchDistribution):
        arg_constraints = {}

        def __init__(self, loc):
            self.loc = loc
            super().__init__(loc.shape[:-1], loc.shape[-1:], validate_args=False)

        def log_prob(self, value):
            return -(value - self.loc).abs().sum(-1)

    nets = Nets()
    nets.likelihood = lambda z: Shifted(nets.decoder(z))
    return (nets.model, nets.guide), bits()


@good
def an_automatic_guide():
    nets = Nets()
    return (nets.model, AutoNormal(nets.model)), bits()


@pytest.mark.param_store
@pytest.mark.parametrize("name", GOOD)
def test_a_good_program_is_not_blamed(name):
    program, x = GOOD[name]()
    assert pv.explain_error(program, x) is None
    step = pv.inspect_step(program, x, seed=3)
    model, guide = program if isinstance(program, tuple) else (program.model, program.guide)
    torch.manual_seed(3)
    with warnings.catch_warnings(), pyro.validation_enabled(False):
        warnings.simplefilter("ignore")  # of Pyro, that c is to be summed over
        assert step.loss == pytest.approx(Trace_ELBO().loss(model, guide, x) / B, rel=1e-4)


# --- The room ------------------------------------------------------------------------------------


def test_checks_are_listed_once_and_say_what_they_find():
    names = [(check.__module__, check.__name__) for check in pv.debug.MISTAKES]
    assert len(set(names)) == len(names) >= 35
    assert all(check.__doc__ for check in pv.debug.MISTAKES)


@pytest.mark.parametrize("old", ["microscope", "mistakes", "mistakes.failures", "mistakes.case"])
def test_old_modules_work_and_name_the_new(old):
    with pytest.warns(DeprecationWarning, match=r"is now pyro_vae\.debug"):
        module = import_module(f"pyro_vae.{old}")
    assert "Case" in dir(module) or "explain_error" in dir(module) or "step_error" in dir(module)
    for name in [*sys.modules]:
        if name.startswith(("pyro_vae.microscope", "pyro_vae.mistakes")):
            del sys.modules[name]
