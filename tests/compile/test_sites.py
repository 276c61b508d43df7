"""Compiled steps of products of factors are those of Pyro."""

import copy

import pyro
import pytest
import torch
from kinds import KINDS
from pyro.infer import SVI, Trace_ELBO

import pyro_vae as pv
from pyro_vae.data import as_split
from pyro_vae.objectives import ELBO, STL, DReG, Enumeration


@pytest.fixture(autouse=True)
def double(float64):
    torch.manual_seed(0)


QUICK = ("plain", "semi-supervised", "with a net")


@pytest.mark.parametrize(
    "name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in KINDS]
)
def test_compiled_steps_are_those_of_svi(name):
    torch.manual_seed(0)
    kind = KINDS[name]()
    x, known = as_split(kind.x, **kind.known).batch(slice(0, 10))
    losses = []
    for make in (SVI, pv.CompiledSVI):
        with pyro.get_param_store().scope():
            vae, options = copy.deepcopy(kind.vae), {}
            if make is pv.CompiledSVI:
                options["backend"] = "graph"
            svi = make(
                vae.model, vae.guide, pyro.optim.Adam({"lr": 1e-2}), Trace_ELBO(), **options
            )
            torch.manual_seed(1)
            losses.append([float(svi.step(x, **known)) for _ in range(4)])
    assert losses[0] == pytest.approx(losses[1], rel=1e-9)


OBJECTIVES = {
    "elbo, closed": lambda: ELBO(kl="closed-form"),
    "free bits": lambda: ELBO(free_bits=0.1, free_bits_per="site"),
    "iwae": lambda: pv.objectives.IWAE(3),
    "dreg": lambda: DReG(3),
    "stl": lambda: STL(2),
    "enumeration": lambda: Enumeration(supervision=2.0),
}
PAIRS = [
    (name, objective)
    for name in ("bottom-up", "with a net", "conditional", "sequence", "holes", "semi-supervised")
    for objective in OBJECTIVES
    if (objective == "enumeration") == (name == "semi-supervised")
]
FEW = [("bottom-up", "dreg"), ("conditional", "iwae"), ("semi-supervised", "enumeration")]


@pytest.mark.parametrize(
    ("name", "objective"),
    [pytest.param(*p, marks=() if p in FEW else pytest.mark.slow) for p in PAIRS],
)
def test_compiled_steps_of_our_objectives(name, objective):
    torch.manual_seed(0)
    kind = KINDS[name]()
    x, known = as_split(kind.x, **kind.known).batch(slice(0, 10))
    eager, compiled = copy.deepcopy(kind.vae), copy.deepcopy(kind.vae)
    loss, adam = OBJECTIVES[objective](), torch.optim.Adam(eager.parameters(), lr=1e-2)
    losses: list[list[float]] = [[], []]
    torch.manual_seed(1)
    for _ in range(5):
        adam.zero_grad()
        terms = loss(eager.model, eager.guide, x, **known)
        terms.loss.backward()
        adam.step()
        losses[0].append(float(terms.loss.detach()))
    svi = pv.CompiledSVI(
        compiled.model,
        compiled.guide,
        torch.optim.Adam(compiled.parameters(), lr=1e-2),
        OBJECTIVES[objective](),
        backend="graph",
    )
    torch.manual_seed(1)
    losses[1] = [float(svi.step(x, **known)) for _ in range(5)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-9)
    torch.testing.assert_close(
        list(eager.parameters()), list(compiled.parameters()), rtol=1e-7, atol=1e-9
    )
