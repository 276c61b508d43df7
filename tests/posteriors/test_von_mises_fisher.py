"""A posterior on the sphere is a static program: its step is recorded and compiled."""

import copy

import pyro
import pytest
import torch
from checks import build
from pyro.infer import SVI, Trace_ELBO

import pyro_vae as pv


@pytest.mark.usefixtures("float64")
def test_recorded_steps_are_those_of_svi():
    torch.manual_seed(0)
    kinds = ({"kind": "hypersphere-uniform"}, {"kind": "gaussian"}, {"kind": "von-mises-fisher"})
    vae, x = build(kinds)
    vae, x = vae.double(), x.double()
    losses, rest = [], []
    for make, options in ((SVI, {}), (pv.CompiledSVI, {"backend": "graph"})):
        with pyro.get_param_store().scope():
            own = copy.deepcopy(vae)
            adam = pyro.optim.Adam({"lr": 1e-2})
            svi = make(own.model, own.guide, adam, Trace_ELBO(), **options)
            torch.manual_seed(1)
            losses.append([float(svi.step(x)) for _ in range(12)])
            rest.append(torch.rand(1))
    assert losses[0] == pytest.approx(losses[1], rel=1e-9)
    assert torch.equal(*rest)  # as many random numbers
