"""What the tests cost: CPU seconds of each and of all, with their child processes, over all workers.

Wall time depends on who else uses the machine; CPU time hardly does. `conftest.py` registers the plugin,
so that every run ends with the sum and the most expensive tests.
"""

import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

SHOWN = 10


def spent() -> float:
    """CPU seconds of this process and of its children that have ended."""
    return sum(os.times()[:4])


class CpuSeconds:
    """Under pytest-xdist, workers send what they spent and the controller adds it up."""

    def __init__(self) -> None:
        self.tests: Counter[str] = Counter()
        self.workers = 0.0
        self.last = spent()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self):
        report = yield
        before, self.last = self.last, spent()
        report.user_properties.append(("cpu_seconds", self.last - before))
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        costs = [value for name, value in report.user_properties if name == "cpu_seconds"]
        self.tests[report.nodeid] += sum(costs[-1:])  # setup, call and teardown each add one
        path = os.environ.get("CPU_SECONDS")  # a file that gets a line for each
        if path and report.when == "teardown":
            with Path(path).open("a") as file:
                file.write(f"{self.tests[report.nodeid]:.3f}\t{report.nodeid}\n")

    def pytest_collection_finish(self) -> None:
        self.last = spent()

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if hasattr(session.config, "workeroutput"):
            session.config.workeroutput["cpu_seconds"] = spent()

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        self.workers += getattr(node, "workeroutput", {}).get("cpu_seconds", 0.0)

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        # A controller's children are the workers, which count themselves.
        alone = self.workers + sum(os.times()[:2])
        tests, whole = sum(self.tests.values()), alone if self.workers else spent()
        terminalreporter.section(f"{whole:.0f} CPU seconds, of which {tests:.0f} in tests")
        for name, cost in self.tests.most_common(SHOWN):
            terminalreporter.write_line(f"{cost:7.2f} {name}")
