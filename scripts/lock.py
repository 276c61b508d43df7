"""Writes lock.txt, the versions of constraints.txt with the SHA-256 of their files.

    python scripts/lock.py

pip chooses the files, those of this platform and this version of Python, from the index that it is
configured with; the lock does not name it. Versions that it has already are not asked for again.
Every file must then have the hash that is written here:

    pip install --require-hashes --no-deps -r lock.txt
"""

import json
import re
import subprocess
import sys
from pathlib import Path
from platform import machine, python_version_tuple, system

ROOT = Path(__file__).parents[1]
CONSTRAINTS, LOCK = ROOT / "constraints.txt", ROOT / "lock.txt"
PLATFORM = f"{system()} {machine()}, Python {'.'.join(python_version_tuple()[:2])}"
HEAD = f"# Made by scripts/lock.py from constraints.txt for {PLATFORM}."
PIN = re.compile(r"([A-Za-z0-9._-]+)==(\S+)")


def pins(text: str) -> dict[str, str]:
    """The version of each package, by its normalized name."""
    found = (PIN.match(line) for line in text.splitlines())
    return {normalized(pin[1]): pin[2] for pin in found if pin}


def normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def locked() -> dict[str, tuple[str, str]]:
    """Version and hash of each package in the lock, if it is for this platform."""
    text = LOCK.read_text() if LOCK.exists() else ""
    found = re.findall(r"^([\w.-]+)==(\S+) --hash=sha256:(\w+)$", text, re.M)
    same = text.partition("\n")[0] == HEAD
    return {name: (version, digest) for name, version, digest in found} if same else {}


def resolved(lines: list[str]) -> dict[str, tuple[str, str]]:
    """Version and hash of the file that pip takes for each package."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--no-deps"]
    command += ["--ignore-installed", "--report", "-", *lines]
    report = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return {
        normalized(one["metadata"]["name"]): (
            one["metadata"]["version"],
            one["download_info"]["archive_info"]["hashes"]["sha256"],
        )
        for one in report["install"]
    }


def main() -> None:
    wanted, known = pins(CONSTRAINTS.read_text()), locked()
    kept = {name: known[name] for name in wanted if known.get(name, [""])[0] == wanted[name]}
    new = [f"{name}=={version}" for name, version in wanted.items() if name not in kept]
    found = kept | (resolved(new) if new else {})
    lines = [HEAD]
    for name, (version, digest) in sorted(found.items()):
        lines.append(f"{name}=={version.partition('+')[0]} --hash=sha256:{digest}")
    LOCK.write_text("\n".join(lines) + "\n")
    print(f"{LOCK}: {len(found)} packages for {PLATFORM}, {len(new)} of them new")


if __name__ == "__main__":
    main()
