"""The wheel, installed where nothing else is."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_new_user_installs_the_wheel_and_trains(tmp_path):
    """As `make wheel` does; it needs a package registry."""
    pytest.importorskip("build")
    command = [sys.executable, str(ROOT / "scripts" / "wheel.py"), "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "explore.html" in done.stdout and [*tmp_path.glob("*.whl")]
