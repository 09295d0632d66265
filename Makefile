# Every target makes the virtual environment and installs what it needs; nothing but Python 3.11+ has to be there.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test check lint types smoke clean

demo: $(VENV)/.demo
	$(BIN)/cipherlens demo

test: $(VENV)/.dev
# One thread per test process: two processes with two threads each would wait for each other.
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

check: lint types test

lint: $(VENV)/.dev
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/ruff format --check src tests benchmarks

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

clean:
	rm -rf $(VENV) demo
