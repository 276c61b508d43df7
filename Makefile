# `make demo` and `make test` need Python 3.11 or newer, make and a package registry.
PYTHON ?= python3
BIN := .venv/bin
RUN := runs/demo

.PHONY: demo test test-all lint registry page chromium browser notebooks docs links wheel lock soak clean

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

chromium: .venv/installed-dev  # what tests of the explorer need
	command -v chromium || command -v chromium-browser || apt-get install -y -q chromium
	$(BIN)/pip install -q -c constraints.txt -e '.[browser]'

browser: chromium  # tests of the explorer
	$(BIN)/pytest -q tests/explore/test_browser.py

notebooks: .venv/installed-dev
	$(BIN)/python scripts/execute_notebooks.py

docs: .venv/installed
	$(BIN)/pip install -q -c constraints.txt -e '.[docs]'
	$(BIN)/sphinx-build -q -W --keep-going -b html -c docs . build/site
	$(BIN)/python scripts/links.py build/site
	@echo "build/site/index.html is the first page."

links: .venv/installed  # asks other hosts
	$(BIN)/python scripts/links.py --external

wheel: .venv/installed  # builds it, and uses it in an empty environment
	$(BIN)/pip install -q -c constraints.txt build
	$(BIN)/python scripts/wheel.py

lock: .venv/installed-dev  # the hashes of the pinned versions, for this platform
	$(BIN)/python scripts/lock.py
	$(BIN)/python scripts/licences.py

soak: .venv/installed-dev  # random turns of training, killing and resuming; SOAK_MINUTES=30
	$(BIN)/python scripts/soak.py --folder build/soak-$$(date +%s)

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
