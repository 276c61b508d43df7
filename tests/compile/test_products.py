"""Matrix products of a compiled step, by either library, against float64."""

import pytest
import torch
import torch._inductor.config
from torch.fx.experimental.proxy_tensor import make_fx

from pyro_vae.compile import backend, products

BATCH, INPUTS, OUTPUTS = 64, 256, 128


def layer(x, weight, bias, gradient):
    """What a layer computes: forward, then the gradients by its inputs and its weight."""
    return torch.addmm(bias, x, weight.t()), gradient @ weight, gradient.t() @ x


@pytest.fixture(autouse=True)
def no_cache():
    """Each test compiles itself: what is on disk was given to no pass."""
    with torch._inductor.config.patch(force_disable_caches=True):
        yield


@pytest.fixture(params=[pytest.param("MKL", marks=pytest.mark.slow), "oneDNN"])
def library(request, monkeypatch):
    monkeypatch.setattr(products, "mkl_is_narrow", lambda: request.param == "oneDNN")
    return request.param


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="needs oneDNN")
def test_products_are_right_by_either_library(library, monkeypatch):
    torch.manual_seed(0)
    shapes = (BATCH, INPUTS), (OUTPUTS, INPUTS), (OUTPUTS,), (BATCH, OUTPUTS)
    args = [torch.randn(shape) for shape in shapes]
    moved = []
    move = products.Products.move
    monkeypatch.setattr(
        products.Products, "move", lambda self, node: (move(self, node), moved.append(node.target))
    )
    compiled = backend.inductor(make_fx(layer)(*args), args)
    for result, exact in zip(compiled(*args), layer(*(arg.double() for arg in args))):
        assert (result - exact).abs().max() < 1e-6 * INPUTS**0.5 * exact.abs().max()
    taken = [target for target in moved if target is not torch.ops.aten.mm.default]
    assert len(taken) == (3 if library == "oneDNN" else 0)


def split(x, weight, bias, gradient):
    """Two layers whose weights are parts of one matrix."""
    first, second = weight.split([100, INPUTS - 100], dim=1)
    return x[:, :100] @ first.t() + x[:, 100:] @ second.t(), gradient @ first, gradient @ second


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="needs oneDNN")
@pytest.mark.parametrize("program", [layer, split])
def test_onednn_has_a_fast_way_for_each_layout(program, monkeypatch, capfd):
    monkeypatch.setattr(products, "mkl_is_narrow", lambda: True)
    monkeypatch.setattr(products, "WORTH_CHANGING", 0)
    shapes = (BATCH, INPUTS), (OUTPUTS, INPUTS), (OUTPUTS,), (BATCH, OUTPUTS)
    args = [torch.randn(shape) for shape in shapes]
    compiled = backend.inductor(make_fx(program)(*args), args)
    with torch.backends.mkldnn.verbose(torch.backends.mkldnn.VERBOSE_ON):
        results = compiled(*args)
    for result, expected in zip(results, program(*args)):
        torch.testing.assert_close(result, expected, rtol=1e-4, atol=1e-4)
    calls = [line for line in capfd.readouterr().out.splitlines() if ",inner_product," in line]
    assert len(calls) >= 3
    assert not [call for call in calls if ",ref:" in call]


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="needs oneDNN")
def test_small_products_and_other_dtypes_stay(monkeypatch):
    monkeypatch.setattr(products, "mkl_is_narrow", lambda: True)
    monkeypatch.setattr(products, "onednn_product", lambda: pytest.fail("it was moved"))
    for shape, dtype in (((8, 8), torch.float32), ((256, 256), torch.float64)):
        a, b = torch.randn(shape, dtype=dtype), torch.randn(shape, dtype=dtype)
        compiled = backend.inductor(make_fx(torch.mm)(a, b), [a, b])
        torch.testing.assert_close(compiled(a, b)[0], a @ b)


@pytest.mark.parametrize(
    ("instructions", "maker", "narrow"),
    [
        ("AVX512", "AuthenticAMD", True),
        ("AVX512", "GenuineIntel", False),
        ("AVX2", "AuthenticAMD", False),
    ],
)
def test_mkl_is_narrow_on_other_processors_with_avx512(monkeypatch, instructions, maker, narrow):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: instructions)
    monkeypatch.setattr(products.Path, "read_text", lambda self: f"vendor_id : {maker}")
    available = torch.backends.mkl.is_available() and torch.backends.mkldnn.is_available()
    assert products.mkl_is_narrow.__wrapped__() == (narrow and available)
