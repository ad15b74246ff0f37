# Two targets do everything on a fresh machine: `make demo` and `make test`.
SHELL := /bin/bash
export PYTHONDONTWRITEBYTECODE :=
UV := .tools/bin/uv
BIN := .venv/bin
PACKAGES := $(wildcard packages/*) $(wildcard examples/bioviz-*)
# butd's test extra brings the networks of timm and torchvision that its oracles convert.
EDITABLE := $(foreach p,$(PACKAGES),-e $(p)$(if $(findstring butd,$(p)),[testing]))

.PHONY: setup demo test lint docs look bench drill upgrade

setup: .venv/.ready

$(UV):
	python3 -m venv .tools
	.tools/bin/python -m pip install --quiet --disable-pip-version-check uv

.venv/.ready: $(UV) constraints.txt pyproject.toml $(wildcard packages/*/pyproject.toml examples/bioviz-*/pyproject.toml)
	$(UV) venv --quiet --allow-existing .venv
	$(UV) pip install --compile-bytecode --python $(BIN)/python -c constraints.txt $(EDITABLE) --group dev
	touch $@

demo: setup
	$(BIN)/bioviz list
	$(BIN)/bioviz run butd/digits --preset smoke

test: setup
	$(BIN)/python -m pytest -n 2

upgrade: $(UV)
	$(UV) export --quiet --no-hashes --no-annotate --no-header --no-emit-workspace --all-packages --all-extras --all-groups --upgrade -o constraints.txt
