r"""The command line: reads flags, calls the package and prints.

Nothing here imports torch before a command runs, so that help is fast.
"""

import contextlib
import os
import sys
import warnings
from collections.abc import Iterator
from typing import Any

from .lasting import Lasting, mute

__all__ = ["main"]

OF_RANKS = ("train", "evaluate", "diagnose", "impute", "sweep")
r"""The commands that torchrun may start as several processes."""


def main(argv: list[str] | None = None) -> int:
    r"""Runs a command and returns its exit code.

    0 success, 2 wrong usage, recipe or data, 3 numbers not finite, 4 storage, 5 the run is in use,
    6 out of memory, 7 another rank failed, 129, 130 and 143 stopped by SIGHUP, SIGINT and SIGTERM,
    141 output closed. With ``PYRO_VAE_TRACEBACK=1`` errors are raised instead.
    """
    args = sys.argv[1:] if argv is None else argv
    with contextlib.ExitStack() as stack:
        for redirect, stream in (
            (contextlib.redirect_stdout, sys.stdout),
            (contextlib.redirect_stderr, sys.stderr),
        ):
            if stream is not None:
                lasting: Any = Lasting(stream)
                stack.enter_context(redirect(lasting))
        return _carried_out(args)


def _carried_out(args: list[str]) -> int:
    r"""Runs a command and returns its exit code."""
    try:
        _in_a_folder()
        warnings.showwarning = _show_warning
        warnings.filterwarnings("default", module="pyro_vae[.]cli[.]parsing")  # of old flags
        from .parsing import parse

        if args == ["--version"]:
            from importlib.metadata import version

            print(f"pyro_vae {version('pyro_vae')}")
            return 0
        with _among_ranks(args):
            parse(args)()
        if sys.stdout is not None:
            sys.stdout.flush()
            lost = getattr(sys.stdout, "lost", "")
            if lost and args[:1] != ["train"]:  # of which all is in files
                raise OSError(f"Expected to print what was found; got: {lost}. Free some space.")
    except KeyboardInterrupt:
        hint = " Use --cache FILE to store finished rows." if args[:1] == ["evaluate"] else ""
        if args[:1] != ["train"]:
            print(f"\nStopped.{hint}", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader, such as `head`, has exited
        mute(sys.stdout)
        return 141
    except Exception as error:
        if os.environ.get("PYRO_VAE_TRACEBACK"):
            raise
        code = exit_code(error)
        if code is None:
            raise
        with contextlib.suppress(BrokenPipeError):
            print(f"pyro-vae: {error}", file=sys.stderr)
        return code
    return 0


def _in_a_folder() -> None:
    r"""Refuses a working folder that was deleted, in which libraries of PyTorch do not load."""
    try:
        os.getcwd()  # noqa: PTH109
    except FileNotFoundError as error:
        raise FileNotFoundError(
            "Expected a working folder; got one that was deleted. Change into another (cd)."
        ) from error


@contextlib.contextmanager
def _among_ranks(args: list[str]) -> Iterator[None]:
    r"""Joins the processes that torchrun started, if it did; only the first one prints.

    Raises:
        ValueError: The command is of one process.
    """
    if int(os.environ.get("WORLD_SIZE", 1)) == 1 or "TORCHELASTIC_RUN_ID" not in os.environ:
        yield
        return
    if args[:1] and args[0] not in OF_RANKS:
        raise ValueError(
            f"Expected one of {', '.join(OF_RANKS)} with several processes; got {args[0]}. Run it "
            "without torchrun."
        )
    from ..ranks import joined

    with contextlib.ExitStack() as stack:
        ranks = stack.enter_context(joined())
        if ranks.rank:
            nowhere = stack.enter_context(open(os.devnull, "w"))  # noqa: PTH123
            stack.enter_context(contextlib.redirect_stdout(nowhere))
        yield


def _show_warning(message: Any, category: Any, *place: Any, **known: Any) -> None:
    r"""Prints a warning without the line of code that it comes from."""
    print(f"warning: {message}", file=sys.stderr)


def exit_code(error: Exception) -> int | None:
    r"""The exit code for an error; None for a bug, which should show its traceback."""
    names = {cls.__name__ for cls in type(error).__mro__}
    if "NumericsError" in names:
        return 3
    if "RunLocked" in names:
        return 5
    if (
        "OutOfMemoryError" in names
        or isinstance(error, MemoryError)
        or "allocate memory" in str(error)
    ):
        return 6
    if "RankFailed" in names:
        return 7
    if isinstance(error, OSError) or "StorageInternalError" in names:  # of a search's database
        return 4
    return 2 if isinstance(error, ValueError) else None
