r"""Lazy import of torchvision, whose wheel may not fit the installed torch.

The wheel on the package index is built for CUDA. With a CPU-only torch its compiled operators do
not load, and importing it fails with "operator torchvision::nms does not exist". Its data sets and
grids need none of them: with the schemas of the two missing operators defined, it imports.
"""

from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import torch

SCHEMAS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}
_library: torch.library.Library | None = None  # definitions live as long as this


def torchvision() -> ModuleType:
    r"""Returns torchvision, imported so that ``datasets`` and ``utils.make_grid`` work.

    Raises:
        ValueError: torchvision is not installed, or does not fit torch.
    """
    global _library
    spec = find_spec("torchvision")
    if spec is None or spec.origin is None:
        raise ValueError("Expected torchvision; it is not installed. Run pip install torchvision.")
    if not all(map(_defined, SCHEMAS)):
        for extension in sorted(Path(spec.origin).parent.glob("_C*.*")):
            with suppress(OSError):  # defines the operators if it fits this torch
                torch.ops.load_library(str(extension))
    if missing := [schema for name, schema in SCHEMAS.items() if not _defined(name)]:
        _library = torch.library.Library("torchvision", "FRAGMENT")
        for schema in missing:
            _library.define(schema)
    try:
        import torchvision
        import torchvision.datasets
        import torchvision.utils
    except (ImportError, RuntimeError) as error:
        raise ValueError(
            f"Expected a torchvision that fits torch {torch.__version__}; got {error}. Install "
            "a pair from PyTorch's compatibility table."
        ) from error
    return torchvision


def _defined(name: str) -> bool:
    return hasattr(torch.ops.torchvision, name)
