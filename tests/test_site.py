"""The pages of the site: their code runs, and they are built without a warning."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HOW_TO = sorted((ROOT / "docs" / "how-to").glob("*.md"))
BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)


def test_every_answer_is_listed():
    tree = (ROOT / "docs/how-to/index.md").read_text().split("```")[1]
    listed = tree.split("\n\n")[1].split()
    assert sorted(listed) == sorted(path.stem for path in HOW_TO if path.stem != "index")


@pytest.mark.slow
@pytest.mark.param_store
@pytest.mark.parametrize("path", HOW_TO, ids=lambda path: path.stem)
def test_the_code_of_an_answer_runs(path, tmp_path, monkeypatch):
    code = "\n".join(BLOCK.findall(path.read_text()))
    if not code:
        pytest.skip("commands only")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    exec(compile(code, str(path), "exec"), {"__name__": "answer"})


@pytest.mark.slow
def test_the_site_is_built_without_a_warning(tmp_path):
    pytest.importorskip("myst_nb")
    pytest.importorskip("furo")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html"]
    command += ["-c", str(ROOT / "docs"), str(ROOT), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    pages = list(tmp_path.rglob("*.html"))
    assert len(pages) > 70
    for page in pages:
        loaded = re.findall(
            r'<(?:script|link|img)[^>]*(?:src|href)="(https?:[^"]+)"', page.read_text()
        )
        assert not loaded, f"{page.name} asks another host for {loaded}"
