"""The page of faults names tests that exist, one row for each fault."""

import ast
import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
PAGE = (TESTS.parent / "docs" / "reliability.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| (\d+) \|(.+)\|(.+)\|(.*)\|(.+)\|$", PAGE, re.M)


def names(file):
    tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_fault_has_a_row_and_its_test():
    assert [number for number, *_ in ROWS] == [str(i) for i in range(1, 49)]
    missing = []
    for number, _, _, _, tests in ROWS:
        named = re.findall(r"`([\w/]+\.py)::(\w+)`", tests)
        assert named, f"row {number} names no test"
        missing += [
            f"{number}: {file}::{test}"
            for file, test in named
            if not (TESTS / file).is_file() or test not in names(file)
        ]
    assert missing == []
