"""Generates each lesson's notebook from its source, and executes it: `make notebooks`."""

import argparse
import os
import time
from pathlib import Path

import jupytext
import nbclient
import nbformat

FOLDER = Path(__file__).parents[1] / "notebooks"
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("lessons", nargs="*", type=Path, help="sources (default: all)")
    for name in ("SMOKE", "SEED"):  # published notebooks run at full size
        os.environ.pop(name, None)
    for path in parser.parse_args().lessons or sorted(FOLDER.glob("*.py")):
        start = time.perf_counter()
        notebook = jupytext.read(path)
        quiet = ["--IPKernelApp.log_level=40"]
        client = nbclient.NotebookClient(notebook, timeout=600, extra_arguments=quiet)
        client.execute(cwd=FOLDER)
        for number, cell in enumerate(notebook.cells):
            cell.id = f"cell-{number}"
            cell.metadata = {}
            if cell.cell_type == "code":  # warnings contain paths of this machine
                cell.outputs = [o for o in cell.outputs if o.get("name") != "stderr"]
        notebook.metadata = {"kernelspec": KERNEL, "language_info": {"name": "python"}}
        nbformat.write(notebook, path.with_suffix(".ipynb"))
        size = path.with_suffix(".ipynb").stat().st_size // 1000
        print(f"{path.name}: {time.perf_counter() - start:.0f} s, {size} kB", flush=True)


if __name__ == "__main__":
    main()
