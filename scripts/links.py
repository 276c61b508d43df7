"""Checks the links of the site: `make docs` those within it, `make links` those to other hosts.

`python scripts/links.py build/site` looks up every file and anchor that a page of the built site
refers to. With `--external` every address in the sources is asked for, which needs a network.
"""

import argparse
import re
import subprocess
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).parents[1]
SOURCES = ("*.md", "*.cff", "pyproject.toml", "pyro_vae/*.py", "notebooks/*.py")
ADDRESS = re.compile(r"https?://[^\s<>\"'`)\]}|\\]+")
REFUSED = (401, 403, 405, 418, 429)  # a host that is there, and does not talk to programs
SILENT = "nothing"
SECONDS = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("site", nargs="?", type=Path, default=ROOT / "build" / "site")
    parser.add_argument("--external", action="store_true", help="ask other hosts")
    given = parser.parse_args()
    broken = outside() if given.external else inside(given.site)
    for line in broken:
        print(line)
    raise SystemExit(1 if broken else 0)


class Page(HTMLParser):
    """The anchors of a page, and what it refers to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = {""}
        self.targets: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.anchors |= {values[name] or "" for name in ("id", "name") if name in values}
        self.targets += [values[name] or "" for name in ("href", "src") if name in values]


def inside(site: Path) -> list[str]:
    """A line for each link of a built site that leads to no file, or to no place in it."""
    paths = sorted(site.rglob("*.html"))
    if not paths:
        raise SystemExit(f"Expected a built site in {site}; got no page. Run make docs first.")
    pages = {path.resolve(): Page(path.read_text(encoding="utf-8")) for path in paths}
    broken, count = [], 0
    for path, page in pages.items():
        for target in page.targets:
            parts = urlsplit(target)
            if parts.scheme or parts.netloc:
                continue
            count += 1
            file = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            known = pages[file].anchors if file in pages else {""} if file.is_file() else None
            here = path.relative_to(site.resolve())
            if known is None:
                broken.append(f"{here}: {target} is no file")
            elif file in pages and unquote(parts.fragment) not in known:
                broken.append(f"{here}: {target} has no such anchor")
    print(f"{count} links within {len(pages)} pages, {len(broken)} of them broken")
    return broken


def outside() -> list[str]:
    """A line for each address in the sources that does not answer."""
    where: dict[str, str] = {}
    for name in tracked():
        for found in ADDRESS.findall((ROOT / name).read_text(encoding="utf-8")):
            address = found.rstrip(".,;:*").partition("#")[0]
            where.setdefault(address, name)
    with ThreadPoolExecutor(8) as pool:
        answers = dict(zip(where, pool.map(ask, where)))
    if all(text.startswith(SILENT) for text in answers.values()):
        raise SystemExit(f"Expected a network; none of {len(where)} addresses answers.")
    broken = [f"{where[a]}: {a} answers {text}" for a, text in answers.items() if text]
    print(f"{len(where)} addresses, {len(broken)} of them broken")
    return broken


def tracked() -> list[str]:
    """The sources that git knows."""
    done = subprocess.run(["git", "ls-files", *SOURCES], cwd=ROOT, capture_output=True, text=True)
    return done.stdout.splitlines()


def ask(address: str) -> str:
    """What is wrong with an address; nothing where it answers."""
    asked = urllib.request.Request(address, headers={"User-Agent": "Mozilla/5.0 (link check)"})
    try:
        with urllib.request.urlopen(asked, timeout=SECONDS):
            return ""
    except urllib.error.HTTPError as error:
        return "" if error.code in REFUSED else str(error.code)
    except (OSError, ValueError) as error:
        return f"{SILENT}, {getattr(error, 'reason', error)}"


if __name__ == "__main__":
    main()
