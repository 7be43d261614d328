# A newcomer needs Python 3.11 to 3.13, pip, make and git; these targets make the rest. `make help` lists them.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed.stamp
ARGS =
# JAX and MkDocs are small. PyTorch brings gigabytes on Linux and Ray 240 MB: their tests are skipped without them.
EXTRAS ?= train,dev,jax,docs
# Two test processes: more would fight for memory, each holds a TensorFlow.
JOBS ?= 2

# TensorFlow's start-up notes would bury the results.
export TF_CPP_MIN_LOG_LEVEL ?= 3

# Prints the version of a Python that squeezekit supports; fails on any other.
SUPPORTED := import sys; v = sys.version_info[:2]; (3, 11) <= v <= (3, 13) or sys.exit(1); print("%d.%d" % v)

# The environment is made anew when it is missing, broken, or of another version than a PYTHON asked for by name.
HAVE := $(shell $(BIN)/python -c '$(SUPPORTED)' 2>/dev/null)
WANT := $(if $(filter file,$(origin PYTHON)),$(HAVE),$(shell $(PYTHON) -c '$(SUPPORTED)' 2>/dev/null))
USABLE := $(and $(HAVE),$(filter $(HAVE),$(WANT)),$(wildcard $(BIN)/pip))

.DEFAULT_GOAL := help
.PHONY: help install demo test test-pi lint format docs release-check clean anew

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-13s %s\n", $$1, $$2 }' Makefile
	@echo 'Another Python: make test PYTHON=python3.12. Only some tests: make test ARGS="tests/codec -x".'

install: $(STAMP)  ## create .venv and install squeezekit with all its tools

demo: $(STAMP)  ## the whole job on generated images: train, squeeze, pack, predict
	@$(BIN)/squeezekit demo

test: lint  ## what CI runs: ruff, mypy, pytest
	@$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder $(ARGS)

test-pi: $(STAMP)  ## a bundle on Raspberry Pi OS, 64-bit and 32-bit, emulated (apt: mmdebstrap qemu-user-static)
	@$(BIN)/python -m pytest -s tests/pi/check_pi.py

lint: $(STAMP)  ## ruff (rules, then layout) and mypy
	@$(BIN)/python -m ruff check --quiet .
	@$(BIN)/python -m ruff format --quiet --check . || { echo 'Not laid out as ruff does it; run: make format'; exit 1; }
	@$(BIN)/python -m mypy --no-error-summary

format: $(STAMP)  ## lay out the code as ruff does it
	@$(BIN)/python -m ruff format --quiet .

docs: $(STAMP)  ## build the documentation as a site in build/site; any warning is an error
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet --strict
	@echo 'Open build/site/index.html; its search needs a server: python3 -m http.server -d build/site'

# An empty PYTHONPATH: what is tested is the wheel, not the source beside it.
release-check: export PYTHONPATH =
release-check: $(STAMP)  ## build sdist and wheel, check them, install the wheel into a fresh environment and run it
	@rm -rf build/release
	@$(BIN)/python -m build --quiet --outdir build/release .
	@rm -rf src/*.egg-info build/lib build/bdist.*
	@$(BIN)/python -m twine check --strict build/release/*
	@$(BIN)/python -m venv build/release/venv
	@build/release/venv/bin/python -m pip install -qq --disable-pip-version-check -c constraints.txt build/release/*.whl
	@build/release/venv/bin/squeezekit --version
	@build/release/venv/bin/squeezekit info zoo/intel-tiny.sqz > /dev/null

clean:  ## remove .venv and caches; results in out/ stay
	@rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache .hypothesis build dist src/*.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Runs again when what is to be installed changes, and only then.
$(STAMP): pyproject.toml constraints.txt $(if $(USABLE),,anew)
ifeq ($(USABLE),)
	@$(PYTHON) -c '$(SUPPORTED)' >/dev/null 2>&1 || { \
	  echo 'squeezekit needs Python 3.11, 3.12 or 3.13, and $(PYTHON) is not one:' "$$($(PYTHON) --version 2>&1 | head -n 1)."; \
	  echo 'Name another, for example: make $(or $(MAKECMDGOALS),test) PYTHON=python3.12'; exit 1; }
	@$(PYTHON) -m venv --clear $(VENV)
endif
	@echo 'Installing squeezekit into $(VENV), once: one to three minutes ...'
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt -e '.[$(EXTRAS)]'
	@touch $@
