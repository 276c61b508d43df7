from collections.abc import Iterator
from pathlib import Path

import pyro
import pytest
import torch
from cpu_seconds import CpuSeconds

torch.set_num_threads(1)  # tests run in parallel


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(CpuSeconds())


@pytest.fixture(autouse=True)
def clean(request: pytest.FixtureRequest) -> Iterator[None]:
    """Seeds each test, and fails it when Pyro's global store or a default has changed."""
    torch.manual_seed(0)
    pyro.enable_validation(True)
    yield
    if request.node.get_closest_marker("param_store"):
        pyro.clear_param_store()
    assert len(pyro.get_param_store()) == 0, "the global param store is not empty"
    assert torch.get_default_dtype() == torch.float32


@pytest.fixture
def float64() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path
