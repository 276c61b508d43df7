"""The compiled step does what Pyro does, or refuses in a sentence."""

import pyro
import pytest
import torch
from programs import PROGRAMS, REFUSED
from pyro.infer import SVI

import pyro_vae as pv
from pyro_vae.compile import NotStatic

pytestmark = pytest.mark.param_store


@pytest.fixture(autouse=True)
def clean():
    pyro.clear_param_store()
    yield
    pyro.clear_param_store()


def state():
    return {n: p.detach().clone() for n, p in pyro.get_param_store().named_parameters()}


def trained(svi_class, make, optimizer, steps=None, **options):
    """Losses of a training, and the parameters after it."""
    pyro.clear_param_store()
    torch.manual_seed(1)
    model, guide, loss, calls = make()
    svi = svi_class(model, guide, optimizer(), loss, **options)
    torch.manual_seed(2)
    losses = [torch.as_tensor(svi.step(*args)).double() for args in calls[:steps]]
    parameters = {
        name: p.detach().clone() for name, p in pyro.get_param_store().named_parameters()
    }
    for owner in {
        id(f.__self__): f.__self__ for f in (model, guide) if hasattr(f, "__self__")
    }.values():
        parameters |= {f"own {n}": p.detach().clone() for n, p in owner.named_parameters()}
        parameters |= {f"own {n}": p.detach().clone() for n, p in owner.named_buffers()}
    return torch.stack(losses), parameters, torch.get_rng_state()


def stock(model, guide, optimizer, loss):
    """SVI as Pyro has it; our objectives are functions to it."""
    if isinstance(loss, pv.objectives.Objective):
        return SVI(model, guide, optimizer, lambda *args: loss(*args).loss)
    return SVI(model, guide, optimizer, loss)


def compiled(model, guide, optimizer, loss, **options):
    return pv.CompiledSVI(model, guide, optimizer, loss, **{"backend": "graph", **options})


def same(a, b, rtol=1e-5, atol=1e-7):
    assert a.keys() == b.keys()
    for name in a:
        torch.testing.assert_close(
            a[name], b[name], rtol=rtol, atol=atol, msg=lambda m: f"{name}: {m}"
        )


@pytest.mark.parametrize("make", PROGRAMS.values(), ids=PROGRAMS.keys())
def test_programs_train_as_in_pyro(make):
    """Losses, gradients (as SGD shows them), buffers and random draws are those of SVI."""
    sgd = lambda: pyro.optim.SGD({"lr": 1e-3})  # noqa: E731
    losses, parameters, rng = trained(stock, make, sgd)
    got, moved, at = trained(compiled, make, sgd)
    torch.testing.assert_close(got, losses, rtol=1e-5, atol=1e-6)
    same(moved, parameters)
    assert torch.equal(at, rng)


@pytest.mark.parametrize("make,word", REFUSED.values(), ids=REFUSED.keys())
def test_other_programs_are_refused(make, word):
    model, guide, loss, calls = make()
    svi = compiled(model, guide, pyro.optim.Adam({"lr": 1e-2}), loss)
    svi.step(*calls[0])
    before = state()
    with pytest.raises(NotStatic, match="Expected") as error:
        svi.step(*calls[1])
    assert word in str(error.value)
    same({name: p for name, p in state().items() if name in before}, before, 0, 0)

    svi.not_static = "eager"
    with pytest.warns(UserWarning, match="goes on eagerly"):
        svi.step(*calls[1])
    assert torch.isfinite(torch.as_tensor(svi.step(*calls[-1])))
