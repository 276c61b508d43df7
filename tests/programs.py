"""Many different Pyro programs, as users would write them, for the conformance tests."""

import math

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.distributions import constraints
from pyro.infer import (
    RenyiELBO,
    ReweightedWakeSleep,
    Trace_ELBO,
    TraceEnum_ELBO,
    TraceGraph_ELBO,
    TraceMeanField_ELBO,
    config_enumerate,
)
from pyro.infer import autoguide as ag
from pyro.nn import PyroModule, PyroParam, PyroSample
from torch import nn

import pyro_vae as pv

PROGRAMS = {}


def program(make):
    """Registers a function that makes (model, guide, loss, arguments of each of three steps)."""
    PROGRAMS[make.__name__] = make
    return make


def again(*args):
    return [args] * 3


def normals(*shape, seed=5):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def bits(*shape, seed=5):
    return (torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) < 0.4).float()


# --- Parameters by pyro.param and autoguides --------------------------------------------------------


def location(x):
    loc = pyro.sample("loc", dist.Normal(0.0, 3.0))
    scale = pyro.sample("scale", dist.LogNormal(0.0, 1.0))
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Normal(loc, scale), obs=x)


@program
def constrained_parameters():
    def guide(x):
        loc = pyro.param("q_loc", torch.tensor(0.3))
        scale = pyro.param("q_scale", torch.tensor(0.5), constraint=constraints.positive)
        pyro.sample("loc", dist.Normal(loc, scale))
        pyro.sample("scale", dist.LogNormal(pyro.param("q_s", lambda: torch.randn(())), 0.1))

    return location, guide, Trace_ELBO(), again(normals(20))


@program
def auto_normal():
    return location, ag.AutoNormal(location), Trace_ELBO(), again(normals(20))


@program
def auto_multivariate_normal():
    return location, ag.AutoMultivariateNormal(location), Trace_ELBO(), again(normals(20))


@program
def auto_low_rank():
    return (
        location,
        ag.AutoLowRankMultivariateNormal(location, rank=1),
        Trace_ELBO(),
        again(normals(20)),
    )


@program
def auto_delta():
    return location, ag.AutoDelta(location), Trace_ELBO(), again(normals(20))


@program
def auto_iaf():
    return location, ag.AutoIAFNormal(location, hidden_dim=[8]), Trace_ELBO(), again(normals(20))


@program
def auto_structured():
    guide = ag.AutoGuideList(location)
    guide.append(ag.AutoDiagonalNormal(poutine.block(location, expose=["loc"])))
    guide.append(ag.AutoDelta(poutine.block(location, expose=["scale"])))
    return location, guide, Trace_ELBO(), again(normals(20))


# --- Hierarchies, plates, subsampling ---------------------------------------------------------------


def schools(y, sigma):
    mu = pyro.sample("mu", dist.Normal(0.0, 5.0))
    tau = pyro.sample("tau", dist.HalfCauchy(5.0))
    with pyro.plate("schools", len(y)):
        theta = pyro.sample("theta", dist.Normal(mu, tau))
        pyro.sample("y", dist.Normal(theta, sigma), obs=y)


@program
def eight_schools():
    args = (10 * normals(8), 10 + normals(8, seed=6).abs())
    return schools, ag.AutoNormal(schools), TraceMeanField_ELBO(), again(*args)


@program
def nested_plates():
    def model(x):
        with pyro.plate("columns", 4, dim=-1):
            shift = pyro.sample("shift", dist.Normal(0.0, 1.0))
            with pyro.plate("rows", 6, dim=-2):
                pyro.sample("x", dist.Normal(shift, 1.0), obs=x)

    return (
        model,
        ag.AutoNormal(model),
        Trace_ELBO(num_particles=4, vectorize_particles=True),
        again(normals(6, 4)),
    )


@program
def subsampled_plate():
    def model(x):
        loc = pyro.sample("loc", dist.Normal(0.0, 1.0))
        with pyro.plate("data", len(x), subsample_size=5) as index:
            pyro.sample("x", dist.Normal(loc, 1.0), obs=x[index])

    return model, ag.AutoNormal(model), Trace_ELBO(), again(normals(50))


@program
def subsampled_by_index():
    def model(x, index):
        with pyro.plate("data", len(x), subsample=index):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x[index])

    def guide(x, index):
        loc = pyro.param("loc", torch.zeros(len(x)))
        with pyro.plate("data", len(x), subsample=index):
            pyro.sample("z", dist.Normal(loc[index], 0.7))

    x = normals(12)
    return model, guide, Trace_ELBO(), [(x, torch.arange(i, i + 4)) for i in (0, 4, 8)]


@program
def bayesian_regression():
    class Regression(PyroModule):
        def __init__(self):
            super().__init__()
            self.linear = PyroModule[nn.Linear](3, 1)
            self.linear.weight = PyroSample(dist.Normal(0.0, 1.0).expand([1, 3]).to_event(2))
            self.noise = PyroParam(torch.tensor(0.5), constraint=constraints.positive)

        def forward(self, x, y):
            mean = self.linear(x).squeeze(-1)
            with pyro.plate("data", len(x)):
                pyro.sample("y", dist.StudentT(4.0, mean, self.noise), obs=y)

    torch.manual_seed(0)
    model = Regression()
    return model, ag.AutoNormal(model), Trace_ELBO(), again(normals(15, 3), normals(15, seed=6))


# --- Densities ----------------------------------------------------------------------------------------


@program
def gamma_poisson():
    def model(x):
        rate = pyro.sample("rate", dist.Gamma(2.0, 1.0))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Poisson(rate), obs=x)

    def guide(x):
        a = pyro.param("a", torch.tensor(2.0), constraint=constraints.positive)
        b = pyro.param("b", torch.tensor(1.0), constraint=constraints.positive)
        pyro.sample("rate", dist.Gamma(a, b))

    return model, guide, Trace_ELBO(), again(torch.tensor([0.0, 2.0, 3.0, 1.0]))


@program
def dirichlet_topics():
    def model(counts):
        with pyro.plate("words", 3):
            topics = pyro.sample("topics", dist.Dirichlet(torch.ones(6)))
        with pyro.plate("documents", len(counts)):
            weights = pyro.sample("weights", dist.Dirichlet(torch.ones(3)))
            pyro.sample(
                "x", dist.Multinomial(probs=weights @ topics, validate_args=False), obs=counts
            )

    def guide(counts):
        alpha = pyro.param("alpha", torch.ones(3, 6), constraint=constraints.positive)
        beta = pyro.param("beta", torch.ones(len(counts), 3), constraint=constraints.positive)
        with pyro.plate("words", 3):
            pyro.sample("topics", dist.Dirichlet(alpha))
        with pyro.plate("documents", len(counts)):
            pyro.sample("weights", dist.Dirichlet(beta))

    counts = torch.tensor([[2.0, 0, 1, 0, 3, 1], [0, 4, 0, 2, 1, 0]])
    return model, guide, Trace_ELBO(), again(counts)


@program
def zero_inflated_counts():
    def model(x):
        logits = pyro.param("logits", torch.zeros(4))
        with pyro.plate("data", len(x)):
            size = pyro.sample("size", dist.LogNormal(0.0, 1.0))
            d = dist.ZeroInflatedNegativeBinomial(
                total_count=size[:, None], logits=logits, gate=torch.tensor(0.3)
            )
            pyro.sample("x", d.to_event(1), obs=x)

    return model, ag.AutoNormal(model), Trace_ELBO(), again((5 * normals(6, 4).abs()).round())


@program
def correlated_normals():
    def model(x):
        chol = pyro.sample("chol", dist.LKJCholesky(3, 2.0))
        scale = pyro.sample("scale", dist.HalfNormal(1.0).expand([3]).to_event(1))
        with pyro.plate("data", len(x)):
            tril = scale[:, None] * chol
            pyro.sample("x", dist.MultivariateNormal(torch.zeros(3), scale_tril=tril), obs=x)

    return model, ag.AutoNormal(model), Trace_ELBO(), again(normals(10, 3))


@program
def gaussian_process():
    t = torch.linspace(0, 1, 8)

    def model(y):
        length = pyro.sample("length", dist.LogNormal(-1.0, 0.5))
        noise = pyro.sample("noise", dist.LogNormal(-2.0, 0.5))
        k = (-((t[:, None] - t) ** 2) / (2 * length**2)).exp() + (noise + 1e-3) * torch.eye(8)
        pyro.sample("y", dist.MultivariateNormal(torch.zeros(8), k), obs=y)

    return model, ag.AutoNormal(model), Trace_ELBO(), again(normals(8))


@program
def time_series():
    def model(x):
        drift = pyro.sample("drift", dist.Normal(0.0, 0.1))
        state = torch.zeros(())
        for t in range(len(x)):
            state = pyro.sample(f"z{t}", dist.Normal(0.9 * state + drift, 0.5))
            pyro.sample(f"x{t}", dist.Normal(state, 0.3), obs=x[t])

    return model, ag.AutoNormal(model), Trace_ELBO(), again(normals(6))


@program
def factors_and_deterministics():
    def model(x):
        loc = pyro.sample("loc", dist.Normal(0.0, 1.0).expand([2]).to_event(1))
        twice = pyro.deterministic("twice", 2 * loc)
        pyro.factor("pull", -(twice**2).sum() / 3)
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(loc, 1.0).to_event(1), obs=x)

    return model, ag.AutoNormal(model), Trace_ELBO(), again(normals(9, 2))


# --- Discrete latents ---------------------------------------------------------------------------------


@program
def enumerated_mixture():
    @config_enumerate
    def model(x):
        weights = pyro.param("weights", torch.ones(3) / 3, constraint=constraints.simplex)
        locs = pyro.param("locs", torch.tensor([-1.0, 0.0, 1.0]))
        with pyro.plate("data", len(x)):
            k = pyro.sample("k", dist.Categorical(weights))
            pyro.sample("x", dist.Normal(locs[k], 0.5), obs=x)

    return model, lambda x: None, TraceEnum_ELBO(max_plate_nesting=1), again(normals(20))


@program
def hidden_markov():
    @config_enumerate
    def model(x):
        transition = pyro.param("transition", torch.eye(2) + 0.5, constraint=constraints.positive)
        transition = transition / transition.sum(-1, keepdim=True)
        locs = pyro.param("locs", torch.tensor([-1.0, 1.0]))
        k = torch.tensor(0)
        for t in pyro.markov(range(len(x))):
            k = pyro.sample(f"k{t}", dist.Categorical(transition[k]))
            pyro.sample(f"x{t}", dist.Normal(locs[k], 0.5), obs=x[t])

    return model, lambda x: None, TraceEnum_ELBO(max_plate_nesting=0), again(normals(5))


class Bits(nn.Module):
    """Bernoulli latents, with the baseline chosen by name."""

    def __init__(self, **baseline):
        super().__init__()
        torch.manual_seed(0)
        self.encoder, self.decoder = nn.Linear(8, 3), nn.Linear(3, 8)
        self.net = nn.Sequential(nn.Linear(8, 5), nn.Tanh(), nn.Linear(5, 1), nn.Flatten(0))
        self.baseline = baseline

    def model(self, x):
        pyro.module("decoder", self.decoder)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Bernoulli(0.5 * x.new_ones(len(x), 3)).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=self.decoder(z)).to_event(1), obs=x)

    def guide(self, x):
        pyro.module("encoder", self.encoder)
        infer = dict(self.baseline)
        if infer.pop("neural", False):
            pyro.module("net", self.net)
            infer |= {"nn_baseline": self.net, "nn_baseline_input": x}
        with pyro.plate("data", len(x)):
            q = dist.Bernoulli(logits=self.encoder(x)).to_event(1)
            pyro.sample("z", q, infer={"baseline": infer})


@program
def score_function():
    vae = Bits()
    return vae.model, vae.guide, TraceGraph_ELBO(), again(bits(16, 8))


@program
def score_function_neural_baseline():
    vae = Bits(neural=True)
    return vae.model, vae.guide, TraceGraph_ELBO(), again(bits(16, 8))


@program
def score_function_average_baseline():
    vae = Bits(use_decaying_avg_baseline=True, baseline_beta=0.8)
    return vae.model, vae.guide, TraceGraph_ELBO(), again(bits(16, 8))


@program
def one_hot_score_function():
    def model(x):
        with pyro.plate("data", len(x)):
            k = pyro.sample("k", dist.OneHotCategorical(torch.ones(3) / 3))
            pyro.sample("x", dist.Normal(k @ torch.tensor([-1.0, 0.0, 1.0]), 0.5), obs=x)

    def guide(x):
        logits = pyro.param("logits", torch.zeros(len(x), 3))
        with pyro.plate("data", len(x)):
            pyro.sample("k", dist.OneHotCategorical(logits=logits))

    return model, guide, TraceGraph_ELBO(), again(normals(9))


@program
def semi_supervised():
    """The label is enumerated where it is not given."""
    torch.manual_seed(0)
    decoder, classifier = nn.Linear(2 + 3, 8), nn.Linear(8, 3)
    encoder = nn.Linear(8 + 3, 4)

    def model(x, y=None):
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            y = pyro.sample("y", dist.OneHotCategorical(torch.ones(3) / 3), obs=y)
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            rows = torch.broadcast_shapes(z.shape[:-1], y.shape[:-1])
            zy = torch.cat([z.expand(*rows, 2), y.expand(*rows, 3)], -1)
            pyro.sample("x", dist.Bernoulli(logits=decoder(zy)).to_event(1), obs=x)

    def guide(x, y=None):
        pyro.module("encoder", encoder)
        pyro.module("classifier", classifier)
        with pyro.plate("data", len(x)):
            if y is None:
                y = pyro.sample("y", dist.OneHotCategorical(logits=classifier(x)))
            rows = torch.broadcast_shapes(x.shape[:-1], y.shape[:-1])
            xy = torch.cat([x.expand(*rows, 8), y.expand(*rows, 3)], -1)
            loc, log_scale = encoder(xy).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))

    x, y = bits(10, 8), torch.eye(3)[torch.arange(10) % 3]
    guide = config_enumerate(guide, default="parallel")
    loss = TraceEnum_ELBO(max_plate_nesting=1, strict_enumeration_warning=False)
    return model, guide, loss, [(x,), (x, y), (x,), (x, y), (x,)]


# --- Networks -----------------------------------------------------------------------------------------


class Dense(nn.Module):
    """A VAE written by hand with pyro.module."""

    def __init__(self, dropout=0.0, norm=False):
        super().__init__()
        torch.manual_seed(0)
        middle = [nn.Dropout(dropout)] if dropout else []
        middle += [nn.BatchNorm1d(6)] if norm else []
        self.encoder = nn.Sequential(nn.Linear(8, 6), *middle, nn.Tanh(), nn.Linear(6, 4))
        self.decoder = nn.Linear(2, 8)

    def model(self, x, mask=None):
        pyro.module("decoder", self.decoder)
        mask = torch.ones_like(x, dtype=torch.bool) if mask is None else mask
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(len(x), 2), 1.0).to_event(1))
            d = dist.Bernoulli(logits=self.decoder(z)).mask(mask).to_event(1)
            pyro.sample("x", d, obs=x)

    def guide(self, x, mask=None):
        pyro.module("encoder", self.encoder)
        with pyro.plate("data", len(x)):
            loc, log_scale = self.encoder(x).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))


@program
def masked_pixels():
    vae = Dense()
    return vae.model, vae.guide, Trace_ELBO(), again(bits(12, 8), bits(12, 8, seed=6).bool())


@program
def dropout_and_batch_norm():
    vae = Dense(dropout=0.3, norm=True)
    return vae.model, vae.guide, Trace_ELBO(), again(bits(12, 8))


@program
def changing_batches():
    vae = Dense()
    return vae.model, vae.guide, Trace_ELBO(), [(bits(n, 8, seed=n),) for n in (12, 12, 5, 12, 5)]


@program
def changing_kl_weight():
    vae = Dense()

    def tempered(program):
        def with_weight(x, weight):
            with poutine.scale(scale=weight):
                program(x)

        return with_weight

    args = [(bits(12, 8), w) for w in (0.1, 0.5, 0.7, 1.0)]
    return tempered(vae.model), tempered(vae.guide), Trace_ELBO(), args


@program
def three_particles_in_turn():
    vae = Dense()
    return vae.model, vae.guide, Trace_ELBO(num_particles=3), again(bits(12, 8))


@program
def renyi():
    vae = Dense()
    loss = RenyiELBO(alpha=0.5, num_particles=4, vectorize_particles=True)
    return vae.model, vae.guide, loss, again(bits(12, 8))


@program
def wake_sleep():
    vae = Dense()
    loss = ReweightedWakeSleep(
        num_particles=2, insomnia=1.0, vectorize_particles=False, model_has_params=True
    )
    return vae.model, vae.guide, loss, again(bits(12, 8))


@program
def flow_guide():
    torch.manual_seed(0)
    flow = dist.transforms.affine_autoregressive(2, hidden_dims=[6])

    def model(x):
        z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(x):
        pyro.module("flow", flow)
        pyro.sample("z", dist.TransformedDistribution(dist.Normal(torch.zeros(2), 1.0), [flow]))

    return model, guide, Trace_ELBO(), again(normals(10, 2))


@program
def plain_function_loss():
    def loss(model, guide, *args):
        return Trace_ELBO().differentiable_loss(model, guide, *args) / len(args[0])

    vae = Dense()
    return vae.model, vae.guide, loss, again(bits(12, 8))


def ours(objective):
    torch.manual_seed(0)
    vae = pv.VAE(
        pv.priors.StandardNormal(2),
        pv.likelihoods.Bernoulli(pv.nn.MLP(2, [6], 8)),
        pv.posteriors.MeanFieldNormal(pv.nn.MLP(8, [6], 4)),
    )
    return vae.model, vae.guide, objective, again(bits(12, 8))


@program
def our_elbo():
    return ours(pv.objectives.ELBO(kl="closed-form"))


@program
def our_iwae():
    return ours(pv.objectives.IWAE(5))


@program
def our_stl():
    return ours(pv.objectives.STL(2))


@program
def our_dreg():
    return ours(pv.objectives.DReG(4))


@program
def our_vimco():
    vae = pv.VAE(
        pv.priors.Bernoulli(3),
        pv.likelihoods.Bernoulli(pv.nn.MLP(3, [6], 8)),
        pv.posteriors.Bernoulli(pv.nn.MLP(8, [6], 3)),
    )
    return vae.model, vae.guide, pv.objectives.VIMCO(4), again(bits(12, 8))


# --- Programs that are not static, with a part of the refusal -----------------------------------------


@program
def new_parameter():
    def model(x):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        if len(x) > 5:
            z = z + pyro.param("late", torch.tensor(0.0))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    return model, ag.AutoNormal(model), Trace_ELBO(), [(normals(n),) for n in (4, 9, 9)]


@program
def sequential_subsample():
    def model(x):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        for i in pyro.plate("data", len(x), subsample_size=2):
            pyro.sample(f"x{i}", dist.Normal(z, 1.0), obs=x[i])

    def guide(x):
        pyro.sample("z", dist.Normal(pyro.param("loc", torch.tensor(0.0)), 1.0))

    return model, guide, Trace_ELBO(), again(normals(4))


REFUSED = {}


def refused(word):
    def register(make):
        REFUSED[make.__name__] = (make, word)
        return make

    return register


@refused("reads the value of a tensor")
def branch_on_a_sample():
    def model(x):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        if z > 0:
            z = z * 2
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    return model, ag.AutoNormal(model), Trace_ELBO(), again(normals(9))


@refused("reads the value of a tensor")
def number_from_a_sample():
    def model(x):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(math.sin(z.detach()), 1.0), obs=x)

    return model, ag.AutoNormal(model), Trace_ELBO(), again(normals(9))


@refused("")
def rejection_sampler():
    def guide(x):
        concentration = pyro.param("concentration", torch.tensor(2.0))
        pyro.sample("z", dist.VonMises(0.1, concentration))

    def model(x):
        z = pyro.sample("z", dist.VonMises(0.0, 1.0))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    return model, guide, Trace_ELBO(), again(normals(9))


@refused("reads the value of a tensor")
def loop_to_a_tolerance():
    def model(x):
        z = pyro.sample("z", dist.Normal(1.0, 1.0))
        root = torch.ones(())
        while (root**3 + root - z).abs() > 1e-3:
            root = root - (root**3 + root - z) / (3 * root**2 + 1)
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(root, 1.0), obs=x)

    return model, ag.AutoNormal(model), Trace_ELBO(), again(normals(9))
