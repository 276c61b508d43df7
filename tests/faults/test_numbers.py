"""Single precision is enough, and models do not disturb each other."""

import copy

import pyro
import pytest
import torch
from checks import D, build
from pyro import poutine
from training import QUIET, equal, vae

import pyro_vae as pv

DATA = torch.randn(40, D, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("kind", ["bernoulli", "gaussian", "student-t", "poisson", "beta"])
@pytest.mark.parametrize("posterior", ["mean-field-normal", "full-covariance-normal"])
def test_single_and_double_precision_agree(kind, posterior):
    """log p(x, z) - log q(z | x) of the same z."""
    single, x = build(({"kind": "standard-normal"}, {"kind": kind}, {"kind": posterior}))
    double = copy.deepcopy(single).double()
    z = poutine.trace(single.guide).get_trace(x).nodes["z"]["value"]
    values = []
    for model, dtype in ((single, torch.float32), (double, torch.float64)):
        given = {"z": z.to(dtype)}
        terms = [
            poutine.trace(poutine.condition(program, given)).get_trace(x.to(dtype)).log_prob_sum()
            for program in (model.model, model.guide)
        ]
        values.append((terms[0] - terms[1]).detach().item())
    assert abs(values[0] - values[1]) < 1e-4 * abs(values[1])


@pytest.mark.param_store
def test_models_of_one_process_do_not_disturb_each_other(tmp_path):
    """Each trains as if it was alone: after others, again, and with Pyro's store in use."""
    options = {"epochs": 2, "batch_size": 10, **QUIET}
    alone, other, again, later = vae(), vae(1), vae(), vae()
    pv.fit(alone, DATA, **options)
    pyro.param("z", torch.ones(3))
    pv.fit(other, DATA, **options)
    pv.fit(again, DATA, out=tmp_path, **options)
    assert equal(alone, again) and not equal(alone, other)
    torch.set_default_dtype(torch.float64)
    try:
        pv.fit(later, DATA, **options)
    finally:
        torch.set_default_dtype(torch.float32)
    assert equal(alone, later)
    assert [*pyro.get_param_store()] == ["z"] and torch.equal(pyro.param("z"), torch.ones(3))
