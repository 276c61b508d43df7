"""Training: the same numbers every time, resumed bit for bit, never spoiled by a bad step."""

import copy
import hashlib
import inspect
import math
import typing

import numpy as np
import pytest
import torch
from checks import D, L, linear_gaussian
from training import QUIET, equal, vae

import pyro_vae as pv
from pyro_vae.data import as_split
from pyro_vae.train import NumericsError


def test_the_same_seed_gives_the_same_bits():
    x = torch.randn(50, D)
    runs = []
    for seed in (0, 0, 1):
        model = vae()
        torch.manual_seed(len(runs))  # random numbers outside do not matter
        pv.fit(model, x, epochs=3, batch_size=16, seed=seed, **QUIET)
        runs.append(model)
    assert equal(runs[0], runs[1]) and not equal(runs[0], runs[2])


def test_fit_does_not_affect_random_numbers_outside():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    pv.fit(
        vae_ := linear_gaussian(D, L, 1.0),
        torch.randn(20, D, generator=torch.Generator()),
        epochs=1,
        **QUIET,
    )
    torch.manual_seed(5)
    state = torch.get_rng_state()
    pv.fit(vae_, torch.zeros(20, D), epochs=1, **QUIET)
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(torch.rand(3), expected)


def test_an_epoch_weighs_every_datum_equally_with_a_smaller_last_batch():
    """With lr so small that nothing moves, an epoch's metric is the mean over data."""
    x = torch.cat([torch.zeros(48, D), 10 * torch.ones(2, D)])
    model = linear_gaussian(D, L, 1.0)
    with torch.no_grad():
        model.posterior.encoder.layers[0].bias[L:] = -20  # z is certain
        model.posterior.encoder.layers[0].weight.zero_()
        exact = float(model.likelihood(torch.zeros(L)).log_prob(x).mean())
    history = pv.fit(model, x, epochs=1, batch_size=16, lr=1e-30, **QUIET)
    assert math.isclose(history["reconstruction"][0], exact, rel_tol=1e-5)
    loss, kl = history["loss"][0], history["kl"][0]
    assert math.isclose(kl - history["reconstruction"][0], loss, rel_tol=1e-5)


def test_a_step_is_the_mean_gradient_of_its_batch():
    """One SGD step of a batch and of the batch doubled are the same."""
    x = torch.randn(4, D)
    moved = []
    for data in (x, torch.cat([x, x])):
        model = linear_gaussian(D, L, 1.0)
        torch.manual_seed(0)
        for p in model.parameters():
            p.data.fill_(0.1)
        with torch.no_grad():
            model.likelihood.log_scale.zero_()
            model.posterior.encoder.layers[0].bias[L:] = -30
        pv.fit(model, data, epochs=1, batch_size=8, optimizer="SGD", lr=0.01, **QUIET)
        moved.append(model.likelihood.decoder.layers[0].bias.detach())
    torch.testing.assert_close(*moved, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "optimizer", ["Adam", "AdamW", "SGD", "RMSprop", "Adagrad", "NAdam", "RAdam"]
)
def test_any_optimizer_by_name(optimizer):
    model, x = vae(), torch.randn(40, D)
    before = copy.deepcopy(model)
    pv.fit(model, x, epochs=2, optimizer=optimizer, lr=1e-3, **QUIET)
    assert not equal(model, before)


@pytest.mark.parametrize(
    "options,message",
    [
        ({"optimizer": "Adm"}, "did you mean 'Adam'"),
        ({"optimizer": "LBFGS"}, "first-order"),
        ({"optimizer_options": {"momentun": 0.9}}, "momentun"),
        ({"lr": -1.0, "batch_size": 0}, "(?s)batch_size.*lr|lr.*batch_size"),
        ({"patience": 3}, "validation data"),
        ({"resume": True}, "without `out`"),
    ],
)
def test_wrong_options_give_messages_and_change_nothing(options, message):
    model = vae()
    before = copy.deepcopy(model)
    with pytest.raises(ValueError, match=message):
        pv.fit(model, torch.randn(20, D), **options, **QUIET)
    assert equal(model, before)


def test_a_setting_that_is_none_is_refused():
    with pytest.raises(TypeError, match="epocs"):
        pv.fit(vae(), torch.randn(20, D), epocs=3, **QUIET)


def test_fit_has_the_settings_of_a_recipe():
    """The same names, defaults and choices as the table [train]."""
    from pyro_vae.config import Train

    parameters = inspect.signature(pv.fit).parameters
    names = list(parameters)
    assert names[names.index("epochs") :] == list(Train.model_fields)
    hints = typing.get_type_hints(pv.fit)
    for name, field in Train.model_fields.items():
        assert parameters[name].default == field.get_default(call_default_factory=True), name
        choices = typing.get_args(field.annotation)
        if typing.get_origin(field.annotation) is typing.Literal and name != "estimator":
            assert typing.get_args(hints[name]) == choices, name
        assert f"        {name}: " in pv.fit.__doc__, name


def test_an_estimator_may_be_a_table():
    x = torch.randn(20, D)
    by_table, by_name = vae(), vae()
    table = {"kind": "renyi", "alpha": 0.3}
    pv.fit(by_table, x, epochs=1, num_particles=2, estimator=table, **QUIET)
    pv.fit(by_name, x, epochs=1, num_particles=2, estimator="renyi", alpha=0.3, **QUIET)
    assert equal(by_table, by_name)


def test_schedules_do_what_they_say():
    history = pv.fit(
        vae(), torch.randn(40, D), epochs=10, batch_size=40, lr=1e-3, schedule="cosine",
        warmup_epochs=2, cooldown_epochs=5, kl_weight=0.5, kl_warmup_epochs=4, **QUIET,
    )  # fmt: skip
    ramps = [min(1, (t + 1) / 2) * min(1, (10 - t) / 5) for t in range(10)]
    lr = [1e-3 * ramps[t] * (1 + math.cos(math.pi * t / 10)) / 2 for t in range(10)]
    np.testing.assert_allclose(history["lr"], lr)
    np.testing.assert_allclose(history["kl_weight"], [0.5 * min(1, t / 4) for t in range(10)])


def test_kl_weight_has_its_effect():
    x = torch.randn(200, D)
    kl = [
        pv.fit(vae(), x, epochs=30, lr=1e-2, kl_weight=w, **QUIET)["kl"][-1]
        for w in (0.1, 1.0, 10.0)
    ]
    assert kl[0] > kl[1] > kl[2]


def test_clipping_shortens_the_step():
    x = 100 * torch.randn(20, D)
    moved = []
    for clip in (None, 1e-3):
        model = vae()
        before = copy.deepcopy(model)
        pv.fit(model, x, epochs=1, optimizer="SGD", lr=1e-3, clip_norm=clip, **QUIET)
        moved.append(
            sum(((a - b) ** 2).sum() for a, b in zip(model.parameters(), before.parameters()))
            ** 0.5
        )
    assert moved[1] <= 1e-6 * 1.01 < moved[0]


def test_early_stopping_keeps_the_best_epoch():
    train, valid = torch.randn(30, D), torch.randn(30, D)
    model = vae()
    history = pv.fit(model, train, valid=valid, epochs=400, lr=2e-2, patience=5, **QUIET)
    elbos = history["elbo"]
    assert len(elbos) < 400 and max(elbos[:-5]) > max(elbos[-5:])
    assert math.isclose(float(pv.elbo(model, valid).mean()), max(elbos), rel_tol=1e-6)


def test_a_bad_step_never_reaches_the_parameters():
    class Spoilt(pv.likelihoods.Gaussian):
        def forward(self, z):
            counter.append(0)
            if len(counter) == 20:
                self.decoder.layers[0].weight.register_hook(lambda g: g * math.nan)
            return super().forward(z)

    counter = []
    model = vae()
    model.likelihood = Spoilt(pv.nn.MLP(L, [16], D))
    with pytest.raises(NumericsError, match="10 steps in a row"):
        pv.fit(model, torch.randn(64, D), epochs=100, batch_size=8, **QUIET)
    assert all(p.isfinite().all() for p in model.parameters())


def test_divergence_stops_with_finite_parameters():
    model = vae()
    with pytest.raises(NumericsError, match="Lower train.lr"):
        pv.fit(model, torch.randn(64, D), epochs=50, batch_size=8, lr=1e6, **QUIET)
    assert all(p.isfinite().all() for p in model.parameters())


@pytest.mark.slow
def test_a_compiled_training_that_diverges_blames_the_rate():
    """Infinite losses of the program and of its graph are treated the same."""
    model = vae()
    with pytest.raises(NumericsError, match="got loss inf.*Lower train.lr"):
        pv.fit(model, torch.randn(64, D), epochs=50, batch_size=8, lr=1e20, compile="yes", **QUIET)
    assert all(p.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_bad_data_are_refused_before_the_first_step(bad):
    x = torch.randn(20, D)
    x[17, 3] = bad
    model = vae()
    before = copy.deepcopy(model)
    with pytest.raises(ValueError, match="17"):
        pv.fit(model, x, **QUIET)
    with pytest.raises(ValueError, match=r"shape \(N, 6\)"):
        pv.fit(model, torch.randn(20, D + 1), **QUIET)
    assert equal(model, before)


def digest(model, optimizer=None):
    h = hashlib.sha256()
    for name, value in model.state_dict().items():
        h.update(name.encode() + value.numpy().tobytes())
    h.update(str([m.training for m in model.modules()]).encode())
    h.update(
        str([None if p.grad is None else p.grad.sum().item() for p in model.parameters()]).encode()
    )
    h.update(torch.get_rng_state().numpy().tobytes())
    if optimizer:
        h.update(str(optimizer.state_dict()).encode())
    return h.hexdigest()


def test_evaluating_changes_nothing():
    model, x = vae(), torch.randn(30, D)
    optimizer = torch.optim.Adam(model.parameters())
    pv.objectives.ELBO()(model.model, model.guide, x).loss.backward()
    optimizer.step()
    model.posterior.eval()  # a flag of its own
    before = digest(model, optimizer)
    pv.log_marginal(model, x, 30)
    pv.elbo(model, x, 3)
    pv.encode(model, x)
    pv.sample(model, 5)
    pv.reconstruct(model, x, "sample")
    pv.evaluate.evaluate(model, as_split(x), 20)
    with pytest.raises(ValueError):
        pv.log_marginal(model, x, 0)
    assert digest(model, optimizer) == before
    assert torch.is_grad_enabled() and torch.distributions.Distribution._validate_args
