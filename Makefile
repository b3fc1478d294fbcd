# The two commands are `make run` and `make test`; everything else is for people who work on dicomnet.

PYTHON ?= python3
BIN := .venv/bin
PORT ?= 11112
DATA ?= data
JOBS ?= 2

.PHONY: help setup run test test-slow coverage lint format bench profile docs golden clean

help:
	@echo "make run        start the archive node (folder $(DATA), port $(PORT))"
	@echo "make test       run the tests"
	@echo "make setup      prepare .venv with the dicomnet command in it"
	@echo "make lint       check format, style and types"
	@echo "make coverage   run the tests and report branch coverage"
	@echo "make bench      measure beside pynetdicom and DCMTK"
	@echo "make docs       build the manual in site/"

setup: .venv/.setup

.venv/.setup: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --editable '.[cli,archive]'
	$(BIN)/python -m compileall -q src/dicomnet
	touch $@

.venv/.test: .venv/.setup
	$(BIN)/python -m pip install --quiet --group test --group lint
	touch $@

run: setup
	$(BIN)/dicomnet serve --data $(DATA) --port $(PORT)

test: .venv/.test
	sh tools/ensure_dcmtk.sh
	$(BIN)/python -m pytest -n $(JOBS) -q -m "not slow"

test-slow: .venv/.test
	sh tools/ensure_dcmtk.sh
	$(BIN)/python -m pytest -q -m slow

coverage: .venv/.test
	sh tools/ensure_dcmtk.sh
	$(BIN)/python -m pytest -n $(JOBS) -q -m "not slow" --cov --cov-branch --cov-report=term:skip-covered

lint: .venv/.test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: .venv/.test
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: .venv/.test
	sh tools/ensure_dcmtk.sh
	$(BIN)/python -m benchmarks $(ARGS)

profile: .venv/.test
	$(BIN)/python -m benchmarks profile $(ARGS)

golden: .venv/.test
	sh tools/ensure_dcmtk.sh
	$(BIN)/python tools/capture_golden.py

docs: .venv/.setup
	$(BIN)/python -m pip install --quiet --group docs
	$(BIN)/mkdocs build --strict

clean:
	rm -rf .venv site dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage*
