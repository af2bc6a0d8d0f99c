# saetui: make run | test | check | bench
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: run test check format bench wheel clean

# On a terminal the workbench; in a pipe the same job headless.
run: $(VENV)/.run
	@if [ -t 0 ] && [ -t 1 ]; then $(BIN)/saetui; else $(BIN)/saetui demo; fi

test: $(VENV)/.dev
	$(BIN)/python -m pytest -n 2

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.dev
	$(BIN)/python -m benchmarks

wheel: $(VENV)/.dev
	$(BIN)/python -m hatchling build -t wheel

clean:
	rm -rf $(VENV) dist

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
		{ echo "saetui needs Python 3.11 to 3.13: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: $(VENV)/bin/python pyproject.toml constraints.txt
	@echo "Installing into $(VENV) …" >&2
	@$(PIP) -e .
	@touch $@

$(VENV)/.dev: $(VENV)/bin/python pyproject.toml constraints.txt
	@echo "Installing into $(VENV) …" >&2
	@$(PIP) -e '.[dev]'
	@touch $@ $(VENV)/.run
