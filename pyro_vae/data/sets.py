r"""The data sets that have a name; each function reads one of them."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from .. import config as kinds
from ..writing import replacing
from .archives import members, read_arrays, read_idx
from .content import Column
from .dataset import Dataset, cut
from .mixtures import grid as grid
from .mixtures import ring as ring
from .places import cache, find, present, verify
from .recordings import fsdd_waves as fsdd_waves
from .sequences import fsdd as fsdd
from .sequences import jsb_chorales as jsb_chorales
from .split import Split
from .sprites import sprites as sprites
from .vision import torchvision

IDX = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte",
       "t10k-labels-idx1-ubyte")  # fmt: skip
MD5 = {
    "mnist": ("f68b3c2dcbeaaa9fbdd348bbdeb94873", "d53e105ee54ea40749a09fcbcd1e9432",
              "9fb629c4189551a2d022fa330f9573f3", "ec29112dd5afa0611ce80d1b7f02629c"),
    "fashion-mnist": ("8d4fb7e6c68d591d4c3dfef9ec88bf0d", "25c81989df183df01b3e8a0aad5dffbe",
                      "bef4ecab320f06d8554ea6380940ec79", "bb300cfdad3c16e7a12a480ee83cd310"),
}  # fmt: skip
BITS_SHA256 = {
    "train": "43490d4d6ac9002727af4426d8748609fdb7e4094fa65ad8d681ea60082a7a5a",
    "valid": "069b4f0beb389b776478c3e872b4df71c95ac4be64d7cbe6d32e24ebac8e6d5e",
    "test": "ca0294c3b8d984c7a1dc891015a8eea6f37bae59a34e35ea0fc8c47110a8dd86",
}
OMNIGLOT_SHA256 = {
    "images_background.npz": "8bf84167413cd00beacdce3fe582f780ab538d8dbef043a6d688f2527bbce199",
    "images_evaluation.npz": "0b84c7ffd94c4841c0040e529c86a82eaaccb986d8eadad5673f7991b7475276",
}


def digits(config: "kinds.Digits", data_dir: Path | None) -> Dataset:
    r"""Scikit-learn's digits (UCI, Alpaydin & Kaynak, 1998), shuffled and split."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    x = torch.from_numpy(images.astype(np.uint8)).view(-1, 1, 8, 8)
    whole = Split(x, torch.from_numpy(labels), levels=16, source="digits")
    return Dataset.make(config, cut(whole, config.valid, config.test, config.seed))


PATIENT = ("age", "sex", "bmi", "bp", "tc", "ldl", "hdl", "tch", "ltg", "glu")


def diabetes(config: "kinds.Diabetes", data_dir: Path | None) -> Dataset:
    r"""Patients with diabetes (Efron et al., 2004), in the units of the measurements; labels say
    how far the disease had come a year later."""
    from sklearn.datasets import load_diabetes

    values, progression = load_diabetes(return_X_y=True, scaled=False)
    x = torch.from_numpy(np.array(values))
    x[:, 1] -= 1  # sex is 1 or 2
    columns = tuple(Column(name, ("1", "2") if name == "sex" else ()) for name in PATIENT)
    labels = torch.from_numpy(np.array(progression))
    whole = Split(x, labels, source="diabetes", columns=columns)
    parts = cut(whole, config.valid, config.test, config.seed)
    return Dataset.make(config, parts, label="progression")


def mnist(config: "kinds.MNIST", data_dir: Path | None) -> Dataset:
    r"""MNIST (LeCun, Cortes & Burges, 1998)."""
    return _idx(config, data_dir, "MNIST")


def fashion_mnist(config: "kinds.FashionMNIST", data_dir: Path | None) -> Dataset:
    r"""Fashion-MNIST (Xiao, Rasul & Vollgraf, 2017)."""
    return _idx(config, data_dir, "FashionMNIST")


def _idx(config: Any, data_dir: Path | None, cls: str) -> Dataset:
    folder = find(
        config.kind, IDX, data_dir, folders=[f"{cls}/raw"], download=_torchvision_set(cls)
    )
    arrays = []
    for name, digest in zip(IDX, MD5[config.kind]):
        path = present(folder, name)[-1]
        arrays.append(read_idx(verify(path, digest) if path.suffix == ".gz" else path))
    pairs = [
        Split(torch.from_numpy(x)[:, None], torch.from_numpy(y).long(), levels=255,
              source=f"{config.kind}/{part}")
        for x, y, part in zip(arrays[::2], arrays[1::2], ("train", "test"))
    ]  # fmt: skip
    return Dataset.make(config, {**cut(pairs[0], config.valid, 0, None), "test": pairs[1]})


def _torchvision_set(name: str) -> Any:
    def download(folder: Path) -> None:
        getattr(torchvision().datasets, name)(folder, download=True)

    return download


def static_mnist(config: "kinds.StaticMNIST", data_dir: Path | None) -> Dataset:
    r"""The fixed bits of MNIST (Salakhutdinov & Murray, 2008), packed or as Larochelle's text."""
    packed = "binarized_mnist_packed.npz"
    amat = [f"binarized_mnist_{part}.amat" for part in BITS_SHA256]
    try:
        folder = find(config.kind, [packed], data_dir)
    except ValueError:
        folder = find(config.kind, amat, data_dir)
        rows_of = [_amat(folder / name) for name in amat]
    else:
        arrays = read_arrays(folder / packed, *BITS_SHA256)
        rows_of = [np.unpackbits(array, axis=1) for array in arrays]
    labels, splits = {}, {}
    if (recovered := folder / "labels_recovered.npz").is_file():
        labels = {n: torch.from_numpy(array).long() for n, array in members(recovered).items()}
    for part, rows in zip(BITS_SHA256, rows_of):
        if hashlib.sha256(rows.tobytes()).hexdigest() != BITS_SHA256[part]:
            raise ValueError(f"Expected the {part} bits of static MNIST in {folder}; got others.")
        x = torch.from_numpy(rows).view(-1, 1, 28, 28)
        splits[part] = Split(x, labels.get(part), levels=1, source=f"{config.kind}/{part}")
    return Dataset.make(config, splits)


def _amat(path: Path) -> np.ndarray:
    r"""Bits written as text, "0 1 0 ...", one datum per line."""
    text = np.frombuffer(path.read_bytes(), np.uint8)
    return (text[(text == ord("0")) | (text == ord("1"))] - ord("0")).reshape(-1, 784)


def omniglot(config: "kinds.Omniglot", data_dir: Path | None) -> Dataset:
    r"""Omniglot (Lake et al., 2015): background set for training, evaluation set for testing."""
    folder = find(config.kind, [*OMNIGLOT_SHA256], data_dir)
    splits = []
    for name, digest in OMNIGLOT_SHA256.items():
        [images] = read_arrays(verify(folder / name, digest), "images")
        paper = torch.from_numpy(images)
        characters = torch.arange(len(paper)).repeat_interleave(paper.shape[1])
        x = _ink(paper.flatten(0, 1))
        splits.append(Split(x, characters, levels=255, source=f"{config.kind}/{name}"))
    parts = cut(splits[0], config.valid, 0, config.seed)
    notes = "resized from 105x105 to 28x28 by area averaging, ink is 255; labels are characters"
    return Dataset.make(config, {**parts, "test": splits[1]}, notes)


def _ink(paper: Tensor) -> Tensor:
    r"""Images of 105x105, true on paper, as 28x28 grey levels, 255 on ink."""
    ink = [adaptive_avg_pool2d((~rows).float()[:, None], 28) for rows in paper.split(2000)]
    return (torch.cat(ink) * 255).round().to(torch.uint8)


def freyfaces(config: "kinds.FreyFaces", data_dir: Path | None) -> Dataset:
    r"""Frames of Brendan Frey's face, shuffled and split."""
    folder = find(config.kind, ["freyfaces.npz"], data_dir)
    [images] = read_arrays(folder / "freyfaces.npz", "images")
    whole = Split(torch.from_numpy(images)[:, None], levels=255, source=config.kind)
    return Dataset.make(config, cut(whole, config.valid, config.test, config.seed))


def cifar10(config: "kinds.CIFAR10", data_dir: Path | None) -> Dataset:
    r"""CIFAR-10 (Krizhevsky, 2009), from its Python files, whose MD5 torchvision verifies."""
    batches = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
    inner = "cifar-10-batches-py"
    folder = find(
        config.kind,
        batches,
        data_dir,
        folders=[inner, f"cifar10/{inner}", f"CIFAR10/{inner}"],
        download=_torchvision_set("CIFAR10"),
    )
    root = folder.parent if folder.name == inner else folder
    splits = []
    for train in (True, False):
        try:
            raw = torchvision().datasets.CIFAR10(root, train=train)
        except RuntimeError as error:
            raise ValueError(
                f"Expected CIFAR-10 with matching MD5s in {folder}; got {error}."
            ) from None
        x = torch.from_numpy(raw.data).permute(0, 3, 1, 2).contiguous()
        source = f"{config.kind}/{'train' if train else 'test'}"
        splits.append(Split(x, torch.tensor(raw.targets), levels=255, source=source))
    return Dataset.make(config, {**cut(splits[0], config.valid, 0, None), "test": splits[1]})


PATCH, BLOCK = 32, 64


def photo_patches(config: "kinds.PhotoPatches", data_dir: Path | None) -> Dataset:
    r"""Patches of the photographs china.jpg and flower.jpg. Blocks of 64x64 pixels are shuffled
    and split, so that no pixel is in two splits; training patches of one block overlap."""
    from sklearn.datasets import load_sample_images

    photos = [torch.from_numpy(i.copy()).permute(2, 0, 1) for i in load_sample_images().images]
    blocks = [_windows(photo, BLOCK, BLOCK) for photo in photos]
    owner = torch.arange(len(blocks)).repeat_interleave(torch.tensor([len(b) for b in blocks]))
    parts = cut(Split(torch.cat(blocks), owner, levels=255, source=config.kind), config.valid,
                config.test, config.seed)  # fmt: skip
    splits = {}
    for name, split in parts.items():
        stride = config.stride if name == "train" else PATCH
        patches = [_windows(block, PATCH, stride) for block in split.stored]
        if patches:
            labels = split.labels.repeat_interleave(len(patches[0]))  # type: ignore[union-attr]
            splits[name] = Split(torch.cat(patches), labels, levels=255, source=split.source,
                                 classes=("china", "flower"))  # fmt: skip
    count = {name: len(split) for name, split in parts.items()}
    notes = ", ".join(f"{name} {n}" for name, n in count.items())
    return Dataset.make(config, splits, f"blocks of 64x64 pixels: {notes}")


def _windows(image: Tensor, side: int, stride: int) -> Tensor:
    r"""The squares of an image, of shape `(N, C, side, side)`."""
    found = image.unfold(1, side, stride).unfold(2, side, stride)
    return found.permute(1, 2, 0, 3, 4).flatten(0, 1).contiguous()


def celeba(config: "kinds.CelebA", data_dir: Path | None) -> Dataset:
    r"""CelebA (Liu et al., 2015), aligned and cropped; splits as its authors made them.

    The resized images are computed once, stored in the user's cache and mapped into memory.
    """
    folder = find(
        config.kind,
        ["img_align_celeba", "list_eval_partition.txt"],
        data_dir,
        download=_torchvision_set("CelebA"),
    )
    lines = (folder / "list_eval_partition.txt").read_text().splitlines()
    names, parts = zip(*(line.split() for line in lines if line.strip()))
    stamp = hashlib.sha256("\n".join(lines).encode()).hexdigest()[:12]
    small = cache() / f"celeba-32x32-{stamp}.npy"
    if not small.is_file():
        _shrink([folder / "img_align_celeba" / name for name in names], small)
    pixels = np.load(small, mmap_mode="r", allow_pickle=False)
    number = np.array(parts, dtype=int)
    splits = {}
    for i, part in enumerate(("train", "valid", "test")):
        where = np.flatnonzero(number == i)
        if len(where) and where[-1] - where[0] + 1 != len(where):
            raise ValueError(f"Expected the {part} rows of CelebA to be consecutive in {folder}.")
        rows = pixels[where[0] : where[-1] + 1] if len(where) else None
        splits[part] = None if rows is None else Split(rows, levels=255, source=f"celeba/{part}")
    return Dataset.make(config, splits, "central 140x140 pixels, resized to 32x32")


def _shrink(paths: list[Path], out: Path) -> None:
    r"""Writes the centre of each image, 140x140 resized to 32x32, as one array."""
    from PIL import Image
    from tqdm import tqdm

    out.parent.mkdir(parents=True, exist_ok=True)
    header = {"descr": "|u1", "fortran_order": False, "shape": (len(paths), 3, 32, 32)}
    with replacing(out) as partial, partial.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for path in tqdm(paths, desc="CelebA to 32x32", disable=None):
            with Image.open(path) as image:
                left, top = (image.width - 140) // 2, (image.height - 140) // 2
                box = (left, top, left + 140, top + 140)
                face = image.convert("RGB").crop(box).resize((32, 32), Image.Resampling.LANCZOS)
            file.write(np.asarray(face).transpose(2, 0, 1).tobytes())
