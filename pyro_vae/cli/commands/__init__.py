r"""The commands, one per file: a new command is a new file with a class of its name."""

from importlib import import_module
from pkgutil import iter_modules
from typing import Any

COMMANDS: dict[str, Any] = {
    module.name.rstrip("_"): getattr(
        import_module(f".{module.name}", __name__), module.name.rstrip("_").capitalize()
    )
    for module in iter_modules(__path__)
}
r"""The commands by name, in alphabetical order."""
