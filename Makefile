# A newcomer needs Python 3.11 to 3.13, pip, make and git; these targets make the rest. `make help` lists them.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed.stamp
ARGS =
# JAX is small; PyTorch brings gigabytes on Linux and Ray 240 MB: their tests are skipped unless they are asked for.
EXTRAS ?= train,dev,jax
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
.PHONY: help install demo test test-pi lint format clean anew

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-9s %s\n", $$1, $$2 }' Makefile
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
