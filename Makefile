# The two commands are `make run` and `make test`; everything else is for people who work on dicomnet.

PYTHON ?= python3
# Each interpreter that is named has an environment of its own: make test PYTHON=python3.13
VENV := $(if $(filter command%,$(origin PYTHON)),.venv-$(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])'),.venv)
BIN := $(VENV)/bin
PORT ?= 11112
DATA ?= data
# Most tests with sockets and processes wait for somebody, so two of them share a core.
JOBS ?= $(shell $(PYTHON) -c "import os; print(2 * (os.cpu_count() or 1))")
# Modules are compiled once, not by each of the processes that tests start.
unexport PYTHONDONTWRITEBYTECODE
PYTEST = $(BIN)/python -m pytest -q --dist worksteal

.PHONY: help setup run quick test test-peers test-slow coverage lint format bench profile docs golden clean

help:
	@echo "make run        start the archive node (folder $(DATA), port $(PORT))"
	@echo "make quick      run the tests that have no socket and no process: half a minute"
	@echo "make test       run all but the slow ones and those that need Orthanc, as CI does; JOBS=N at once"
	@echo "make test-peers run those with other implementations: DCMTK, pynetdicom, Orthanc, OHIF (50 MB from npm)"
	@echo "make test-slow  run those of kills, leaks and many associations, with more of them"
	@echo "make setup      prepare .venv with the dicomnet command in it"
	@echo "make lint       check format, style and types"
	@echo "make coverage   run the tests and report branch coverage"
	@echo "make bench      measure beside pynetdicom and DCMTK"
	@echo "make docs       build the manual in site/"

setup: $(VENV)/.setup

$(VENV)/.setup: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --editable '.[cli,archive,web,render]'
	$(BIN)/python -m compileall -q src/dicomnet
	touch $@

$(VENV)/.test: $(VENV)/.setup
	$(BIN)/python -m pip install --quiet --group test --group lint
	touch $@

run: setup
	$(BIN)/dicomnet serve --data $(DATA) --port $(PORT)

quick: $(VENV)/.test
	$(PYTEST) -n auto -m quick --hypothesis-profile=quick

test: $(VENV)/.test
	sh tools/ensure_dcmtk.sh
	sh tools/ensure_postgresql.sh
	sh tools/ensure_chromium.sh
	sh tools/ensure_shells.sh
	$(PYTEST) -n $(JOBS) -m "not orthanc and not download and not slow"

test-peers: $(VENV)/.test
	sh tools/ensure_dcmtk.sh
	sh tools/ensure_postgresql.sh
	sh tools/ensure_chromium.sh
	sh tools/ensure_shells.sh
	$(PYTEST) -n $(JOBS) -m "peers or orthanc or download"

test-slow: $(VENV)/.test
	sh tools/ensure_dcmtk.sh
	sh tools/ensure_postgresql.sh
	$(PYTEST) -n $(JOBS) -m slow --associations=1000 --kills=20

coverage: $(VENV)/.test
	sh tools/ensure_dcmtk.sh
	sh tools/ensure_postgresql.sh
	sh tools/ensure_chromium.sh
	sh tools/ensure_shells.sh
	$(PYTEST) -n $(JOBS) -m "not orthanc and not download" --cov --cov-branch --cov-report=term:skip-covered

lint: $(VENV)/.test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(VENV)/.test
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.test
	sh tools/ensure_dcmtk.sh
	sh tools/ensure_postgresql.sh
	$(BIN)/python -m benchmarks $(ARGS)

profile: $(VENV)/.test
	$(BIN)/python -m benchmarks profile $(ARGS)

golden: $(VENV)/.test
	sh tools/ensure_dcmtk.sh
	$(BIN)/python tools/capture_golden.py

docs: $(VENV)/.setup
	$(BIN)/python -m pip install --quiet --group docs
	$(BIN)/mkdocs build --strict

clean:
	rm -rf .venv .venv-* site dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage*
