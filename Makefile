# `make demo` and `make test` need nothing but Python 3.11 or newer: each makes .venv and installs into it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
OUT ?= runs/multimnist
PYTEST_ARGS ?=

.PHONY: demo test lint format clean

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/core: setup.cfg | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/dev: setup.cfg | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[dev,browser]'
	touch $@

demo: $(VENV)/core
	$(BIN)/python -m recipes multimnist --out $(OUT)

test: $(VENV)/dev
	$(BIN)/python -m pytest -n 2 $(PYTEST_ARGS)

lint: $(VENV)/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build *.egg-info
