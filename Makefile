# Every target works in a fresh clone: each first makes sure that .venv is there and complete.
PYTHON ?= python3
VENV ?= .venv
VERSIONS ?= 3.11 3.12 3.13
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# One process a core; the tests of a file share what they set up.
PARALLEL := --quiet -n auto --dist loadfile

# Small networks on few cores run several times faster with one thread a process.
export OMP_NUM_THREADS ?= 1
export MKL_NUM_THREADS ?= 1
export TOKENIZERS_PARALLELISM ?= false

.PHONY: demo quick bench results test test-all matrix docs lint type format clean

demo: $(STAMP)  ## drive, label, imagine, drive more safely: the whole chain, ends with a report
	$(BIN)/vlsafe demo --out runs/demo

bench: $(STAMP)  ## the highway, three training seeds: about an hour and a half on two quiet cores (estimated)
	$(BIN)/vlsafe bench benchmarks/suites/small.yaml --out runs/small

results: $(STAMP)  ## docs/results.md of the raw results in benchmarks/results
	$(BIN)/vlsafe report benchmarks/results/* --out docs/results.md

quick: $(STAMP)  ## trained drivers side by side, in seconds
	$(BIN)/vlsafe demo --quick --out runs/quick

test: $(STAMP) lint type  ## lint, types and the tests that fit in minutes
	$(BIN)/python -m pytest -m "not slow" $(PARALLEL)

test-all: $(STAMP) lint type
	$(BIN)/python -m pytest $(PARALLEL)

matrix:  ## `make test` with each Python of VERSIONS that is installed, in .venv-VERSION
	@ran=; for version in $(VERSIONS); do \
		python$$version -c '' 2>/dev/null || { echo "python$$version is not installed: left out"; continue; }; \
		$(MAKE) test PYTHON=python$$version VENV=.venv-$$version || exit 1; ran="$$ran $$version"; \
	done; test -n "$$ran" && echo "passed with Python$$ran"

docs: $(STAMP)  ## the documentation as a site in docs/_build/html; the notebooks are executed
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[docs]"
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m sphinx --fail-on-warning --keep-going -b html docs docs/_build/html

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

type: $(STAMP)
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) .venv-3.* build dist docs/_build docs/site docs/tutorials docs/jupyter_execute *.egg-info .pytest_cache .mypy_cache .ruff_cache

# torch comes first and alone: its pinned CPU build keeps pip from fetching CUDA packages later.
$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install -c constraints.txt torch
	$(BIN)/python -m pip install -c constraints.txt -e ".[test]"
	touch $@
