r"""Objects that remember their arguments, so that they can be created again."""

from typing import Any, Self


class Remembers:
    r"""Keeps the arguments of the constructor, whatever a subclass does with them.

    Attributes:
        arguments: The positional arguments, and those by name.

    Example:
        >>> class Pair(Remembers):
        ...     def __init__(self, first, second=2):
        ...         self.sum = first + second
        >>> Pair(1, second=5).arguments
        ((1,), {'second': 5})
    """

    arguments: tuple[tuple[Any, ...], dict[str, Any]]

    def __new__(cls, *args: Any, **options: Any) -> Self:
        created = super().__new__(cls)
        created.__dict__["arguments"] = (args, options)
        return created
