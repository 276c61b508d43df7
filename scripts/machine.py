"""Where numbers were measured, and with what."""

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch


def machine(*packages) -> dict:
    """Processor, threads, and the versions of Python and of these packages, None where absent."""
    versions = {}
    for package in packages:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    return {
        "processor": processor(),
        "threads": torch.get_num_threads(),
        **versions,
        "python": platform.python_version(),
        "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def processor() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
