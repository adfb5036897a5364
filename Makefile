# make demo   the main job on data that ships with the project
# make test   the tests
# make check  what CI runs besides: lint, types, import contracts, the wheel

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
STAMP = $(VENV)/.installed

.PHONY: demo test check lint wheel clean

demo: $(STAMP)
	$(BIN)/bayespot run examples/ethanol.toml

test: $(STAMP)
	$(BIN)/python -m pytest

check: lint wheel

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports

wheel: $(STAMP)
	$(BIN)/python tests/wheel.py

# The stamp makes a second call start at once; it is renewed when the dependencies change.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info
