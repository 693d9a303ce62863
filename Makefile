# Everything a newcomer needs: `make demo` and `make test`. `make help` lists the rest.
PYTHON ?= $(shell for v in 3.12 3.11; do p=$$(command -v python$$v) && $$p -c '' 2>/dev/null && echo $$p && exit; done; echo python3)
VENV := .venv
BIN := $(VENV)/bin
PYTEST = $(BIN)/python -m pytest --numprocesses auto --dist worksteal $(PYTEST_OPTIONS)
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help install demo test test-long chaos bench stream docs lint format check check-fast servers servers-stop clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

$(VENV)/.runtime: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 11) <= v < (3, 13) else "Python 3.11 or 3.12 is needed (found %d.%d): make PYTHON=/path/to/python3.12 ..." % v)'
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime
	$(PIP) install --upgrade 'pip>=25.1'  # the first that knows dependency groups
	$(PIP) install --constraint constraints.txt --editable '.[dashboard]' --group dev
	@touch $@

install: $(VENV)/.dev  ## the environment with everything for development

demo: $(VENV)/.runtime  ## generated trips through both dataflows, no server needed
	$(BIN)/chillflow-stream demo

test: $(VENV)/.dev  ## the tests, on a real Kafka and a real Postgres that it starts itself
	$(PYTEST)

test-long: $(VENV)/.dev  ## what need not run each time: kills and outages, whole months, the wheel under each Python
	$(PYTEST) --long

chaos: $(VENV)/.dev  ## 100 kills on files, 100 on servers, 60 outages (half an hour)
	CHILLFLOW_KILLS=100 CHILLFLOW_FAULTS=60 CHILLFLOW_OUTAGE_SECONDS=95 $(BIN)/python -m pytest --long -rP tests/chaos

bench: $(VENV)/.dev  ## the whole job beside a loop by hand and Bytewax's own parts, and what else is measured
	$(BIN)/python -m benchmarks --write benchmarks/RESULTS.md
	$(BIN)/python -m pytest -o addopts= --benchmark-columns=min,median,rounds benchmarks/test_steps.py

stream:
	@:

docs: $(VENV)/.dev  ## the documentation as a site, in build/site
	$(BIN)/python -m properdocs build --strict --site-dir build/site

lint: $(VENV)/.dev  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.dev  ## ruff's fixes and format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

check: lint  ## lint, and the tests with their coverage, which may not fall; CI runs it, and then test-long
	$(MAKE) test PYTEST_OPTIONS=--cov

check-fast: lint  ## for between two edits: lint, and the tests that need no server
	$(PYTEST) tests/unit tests/dataflows

servers: $(VENV)/.dev  ## a real Kafka and a real Postgres for development, without Docker
	$(BIN)/python -m tests.servers start

servers-stop: $(VENV)/.dev  ## stop them
	$(BIN)/python -m tests.servers stop

clean:  ## stop the servers, remove the environment and what runs left behind
	-test ! -d .servers/run || $(BIN)/python -m tests.servers stop
	rm -rf $(VENV) .chillflow .servers build dist
