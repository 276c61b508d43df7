r"""Encoder and decoder as ONNX graphs, for programs without Python."""

import re
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pyro
import torch
from torch import Tensor, nn

from ..writing import replacing

PACKAGES = ("onnx", "onnxscript")
OPERATION = re.compile(r"torch\.ops\.aten\.(\w+)")  # as the exporter names one
ROWS = 3  # of the example, whose number stays open


class _Encoder(nn.Module):
    def __init__(self, posterior: nn.Module) -> None:
        super().__init__()
        self.posterior = posterior

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        q = self.posterior(x)
        return q.mean, q.stddev


class _Decoder(nn.Module):
    def __init__(self, likelihood: nn.Module) -> None:
        super().__init__()
        self.likelihood = likelihood

    def forward(self, z: Tensor) -> Tensor:
        return self.likelihood(z).mean


def export_onnx(vae: Any, folder: Path | str, x: Tensor) -> tuple[Path, Path]:
    r"""Writes ``encoder.onnx`` and ``decoder.onnx``.

    The first takes `x` to mean and standard deviation of :math:`q(z \mid x)`, ``loc`` and
    ``scale``; the second `z` to the mean of :math:`p(x \mid z)`. Both take any number of rows.
    Needs the extra ``onnx``.

    Arguments:
        vae: A VAE of one latent site and no conditions.
        folder: Where the files are written; the folder is made.
        x: A datum at least, of shape `(B, *x_shape)`, as an example.

    Returns:
        The paths of the two files.

    Raises:
        ValueError: The VAE has several latent sites or conditions, a distribution has no mean or
            standard deviation in closed form, an operation has no form in ONNX, or the extra is
            not installed. No file is written then.
    """
    if len(vae.latents) != 1 or vae.conditions:
        what = [*vae.latents, *vae.conditions]
        raise ValueError(f"Expected one latent site and no conditions; got {', '.join(what)}.")
    if not all(map(find_spec, PACKAGES)):
        raise ValueError(
            f"Expected the packages {' and '.join(PACKAGES)} to export a model; they are not "
            "installed. Run pip install 'pyro_vae[onnx]'."
        )
    folder, was_training = Path(folder), vae.training
    vae.eval()
    try:
        with torch.no_grad(), pyro.validation_enabled(False):
            rows = x[:1].expand(ROWS, *x.shape[1:]).contiguous()
            encoder, decoder = _Encoder(vae.posterior), _Decoder(vae.likelihood)
            z, _ = _tried(encoder, rows)
            _tried(decoder, z)
            graphs = {
                "encoder": _graph("encoder", encoder, rows, ("x", "loc", "scale")),
                "decoder": _graph("decoder", decoder, z, ("z", "mean")),
            }
    finally:
        vae.train(was_training)
    folder.mkdir(parents=True, exist_ok=True)
    paths = folder / "encoder.onnx", folder / "decoder.onnx"
    with replacing(paths[0]) as encoder_file, replacing(paths[1]) as decoder_file:
        graphs["encoder"].save(encoder_file)
        graphs["decoder"].save(decoder_file)
    return paths


def _tried(module: _Encoder | _Decoder, rows: Tensor) -> Any:
    r"""What a module returns, if its distribution has the moments."""
    try:
        return module(rows)
    except NotImplementedError:
        ((_, factor),) = module.named_children()
        raise ValueError(
            "Expected distributions whose mean and standard deviation have a closed form; got "
            f"{type(factor).__name__}. pyro_vae.encode has those of samples."
        ) from None


def _graph(name: str, module: nn.Module, example: Tensor, names: tuple[str, ...]) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporter's about itself
            return torch.onnx.export(
                module.eval(),
                (example,),
                dynamo=True,
                input_names=names[:1],
                output_names=names[1:],
                dynamic_shapes=({0: torch.export.Dim("rows")},),
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        reason = str(error.__cause__ or error).strip().partition("\n")[0]
        if found := OPERATION.search(reason):
            reason = f"got {found[1]}, which it does not have"
        raise ValueError(
            f"Expected operations that ONNX has in {name}; {reason}. Export a model without it, "
            "or use this one in Python."
        ) from error
