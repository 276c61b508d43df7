from dataclasses import dataclass
from typing import Any, ClassVar

from ...config import to_toml
from ..shared import OnRecipe


@dataclass(kw_only=True)
class Show(OnRecipe):
    r"""Prints a complete recipe as TOML for `train`; optional settings are comments.

    Settings are flags, as in `train`.
    """

    takes_relatives: ClassVar[bool] = True

    def __call__(self, flags: dict[str, Any]) -> None:
        print(to_toml(self.declared(flags), optional=True), end="")
