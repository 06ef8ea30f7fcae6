# Everything a developer or a CI machine does; `make` lists it. Needs Python >= 3.11, make and git, and nothing else:
# what is missing is installed into .venv. Name another interpreter with PYTHON=...

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help demo test lint docs bench soak clean
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
unexport PYTHONPATH # the installed wheel is what runs, never src
export PIP_DISABLE_PIP_VERSION_CHECK := 1

PYTHON ?= $(shell command -v python3.11 || command -v python3)
# Processes that share the tests: one for each core, four at most. JOBS=0 runs one test after the other, in pytest's own.
JOBS ?= logical
VENV := .venv
BIN := $(VENV)/bin
WHEEL := $(VENV)/.wheel
MARKED := $(foreach part,core checks signing keys secrets config backends,*/tradeguard/$(part)/*)
COMMA := ,
SPACE := $(subst ,, )
SOURCES := pyproject.toml README.md LICENSE $(shell find src -name __pycache__ -prune -o -print)

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-6s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(WHEEL) $(VENV)/.demo ## start an example exchange, use it, attack it, print what happened; SERVE=1 goes on, STATE=redis
	@SERVE=$(SERVE) STATE=$(STATE) $(BIN)/python examples/demo.py

test: $(WHEEL) $(VENV)/.test $(VENV)/.venues ## run the tests against the installed wheel, then hold the coverage against its mark
	@$(BIN)/pytest --numprocesses=$(JOBS) --maxprocesses=4 --dist=loadfile --no-loadscope-reorder --cov --cov-report=
	@$(BIN)/coverage report --include='$(subst $(SPACE),$(COMMA),$(MARKED))' --fail-under=95

lint: $(WHEEL) $(VENV)/.lint ## format, rules, types (mypy and pyright, both strict) and floors
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy --python-executable $(BIN)/python
	@MYPYPATH=examples $(BIN)/mypy --python-executable $(BIN)/python examples
	@$(BIN)/pyright --pythonpath $(BIN)/python
	@PYTHONPATH=src $(BIN)/lint-imports --no-logo

docs: $(WHEEL) $(VENV)/.docs ## build the documentation into docs/_build/html; every warning is an error
	@$(BIN)/sphinx-build --quiet --fail-on-warning --nitpicky --keep-going -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

bench: $(WHEEL) $(VENV)/.bench ## measure, and write benchmarks/results.md
	@$(BIN)/python benchmarks/run.py

soak: $(WHEEL) $(VENV)/.test $(VENV)/.venues ## the long runs, which are not part of `make test`
	@$(BIN)/pytest -m soak

clean: ## remove everything that was made here
	@rm -rf $(VENV) build dist docs/_build .coverage .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache

$(VENV)/.pip:
	@echo "Creating $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -c 'import sys; sys.exit("tradeguard needs Python >= 3.11" if sys.version_info < (3, 11) else 0)'
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --upgrade pip
	@touch $@

$(WHEEL): $(VENV)/.pip $(SOURCES)
	@echo "Installing the wheel of tradeguard and what it needs"
	@rm -rf dist
	@$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .
	@$(BIN)/python -m pip install --quiet --no-deps --force-reinstall dist/*.whl
	@$(BIN)/python -m pip install --quiet dist/*.whl
	@touch $@

$(VENV)/.demo $(VENV)/.test $(VENV)/.bench $(VENV)/.lint $(VENV)/.docs: $(VENV)/.pip pyproject.toml
	@echo "Installing the packages of the group '$(@F:.%=%)'"
	@$(BIN)/python -m pip install --quiet --group $(@F:.%=%)
	@touch $@

# binance-connector shares its package's name with python-binance; bitmex brings a simplejson that breaks bitfinex-api-py.
$(VENV)/.venues: $(VENV)/.pip pyproject.toml
	@echo "Installing the clients of trading venues into $(VENV)/venues"
	@$(BIN)/python -m venv --clear $(VENV)/venues
	@$(VENV)/venues/bin/python -m pip install --quiet --upgrade pip
	@$(VENV)/venues/bin/python -m pip install --quiet --group venues
	@$(VENV)/venues/bin/python -m pip install --quiet --no-warn-conflicts --no-deps --no-build-isolation --group venues-alone
	@$(VENV)/venues/bin/python -m pip install --quiet --no-warn-conflicts --target $(VENV)/venues/apart/binance-connector 'binance-connector>=3.13'
	@$(VENV)/venues/bin/python -m pip install --quiet --no-warn-conflicts --target $(VENV)/venues/apart/bitmex 'bitmex>=0.2.2'
	@touch $@
