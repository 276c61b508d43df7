"""Every public function takes every kind of model, or refuses it in a sentence."""

import copy
import math
import warnings

import matplotlib
import pyro
import pytest
import torch
from kinds import KINDS

import pyro_vae as pv
from pyro_vae.data import as_split

matplotlib.use("Agg")
FEW = {"num_temperatures": 20, "num_chains": 2, "num_leapfrogs": 2}


@pytest.fixture(scope="module")
def made():
    kinds = {}
    for name, make in KINDS.items():
        with pyro.get_param_store().scope():
            torch.manual_seed(0)
            kinds[name] = make()
    return kinds


def finite(value):
    parts = value if isinstance(value, tuple) else (value,)
    assert all(bool(torch.isfinite(torch.as_tensor(part)).all()) for part in parts)


def rows(split, count):
    return split.take(slice(0, count))


def some(kind, split, count):
    """Conditions alone, for data that are simulated."""
    names = getattr(kind.vae, "conditions", ())
    known = split.known_at(torch.arange(count) % len(split))
    return {name: known[name] for name in names}


def fitted(kind, split):
    vae = copy.deepcopy(kind.vae)
    history = pv.fit(vae, split, epochs=2, batch_size=20, progress=False, valid=rows(split, 10))
    finite(torch.tensor(history["loss"] + history["elbo"]))


def explained(kind, split):
    x, known = split.batch(slice(0, 2))
    derivation = pv.explain(kind.vae, x, known=known)
    assert "log p(x" in derivation.text and r"\begin{align*}" in derivation.latex
    if derivation.plan.estimator == "reparameterized":
        torch.manual_seed(3)
        objective = derivation.plan.objective
        with torch.no_grad():
            loss = objective(kind.vae.model, kind.vae.guide, x, **known).loss
        assert derivation.evaluate(x, 3, **known) == pytest.approx(float(loss), rel=1e-4)


def evaluated(kind, split):
    figures = pv.evaluate.evaluate(kind.vae, split, 20)
    assert math.isfinite(figures["elbo"]) and math.isfinite(figures["log_marginal"])


def decoded(kind, split):
    sites = pv.encode(kind.vae, split)
    x = pv.evaluate.decode(kind.vae, sites.loc, **some(kind, split, len(split)))
    assert x.shape == split.rows(slice(None)).shape


FUNCTIONS = {
    "fit": fitted,
    "plan": lambda k, s: pv.plan(k.vae, s.rows(slice(0, 2)), known=s.known_at(slice(0, 2))),
    "explain": explained,
    "elbo": lambda k, s: finite(pv.elbo(k.vae, s, 3)),
    "log_marginal": lambda k, s: finite(pv.log_marginal(k.vae, s, 50).log_marginal),
    "evaluate": evaluated,
    "encode": lambda k, s: finite(pv.encode(k.vae, s)),
    "sample": lambda k, s: finite(pv.sample(k.vae, 5, **some(k, s, 5))),
    "reconstruct": lambda k, s: finite(pv.reconstruct(k.vae, s)),
    "decode": decoded,
    "impute": lambda k, s: finite(pv.impute(k.vae, s, 2, num_particles=50).draws),
    "impute by Gibbs": lambda k, s: finite(
        pv.impute(k.vae, s, 2, method="gibbs", num_particles=20, num_steps=8).draws
    ),
    "active_units": lambda k, s: finite(pv.evaluate.active_units(k.vae, s)),
    "rate_distortion": lambda k, s: finite(pv.evaluate.rate_distortion(k.vae, s, 2).rate),
    "information": lambda k, s: finite(pv.evaluate.information(k.vae, s).marginal_kl),
    "predictive_check": lambda k, s: pv.evaluate.predictive_check(k.vae, s, num_replications=3),
    "interval_coverage": lambda k, s: pv.evaluate.interval_coverage(k.vae, s, num_draws=5),
    "sbc": lambda k, s: pv.evaluate.sbc(k.vae, 20, 9, **some(k, s, 20)),
    "eubo": lambda k, s: finite(pv.evaluate.eubo(k.vae, 20, **some(k, s, 20))),
    "ais": lambda k, s: finite(pv.ais(k.vae, rows(s, 4), **FEW).log_marginal),
    "bdmc": lambda k, s: finite(pv.bdmc(k.vae, 4, **FEW, **some(k, s, 4)).lower),
    "gap_ledger": lambda k, s: str(
        pv.gap_ledger(k.vae, rows(s, 4), num_steps=4, num_particles=2, num_samples=10)
    ),
    "nuts_posterior": lambda k, s: pv.evaluate.nuts_posterior(
        k.vae, rows(s, 1), 30, num_warmup=10
    ),
    "gradients": lambda k, s: differentiated(k, s),
    "to_datatree": lambda k, s: pv.evaluate.to_datatree(k.vae, rows(s, 3), num_samples=5),
    "inspect_step": lambda k, s: str(
        pv.inspect_step(k.vae, s.rows(slice(0, 4)), **s.known_at(slice(0, 4)))
    ),
    "explain_error": lambda k, s: mistaken(k, s),
    "plot_samples": lambda k, s: pv.plot.plot_samples(k.vae, 6, split=s),
    "plot_reconstructions": lambda k, s: pv.plot.plot_reconstructions(k.vae, s, 4),
    "plot_correlations": lambda k, s: pv.plot.plot_correlations(k.vae, s),
    "plot_manifold": lambda k, s: pv.plot.plot_manifold(
        k.vae, 4, **{name: value[0] for name, value in some(k, s, 1).items()}
    ),
    "plot_run": lambda k, s: drawn(k, s),
    "diagnose": lambda k, s: diagnosed(k, s),
    "plot_latent": lambda k, s: pv.plot.plot_latent(k.vae, s),
    "plot_traversal": lambda k, s: pv.plot.plot_traversal(k.vae, s, 3),
    "rate_distortion_curve": lambda k, s: pv.rate_distortion_curve(
        k.vae, s, s, (0.5, 1.0), epochs=1, num_samples=2
    ),
    "CompiledSVI": lambda k, s: compiled(k, s),
    "interpolate": lambda k, s: finite(pv.interpolate(k.vae, rows(s, 2), rows(s, 2), 3)),
    "refit_prior": lambda k, s: refitted(k, s),
    "log_conditional": lambda k, s: finite(
        pv.evaluate.log_conditional(k.vae, s, first_half(s), 20).log_conditional
    ),
}


def first_half(split):
    count = math.prod(split.x_shape)
    return (torch.arange(count) < count // 2).reshape(split.x_shape)


def refitted(kind, split):
    old = getattr(kind.vae, "prior", None)
    prior = copy.deepcopy(old)
    if isinstance(old, pv.priors.StandardNormal):
        prior = pv.priors.Normal(2, learned=True)
    elif isinstance(old, pv.priors.Categorical):
        prior = pv.priors.Categorical(4, learned=True)
    elif isinstance(old, pv.Sites) and "y" in old:
        prior["y"] = pv.priors.Categorical(3, learned=True)
    finite(pv.refit_prior(kind.vae, prior, split, rows(split, 9), epochs=1, progress=False).gain)


def drawn(kind, split):
    figures = pv.plot.draw_run(kind.vae, split)
    assert {"samples", "reconstructions", "latent", "decoded"} <= set(figures)


def diagnosed(kind, split):
    few = {"num_samples": 20, "num_data": 3, "num_temperatures": 3, "num_steps": 2}
    found = pv.diagnose(kind.vae, rows(split, 20), split, **few)
    assert math.isfinite(found.record()["elbo"])
    assert "What to try?" in pv.report.text(found, "a title")


def differentiated(kind, split):
    x, known = split.batch(slice(0, 4))
    objective = pv.plan(kind.vae, x, known=known).objective
    finite(pv.evaluate.gradients(kind.vae, objective, x, 2, **known))


def mistaken(kind, split):
    told = pv.explain_error(kind.vae, split.rows(slice(0, 4)), **split.known_at(slice(0, 4)))
    assert told is None, told


def compiled(kind, split):
    x, known = split.batch(slice(0, 10))
    vae = copy.deepcopy(kind.vae)
    objective = pv.plan(vae, x, known=known).objective
    svi = pv.CompiledSVI(
        vae.model, vae.guide, pyro.optim.Adam({"lr": 1e-3}), objective, backend="graph"
    )
    finite(torch.stack([svi.step(x, **known) for _ in range(4)]))


CONTINUOUS = "Expected continuous latent variables"
UNKNOWN = "Expected latent variables that nothing is known of"
PLANE = "Expected one latent site of two real features"
REFUSED = {
    **{
        (name, "plot_manifold"): PLANE
        for name in KINDS
        if name not in ("plain", "conditional", "holes", "views", "pixels", "two observed sites")
    },
    ("sequence", "plot_correlations"): "Expected a table",
    ("discrete", "ais"): CONTINUOUS,
    ("discrete", "bdmc"): CONTINUOUS,
    ("discrete", "nuts_posterior"): CONTINUOUS,
    ("codes", "ais"): CONTINUOUS,
    ("codes", "bdmc"): CONTINUOUS,
    ("codes", "nuts_posterior"): CONTINUOUS,
    ("codes", "gradients"): "Expected reparameterized latent sites",  # the soft twin has none
    ("codes", "interpolate"): "Expected real latent variables",
    ("semi-supervised", "ais"): UNKNOWN,
    ("semi-supervised", "bdmc"): CONTINUOUS,
    ("semi-supervised", "nuts_posterior"): UNKNOWN,
    ("semi-supervised", "gap_ledger"): UNKNOWN,
    ("conditional", "information"): "Expected a model of x alone",
    ("semi-supervised", "information"): "Expected a model of x alone",
    ("two observed sites", "information"): "Expected a model of x alone",
    ("semi-supervised", "interpolate"): "Expected real latent variables",
    ("discrete", "interpolate"): "Expected real latent variables",
    ("a stranger's module", "refit_prior"): r"Expected a pv\.VAE",
    **{
        (name, "log_conditional"): "Expected a likelihood of data with holes"
        for name in KINDS
        if name not in ("sequence", "holes", "views")
    },
    ("a stranger's module", "log_conditional"): "Expected values in the real numbers",
}
# Functions that take long meet a few kinds in `make test`, and all of them in `make test-all`.
LONG = (
    "CompiledSVI",
    "diagnose",
    "nuts_posterior",
    "plot_run",
    "rate_distortion_curve",
    "bdmc",
    "gap_ledger",
)
THESE = ("plain", "sequence", "a stranger's module")
CELLS = [(kind, function) for kind in KINDS for function in FUNCTIONS]


def cell(kind, function):
    long = function in LONG and kind not in THESE and (kind, function) not in REFUSED
    marks = [pytest.mark.slow] if long else []
    return pytest.param(kind, function, marks=marks, id=f"{kind} | {function}")


@pytest.mark.parametrize(("name", "function"), [cell(*c) for c in CELLS])
def test_every_function_takes_every_kind(made, name, function):
    kind = made[name]
    split = as_split(kind.x, **kind.known)
    with warnings.catch_warnings(), pyro.get_param_store().scope():
        warnings.simplefilter("ignore")
        told = REFUSED.get((name, function))
        if told is None:
            FUNCTIONS[function](kind, split)
        else:
            with pytest.raises(ValueError, match=told):
                FUNCTIONS[function](kind, split)
