"""A planted fault is caught by the test that is meant to catch it. `mutations.py` has the table."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from mutations import FAULTS, twin

HERE = Path(__file__).parent


def test_every_fault_can_be_planted():
    """The functions exist, and contain the expressions that are replaced."""
    wrong = []
    for name, fault in FAULTS.items():
        file, _, test = fault.test.partition("::")
        if f"def {test.partition('[')[0]}(" not in (HERE / file).read_text():
            wrong.append(f"{name}: no test {fault.test}")
        try:
            twin(fault)
        except LookupError as error:
            wrong.append(f"{name}: {error}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.slow
@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_caught(name):
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-p", "mutations"]
        + ["-m", "slow or not slow", f"tests/{FAULTS[name].test}"],
        cwd=HERE.parent,
        env={
            **os.environ,
            "FAULT": name,
            "PYTHONPATH": f"{HERE.parent}{os.pathsep}{HERE}",
            "OMP_NUM_THREADS": "1",
        },
        capture_output=True,
        text=True,
    )
    output = done.stdout[-2000:]
    if done.returncode != 1 or "1 failed" not in output:
        pytest.fail(f"{name} is not caught: {output}", pytrace=False)
    if not re.search(r"^E +(assert|AssertionError|Failed)", done.stdout, re.M):
        pytest.fail(f"{name} fails by an error other than an assertion: {output}", pytrace=False)
