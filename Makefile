# `make run` and `make test` do everything on a fresh machine with Python 3.11 to 3.13.
# `make run ARGS="task=softmax seed=1"` passes settings on; PYTHON=… picks an interpreter.
SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
ARGS ?=
# One more than the cores of a small machine: much of a test waits for another process.
JOBS ?= 3

.PHONY: help setup run test lint clean

help:
	@echo "make run      search for a faster kernel on this machine's processor (ARGS='task=softmax')"
	@echo "make test     style, types, import contracts and tests"
	@echo "make lint     style, types and import contracts only"
	@echo "make setup    install everything into .venv and stop"
	@echo "make clean    remove .venv and all caches; outputs/ stays"

$(STAMP): pyproject.toml constraints.txt scripts/setup.sh
	@sh scripts/setup.sh $(VENV) $(STAMP)

setup: $(STAMP)

run: $(STAMP)
	@$(BIN)/python run.py $(ARGS)

lint: $(STAMP)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet . || { echo "Run .venv/bin/ruff format ."; exit 1; }
	@$(BIN)/mypy
	@$(BIN)/lint-imports

test: lint
	@$(BIN)/python -m pytest -n $(JOBS) --dist worksteal $(ARGS)

clean:
	@rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis build dist
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
