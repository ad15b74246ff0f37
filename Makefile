# Two targets do everything on a fresh machine: `make demo` and `make test`.
SHELL := /bin/bash
# Without bytecode a process starts two to three times slower.
export PYTHONDONTWRITEBYTECODE :=
UV := .tools/bin/uv
BIN := .venv/bin
PROJECTS := $(wildcard packages/* examples/bioviz-*)
# butd's test extra brings the networks of timm and torchvision that its oracles convert.
EDITABLE := $(foreach p,$(PROJECTS),-e $(p)$(if $(findstring butd,$(p)),[testing]))
SOURCES := $(wildcard packages/*/src)

.PHONY: setup demo test lint wheels docs look bench drill upgrade

setup: .venv/.ready

$(UV):
	python3 -m venv .tools
	.tools/bin/python -m pip install --quiet --disable-pip-version-check uv

.venv/.ready: $(UV) constraints.txt pyproject.toml $(addsuffix /pyproject.toml,$(PROJECTS))
	$(UV) venv --quiet --allow-existing .venv
	$(UV) pip install --quiet --compile-bytecode --python $(BIN)/python -c constraints.txt $(EDITABLE) --group dev
	touch $@

demo: setup
	$(BIN)/bioviz list
	$(BIN)/bioviz run butd/digits --preset smoke

# Two workers with one thread each: threads that compete for two cores are slower than none.
test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -q

lint: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy $(SOURCES)

wheels: setup
	$(BIN)/python tests/wheels.py

docs: setup
	$(BIN)/sphinx-build -q -W --keep-going -b html docs docs/_build/html

look: setup
	rm -rf look/runs
	for name in butd/digits ssn/circuit ssn/perceptual-learning; do \
	  $(BIN)/bioviz run $$name --preset smoke --runs look/runs || exit 1; done
	$(BIN)/python tests/look.py look/runs/*

drill: setup
	for name in butd/digits ssn/perceptual-learning; do \
	  $(BIN)/python tests/drill.py --kills 20 --experiment $$name || exit 1; done

bench:
	for file in butd ssn; do $(UV) run --quiet --project benchmarks python benchmarks/$$file.py; done

upgrade: $(UV)
	$(UV) export --quiet --no-hashes --no-annotate --no-header --no-emit-workspace --all-packages --all-extras --all-groups --upgrade -o constraints.txt
