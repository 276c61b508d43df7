"""Data that training refuses have no figures; programs that disagree have none either."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from checks import build, exact_vae, variants
from pyro import poutine
from pyro.infer.autoguide import AutoNormal
from torch.distributions import constraints

import pyro_vae as pv
from pyro_vae import evaluate as ev
from pyro_vae.base import Prior
from pyro_vae.data import Split

FIGURES = {
    "elbo": lambda vae, x: pv.elbo(vae, x),
    "log_marginal": lambda vae, x: pv.log_marginal(vae, x, 5),
    "ais": lambda vae, x: pv.ais(vae, x, num_temperatures=2),
    "gap_ledger": lambda vae, x: pv.gap_ledger(vae, x, num_steps=2, num_samples=5),
    "encode": lambda vae, x: pv.encode(vae, x),
    "reconstruct": lambda vae, x: pv.reconstruct(vae, x),
    "active_units": lambda vae, x: ev.active_units(vae, x),
    "rate_distortion": lambda vae, x: ev.rate_distortion(vae, x),
    "information": lambda vae, x: ev.information(vae, x),
    "predictive_check": lambda vae, x: ev.predictive_check(vae, x),
    "interval_coverage": lambda vae, x: ev.interval_coverage(vae, x),
    "nuts_posterior": lambda vae, x: ev.nuts_posterior(vae, x, 5, num_warmup=5),
    "to_datatree": lambda vae, x: ev.to_datatree(vae, x, num_samples=2),
    "gradients": lambda vae, x: ev.gradients(vae, pv.objectives.ELBO(), x, 2),
    "evaluate": lambda vae, x: ev.evaluate(vae, Split(x), 5),
    "fit": lambda vae, x: pv.fit(vae, x, epochs=1, progress=False),
}


def bits_vae():
    return build(
        ({"kind": "standard-normal"}, {"kind": "bernoulli"}, {"kind": "mean-field-normal"})
    )


@pytest.mark.parametrize("figure", FIGURES)
@pytest.mark.parametrize("wrong", ["grey", "255", "nan", "inf", "shape"])
def test_no_figures_of_data_that_training_refuses(figure, wrong):
    vae, x = bits_vae()
    x = x.clone()
    if wrong == "shape":
        x = x[:, :-1]
    else:
        x[3, 2] = {"grey": 0.4, "255": 255.0, "nan": torch.nan, "inf": torch.inf}[wrong]
    with pytest.raises(ValueError, match="^Expected (values in {0, 1}|x of shape)") as told:
        FIGURES[figure](vae, x)
    if wrong != "shape":
        assert "row 3, position (2,)" in str(told.value)


WHOLE = ("poisson", "negative-binomial", "zero-inflated-negative-binomial", "hurdle")


@pytest.mark.parametrize(
    "likelihood",
    ["beta", "poisson", "negative-binomial", "binomial", "categorical", "continuous-bernoulli"]
    + ["discretized-logistic", "zero-inflated-negative-binomial", "product", "log-normal"]
    + ["gamma", "censored", "hurdle", "ordinal"],
)
def test_every_support_is_held(likelihood):
    kind = next(k for k in variants("likelihood") if k["kind"] == likelihood)
    vae, x = build(({"kind": "standard-normal"}, kind, {"kind": "mean-field-normal"}))
    pv.elbo(vae, x)
    for wrong in (-0.5, 1e9 + 0.5):
        bad = x.clone()
        bad[1, 1] = wrong
        if likelihood in (*WHOLE, "log-normal", "gamma") and wrong > 0:
            continue  # 1e9 + 0.5 is a whole number in single precision
        if likelihood == "censored" and wrong == -0.5:
            continue  # between the limits
        with pytest.raises(ValueError, match="Expected values in"):
            pv.log_marginal(vae, bad, 5)


def test_checks_can_be_skipped_and_that_is_said(tmp_path):
    vae, x = bits_vae()
    grey = 0.9 * x
    figures = ev.evaluate(vae, Split(grey), 5, skip_checks=True)
    assert "Expected values in {0, 1}" in figures["not_a_density"]
    assert "not_a_density" not in ev.evaluate(vae, Split(x), 5, skip_checks=True)
    assert pv.elbo(vae, grey, skip_checks=True).isfinite().all()
    assert pv.log_marginal(vae, grey, 5, skip_checks=True).log_marginal.isfinite().all()
    history = pv.fit(vae, grey, epochs=2, progress=False, skip_checks=True, out=tmp_path)
    assert history["warning"][0].startswith("Not a density. Expected values in {0, 1}")
    from pyro_vae.runs import storage

    _, state = storage.read(storage.newest(tmp_path))
    assert state["settings"]["skip_checks"] is True
    assert "warning" not in pv.fit(vae, x, epochs=1, progress=False, skip_checks=True).rows[0]


def test_a_split_is_read_once():
    """Each pass over the data costs time: the second question knows the answer."""
    vae, x = bits_vae()

    class Counted(Split):
        passes = 0

        def chunks(self, *arguments, **options):
            Counted.passes += 1
            return super().chunks(*arguments, **options)

    split = pv.checks.take(vae, Counted(x))
    assert Counted.passes == 1
    pv.elbo(vae, split)
    ev.evaluate(vae, split, 5)
    assert Counted.passes == 1
    other, _ = build(
        ({"kind": "standard-normal"}, {"kind": "beta"}, {"kind": "mean-field-normal"})
    )
    with pytest.raises(ValueError, match="the support of Beta"):
        pv.elbo(other, split)  # checked for another model


# --- Programs of one's own --------------------------------------------------------------------------


def program(law):
    def model(x=None, *, batch_size=1):
        with pyro.plate("data", batch_size if x is None else len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(()), 1.0))
            return pyro.sample("x", law(z), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(torch.zeros(len(x)), 1.0))

    return model, guide


@pytest.mark.parametrize(
    "law,bad",
    [
        (lambda z: dist.Bernoulli(logits=z), 2.0),
        (lambda z: dist.Poisson(z.exp()), -1.0),
        (lambda z: dist.Gamma(z.exp(), 1.0), -2.0),
        (lambda z: dist.Beta(z.exp(), 1.0), 1.5),
        (lambda z: dist.Normal(z, 1.0), torch.nan),
    ],
)
def test_programs_are_held_to_the_support_of_their_sites(law, bad):
    x = torch.full((6, 1), 0.5 if bad == 1.5 else 1.0)

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(()), 1.0))
            pyro.sample("x", law(z), obs=x[:, 0])

    _, guide = program(law)
    pv.elbo((model, guide), x)
    x[4, 0] = bad
    for figure in (pv.elbo, pv.log_marginal):
        with pytest.raises(ValueError, match="at site 'x'; got .* row 4"):
            figure((model, guide), x)


def own(law, declared=None):
    class Own(Prior):
        def forward(self):
            return law

    if declared is not None:
        Own.support = declared
    return Own()


def test_a_prior_that_declares_no_support_has_that_of_its_distribution():
    vae, _, x = exact_vae(count=5)
    vae, x = vae.float(), x.float()
    vae.prior = own(dist.Cauchy(torch.zeros(2), 1.0).to_event(1))
    assert pv.elbo(vae, x).isfinite().all() and "reparameterized" in pv.plan(vae, x).why
    vae.prior = own(dist.Exponential(torch.ones(2)).to_event(1))
    questions = [pv.elbo, pv.plan, lambda v, x: pv.log_marginal(v, x, 5)]
    questions += [lambda v, x: pv.fit(v, x, epochs=1, progress=False)]
    for question in questions:
        with pytest.raises(ValueError, match="Own on the numbers from 0. Use"):
            question(vae, x)
    assert "Own on the numbers from 0" in pv.explain_error(vae, x)


def test_what_is_declared_is_held_against_what_is_returned():
    vae, _, x = exact_vae(count=5)
    vae, x = vae.float(), x.float()
    vae.prior = own(dist.Cauchy(torch.zeros(2), 1.0).to_event(1), constraints.positive)
    with pytest.raises(
        ValueError, match="Expected Own to return a distribution on what it declares"
    ):
        pv.elbo(vae, x)

    class Bits(pv.likelihoods.Gaussian):  # declares nothing of its own
        def forward(self, z):
            return dist.Bernoulli(logits=self.decoder(z)).to_event(1)

    vae.prior = pv.priors.StandardNormal(2)
    vae.likelihood = Bits(vae.likelihood.decoder)
    with pytest.raises(ValueError, match="Expected values in {0, 1}, the support of Bits"):
        pv.elbo(vae, x)
    assert pv.elbo(vae, (x > 0).float()).isfinite().all()


HANDLERS = {
    "scale": lambda f: poutine.scale(f, scale=0.1),
    "scale of rows": lambda f: poutine.scale(f, scale=torch.linspace(0.1, 1, 8)),
    "mask": lambda f: poutine.mask(f, mask=torch.arange(8) % 2 == 0),
    "no mask": lambda f: poutine.mask(f, mask=False),
    "kl weight": lambda f: pv.objectives.scale_kl(0.3)(f),
    "subsample": None,
}


@pytest.mark.parametrize("handler", HANDLERS)
@pytest.mark.parametrize("around", ["model", "guide", "both", "neither"])
def test_a_weight_in_one_program_alone_is_said(handler, around):
    wrap = HANDLERS[handler] or (lambda f: f)
    loc = torch.tensor(0.3, requires_grad=True)

    def plate(inside):
        whole = 80 if handler == "subsample" and inside else 8
        rows = torch.arange(8) if whole == 80 else None
        return pyro.plate("data", whole, subsample=rows)

    def model(x):
        with plate(around in ("model", "both")):
            z = pyro.sample("z", dist.Normal(torch.zeros(()), 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x[:, 0])

    def guide(x):
        pyro.param("loc", loc)
        with plate(around in ("guide", "both")):
            pyro.sample("z", dist.Normal(loc, 1.0).expand([8]))

    programs = (
        wrap(model) if around in ("model", "both") else model,
        wrap(guide) if around in ("guide", "both") else guide,
    )
    x = torch.randn(8, 1)
    with pyro.get_param_store().scope():
        if around in ("both", "neither"):
            assert pv.explain_error(programs, x) is None
            pv.elbo(programs, x)
            return
        told = pv.explain_error(programs, x)
        assert told is not None and "in guide and model" in told
        with pytest.raises(ValueError, match="in guide and model"):
            pv.log_marginal(programs, x, 5)


def test_rows_that_the_guide_does_not_know_are_said():
    x = torch.randn(40)

    def model(x, rows=None):
        rows = torch.randperm(40)[:10] if rows is None else rows
        with pyro.plate("data", 40, subsample=rows):
            z = pyro.sample("z", dist.Normal(0.0, 10.0))
            pyro.sample("x", dist.Normal(z, 0.1), obs=x[rows])

    def shared(x):
        with pyro.plate("data", 40, subsample_size=10) as rows:
            z = pyro.sample("z", dist.Normal(0.0, 10.0))
            pyro.sample("x", dist.Normal(z, 0.1), obs=x[rows])

    def whole(x):
        with pyro.plate("data", 40):
            z = pyro.sample("z", dist.Normal(0.0, 10.0))
            pyro.sample("x", dist.Normal(z, 0.1), obs=x)

    with pyro.get_param_store().scope():
        for program_, good in ((model, False), (shared, True), (whole, True)):
            guide = AutoNormal(program_)
            told = pv.explain_error((program_, guide), x)
            assert (told is None) == good, told
        assert "rows of plate 'data'" in pv.explain_error((model, AutoNormal(model)), x)
        rows = torch.arange(10)
        created = lambda x, rows=None: pyro.plate("data", 40, subsample=rows, dim=-1)  # noqa: E731
        guide = AutoNormal(model, create_plates=created)
        assert pv.explain_error((model, guide), x, rows=rows) is None
