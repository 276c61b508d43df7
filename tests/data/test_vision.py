"""The import of torchvision."""

import subprocess
import sys

import pytest


@pytest.mark.slow
@pytest.mark.parametrize(
    "defined",
    [False, pytest.param(True, marks=pytest.mark.slow)],
    ids=["operators missing", "schemas exist already"],
)
def test_import_of_torchvision(defined):
    code = "import torch\n"
    if defined:
        code += (  # by the extension if it fits this torch, else by hand
            "import importlib.util, pathlib\n"
            "folder = pathlib.Path(importlib.util.find_spec('torchvision').origin).parent\n"
            "try: torch.ops.load_library(str(next(folder.glob('_C*.*'))))\n"
            "except OSError:\n"
            "    lib = torch.library.Library('torchvision', 'DEF')\n"
            "    for name in ('nms', 'qnms'):\n"
            "        lib.define(name + '(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')\n"
        )
    code += (
        "from pyro_vae.data.vision import torchvision\n"
        "tv = torchvision(); assert torchvision() is tv\n"
        "assert tv.utils.make_grid(torch.rand(4, 1, 8, 8)).shape == (3, 12, 42)\n"
        "assert tv.datasets.MNIST and tv.datasets.CelebA\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
