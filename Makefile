# `make demo` and `make test` need Python 3.11 or newer, make and a package registry.
PYTHON ?= python3
BIN := .venv/bin
RUN := runs/demo

.PHONY: demo test test-all lint registry page browser notebooks docs clean

demo: .venv/installed
	$(BIN)/pyro-vae train digits --out $(RUN) --overwrite
	$(BIN)/pyro-vae evaluate $(RUN)
	$(BIN)/pyro-vae plot $(RUN)
	$(BIN)/pyro-vae explore $(RUN) --split all

test: .venv/installed-dev lint
	$(BIN)/pytest -q -n 2 --dist worksteal --durations 5

test-all: .venv/installed-dev lint
	$(BIN)/pytest -q -n 2 --dist worksteal --durations 15 -m "slow or not slow"

lint: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

registry: .venv/installed-dev
	$(BIN)/python scripts/registry.py

page:  # needs node and npm
	$(PYTHON) scripts/page.py

browser: .venv/installed-dev  # tests of the explorer; needs Chromium
	-command -v chromium || apt-get install -y chromium
	$(BIN)/pip install -q -c constraints.txt -e '.[browser]'
	$(BIN)/pytest -q tests/explore/test_browser.py

notebooks: .venv/installed-dev
	$(BIN)/python scripts/execute_notebooks.py

docs: .venv/installed
	$(BIN)/pip install -q -c constraints.txt -e '.[docs]'
	$(BIN)/sphinx-build -q -W --keep-going -b html -c docs . build/site
	@echo "build/site/index.html is the first page."

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'pyro_vae needs Python 3.11 or newer; set PYTHON=/path/to/one.')"
	test -d .venv || $(PYTHON) -m venv .venv
	$(BIN)/pip install -q -c constraints.txt -e .
	touch $@

.venv/installed-dev: .venv/installed
	$(BIN)/pip install -q -c constraints.txt -e '.[dev]'
	touch $@

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache build docs/reference
