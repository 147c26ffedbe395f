# gensr: `make run` to train and compare on generated data, `make test` to test, `make stop` to end the servers.
# State lives in GENSR_HOME (default .gensr/); ports: GENSR_PREFECT_PORT (4200), GENSR_MLFLOW_PORT (5000).
# Tests are shared by WORKERS processes, two where none are named: one for each core of a small machine.
# Audit a prepared folder: make audit DATASET=.gensr/store/prepare/<key>
# Another run than the demo: make run CONFIG='{"preset": "laptop", "seed": 1}'

PYTHON ?= python3
VENV ?= .venv
WORKERS ?= 2
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed.stamp

.PHONY: run stop install test test-slow lint format audit

run: $(INSTALLED)
	@$(BIN)/python -m flows.local run $(if $(CONFIG),--config '$(CONFIG)')

stop:
	@if test -f $(INSTALLED); then $(BIN)/python -m flows.local stop; else echo "gensr: nothing is installed here"; fi

install: $(INSTALLED)

test: $(INSTALLED)
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup --no-loadscope-reorder

test-slow: $(INSTALLED)
	$(BIN)/python -m pytest -m slow

audit: $(INSTALLED)
	@$(BIN)/python -m tasks.validate.audit '$(or $(DATASET),$(error name a prepared folder: make audit DATASET=folder))'

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
