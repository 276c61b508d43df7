r"""Settings as TOML."""

import re
from collections.abc import Mapping
from typing import Any

from .kinds import Settings

CONTROL = r"[\x00-\x1f\x7f]"


def to_toml(settings: Settings, optional: bool = False) -> str:
    """Returns `settings` as TOML that :func:`read_recipe` and :func:`validate` read back.

    Arguments:
        settings: The settings.
        optional: Whether settings without a value are included as comments.

    Example:
        >>> from pyro_vae.config import REGISTRY
        >>> print(to_toml(REGISTRY["prior"]["vamp"](num_components=9)))
        kind = "vamp"
        num_components = 9
        learned = true
    """
    lines: list[str] = []
    _write_table(settings.model_dump(mode="json"), (), lines, optional)
    return "\n".join(lines).strip() + "\n"


def _write_table(
    table: Mapping[str, Any], path: tuple[str, ...], lines: list[str], optional: bool
) -> None:
    for key, value in sorted(table.items(), key=lambda item: item[0] != "kind"):
        if value is None:
            lines.extend([f"# {key} ="] if optional else [])
        elif not isinstance(value, dict):
            lines.append(f"{_key(key)} = {_toml_value(value)}")
        elif not value and optional:
            lines.append(f"# {key} = {{}}")
    for key, value in table.items():
        if isinstance(value, dict) and value:
            if not all(isinstance(part, dict) and part for part in value.values()):
                lines.extend(["", f"[{'.'.join(map(_key, (*path, key)))}]"])
            _write_table(value, (*path, key), lines, optional)


def _key(key: str) -> str:
    return key if re.fullmatch(r"[\w-]+", key, re.ASCII) else _toml_value(key)


def _escape(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"


def _toml_value(value: Any) -> str:
    match value:
        case bool():
            return str(value).lower()
        case str():
            quoted = value.replace("\\", "\\\\").replace('"', '\\"')
            return f'"{re.sub(CONTROL, _escape, quoted)}"'
        case dict():
            pairs = {k: v for k, v in value.items() if v is not None}
            return f"{{{', '.join(f'{_key(k)} = {_toml_value(v)}' for k, v in pairs.items())}}}"
        case list() | tuple():
            return f"[{', '.join(map(_toml_value, value))}]"
        case float() | int():
            return repr(value)
        case _:
            return _toml_value(str(value))
