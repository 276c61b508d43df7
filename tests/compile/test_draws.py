"""Draws stay out of what the compiler sees: in their order, with their strides."""

import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

from pyro_vae.compile.guards import is_random
from pyro_vae.compile.parts import Parts, Segment
from pyro_vae.compile.record import tidy


def program(x):
    kept = torch.empty_like(x.t()).bernoulli_(0.3)  # in the strides of a transposed tensor
    picked = torch.bernoulli((x * kept.t()).sigmoid())  # of numbers that the first draw decides
    noise = torch.empty(4).normal_()
    y = x * picked + noise
    rate = torch.poisson(y.exp())
    return [y.sum(), rate.sum(), torch.randn(3).sum()]


@pytest.fixture
def parts():
    x = torch.rand(3, 4)
    seen = []

    def compiler(module, examples):
        seen.append(module)
        assert [tuple(e.shape) for e in examples] == [
            tuple(n.meta["like"][0]) if "like" in n.meta else tuple(e.shape)
            for n, e in zip(module.graph.find_nodes(op="placeholder"), examples)
        ]
        return module

    module = tidy(make_fx(program)(x))
    return Parts(module, [x], compiler), module, seen, x


def test_no_draw_is_compiled(parts):
    _, module, seen, _ = parts
    assert sum(map(is_random, module.graph.nodes)) == 5
    assert not any(is_random(node) for segment in seen for node in segment.graph.nodes)


def test_draws_are_made_in_the_order_of_the_program(parts):
    built, module, *_ = parts
    order = [str(p.function.func) for p in built.parts if not isinstance(p, Segment)]
    assert order == [str(node.target) for node in module.graph.nodes if is_random(node)]


def test_a_draw_has_the_strides_of_the_program(parts):
    built, *_ = parts
    assert built.parts[0].function.args[0].stride() == (1, 4)


def test_parts_give_the_bits_of_the_program(parts):
    built, _, _, x = parts
    torch.manual_seed(1)
    want, after = program(x), torch.get_rng_state()
    torch.manual_seed(1)
    for got, expected in zip(built(x), want):
        assert torch.equal(got, expected)
    assert torch.equal(torch.get_rng_state(), after)


def test_what_needs_no_draw_is_one_part():
    x = torch.rand(3)
    module = tidy(make_fx(lambda x: [x.exp().sum()])(x))
    [only] = Parts(module, [x], lambda module, examples: module).parts
    assert isinstance(only, Segment)


def test_a_tensor_changed_in_place_keeps_its_order():
    def program(x):
        x.add_(1)
        z = torch.bernoulli(x / 10)
        x.mul_(z)
        return [x.sum(), torch.rand(2).sum() + x.sum()]

    x = torch.ones(5)
    module = tidy(make_fx(program)(x.clone()))
    built = Parts(module, [x.clone()], lambda module, examples: module)
    a, b = x.clone(), x.clone()
    torch.manual_seed(2)
    want = program(a)
    torch.manual_seed(2)
    got = built(b)
    assert torch.equal(a, b) and all(map(torch.equal, got, want))
