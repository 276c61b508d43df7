r"""The command line. Thin: it reads flags, calls the package and prints.  (layer 7)

Nothing here imports torch before a command runs, so that help is quick.
"""

import os
import sys

from .arguments import parse
from .commands import RUN

__all__ = ["main"]


def main(argv: list[str] | None = None) -> int:
    r"""Runs a command and returns its exit code.

    0 done, 2 wrong usage, recipe or data, 3 numbers not finite, 4 storage, 5 the run is in use,
    6 out of memory, 130 and 143 stopped by SIGINT and SIGTERM. With ``PYRO_VAE_TRACEBACK=1``
    errors are raised instead.
    """
    args = sys.argv[1:] if argv is None else argv
    try:
        command, flags = parse(args)
        RUN[type(command)](command, flags)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if os.environ.get("PYRO_VAE_TRACEBACK"):
            raise
        code = exit_code(error)
        if code is None:
            raise
        print(f"pyro-vae: {error}", file=sys.stderr)
        return code
    return 0


def exit_code(error: Exception) -> int | None:
    r"""The exit code for an error; none for a defect, which deserves its traceback."""
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
    if isinstance(error, OSError):
        return 4
    return 2 if isinstance(error, ValueError) else None
