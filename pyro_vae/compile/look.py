r"""A look at a program while it runs: what it reads from Python, draws and changes there."""

import dis
import gc
import logging
import random
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from inspect import getattr_static
from operator import getitem
from types import CodeType, FrameType, FunctionType, ModuleType
from typing import Any

import numpy as np
from torch import Generator, Tensor, nn

from .conditions import MISSING, SIMPLE, Place, length
from .refusals import PYRO, NotStatic, is_users, place, refusal, where
from .watch import Watch

MANY = 64  # items of a container that is looked into; one with more is data
_GENERATORS = (random.Random, np.random.RandomState, np.random.Generator, Generator)
_OBJECTIVE = ("loss", "loss_and_grads", "differentiable_loss")
_CALL_MODULE = nn.Module._call_impl.__code__
_PYRO_PARTS = {"_pyro_samples", "_pyro_params"}
_FILLS = {"append", "extend", "insert", "add", "update", "setdefault", "pop", "remove", "clear"}


class Look:
    r"""Watches a program run, and tells later whether what it read from Python is the same.

    Watched are: training flags, simple attributes, parameters and hooks of the modules that it
    called; simple globals, closure variables and attributes that the user's code names; whether
    its tensors need gradients and where they are; the tensors in Pyro's parameter store; autocast,
    the default dtype, and what else PyTorch and Pyro have switched on.
    """

    def __init__(self) -> None:
        self.found: dict[tuple[int, Any], tuple[Place, Any]] = {}
        self.modules: dict[int, nn.Module] = {}
        self.codes: dict[CodeType, frozenset[str]] = {}
        self.seen: set[tuple[int, int]] = set()
        self.generators: dict[int, tuple[Any, Any]] = {}
        self.drawn: str | None = None

    # --- While the program runs -----------------------------------------------------------------

    @contextmanager
    def looking(self) -> Iterator[None]:
        r"""Looks at the functions that run inside."""
        for generator in (random._inst, np.random.mtrand._rand):
            self.find(generator)
        self.before = gc.get_objects()  # held, so that nothing new gets the number of an old one
        self.existing = set(map(id, self.before))
        before, collects = sys.getprofile(), gc.isenabled()
        gc.disable()  # whose callbacks are no part of the program
        sys.setprofile(self.profile)
        try:
            yield
        finally:
            sys.setprofile(None)
            if collects:
                gc.enable()
            if before is not None:
                getattr(before, "enable", lambda: sys.setprofile(before))()  # cProfile's, or any

    def locate(self, program: Callable[[], Any]) -> None:
        r"""Runs a program line by line to find the one that draws from numpy's generators."""
        ours = [g for g, _ in self.generators.values() if isinstance(g, _GENERATORS[1:3])]
        before = [_state(generator) for generator in ours]
        last = "inside Pyro"

        def trace(frame: FrameType, event: str, arg: Any) -> Any:
            nonlocal last
            if not is_users(frame.f_code.co_filename) or self.drawn != "inside Pyro":
                return None
            if not all(_same(_state(g), state) for g, state in zip(ours, before)):
                self.drawn = last
                return None
            last = place(frame.f_code.co_filename, frame.f_lineno)
            return trace

        old = sys.gettrace()
        sys.settrace(trace)
        try:
            program()
        finally:
            sys.settrace(old)
            for generator, state in zip(ours, before):
                _set_state(generator, state)

    def profile(self, frame: FrameType, event: str, arg: Any) -> None:
        r"""Hears of each call."""
        if event == "c_call" and self.drawn is None:
            draws = isinstance(getattr(arg, "__self__", None), _GENERATORS[:3])
            if draws and arg.__name__ not in ("getstate", "get_state"):
                self.drawn = where()
        if event != "call":
            return
        code = frame.f_code
        if code is _CALL_MODULE:
            self.add_module(frame.f_locals["self"])
        elif code.co_name in _OBJECTIVE and code.co_filename.startswith(PYRO):
            self.add_simple(vars(frame.f_locals["self"]))
        elif is_users(code.co_filename):
            self.enter(frame, code)

    def enter(self, frame: FrameType, code: CodeType) -> None:
        r"""Notes what a function can read."""
        first = code not in self.codes
        names = self.codes.setdefault(code, frozenset(code.co_names))
        if first:
            for name in names & frame.f_globals.keys():
                value = frame.f_globals[name]
                if name.startswith("__"):
                    continue
                if not isinstance(value, FunctionType | type | ModuleType) or (
                    isinstance(value, FunctionType) and is_script(frame.f_globals)
                ):
                    self.note(Place(getitem, frame.f_globals, name), names, 3)
                elif not isinstance(value, FunctionType):
                    self.examine(value, names, 3, kept=True)
        local = frame.f_locals
        parameters = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        if parameters and isinstance(local.get(parameters[0]), logging.Filterer):
            return  # a handler of messages, which no step waits for
        for name in parameters:
            self.examine(local.get(name), names, 3)
        for name in code.co_freevars:
            self.examine(local.get(name), names, 3)

    def note(self, spot: Place, names: frozenset[str], depth: int) -> None:
        r"""Notes the value of a place, the first time that it is met."""
        value = spot.get()
        self.found.setdefault((id(spot.holder), spot.name), (spot, value))
        self.examine(value, names, depth, kept=True)

    def examine(self, value: Any, names: frozenset[str], depth: int, kept: bool = False) -> None:
        r"""Notes the parts of a value that code with such names can read.

        Arguments:
            value: The value.
            names: The names.
            depth: How many steps inwards to go.
            kept: Whether it is known to have been there before the program ran.
        """
        kept = kept or id(value) in self.existing
        if isinstance(value, (*SIMPLE, Tensor)) or (id(value), id(names)) in self.seen:
            return
        self.seen.add((id(value), id(names)))
        if isinstance(value, _GENERATORS):
            self.find(value)
        elif isinstance(value, Iterator) and kept:
            raise NotStatic(refusal("takes from an iterator that it keeps"))
        elif isinstance(value, ModuleType):
            if is_users(getattr(value, "__file__", None) or "<frozen"):
                for name in names & vars(value).keys():
                    if isinstance(vars(value)[name], SIMPLE):
                        self.note(Place(getitem, vars(value), name), names, 0)
        elif isinstance(value, type):
            if is_users(getattr(sys.modules.get(value.__module__), "__file__", None) or "<s"):
                for name in names:
                    if name[:2] != "__" and is_plain(getattr_static(value, name, MISSING)):
                        self.note(Place(getattr, value, name), names, depth - 1)
        elif isinstance(value, dict | list | tuple | deque):
            if depth and len(value) <= MANY:
                self.items(value, names, depth, kept)
        elif (depth and not callable(value)) or isinstance(value, nn.Module) or _is_users(value):
            self.attributes(value, names, depth, kept)

    def items(self, value: Any, names: frozenset[str], depth: int, kept: bool) -> None:
        for part in value.values() if isinstance(value, dict) else value:
            self.examine(part, names, depth - 1, kept)
        if kept and not isinstance(value, tuple):
            self.note(Place(length, value, None), names, 0)
            for key in list(value) if isinstance(value, dict) else range(len(value)):
                self.note(Place(getitem, value, key), names, depth - 1)

    def attributes(self, value: Any, names: frozenset[str], depth: int, kept: bool) -> None:
        try:  # not getattr, which an unfinished object may answer by itself
            own = object.__getattribute__(value, "__dict__")
        except AttributeError:
            own = {}
        if not kept:
            for name in names & own.keys():
                self.examine(own[name], names, depth - 1)
            return
        for name in names:
            if name in own:
                self.note(Place(getitem, own, name), names, depth - 1)
            elif is_plain(getattr_static(type(value), name, MISSING)):
                self.note(Place(getattr, value, name), names, depth - 1)
        if isinstance(value, nn.Module):
            self.add_module(value)

    def add_module(self, module: nn.Module) -> None:
        r"""Notes a module's simple attributes and its tensors."""
        if id(module) in self.modules:
            return
        self.modules[id(module)] = module
        own = module.__dict__
        self.add_simple(own)
        for part in (own["_parameters"], own["_buffers"], own["_modules"]):
            for name, value in part.items():
                self.found.setdefault((id(part), name), (Place(getitem, part, name), value))
        for name in _PYRO_PARTS & own.keys():
            self.items(own[name], frozenset(), 1, kept=True)

    def add_simple(self, own: dict[str, Any]) -> None:
        for name, value in own.items():
            if name[0] != "_" and isinstance(value, (*SIMPLE, tuple)):
                self.found.setdefault((id(own), name), (Place(getitem, own, name), value))

    def find(self, generator: Any) -> None:
        if id(generator) not in self.generators:
            self.generators[id(generator)] = (generator, _state(generator))

    # --- After it ran ---------------------------------------------------------------------------

    def restore(self) -> None:
        r"""Puts back what the program has changed in Python."""
        self.changed = []
        self.filled = False
        stored = _names(self.codes)[1]
        self.passing: set[tuple[int, Any]] = set()
        for key, (spot, old) in self.found.items():
            now = spot.get()
            if now is old or (spot.read is length and now == old):
                continue
            if spot.read is length:
                self.filled = self.filled or id(spot.holder) in self.existing
                while isinstance(spot.holder, list | deque) and len(spot.holder) > old:
                    spot.holder.pop()
                continue
            if not isinstance(old, (*SIMPLE, tuple, Tensor)):
                self.passing.add(key)  # a container that is exchanged for another, say
                continue
            if isinstance(old, Tensor) and id(old) not in self.existing:
                self.passing.add(key)  # lent for the time of a call
                continue
            inside = isinstance(spot.holder, list | dict | deque) and key[0] in self.existing
            if not inside and str(spot.name) not in stored:
                self.passing.add(key)  # changed for a while, by a library
                continue
            if isinstance(now, Tensor) and not isinstance(old, Tensor):
                self.passing.add(key)  # an argument that is kept there
            else:
                self.changed.append((spot, old))
            if old is not MISSING:
                with suppress(LookupError):  # of a list that is shorter again
                    spot.put(old)
        for generator, state in self.generators.values():
            if not isinstance(generator, Generator) and not _same(_state(generator), state):
                self.drawn = self.drawn or "inside Pyro"
                _set_state(generator, state)

    def check(self, met: Sequence[Tensor], exchanged: Sequence[Tensor]) -> None:
        r"""Refuses a program that changes what it reads from Python, and builds the list.

        Raises:
            NotStatic: The program draws from, or changes, what no graph can hold.
        """
        if self.drawn is not None:
            raise NotStatic(
                "Expected random numbers from torch; got a draw from Python's or numpy's "
                f"generator, {self.drawn}. Draw with torch, or pass the numbers as an argument."
            )
        if self.filled:
            what = "puts something into a list or dictionary that it keeps"
            raise NotStatic(refusal(what, at=self.filling()))
        tensors = {id(tensor) for tensor in met}
        loaded, stored = _names(self.codes)
        for spot, old in self.changed:
            name = str(spot.name)
            if isinstance(old, Tensor) and id(old) not in tensors:
                continue  # written before it was read, as by torch.nn.utils.weight_norm
            kept = (
                isinstance(spot.holder, list | dict | deque) and id(spot.holder) in self.existing
            )
            if kept and spot.name not in loaded and not isinstance(old, Tensor):
                what = f"changes the item {name!r} of a container it keeps"
                raise NotStatic(refusal(what, at=self.filling()))
            if name in loaded and name in stored and old is not MISSING:
                raise NotStatic(
                    f"Expected a program that leaves Python's attributes alone; got one that "
                    f"changes {name!r}, {stored[name]}. Keep it in a tensor that is changed in "
                    "place, pass it as an argument, or run it eagerly."
                )
        if exchanged:
            raise NotStatic(refusal("assigns to the .data of a tensor"))

    def filling(self) -> str | None:
        r"""Names the first line of the user's that puts something into a container, if any."""
        for code in self.codes:
            for line, step in _steps(code):
                if step.opname == "STORE_SUBSCR" or (
                    step.opname in ("LOAD_METHOD", "LOAD_ATTR") and step.argval in _FILLS
                ):
                    return place(code.co_filename, line)
        return None

    def watch(self, met: Sequence[Tensor]) -> Watch:
        r"""Returns a watch over what was seen, but for what the program changes itself."""
        self.before = []
        self.note_closures()
        unread = {(id(spot.holder), spot.name) for spot, _ in self.changed} | self.passing
        places = [
            (spot, value)
            for key, (spot, value) in self.found.items()
            if key not in unread and not isinstance(value, ModuleType) and value is not MISSING
        ]
        return Watch(places, list(self.modules.values()), met)

    def note_closures(self) -> None:
        r"""Notes the closure variables and the default arguments of the functions that ran."""
        functions = gc.get_referrers(*self.codes) if self.codes else ()
        for function in functions:
            if isinstance(function, FunctionType) and function.__code__ in self.codes:
                for name in ("__defaults__", "__kwdefaults__"):
                    if getattr(function, name):
                        self.note(Place(getattr, function, name), frozenset(), 2)
                for cell in function.__closure__ or ():
                    self.note(Place(getattr, cell, "cell_contents"), frozenset(), 2)


def is_script(variables: dict[str, Any]) -> bool:
    r"""Tells whether global variables are those of a script or notebook, not of a package."""
    return variables.get("__name__") == "__main__" or not variables.get("__package__")


def is_plain(value: Any) -> bool:
    r"""Tells whether a class attribute is a value of its own, not a method or a property."""
    return value is not MISSING and not hasattr(type(value), "__get__")


def _is_users(value: Any) -> bool:
    module = sys.modules.get(type(value).__module__)
    return is_users(getattr(module, "__file__", None) or "<stdin>")


def _names(codes: Iterable[CodeType]) -> tuple[set[str], dict[str, str]]:
    r"""Returns the names that functions read, and those that they change with the lines."""
    loaded: set[str] = set()
    stored: dict[str, str] = {}
    for code in codes:
        for line, step in _steps(code):
            if step.opname.startswith(("LOAD_ATTR", "LOAD_METHOD", "LOAD_GLOBAL", "LOAD_DEREF")):
                loaded.add(str(step.argval))
            elif step.opname in ("STORE_ATTR", "STORE_GLOBAL", "STORE_DEREF"):
                stored.setdefault(str(step.argval), place(code.co_filename, line))
    return loaded, stored


def _steps(code: CodeType) -> Iterator[tuple[int, dis.Instruction]]:
    r"""Yields a function's instructions with their lines."""
    line = code.co_firstlineno
    for step in dis.get_instructions(code):
        line = getattr(step, "line_number", step.starts_line) or line
        yield line, step


def _state(generator: Any) -> Any:
    if isinstance(generator, random.Random):
        return generator.getstate()
    if isinstance(generator, np.random.Generator):
        return generator.bit_generator.state
    return generator.get_state()


def _set_state(generator: Any, state: Any) -> None:
    if isinstance(generator, random.Random):
        generator.setstate(state)
    elif isinstance(generator, np.random.Generator):
        generator.bit_generator.state = state
    else:
        generator.set_state(state)


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, dict):
        return all(_same(a[name], b[name]) for name in a)
    if isinstance(a, tuple):
        return all(map(_same, a, b))
    return bool(np.array_equal(a, b))
