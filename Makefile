# gensr: `make run` to train and compare on generated data, `make test` to test, `make stop` to end the servers.
# They install the command line and call it; `.venv/bin/gensr --help` has more commands.
# State lives in GENSR_HOME (default .gensr/); ports: GENSR_PREFECT_PORT (4200), GENSR_MLFLOW_PORT (5000).
# Tests are shared by WORKERS processes, two where none are named: one for each core of a small machine.
# Audit a prepared folder: make audit DATASET=.gensr/store/prepare/<key>
# Another run than the demo: make run CONFIG='{"preset": "laptop", "seed": 1}', or CONFIG=mine.yaml

PYTHON ?= python3
VENV ?= .venv
WORKERS ?= 2
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed.stamp

# As typed, for commands to read in their environment: make would expand a $ in them, a shell quotes and blanks.
override CONFIG := $(value CONFIG)
override DATASET := $(value DATASET)
export GENSR_CONFIG := $(value CONFIG)
export GENSR_DATASET := $(value DATASET)
ifdef GENSR_HOME
override GENSR_HOME := $(value GENSR_HOME)
export GENSR_HOME
endif

.PHONY: run stop install test test-slow docs lint format audit

run: $(INSTALLED)
	@$(BIN)/gensr run

stop:
	@if test -f $(INSTALLED); then $(BIN)/gensr down; else echo "gensr: nothing is installed here"; fi

install: $(INSTALLED)

test: $(INSTALLED)
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup --no-loadscope-reorder

test-slow: $(INSTALLED)
	$(BIN)/python -m pytest -m slow

# One page of it: build/site/index.html, which a browser opens from disk.
docs: $(INSTALLED)
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict
	@echo "gensr: the documentation is in build/site/index.html"

audit: $(INSTALLED)
	@$(if $(DATASET),,$(error name a prepared folder: make audit DATASET=folder))$(BIN)/gensr audit

lint: $(INSTALLED)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: $(INSTALLED)
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

# The stamp makes the second call free; a changed requirement installs again.
$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("gensr needs Python 3.11 or newer, this is " + sys.version.split()[0] \
	  + "; name another with: make PYTHON=python3.12") if sys.version_info < (3, 11) else None'
	@echo "gensr: installing into $(VENV), which takes a few minutes"
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@
