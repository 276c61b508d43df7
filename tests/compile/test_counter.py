"""Random numbers by counter: the published cipher, the right distributions, the same everywhere."""

import math

import pytest
import torch
from checks import bound
from torch import nn
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils.checkpoint import checkpoint

from pyro_vae.compile import counter
from pyro_vae.compile.backend import inductor
from pyro_vae.compile.counter import CounterNoise, NoCounterForm, philox, round_keys
from pyro_vae.compile.many import fill_blanks
from pyro_vae.compile.record import tidy

CPU = torch.device("cpu")
N = 200_000


def drawn(draw, seed=0, step=0, sites=0):
    noise = CounterNoise(seed, CPU, step)
    with noise.program():
        for _ in range(sites):
            torch.rand(())
        return draw()


def words(text):
    return [int(word, 16) for word in text.split()]


# --- The cipher -----------------------------------------------------------------------------------

KNOWN = {  # of the authors' library Random123
    "00000000 00000000 00000000 00000000 00000000 00000000": "6627e8d5 e169c58d bc57ac4c 9b00dbd8",
    "ffffffff ffffffff ffffffff ffffffff ffffffff ffffffff": "408f276d 41c83b0e a20bc7c6 6d5451fd",
    "243f6a88 85a308d3 13198a2e 03707344 a4093822 299f31d0": "d16cfe09 94fdcceb 5001e420 24126ea1",
}


@pytest.mark.parametrize("given", KNOWN)
def test_the_published_words(given):
    *block, low, high = words(given)
    keys = torch.tensor(round_keys(high << 32 | low)).unbind()
    found = philox([torch.tensor([word]) for word in block], keys)
    assert [int(word) for word in found] == words(KNOWN[given])


def test_products_of_words_are_exact():
    """Also of the largest words, and in a type that has no more than 64 bits."""
    ends = torch.tensor([0, 1, 2, 2**16, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1])
    found = torch.cat([ends, torch.randint(2**32, (1000,))])
    for multiplier in counter.MULTIPLIERS:
        high, low = counter.product(multiplier, found)
        exact = [multiplier * int(word) for word in found]
        assert high.tolist() == [value >> 32 for value in exact]
        assert low.tolist() == [value & 0xFFFFFFFF for value in exact]


def test_a_seed_has_64_bits():
    first, second = round_keys(-1)[:2]
    assert (first, second) == (0xFFFFFFFF, 0xFFFFFFFF)
    assert round_keys(5) != round_keys(5 + 2**32) and round_keys(5) == round_keys(5 + 2**64)


# --- Distributions --------------------------------------------------------------------------------


def z_of_moments(x, moments):
    """The largest |z| of powers of draws, whose means and variances are known."""
    x = x.double()
    return max(
        abs(float((x**k).mean()) - moments[k]) * math.sqrt(len(x) / (moments[2 * k] - moments[k] ** 2))
        for k in range(1, len(moments) // 2 + 1)
    )  # fmt: skip


UNIFORM = {k: 1 / (k + 1) for k in range(1, 9)}
NORMAL = {1: 0, 2: 1, 3: 0, 4: 3, 5: 0, 6: 15, 7: 0, 8: 105}
EXPONENTIAL = {k: math.factorial(k) for k in range(1, 9)}
DRAWS = {
    "rand": (lambda d: torch.rand(N, dtype=d), UNIFORM, lambda x: x),
    "uniform_": (lambda d: torch.empty(N, dtype=d).uniform_(-3, 1) / 4 + 0.75, UNIFORM, lambda x: x),
    "randn": (lambda d: torch.randn(N, dtype=d), NORMAL, torch.special.ndtr),
    "normal_": (lambda d: (torch.empty(N, dtype=d).normal_(1, 3) - 1) / 3, NORMAL, torch.special.ndtr),
    "normal": (lambda d: torch.normal(torch.zeros(N, dtype=d), torch.ones(N, dtype=d)), NORMAL, torch.special.ndtr),
    "exponential_": (lambda d: torch.empty(N, dtype=d).exponential_(2.0) * 2, EXPONENTIAL, lambda x: -torch.expm1(-x)),
}  # fmt: skip


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", DRAWS)
def test_moments_and_distribution_function(name, dtype):
    draw, moments, cdf = DRAWS[name]
    x = drawn(lambda: draw(dtype), seed=3)
    assert x.dtype == dtype and z_of_moments(x, moments) < bound(4 * 12)
    u = cdf(x.double()).sort().values
    grid = torch.arange(N + 1, dtype=torch.float64) / N
    distance = float(torch.maximum((u - grid[:-1]).abs().max(), (u - grid[1:]).abs().max()))
    assert distance * math.sqrt(N) < math.sqrt(-math.log(1e-5 / 12 / 2) / 2)  # Kolmogorov, Smirnov


@pytest.mark.parametrize("dtype", counter.BITS)
def test_no_uniform_is_zero_or_one(dtype):
    for words in (torch.zeros(1, dtype=torch.int64), torch.full((1,), 0xFFFFFFFF)):
        [u] = counter.fraction(words, words, dtype)
        assert 0 < u < 1 and u.dtype == dtype


def z_of_shares(x, p):
    """The largest |z| of how often things happen; what is sure happens."""
    share, sure = x.double().mean(0), (p == 0) | (p == 1)
    assert torch.equal(share[sure], p[sure].double())
    return float(((share - p).abs() / (p * (1 - p) / len(x)).sqrt())[~sure].max())


def test_bernoulli_dropout_and_classes():
    p = torch.tensor([0.0, 0.1, 0.5, 1.0], dtype=torch.float64)
    classes = torch.tensor([0.0, 0.1, 0.3, 0.6], dtype=torch.float64)
    hot, drop = nn.functional.one_hot, nn.functional.dropout
    for draw, expected in [
        (lambda: torch.bernoulli(p.expand(N, 4)), p),
        (lambda: torch.bernoulli(p.float().expand(N, 4)), p),
        (lambda: torch.empty(N, 4).bernoulli_(p), p),
        (lambda: torch.empty(N, 4, dtype=torch.bool).bernoulli_(0.3), torch.full_like(p, 0.3)),
        (lambda: hot(torch.multinomial(classes.expand(N, 4), 1)[:, 0], 4), classes),
        (lambda: hot(torch.multinomial(5 * classes, N, replacement=True), 4), classes),
        (lambda: drop(torch.ones(N, 4), 0.3) > 0, torch.full_like(p, 0.7)),
        (lambda: torch.native_dropout(torch.ones(N, 4), 0.3, True)[1], torch.full_like(p, 0.7)),
    ]:
        assert z_of_shares(drawn(draw), expected) < bound(8 * 4)
    for draw in (drop, torch.native_dropout):
        out = drawn(lambda draw=draw: draw(torch.ones(N), 0.3, True))
        out = out if isinstance(out, torch.Tensor) else out[0]
        assert {*out.unique().tolist()} == {0.0, float(torch.ones(()) / 0.7)}


@pytest.mark.parametrize("one,other", [
    ({}, {"seed": 1}), ({}, {"step": 1}), ({}, {"sites": 1}), ({"seed": 2**32}, {"seed": 0}),
    ({"step": 1}, {"sites": 1}), ({"step": 7, "sites": 2}, {"step": 8, "sites": 1}),
])  # fmt: skip
def test_seeds_steps_and_sites_are_independent(one, other):
    """Correlations of neighbours in every order are none: their z, of values and of squares."""
    draw = lambda: torch.randn(N, dtype=torch.float64)  # noqa: E731
    a, b = drawn(draw, **one), drawn(draw, **other)
    for lag in range(3):
        x, y = a[: N - lag], b[lag:]
        assert abs(float((x * y).mean())) * math.sqrt(N - lag) < bound(36)
        squares = (x**2 - 1) * (y**2 - 1) / 2
        assert abs(float(squares.mean())) * math.sqrt(N - lag) < bound(36)


def test_the_data_of_a_step_draw_apart_from_its_program():
    noise = CounterNoise(0, CPU)
    with noise.data():
        data = torch.rand(5)
    with noise.data():
        assert torch.equal(torch.rand(5), data)  # nothing but a step goes on
    with noise.program():
        assert not torch.equal(torch.rand(5), data)
    with noise.data():
        assert not torch.equal(torch.rand(5), data)


# --- The same numbers everywhere ------------------------------------------------------------------


def mixed(keys, step):
    """Draws of several kinds, which depend on seed and step only."""
    noise = CounterNoise(0, CPU)
    noise.keys, noise.step = keys, step
    with noise.drawing(counter.PROGRAM):
        return [
            torch.randn(7, 5), torch.empty(3, 4).bernoulli_(0.3), torch.rand(2, 3).exp(),
            torch.empty(4).exponential_(), torch.bernoulli(torch.full((9,), 0.4)),
            torch.multinomial(torch.ones(6, 4), 1), torch.randn(3, dtype=torch.float64),
        ]  # fmt: skip


SEEDS, STEPS = [0, 5, 2**40], torch.tensor([3, 4, 10**6])


def test_nothing_depends_on_the_place_in_memory_or_on_generators():
    before = torch.get_rng_state()
    a = drawn(lambda: torch.randn(4, 6))
    assert torch.equal(
        drawn(lambda: torch.randn(6, 4).t().contiguous().view(-1)[:1]), a.view(-1)[:1]
    )
    assert torch.equal(drawn(lambda: torch.empty(6, 4).t().normal_()), a)
    assert torch.equal(torch.get_rng_state(), before)


def test_mapped_over_seeds_and_steps():
    """Recorded once, and mapped; what draws in place writes into a tensor of each model's own."""
    keys = torch.tensor([round_keys(seed) for seed in SEEDS])
    recorded = tidy(make_fx(mixed)(keys[0], STEPS[0]))
    graphs = [recorded(*given) for given in zip(keys, STEPS)]
    fill_blanks(recorded)
    recorded.recompile()
    many = torch.vmap(recorded)(keys, STEPS)
    for i, given in enumerate(zip(keys, STEPS)):
        for got, graph, alone in zip(many, graphs[i], mixed(*given)):
            assert torch.equal(got[i], alone) and torch.equal(graph, alone)


def test_what_is_copied_from_elsewhere_is_not_taken_for_a_copy():
    """A later change in place would change it, too."""

    def program(x):
        return [torch.empty(3).copy_(x).mul_(2), torch.empty(3).copy_(x.exp()).mul_(2)]

    module = tidy(make_fx(program)(torch.ones(3)))
    fill_blanks(module)
    module.recompile()
    x = torch.ones(3)
    first, second = module(x)
    assert torch.equal(x, torch.ones(3)) and torch.equal(first, 2 * x)
    assert torch.equal(second, 2 * x.exp())
    assert [str(n.target) for n in module.graph.nodes].count("aten.copy_.default") == 1


@pytest.mark.slow
def test_compiled():
    """Words are the same; a logarithm of the compiler's may round in another way."""
    keys = torch.tensor(round_keys(SEEDS[1]))
    compiled = inductor(make_fx(mixed)(keys, STEPS[0]), [keys, STEPS[0]])
    for step in STEPS:
        for got, want in zip(compiled(keys, step), mixed(keys, step)):
            torch.testing.assert_close(got, want, rtol=1e-6, atol=1e-6)


# --- What has no form -----------------------------------------------------------------------------


def twice(x):
    return (x * torch.rand_like(x)).sum()


REFUSED = {
    "poisson": (lambda: torch.poisson(torch.ones(3)), "aten.poisson.default"),
    "gamma": (lambda: torch._standard_gamma(torch.ones(3)), "_standard_gamma"),
    "whole numbers": (lambda: torch.randint(5, (3,)), "randint"),
    "a generator": (lambda: torch.rand(3, generator=torch.Generator()), "form by counter here"),
    "without replacement": (lambda: torch.multinomial(torch.ones(3), 2), "without replacement"),
    "complex": (lambda: torch.randn(3, dtype=torch.cfloat), "complex64"),
    "another device": (lambda: torch.rand(3, device="meta"), "meta"),
    "a draw again": (
        lambda: checkpoint(
            twice, torch.ones(3, requires_grad=True), use_reentrant=False
        ).backward(),
        "in the backward pass",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name):
    draw, sentence = REFUSED[name]
    with pytest.raises(NoCounterForm, match=sentence):
        drawn(draw)


def test_what_draws_nothing_is_not_refused():
    x = torch.ones(1, 2, 3, 4)
    drawn(lambda: nn.functional.scaled_dot_product_attention(x, x, x))
    drawn(lambda: nn.functional.dropout(x, training=False))
