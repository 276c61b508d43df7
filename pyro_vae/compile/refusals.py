r"""Sentences about what cannot be one graph, with the line of the user's program."""

import ast
import linecache
import os
import sys
import traceback
from functools import cache
from pathlib import Path
from types import FrameType

import pyro
import torch


class NotStatic(ValueError):
    r"""The program's structure depends on data, so that no one graph is all of it."""


class PartialGradients(Exception):
    r"""A program has gradients for some parameters of a group only."""


def refusal(reads: str, error: BaseException | None = None, at: str | None = None) -> str:
    r"""Says what a program does that no graph can hold, and where.

    Example:
        >>> refusal("reads the value of a tensor that a random draw decides")[:67]
        'Expected a program whose structure no random draw and no parameter '
    """
    return (
        "Expected a program whose structure no random draw and no parameter decides; got one "
        f"that {reads}, {at or where(error)}. Use torch.where or a mask, or run it eagerly."
    )


def where(error: BaseException | None = None) -> str:
    r"""Names the line of the user's program that is running, or where an error was raised."""
    if error is not None:
        stack = list(traceback.walk_tb(error.__traceback__))[::-1]
    else:
        stack = list(traceback.walk_stack(sys._getframe(1)))
    lines = [(frame.f_code.co_filename, line) for frame, line in stack]
    own = [(file, line) for file, line in lines if is_users(file)]
    files = [(file, line) for file, line in own if not file.startswith("<")]
    return place(*(files or own)[0]) if own else "inside Pyro"


def place(file: str, line: int) -> str:
    r"""Quotes a line."""
    return f"at {file}:{line}: {linecache.getline(file, line).strip()}"


def _folder(file: str | None) -> str:
    return f"{Path(file or '').absolute().parent}{os.sep}"


TORCH, PYRO, HERE = _folder(torch.__file__), _folder(pyro.__file__), _folder(__file__)
DISTRIBUTIONS = TORCH + "distributions" + os.sep
PYTHON = _folder(os.__file__)
_LIBRARIES = tuple(
    _folder(getattr(sys.modules.get(name), "__file__", None) or __file__)
    for name in ("opt_einsum", "numpy")
)


@cache
def is_users(file: str) -> bool:
    r"""Tells whether a file is the user's, not one of PyTorch, Pyro, Python or this folder."""
    if file.startswith(("<frozen", "<eval_with_key", "<__array_function__")):
        return False
    file = str(Path(file).absolute()) if not file.startswith("<") else file
    if file.startswith((TORCH, PYRO, HERE, *_LIBRARIES)):
        return False
    return not file.startswith(PYTHON) or "site-packages" in file


def asker() -> tuple[FrameType, bool]:
    r"""Returns who asks for a number, and whether that is a library of distributions."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_back is not None:
        file = frame.f_code.co_filename
        if file.startswith((PYRO, DISTRIBUTIONS)):
            return frame, True
        if is_users(file):
            return frame, False
        frame = frame.f_back
    assert frame is not None
    return frame, False


def only_checks(frame: FrameType) -> bool:
    r"""Tells whether the running line is an assertion, or a condition that only raises.

    What it asks was so a moment ago, when the program ran with every check.
    """
    return any(
        first <= frame.f_lineno <= last for first, last in _checks(frame.f_code.co_filename)
    )


@cache
def _checks(file: str) -> tuple[tuple[int, int], ...]:
    try:
        tree = ast.parse("".join(linecache.getlines(file)))
    except SyntaxError:
        return ()
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Assert):
            found.append((node.lineno, node.end_lineno or node.lineno))
        elif isinstance(node, ast.If) and not node.orelse:
            *before, last = node.body
            if isinstance(last, ast.Raise) and all(isinstance(b, ast.Assign) for b in before):
                found.append((node.test.lineno, node.test.end_lineno or node.test.lineno))
    return tuple(found)
