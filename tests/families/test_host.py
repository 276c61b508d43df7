"""A training step makes no tensor on the host: on a GPU it would be copied there in every step, which
waits, and which a CUDA graph cannot hold.

There need be no GPU to find out. Tensors without a device land on "meta", the default device here, and
cannot meet those of the step. Tensors that are copied from Python numbers, lists and arrays come from
no operation: the second of two steps meets one that the first did not.
"""

import numpy as np
import pyro
import pytest
import torch
from checks import ALLOWED, build, few_of
from kinds import KINDS
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import pyro_vae as pv
from pyro_vae.config import ESTIMATORS
from pyro_vae.data import as_split


class Met(TorchDispatchMode):
    """The tensors, by storage, that operations read and no operation made, beside those known."""

    def __init__(self, known=None):
        super().__init__()
        self.known, self.found = dict(known or {}), {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        for key, tensor in storages((args, kwargs)):
            if tensor.numel() and key not in self.known:
                self.found[key] = tensor
        out = func(*args, **(kwargs or {}))
        self.known.update(storages(out))  # kept alive, so that no address comes twice
        return out


def storages(tree):
    tensors = [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]
    return [(t.untyped_storage()._cdata, t) for t in tensors]


def made_on_the_host(step):
    """What the second step copies from the host."""
    step()
    with Met() as first:
        step()
    with Met(first.found) as second:
        step()
    return list(second.found.values())


def check(vae, x, known, estimator="auto", **options):
    objective = pv.plan(vae, x, estimator, known=known, **options).objective

    def step():
        objective(vae.model, vae.guide, x, **known).loss.backward()

    with pyro.validation_enabled(False), torch.device("meta"):
        assert made_on_the_host(step) == []


@few_of(ALLOWED, 1)
def test_families_make_no_tensor_on_the_host(triple):
    vae, x = build(triple)
    check(vae, x, {"index": torch.arange(len(x))} if vae.posterior.index else {})


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_estimators_make_no_tensor_on_the_host(estimator):
    prior, posterior = {"kind": "standard-normal"}, {"kind": "mean-field-normal"}
    if estimator in ("score-function", "vimco", "enumeration"):
        prior = posterior = {"kind": "bernoulli"}
    particles = 1 if estimator in ("reparameterized", "enumeration") else 3
    vae, x = build((prior, {"kind": "gaussian"}, posterior))
    check(vae, x, {}, estimator, num_particles=particles)


@pytest.mark.parametrize("name", [name for name in KINDS if "stranger" not in name])
def test_products_of_factors_make_no_tensor_on_the_host(name):
    kind = KINDS[name]()
    x, known = as_split(kind.x, **kind.known).batch(slice(0, 10))
    check(kind.vae, x, known)


HOST = {
    "a number": lambda x: x + torch.tensor(2.0, device="cpu"),
    "a number as a tensor": lambda x: x + x.new_tensor(2.0),
    "a list of places": lambda x: x[..., [0, 2]],
    "a tensor of places": lambda x: x[..., torch.tensor([0, 2], device="cpu")],
    "an array": lambda x: x + torch.from_numpy(np.ones(3, dtype=np.float32)),
    "no device": lambda x: x + torch.ones(3),
}


@pytest.mark.parametrize("name", HOST)
def test_tensors_made_on_the_host_are_found(name):
    x = torch.randn(4, 3)
    with torch.device("meta"):
        if name == "no device":
            with pytest.raises(RuntimeError):
                made_on_the_host(lambda: HOST[name](x))
        else:
            assert len(made_on_the_host(lambda: HOST[name](x))) == 1
        assert made_on_the_host(lambda: torch.where(2 * x > x.new_zeros(()), x, 1.0)) == []
