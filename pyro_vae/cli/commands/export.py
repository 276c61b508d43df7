from dataclasses import dataclass
from pathlib import Path

from ..shared import OnAnyRows


@dataclass(kw_only=True)
class Export(OnAnyRows):
    r"""Writes encoder and decoder as ONNX files: x to loc and scale, and z to the mean of x."""

    out: Path
    """A folder for encoder.onnx and decoder.onnx."""

    def __call__(self) -> None:
        from ...views import export_onnx

        run = self.opened()
        vae = run.model(self.device)
        split, *_ = self.rows(run, vae)
        device = next(vae.parameters()).device
        for path in export_onnx(vae, self.out, split.rows(slice(0, 1)).to(device)):
            print(path)
