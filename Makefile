# make run     from a fresh clone to a trained, evaluated, registered model
# make ui      the Dagster and MLflow pages, on this machine only
# make lint    format, lint, types, import contracts
# make check   the same and the fast tests
# make test    every test
# make bench   the benchmarks
# make docs    what of the documentation is made from the code

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCES := pyproject.toml constraints.txt
# the slow tests start processes of their own, and run one after the other
FAST := -m "not slow" -n logical --maxprocesses=4 --dist loadscope

.PHONY: run ui lint check test bench docs

run: $(VENV)/.installed
	$(BIN)/textmill run

ui: $(VENV)/.installed
	$(BIN)/textmill ui

lint: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check: lint
	$(BIN)/pytest $(FAST)

test: $(VENV)/.installed-dev
	$(BIN)/pytest $(FAST)
	$(BIN)/pytest -m slow

bench: $(VENV)/.installed-dev
	for benchmark in $(filter-out %_ours.py %_peer.py %_peers.py %/gpu.py %/machine.py,$(wildcard benchmarks/*.py)); do $(BIN)/python $$benchmark || exit 1; done
	PYTHON=$(BIN)/python bash benchmarks/gpu.sh

docs: $(VENV)/.installed
	$(BIN)/python docs/make.py

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(SOURCES) | $(VENV)/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

$(VENV)/.installed-dev: $(SOURCES) | $(VENV)/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@ $(VENV)/.installed
