"""Every prior x likelihood x posterior x estimator keeps the same promises, or is refused."""

import copy

import pyro
import pytest
import torch
from checks import (
    ALLOWED,
    PAIRS,
    TRIPLES,
    B,
    D,
    L,
    bound,
    build,
    data_for,
    few_of,
    name_of,
    refusal,
    variants,
)
from pyro import poutine
from pyro.infer import (
    MCMC,
    NUTS,
    SVI,
    Importance,
    Predictive,
    Trace_ELBO,
    TraceEnum_ELBO,
    TraceGraph_ELBO,
    TraceMeanField_ELBO,
)
from torch.distributions import biject_to

import pyro_vae as pv
from pyro_vae.checks import check_data
from pyro_vae.config import ESTIMATORS, REGISTRY
from pyro_vae.data import as_split
from pyro_vae.distributions import describe_support
from pyro_vae.programs import density, traces, weigh

REST = [triple for triple in TRIPLES if triple not in PAIRS]
SOME = [
    t
    for t in ALLOWED
    if t[0]["kind"] in ("standard-normal", "hypersphere-uniform", "bernoulli", "vamp")
    and t[2]["kind"] not in ("delta", "per-datum")
]


ELBOS = ("reparameterized", "stl", "score-function", "enumeration")
allowed = pytest.mark.parametrize("triple", ALLOWED, ids=name_of)
few, some = few_of(ALLOWED, 1), few_of(SOME, 1)
several = few_of(ALLOWED, 2)


def rows(x):
    return torch.arange(len(x))


def plans(vae, x):
    """Every estimator that the planner allows; the others raise their sentence."""
    found = {}
    for estimator in ESTIMATORS:
        particles = 1 if estimator in ("reparameterized", "enumeration") else 3
        try:
            chosen = pv.plan(vae, x, estimator, num_particles=particles, baseline="neural")
        except ValueError as error:
            assert str(error).startswith("Expected") and ";" in str(error), error
        else:
            found[estimator] = chosen
    return found


def check_training(vae, x):
    """Loss finite; every parameter gets a finite gradient and moves, under every estimator."""
    for estimator, chosen in plans(vae, x).items():
        trained, objective = copy.deepcopy(vae), chosen.objective
        optimizer = torch.optim.Adam([*trained.parameters(), *objective.parameters()], lr=1e-2)
        before = copy.deepcopy(trained.state_dict())
        for _ in range(2):
            optimizer.zero_grad()
            terms = objective(trained.model, trained.guide, x, index=rows(x))
            assert all(term.isfinite() for term in terms), estimator
            terms.loss.backward()
            optimizer.step()
        for name, parameter in trained.named_parameters():
            where = f"{estimator}: {name}"
            if parameter.requires_grad:
                assert parameter.grad is not None and parameter.grad.isfinite().all(), where
                assert not torch.equal(parameter, before[name]), where
            else:
                assert torch.equal(parameter, before[name]), where


def check_state(vae, triple, x):
    """Saved and loaded it is the same; in evaluation mode too, but for relaxed families."""
    other = build(triple)[0]
    for parameter in other.parameters():
        parameter.data += 1.0
    other.load_state_dict(vae.state_dict())

    def loss(model):
        torch.manual_seed(1)
        with torch.no_grad():
            return float(weigh(model.model, model.guide, x, 2, index=rows(x)).log_weights.sum())

    assert loss(other) == loss(vae)
    if not any("temperature" in name for name, _ in vae.named_buffers()):
        assert loss(vae.eval()) == loss(vae.train())


def check_particles(vae, x):
    """Vectorized particles have the densities that each of them has alone."""
    torch.manual_seed(1)
    with torch.no_grad():
        q, p = traces(vae.model, vae.guide, x, 3, index=rows(x))
        for k in range(3):
            z = {"z": q["z"]["value"][k]}
            alone = poutine.trace(poutine.condition(vae.model, z)).get_trace(x)
            alone.compute_log_prob()
            for name in ("x", "z"):
                torch.testing.assert_close(
                    alone.nodes[name]["log_prob"], density(p[name])[k], rtol=1e-4, atol=1e-4
                )
            if vae.posterior.density == "anywhere":
                guide = poutine.condition(vae.guide, z)
                alone = poutine.trace(guide).get_trace(x, index=rows(x))
                alone.compute_log_prob()
                ours, theirs = density(q["z"])[k], alone.nodes["z"]["log_prob"]
                torch.testing.assert_close(theirs, ours, rtol=1e-3, atol=2e-3)


def check_sampling(vae, x):
    """Right shapes and supports, also under Predictive and condition, any leading batch."""
    drawn, datum = vae.model(batch_size=3), x.shape[1:]
    assert drawn.shape == (3, *datum) and vae.likelihood.support.check(drawn).all()
    known = {"index": rows(x)} if vae.posterior.index else {}
    z = vae.guide(x, **known)
    assert z.shape == (B, L) and vae.posterior.support.check(z).all()
    assert vae.prior.support.check(vae.prior().sample((5,))).all()
    assert vae.posterior(x, *known.values()).has_rsample == vae.posterior.reparameterized
    for parallel in (False, True):
        new = Predictive(vae.model, num_samples=2, parallel=parallel)(batch_size=4)
        assert new["x"].shape == (2, 4, *datum)
        model = poutine.uncondition(vae.model)
        again = Predictive(model, guide=vae.guide, num_samples=2, parallel=parallel)
        assert again(x, index=rows(x))["x"].shape == (2, B, *datum)
    trace = poutine.trace(poutine.condition(vae.model, {"x": x})).get_trace(batch_size=B)
    assert trace.nodes["x"]["is_observed"]
    assert vae.prior().batch_shape == () and vae.prior().event_shape == (L,)
    for batch in [(), (4,), (2, 4)]:
        if not vae.posterior.index:
            q = vae.posterior(x[0].expand(*batch, *datum))
            assert q.batch_shape == batch and q.event_shape == (L,)
        p = vae.likelihood(vae.prior().sample(batch))
        assert p.batch_shape == batch and p.event_shape == datum


def check_meta(vae, x):
    """With "meta" as default device, a tensor made without a device could not meet the others."""
    found = plans(vae, x)
    with torch.device("meta"):
        for chosen in found.values():
            chosen.objective(vae.model, vae.guide, x, index=torch.arange(B, device="cpu"))
        if vae.posterior.density != "none" and not vae.posterior.index:
            pv.log_marginal(vae, x, 20)
            pv.encode(vae, x)


def check_triple(triple):
    vae, x = build(triple)
    check_data(vae, as_split(x))
    check_training(vae, x)
    check_state(vae, triple, x)
    check_particles(vae, x)
    check_sampling(vae, x)
    check_meta(vae, x)


@several
def test_contract(triple):
    check_triple(triple)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_contract_of_every_triple():
    """The full product: every triple keeps its promises, or is refused in a sentence."""
    kept = refused = 0
    for triple in REST:
        if (sentence := refusal(triple)) is None:
            check_triple(triple)
            kept += 1
        else:
            assert sentence.startswith("Expected")
            refused += 1
    print(f"{kept} of {len(REST)} further triples trained, {refused} refused")


@pytest.mark.parametrize("triple", [t for t in PAIRS if t not in ALLOWED], ids=name_of)
def test_refused_pairs_say_why(triple):
    sentence = refusal(triple)
    assert sentence.startswith("Expected") and "; got" in sentence and sentence.endswith(".")


@pytest.mark.parametrize("choice", ["prior", "likelihood", "posterior"])
def test_the_registry_says_the_support_that_the_class_has(choice):
    for kind in variants(choice):
        if kind["kind"] in ("vamp", "hurdle", "product", "censored") or "total_count" in kind:
            continue  # another's, many, or limits
        if "num_levels" in kind or kind["kind"] == "codes":
            continue
        triple = [{"kind": "standard-normal"}, {"kind": "gaussian"}, {"kind": "mean-field-normal"}]
        triple[("prior", "likelihood", "posterior").index(choice)] = kind
        family = getattr(build(tuple(triple))[0], choice)
        said = REGISTRY[choice][kind["kind"]].support
        assert describe_support(family.support) in said, (kind, said)


def test_sizes():
    """What the matrix is made of, told in the log."""
    print(
        f"{len(ALLOWED)} pairs trained, {len(PAIRS) - len(ALLOWED)} refused, {len(TRIPLES)} triples"
    )
    assert len(ALLOWED) > 150 and len(PAIRS) > 250


@few_of(ALLOWED, 1, places=(0, 2))
def test_estimators_of_one_bound_agree(triple):
    """ELBO by reparameterization, score, path, enumeration; IWAE, DReG, VIMCO, Renyi at 0."""
    torch.set_default_dtype(torch.float64)
    try:
        vae, x = build(triple)
        vae, x = vae.double(), x.double()
    finally:
        torch.set_default_dtype(torch.float32)
    if vae.posterior.density == "none":
        return
    runs, copies = 20, 10  # copies cost less than runs
    many, index = torch.cat([x] * copies), rows(x).repeat(copies)
    means, groups = {}, (ELBOS, ("iwae", "dreg", "vimco", "renyi"))
    for estimator in (*groups[0], *groups[1]):
        try:
            objective = pv.plan(vae, x, estimator, num_particles=4, alpha=0.0).objective
        except ValueError:
            continue
        with torch.no_grad():
            draws = [-objective(vae.model, vae.guide, many, index=index).loss for _ in range(runs)]
        means[estimator] = torch.stack(draws).double()
    for group in groups:
        values = [means[e] for e in group if e in means]
        for other in values[1:]:
            gap = other.mean() - values[0].mean()
            error = (other.var() / runs + values[0].var() / runs).sqrt() + 1e-9
            assert abs(float(gap / error)) < bound(3 * len(ALLOWED))
    if {"iwae", "reparameterized"} <= set(means):
        elbo, iwae = means["reparameterized"], means["iwae"]
        error = (elbo.var() / runs + iwae.var() / runs).sqrt() + 1e-9
        assert float((iwae.mean() - elbo.mean()) / error) > -bound(3 * len(ALLOWED))


@few_of(ALLOWED, 2)
def test_pyros_own_objectives_agree(triple):
    """Trace_ELBO, TraceGraph_ELBO, inspect_step under one seed; TraceEnum_ELBO to rounding."""
    vae, x = build(triple)

    def pyros(elbo):
        torch.manual_seed(1)
        with torch.no_grad():
            return float(elbo.loss(vae.model, vae.guide, x, index=rows(x))) / B

    torch.manual_seed(1)
    with torch.no_grad():
        ours = -float(weigh(vae.model, vae.guide, x, 1, index=rows(x)).log_weights.mean())
    for elbo in (Trace_ELBO(), TraceGraph_ELBO()):
        assert ours == pytest.approx(pyros(elbo), rel=1e-4, abs=1e-4)
    step = pv.inspect_step(vae, x, seed=1, index=rows(x))
    assert ours == pytest.approx(step.loss, rel=1e-4, abs=1e-4) and step.mistake is None
    if vae.posterior.reparameterized:
        torch.manual_seed(1)
        terms = pv.objectives.ELBO()(vae.model, vae.guide, x, index=rows(x))
        assert float(terms.loss.detach()) == pytest.approx(ours, rel=1e-5, abs=1e-5)
        assert float(terms.kl - terms.reconstruction) == pytest.approx(ours, rel=1e-4, abs=1e-4)
    if vae.posterior.enumerable:
        exact = pv.objectives.Enumeration()(vae.model, vae.guide, x).loss.detach()
        guide = poutine.infer_config(
            vae.guide, lambda site: {"enumerate": "parallel"} if site["type"] == "sample" else {}
        )
        with torch.no_grad():
            loss = TraceEnum_ELBO(max_plate_nesting=1).loss(vae.model, guide, x)
        assert float(exact) == pytest.approx(float(loss) / B, rel=1e-5)


@some
def test_svi_trains_every_model_in_a_process(triple):
    """A second model, a deepcopy and a re-run cell train too: parameters belong to modules."""
    first, x = build(triple)
    elbo = Trace_ELBO() if first.posterior.reparameterized else TraceGraph_ELBO()
    for vae in (first, build(triple)[0], copy.deepcopy(first)):
        before = copy.deepcopy(vae.state_dict())
        svi = SVI(vae.model, vae.guide, pyro.optim.Adam({"lr": 1e-2}), elbo)
        for _ in range(3):
            svi.step(x)
        for name, parameter in vae.named_parameters():
            assert torch.equal(parameter, before[name]) != parameter.requires_grad, name


@some
def test_importance_and_render(triple):
    vae, x = build(triple)
    posterior = Importance(vae.model, vae.guide, num_samples=3).run(x)
    assert torch.isfinite(posterior.get_log_normalizer())
    graph = pyro.render_model(vae.model, model_args=(x,), render_distributions=True)
    assert "z -> x" in graph.source and "data" in graph.source


@some
def test_kl_weight_enters_the_loss_linearly(triple):
    vae, x = build(triple)
    elbos = [chosen.objective for name, chosen in plans(vae, x).items() if name in ELBOS]
    if vae.posterior.reparameterized:
        elbos += [Trace_ELBO(), TraceMeanField_ELBO()]
    for elbo in [*elbos, TraceGraph_ELBO()]:

        def loss(weight):
            torch.manual_seed(1)
            with torch.no_grad(), pv.objectives.scale_kl(weight):
                if isinstance(elbo, pv.objectives.Objective):
                    return float(elbo.eval()(vae.model, vae.guide, x).loss) * B
                return float(elbo.loss(vae.model, vae.guide, x))

        none, half, full = loss(0.0), loss(0.5), loss(1.0)
        assert full != none
        torch.testing.assert_close(half, (none + full) / 2, rtol=1e-4, atol=1e-3)


@few_of(SOME, 1, places=[2])
def test_learns(triple):
    vae, _ = build(triple)
    x = data_for(triple[1]["kind"], 1)
    x = x.expand(64, *x.shape[1:]).clone()
    before = pv.elbo(vae, x, 20).mean()
    pv.fit(vae, x, epochs=30, batch_size=24, lr=3e-2, progress=False)
    assert pv.elbo(vae, x, 20).mean() > before + 0.5


@some
def test_wrong_shapes_are_refused_without_validation(triple):
    vae, x = build(triple)
    with pyro.validation_enabled(False), pytest.raises(ValueError, match=r"shape \(batch, "):
        pv.objectives.ELBO()(vae.model, vae.guide, x[:, None, :])


@pytest.mark.parametrize("prior", variants("prior"), ids=lambda p: name_of((p,)))
def test_nuts_starts_from_any_prior_with_a_bijection(prior):
    if prior["kind"] == "codes":
        return  # points
    vae, x = build((prior, {"kind": "gaussian"}, {"kind": "mean-field-normal"}))
    if prior["kind"] in ("hypersphere-uniform", "bernoulli", "categorical"):
        return  # a sphere has no bijection with a plane, and points have none
    biject_to(vae.prior().support)
    with poutine.block(hide_types=["param"]):
        mcmc = MCMC(NUTS(vae.model), num_samples=5, warmup_steps=5, disable_progbar=True)
        mcmc.run(x[:2])
    assert mcmc.get_samples()["z"].isfinite().all()


@pytest.mark.parametrize("posterior", variants("posterior"), ids=lambda p: name_of((p,)))
def test_a_vamp_prior_takes_any_posterior_with_a_density(posterior):
    triple = ({"kind": "vamp", "num_components": 3}, {"kind": "gaussian"}, posterior)
    if posterior["kind"] in ("delta", "per-datum", "vector-quantized", "finite-scalar"):
        with pytest.raises(ValueError, match="density is available anywhere and for any input"):
            build(triple)
        return
    vae, x = build(triple)
    z = vae.prior().sample((4, 5))
    assert vae.prior().log_prob(z).shape == (4, 5)


def test_a_slow_vamp_prior_is_told():
    posterior = pv.posteriors.IAF(pv.nn.MLP(D, [], 2 * 50 + 4), 50, context_features=4)
    with pytest.warns(UserWarning, match="takes 15000 passes of the networks of IAF"):
        pv.priors.Vamp(posterior, torch.zeros(300, D))
