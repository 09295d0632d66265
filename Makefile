# Every target makes the virtual environment and installs what it needs; nothing but Python 3.11+ has to be there.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

# How long `make fuzz` runs.
MINUTES ?= 10

.PHONY: ready demo test quick light full fuzz check lint types smoke wheel docs notebooks pages advisories lock lowest clean

demo: $(VENV)/.demo
	$(BIN)/cipherlens demo

test: $(VENV)/.dev
# One thread per test process: two processes with two threads each would wait for each other. A process whose tests
# are done takes some of the other's.
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal --durations 40

# What takes minutes or heavy packages: kills and second writers at many moments, Ray, Lightning, transformers.
full: $(VENV)/.full
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
	$(BIN)/ruff check src tests benchmarks examples docs/tutorials/src
	$(BIN)/ruff format --check src tests benchmarks examples docs/tutorials/src
	$(BIN)/lint-imports --no-cache

types: $(VENV)/.dev
	$(BIN)/mypy

# What CI needs, installed one after the other.
ready: $(VENV)/.dev $(VENV)/.docs $(VENV)/.release

# The demo's whole path on a handful of images: says whether it runs, not how well.
smoke: $(VENV)/.demo
	rm -rf $(VENV)/smoke
	$(BIN)/cipherlens demo --source synthetic:tiny --epochs 1 --out $(VENV)/smoke

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# Exact versions with hashes, so that tomorrow's release of a dependency breaks nobody's set-up.
INSTALL := -m pip install --quiet --require-hashes -r requirements
ITSELF := -m pip install --quiet --no-deps --no-build-isolation -e .

$(VENV)/.demo: pyproject.toml requirements/demo.txt | $(BIN)/python
	$(BIN)/python $(INSTALL)/demo.txt
	$(BIN)/python $(ITSELF)
	touch $@

$(VENV)/.dev: pyproject.toml requirements/dev.txt | $(BIN)/python
	$(BIN)/python $(INSTALL)/dev.txt
	$(BIN)/python $(ITSELF)
	touch $@ $(VENV)/.demo

$(VENV)/.full: requirements/full.txt | $(VENV)/.dev
	$(BIN)/python $(INSTALL)/full.txt
	touch $@

$(VENV)/.release: requirements/release.txt | $(BIN)/python
	$(BIN)/python $(INSTALL)/release.txt
	touch $@

# What would be published: built, checked, installed alone, and used; with the list of its dependencies (SBOM).
DIST := $(VENV)/dist
wheel: $(VENV)/.dev $(VENV)/.release
	rm -rf $(DIST)
	$(BIN)/python -m build --quiet --no-isolation --outdir $(DIST)
	$(BIN)/twine check --strict $(DIST)/*
	$(BIN)/python -m tests.packaging $(DIST)

$(VENV)/.docs: requirements/docs.txt | $(VENV)/.dev
	$(BIN)/python $(INSTALL)/docs.txt
	touch $@

# The site, in site/: figures and generated pages are those of the records, links lead somewhere, words are spelt,
# sentences are short. `pages` writes what is generated, after a new record.
docs: $(VENV)/.docs
	$(BIN)/python benchmarks/pages/figures.py --check
	$(BIN)/python benchmarks/pages/write_results.py --check
	$(BIN)/python benchmarks/pages/links.py
	$(BIN)/codespell docs benchmarks/pages README.md CONTRIBUTING.md CHANGELOG.md SECURITY.md examples
	$(BIN)/python benchmarks/pages/sentences.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# The tutorials, executed: pages, pictures and notebooks in docs/tutorials/. CHECK=--check writes nothing, and fails
# where one does not run, or says something else.
CHECK ?=
notebooks: $(VENV)/.docs
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python benchmarks/pages/notebooks.py $(CHECK)

pages: $(VENV)/.dev
	$(BIN)/python benchmarks/pages/figures.py
	$(BIN)/python benchmarks/pages/write_results.py

# Known vulnerabilities of the exact versions. It asks PyPI, which mirrors do not answer for: run it by hand.
advisories: $(VENV)/.release
	$(BIN)/pip-audit --disable-pip --requirement requirements/dev.txt

# Newer versions of everything, for all platforms. The set-up commands take no others.
COMPILE := $(BIN)/uv pip compile --quiet --upgrade --universal --generate-hashes --no-annotate --no-header \
	--python-version 3.11 -c requirements/held.in
lock: | $(BIN)/python
	$(BIN)/python -m pip install --quiet uv
	$(COMPILE) pyproject.toml requirements/build.in -o requirements/client.txt
	$(COMPILE) pyproject.toml requirements/build.in --extra train --extra audit -o requirements/demo.txt
	$(COMPILE) pyproject.toml requirements/build.in --extra dev -o requirements/dev.txt
	$(COMPILE) pyproject.toml requirements/build.in --extra serve --extra onnx -c requirements/dev.txt \
		-o requirements/serve.txt
	$(COMPILE) pyproject.toml requirements/build.in --extra dev --extra frameworks -c requirements/dev.txt \
		-o requirements/full.txt
	$(COMPILE) requirements/release.in -c requirements/dev.txt -o requirements/release.txt
	$(COMPILE) requirements/docs.in -c requirements/dev.txt -o requirements/docs.txt

# The tests with the lowest versions that pyproject.toml allows, in an environment of their own.
LOWEST := $(VENV)-lowest
lowest:
	$(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python -m pip install --quiet uv
	$(LOWEST)/bin/uv pip install --quiet --python $(LOWEST)/bin/python --resolution lowest-direct -e '.[dev]'
	$(MAKE) test VENV=$(LOWEST) --assume-old=$(LOWEST)/.dev

clean:
	rm -rf $(VENV) $(VENV)-newest $(LOWEST) demo site
