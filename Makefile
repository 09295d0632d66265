# Every target makes the virtual environment and installs what it needs; nothing but Python 3.11+ has to be there.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

# How long `make fuzz` runs.
MINUTES ?= 10

.PHONY: demo test quick light full fuzz check lint types smoke lowest clean

demo: $(VENV)/.demo
	$(BIN)/cipherlens demo

test: $(VENV)/.dev
# One thread per test process: two processes with two threads each would wait for each other.
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

# What takes minutes: kills and second writers at many moments.
full: $(VENV)/.dev
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m full

# Mutated key files, sealed sets, runs, images, ...: make fuzz MINUTES=30
fuzz: $(VENV)/.dev
	$(BIN)/python -m tests.security.fuzz --minutes $(MINUTES)

check: lint types test

# What a commit should pass, in a minute: style, layers, types, and the tests of what needs no torch, side by side.
quick: $(VENV)/.dev
	$(MAKE) --no-print-directory --jobs 2 --output-sync types lint light

light: $(VENV)/.dev
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -q tests/keys tests/ciphers -m "not full and not slow"

lint: $(VENV)/.dev
	$(BIN)/ruff check src tests benchmarks examples
	$(BIN)/ruff format --check src tests benchmarks examples
	$(BIN)/lint-imports --no-cache

types: $(VENV)/.dev
	$(BIN)/mypy

# The demo's whole path on a handful of images: says whether it runs, not how well.
smoke: $(VENV)/.demo
	rm -rf $(VENV)/smoke
	$(BIN)/cipherlens demo --source synthetic:tiny --epochs 1 --out $(VENV)/smoke

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet -e '.[train,audit]'
	touch $@

$(VENV)/.dev: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet -e '.[dev]'
	touch $@ $(VENV)/.demo

# The tests with the lowest versions that pyproject.toml allows, in an environment of their own.
LOWEST := $(VENV)-lowest
lowest:
	$(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python -m pip install --quiet uv
	$(LOWEST)/bin/uv pip install --quiet --python $(LOWEST)/bin/python --resolution lowest-direct -e '.[dev]'
	$(MAKE) test VENV=$(LOWEST) --assume-old=$(LOWEST)/.dev

clean:
	rm -rf $(VENV) $(VENV)-newest $(LOWEST) demo
