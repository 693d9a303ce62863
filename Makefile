# Start with `make demo` and `make test`. `make help` lists the rest.
PYTHON ?= $(shell for v in 3.12 3.11; do p=$$(command -v python$$v) && $$p -c '' 2>/dev/null && echo $$p && exit; done; echo python3)
VENV := .venv
BIN := $(VENV)/bin
PYTEST = $(BIN)/python -m pytest --numprocesses auto --dist worksteal $(PYTEST_OPTIONS)
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help install demo test test-long chaos bench stream docs lint format check check-fast servers servers-stop clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

$(VENV)/.runtime: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 11) <= v < (3, 13) else "Python 3.11 or 3.12 is needed (found %d.%d): make PYTHON=/path/to/python3.12 ..." % v)'
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime
	$(PIP) install --upgrade 'pip>=25.1'  # the first with dependency groups
	$(PIP) install --constraint constraints.txt --editable '.[dashboard]' --group dev
	@touch $@

install: $(VENV)/.dev  ## create the development environment

demo: $(VENV)/.runtime  ## run generated trips through both dataflows (no server needed)
	$(BIN)/chillflow-stream demo

test: $(VENV)/.dev  ## run the tests, on a real Kafka and a real Postgres that it starts itself
	$(PYTEST)

test-long: $(VENV)/.dev  ## run the long tests: kills, outages, whole months, the wheel under each Python
	$(PYTEST) --long

chaos: $(VENV)/.dev  ## run 100 kills on files, 100 on servers and 60 outages (half an hour)
	CHILLFLOW_KILLS=100 CHILLFLOW_FAULTS=60 CHILLFLOW_OUTAGE_SECONDS=95 $(BIN)/python -m pytest --long -rP tests/chaos

bench: $(VENV)/.dev  ## measure the job against a hand-written loop and Bytewax's own parts; write benchmarks/RESULTS.md
	$(BIN)/python -m benchmarks --write benchmarks/RESULTS.md $(BENCH_OPTIONS)
	$(BIN)/python -m pytest -o addopts= --benchmark-columns=min,median,rounds benchmarks/test_steps.py

stream:
	@:

docs: $(VENV)/.dev  ## build the documentation site in build/site
	$(BIN)/python -m properdocs build --strict --site-dir build/site

lint: $(VENV)/.dev  ## run ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.dev  ## apply ruff's fixes and formatting
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

check: lint  ## lint, then test with a minimum coverage; CI runs this, then test-long
	$(MAKE) test PYTEST_OPTIONS=--cov

check-fast: lint  ## lint, then run the tests that need no server: between edits
	$(PYTEST) tests/unit tests/dataflows

servers: $(VENV)/.dev  ## start a real Kafka and a real Postgres for development, without Docker
	$(BIN)/python -m tests.servers start

servers-stop: $(VENV)/.dev  ## stop these servers
	$(BIN)/python -m tests.servers stop

clean:  ## stop the servers; remove the environment and all generated files
	-test ! -d .servers/run || $(BIN)/python -m tests.servers stop
	rm -rf $(VENV) .chillflow .servers build dist
