# make demo · make test · make lint · make bench: each sets itself up first, from nothing but Python ≥ 3.11.
PYTHON ?= python3
# Another package index for torch, e.g. one with CPU builds: on Linux the default index's torch brings CUDA.
TORCH_INDEX ?=
BIN := .venv/bin
INDEX := $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))

.PHONY: install demo test lint format bench clean

install: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "pip>=25.1"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(INDEX) -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(INDEX) -c constraints.txt --group dev -e .
	touch $@

demo: install
	$(BIN)/warmstart run --out runs/demo

test: install
	$(BIN)/python -m pytest

lint: install
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: install
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: install
	$(BIN)/python benchmarks/grading.py

clean:
	rm -rf .venv runs build dist
