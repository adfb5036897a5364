# make demo   the main job on data that ships with the project
# make test   the tests; make test-slow   those that take longest
# make bench-samplers   speed, memory and experiments of the samplers, in their quick setting
# make bench-md   cost of batched MD, beside LAMMPS and OpenMM
# make bench-trainers   the trainers' experiments, in their quick setting
# make bench-uq  whether intervals hold the truth, uncertainties grow with errors, and what it costs
# make check  what CI runs besides: lint, types, import contracts, the wheel

PYTHON ?= python3
VENV ?= .venv
# jax-sgmc's old JAX has wheels up to Python 3.13
PEER_PYTHON ?= $(PYTHON)
BIN = $(VENV)/bin
STAMP = $(VENV)/.installed
# the documentation's numbers are those of benchmarks/results, which takes OUT=benchmarks/results
OUT ?= runs/benchmarks

.PHONY: demo test test-slow check lint wheel bench-md bench-samplers bench-potentials bench-accuracy bench-trainers bench-uq clean

demo: $(STAMP)
	$(BIN)/bayespot run examples/ethanol.toml

test: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist loadfile

test-slow: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist loadfile -m slow

bench-md: $(STAMP)
	-PYTHON=$(PEER_PYTHON) benchmarks/peers.sh md  # the table says so where it fails
	$(BIN)/python -m benchmarks.md --setting quick --out $(OUT)

bench-potentials: $(STAMP)
	$(BIN)/python -m benchmarks.potentials --setting quick --out $(OUT)

bench-accuracy: $(STAMP)
	-PYTHON=$(PEER_PYTHON) benchmarks/peers.sh apax  # the table says so where it fails
	$(BIN)/python -m benchmarks.accuracy --setting full --out $(OUT)

bench-trainers: $(STAMP)
	-PYTHON=$(PEER_PYTHON) benchmarks/peers.sh chemtrain  # the table says so where it fails
	-PYTHON=$(PEER_PYTHON) benchmarks/peers.sh md  # OpenMM makes the atomistic frames
	for name in difftre observed coarse_grained alanine stable; do \
	  $(BIN)/python -m benchmarks.$$name --setting quick --out $(OUT) || exit 1; \
	done

bench-uq: $(STAMP)
	-PYTHON=$(PEER_PYTHON) benchmarks/peers.sh apax  # the table says so where it fails
	$(BIN)/python -m benchmarks.uq --setting quick --out $(OUT)

bench-samplers: $(STAMP)
	-PYTHON=$(PEER_PYTHON) benchmarks/peers.sh jax-sgmc  # the table says so where it fails
	$(BIN)/python -m benchmarks.samplers --setting quick --out $(OUT)

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
