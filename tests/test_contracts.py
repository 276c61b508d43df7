"""Every prior x likelihood x posterior in the registry keeps the same promises."""

import copy

import pyro
import pytest
import torch
from checks import (
    TRIPLES,
    B,
    D,
    L,
    bound,
    build,
    data_for,
    name_of,
    recipe_for,
    variants,
    z_scores,
)
from pyro import poutine
from pyro.infer import (
    SVI,
    Importance,
    Predictive,
    Trace_ELBO,
    TraceGraph_ELBO,
    TraceMeanField_ELBO,
)
from torch.distributions import biject_to

import pyro_vae as pv
from pyro_vae.data import as_split

triples = pytest.mark.parametrize("triple", TRIPLES, ids=name_of)
ELBOS = {
    "ours": lambda: None,
    "trace": lambda: Trace_ELBO(),
    "trace-vectorized": lambda: Trace_ELBO(num_particles=3, vectorize_particles=True),
    "mean-field": lambda: TraceMeanField_ELBO(),
    "graph": lambda: TraceGraph_ELBO(),
}


def backward(elbo, vae, x):
    if elbo is None:
        pv.objectives.ELBO(num_particles=2)(vae.model, vae.guide, x).loss.backward()
    else:
        elbo.loss_and_grads(vae.model, vae.guide, x)


@triples
@pytest.mark.parametrize("elbo", ELBOS)
def test_every_parameter_gets_a_gradient(triple, elbo):
    vae, x = build(triple)
    backward(ELBOS[elbo](), vae, x)
    for name, parameter in vae.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None and parameter.grad.isfinite().all(), name
            assert parameter.grad.abs().sum() > 0, name


@triples
def test_our_elbo_is_trace_elbo_per_datum(triple):
    vae, x = build(triple)
    torch.manual_seed(1)
    terms = pv.objectives.ELBO()(vae.model, vae.guide, x)
    terms.loss.backward()
    gradients = [p.grad.clone() for p in vae.parameters() if p.requires_grad]
    vae.zero_grad()
    torch.manual_seed(1)
    loss = Trace_ELBO().loss_and_grads(vae.model, vae.guide, x)
    value = float(terms.loss.detach())
    assert value == pytest.approx(loss / B, rel=1e-6)
    assert float(terms.kl - terms.reconstruction) == pytest.approx(value, rel=1e-5)
    for gradient, parameter in zip(gradients, (p for p in vae.parameters() if p.requires_grad)):
        torch.testing.assert_close(gradient, parameter.grad / B, rtol=1e-4, atol=1e-5)


@triples
def test_estimators_agree(triple):
    """Sampled and closed-form KL have one mean."""
    vae, x = build(triple)
    with torch.no_grad():
        difference = torch.stack(
            [
                torch.as_tensor(
                    Trace_ELBO(num_particles=50, vectorize_particles=True).loss(
                        vae.model, vae.guide, x
                    )
                    - TraceMeanField_ELBO(num_particles=50, vectorize_particles=True).loss(
                        vae.model, vae.guide, x
                    )
                )
                for _ in range(40)
            ]
        ).double()
    assert abs(z_scores(difference, 0.0)) < bound(1)


@triples
def test_shapes_with_any_leading_batch(triple):
    vae, x = build(triple)
    for batch in [(), (4,), (2, 4)]:
        q = vae.posterior(x[0].expand(*batch, D))
        assert q.batch_shape == batch and q.event_shape == (L,)
        p = vae.likelihood(torch.randn(*batch, L))
        assert p.batch_shape == batch and p.event_shape == (D,)
    assert vae.prior().batch_shape == () and vae.prior().event_shape == (L,)


@triples
def test_declared_capabilities_are_true(triple):
    vae, x = build(triple)
    q = vae.posterior(x)
    assert q.has_rsample == vae.posterior.reparameterized
    z, value = q.sample(), vae.likelihood(torch.randn(B, L)).sample()
    assert vae.posterior.support.check(z).all() and vae.prior.support.check(z).all()
    assert vae.likelihood.support.check(value).all()
    biject_to(vae.prior().support)  # NUTS can start


@triples
def test_svi_trains_every_model_in_a_process(triple):
    """A second model, a deepcopy and a re-run cell train too: parameters belong to modules."""
    first, x = build(triple)
    for vae in (first, build(triple)[0], copy.deepcopy(first)):
        before = copy.deepcopy(vae.state_dict())
        svi = SVI(vae.model, vae.guide, pyro.optim.Adam({"lr": 1e-2}), Trace_ELBO())
        for _ in range(3):
            svi.step(x)
        for name, parameter in vae.named_parameters():
            assert torch.equal(parameter, before[name]) != parameter.requires_grad, name


@triples
def test_predictive_and_condition(triple):
    vae, x = build(triple)
    for parallel in (False, True):
        drawn = Predictive(vae.model, num_samples=7, parallel=parallel)(batch_size=4)
        assert drawn["x"].shape == (7, 4, D)
        seen = Predictive(
            poutine.uncondition(vae.model), guide=vae.guide, num_samples=7, parallel=parallel
        )(x)
        assert seen["x"].shape == (7, B, D) and not torch.equal(seen["x"][0], x)
    trace = poutine.trace(poutine.condition(vae.model, {"x": x})).get_trace(batch_size=B)
    assert trace.nodes["x"]["is_observed"] and torch.equal(trace.nodes["x"]["value"], x)


@triples
def test_importance_and_render(triple):
    vae, x = build(triple)
    posterior = Importance(vae.model, vae.guide, num_samples=3).run(x)
    assert torch.isfinite(posterior.get_log_normalizer())
    graph = pyro.render_model(vae.model, model_args=(x,), render_distributions=True)
    assert "z -> x" in graph.source and "data" in graph.source


@triples
def test_kl_weight_enters_the_loss_linearly(triple):
    vae, x = build(triple)
    for elbo in (pv.objectives.ELBO(), Trace_ELBO(), TraceMeanField_ELBO(), TraceGraph_ELBO()):

        def loss(weight):
            torch.manual_seed(1)
            with torch.no_grad(), pv.objectives.scale_kl(weight):
                if isinstance(elbo, pv.objectives.ELBO):
                    return float(elbo(vae.model, vae.guide, x).loss) * B
                return float(elbo.loss(vae.model, vae.guide, x))

        none, half, full = loss(0.0), loss(0.5), loss(1.0)
        assert full != none
        torch.testing.assert_close(half, (none + full) / 2, rtol=1e-4, atol=1e-3)


@triples
def test_no_tensor_without_a_device(triple):
    """With "meta" as default device, a tensor made without a device could not meet the others."""
    vae, x = build(triple)
    optimizer = torch.optim.Adam(vae.parameters())

    def step():
        optimizer.zero_grad()
        with pv.objectives.scale_kl(0.5):
            pv.objectives.ELBO(num_particles=2)(
                vae.model, vae.guide, split.rows(index)
            ).loss.backward()
        optimizer.step()

    split, index = as_split(x), torch.arange(4)
    step()  # Adam makes its counters at the first step
    with torch.device("meta"):
        step()
        pv.log_marginal(vae, split, 20)
        pv.encode(vae, split)
    assert all(p.isfinite().all() for p in vae.parameters())


@triples
def test_learns(triple):
    vae, _ = build(triple)
    x = data_for(triple[1]["kind"], 1).expand(64, D).clone()
    before = pv.elbo(vae, x, 20).mean()
    pv.fit(vae, x, epochs=80, batch_size=24, lr=1e-2, progress=False)
    assert pv.elbo(vae, x, 20).mean() > before + 0.5


@pytest.mark.parametrize(
    "likelihood", variants("likelihood"), ids=lambda v: "+".join(map(str, v.values()))
)
@pytest.mark.parametrize("side", [8, 28, 32])
def test_convolutions(likelihood, side):
    shape, conv = (2, side, side), {"kind": "conv", "channels": [3, 4], "hidden_features": 8}
    recipe = recipe_for(
        {"kind": "vamp", "num_components": 2}, likelihood, {"kind": "full-covariance-normal"}, conv
    )
    x = data_for(likelihood["kind"], 3, shape)
    vae = pv.build_vae(recipe, shape, 1.0, as_split(x))
    for batch in [(), (2,), (5, 2)]:
        assert vae.likelihood(torch.randn(*batch, L))().shape == (*batch, *shape)
        assert vae.posterior(x[0].expand(*batch, *shape))().shape == (*batch, L)
    pv.objectives.ELBO(3)(vae.model, vae.guide, x).loss.backward()
    assert all(p.grad.abs().sum() > 0 for p in vae.parameters() if p.requires_grad)


def test_convolutions_refuse_odd_sides():
    with pytest.raises(ValueError, match="sides that 4 divides"):
        pv.nn.ConvEncoder((1, 30, 28), 4)


@triples
def test_wrong_shapes_are_refused_without_validation(triple):
    vae, x = build(triple)
    with pyro.validation_enabled(False), pytest.raises(ValueError, match=r"shape \(batch, 6\)"):
        pv.objectives.ELBO()(vae.model, vae.guide, x[:, None, :])


@pytest.mark.parametrize("kind", ["bernoulli", "binomial", "gaussian"])
def test_output_bias_starts_at_the_data_mean(kind):
    likelihood = variants("likelihood")[[v["kind"] for v in variants("likelihood")].index(kind)]
    x = data_for(kind, 4000)
    recipe = recipe_for({"kind": "standard-normal"}, likelihood, {"kind": "mean-field-normal"})
    vae = pv.build_vae(recipe, (D,), 1.0, as_split(x))
    with torch.no_grad():
        for layer in vae.likelihood.decoder.layers[:-1]:
            layer.requires_grad_(False)
        vae.likelihood.decoder.layers[-1].weight.zero_()
        mean = vae.likelihood(torch.zeros(L)).mean
    torch.testing.assert_close(mean, x.mean(0), rtol=1e-4, atol=1e-4)


def test_activations_by_any_name():
    assert pv.nn.find_activation("SILU") is torch.nn.SiLU
    with pytest.raises(ValueError, match="Did you mean Tanh"):
        pv.nn.find_activation("tahn")
