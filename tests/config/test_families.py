"""The registry agrees with the classes, and includes the families of other packages."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

import pyro_vae as pv
from pyro_vae.build import construct
from pyro_vae.config import REGISTRY
from pyro_vae.config.kinds import PriorKind
from pyro_vae.registration import entry_of, kind_of

ROOT = Path(__file__).parents[2]
ROOMS = {"prior": pv.priors, "likelihood": pv.likelihoods, "posterior": pv.posteriors}


def test_registry_and_tables_are_fresh():
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        import registry
    finally:
        sys.path.remove(str(ROOT / "scripts"))
    stale = [p for p, text in registry.files().items() if p.read_text(encoding="utf-8") != text]
    assert not stale, "run `make registry`"
    assert '"advice"' in registry.files()[ROOT / "pyro_vae/config/families.json"]
    assert "| `standard-normal` |" in registry.files()[ROOT / "docs/families.md"]


@pytest.mark.parametrize("role", ROOMS)
def test_every_family_describes_itself_for_recipes(role):
    classes = [cls for cls in vars(ROOMS[role]).values() if isinstance(cls, type)]
    assert len(classes) > 10
    for cls in classes:
        entry = entry_of(cls)
        if entry is None:  # only Python can build it
            assert kind_of(cls) not in REGISTRY[role]
            continue
        assert entry["formula"].startswith("q(z" if role == "posterior" else "p("), cls
        assert entry["advice"] and entry["support"], cls
        assert all(option["help"].endswith(".") for option in entry["options"].values()), cls
        assert not any("\\" in option["help"] for option in entry["options"].values()), cls


def test_an_option_that_the_class_does_not_take_is_not_dropped():
    class Odd(PriorKind):
        target = "pyro_vae.priors.StandardNormal"
        kind: str = "odd"
        sharpness: float = 2.0

    with pytest.raises(TypeError, match="sharpness"):
        construct(Odd(), {"latent_dim": 2})


@pytest.mark.parametrize(
    "make,message",
    [
        (
            lambda: pv.priors.Laplace(2, scale=-1.0),
            "Expected scale as a positive number; got -1.0",
        ),
        (lambda: pv.priors.RelaxedBernoulli(2, temperature=float("nan")), "temperature as a pos"),
        (
            lambda: pv.likelihoods.StudentT(torch.nn.Identity(), df=0.0),
            "Expected df as a positive",
        ),
        (
            lambda: pv.posteriors.CommittedRateNormal(torch.nn.Identity(), rate=0.0),
            "rate as a pos",
        ),
    ],
)
def test_scales_are_positive(make, message):
    with pytest.raises(ValueError, match=message):
        make()


PACKAGE = '''
import torch
import pyro.distributions as dist
from pyro_vae.base import Prior
from pyro_vae.counted import Positive, counted

class Gumbel(Prior):
    """Creates a prior of Gumbel features.

    Arguments:
        latent_dim: The number of latent features.
        scale: The scale :math:`\\beta`.
    """

    formula = "p(z) = prod_l Gumbel(z_l; 0, beta)"
    advice = "for features that are extremes"

    @counted
    def __init__(self, latent_dim: int, scale: Positive = 1.0) -> None:
        super().__init__()
        self.register_buffer("loc", torch.zeros(latent_dim), persistent=False)
        self.scale = scale

    def forward(self):
        return dist.Gumbel(self.loc, self.scale).to_event(1)
'''
USE = """
from pyro_vae.cli import main
from pyro_vae.config import REGISTRY, read_recipe, override, validate
import pyro_vae as pv
assert REGISTRY["prior"]["gumbel"](scale=2).scale == 2.0
recipe = validate(override(read_recipe("digits"), {"prior.kind": "gumbel", "prior.scale": 3}))
vae = pv.build_vae(recipe, (1, 8, 8), 16.0, None)
assert type(vae.prior).__name__ == "Gumbel" and vae.prior.scale == 3.0
main(["list"])
"""


@pytest.mark.slow
def test_a_package_registers_its_own_family(tmp_path):
    (tmp_path / "extremes.py").write_text(PACKAGE)
    info = tmp_path / "extremes-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: extremes\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[pyro_vae.prior]\ngumbel = extremes:Gumbel\n")
    environment = {"PYTHONPATH": f"{tmp_path}:{ROOT}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", USE], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert "gumbel" in done.stdout and "for features that are extremes" in done.stdout
    taken = "[pyro_vae.prior]\nlaplace = extremes:Gumbel\n"
    (info / "entry_points.txt").write_text(taken)
    done = subprocess.run(
        [sys.executable, "-c", USE], capture_output=True, text=True, env=environment
    )
    assert "Expected a new name" in done.stderr and "'laplace'" in done.stderr
