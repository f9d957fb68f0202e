# One door for people. `make help` says what is behind it.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.SILENT:
.DEFAULT_GOAL := help
.PHONY: demo test prove frameworks lint bench fuzz wheel help tools package

# Shared by all clones, so that DataFusion is compiled once.
export CARGO_TARGET_DIR ?= $(HOME)/.cache/runlake/target
export PIP_DISABLE_PIP_VERSION_CHECK := 1

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PACKAGE := bindings/python

help: ## this list
	echo "make TARGET:"
	sed -n 's/^\([a-z]*\):.*## \(.*\)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

demo: ## trains 16 small networks in 4 processes and watches them by SQL
	echo "16 configurations x 16,000 steps = 256,000 training steps, in 4 processes: 1 to 2 minutes."
	echo "Before that the package is built: about 8 minutes the first time on two cores, seconds after that."
	echo "[1/3] tools"
	$(MAKE) --no-print-directory tools
	echo "[2/3] the package runlake, in a profile that builds quickly; scikit-learn from PyPI"
	$(MAKE) --no-print-directory package
	$(BIN)/pip install --quiet "scikit-learn>=1.3"
	echo "[3/3] training"
	$(BIN)/python examples/digits.py

test: ## all tests, Rust and Python
	echo "[1/3] cargo test"
	cargo test --workspace --no-fail-fast
	echo "[2/3] the package, into $(VENV)"
	$(MAKE) --no-print-directory tools package
	$(BIN)/pip install --quiet --group $(PACKAGE)/pyproject.toml:test
	echo "[3/3] pytest"
	$(BIN)/python -m pytest -q $(PACKAGE)/tests

lint: ## formatting, clippy, ruff, the types of the package
	echo "[1/5] cargo fmt"
	cargo fmt --all --check
	echo "[2/5] cargo clippy"
	cargo clippy --workspace --all-targets -- -D warnings
	echo "[3/5] the package and its tools, into $(VENV)"
	$(MAKE) --no-print-directory tools package
	$(BIN)/pip install --quiet --group $(PACKAGE)/pyproject.toml:test
	# Ruff and mypy take paths in their settings from the folder in which they run.
	cd $(PACKAGE)
	bin=$(abspath $(BIN))
	echo "[4/5] ruff"
	$$bin/ruff check --quiet --config pyproject.toml . ../../examples ../../benches
	$$bin/ruff format --quiet --check --config pyproject.toml . ../../examples ../../benches
	echo "[5/5] mypy and stubtest"
	$$bin/mypy
	$$bin/python -m mypy.stubtest runlake._native --mypy-config-file pyproject.toml

bench: ## what logging costs, beside a bare loop, and what starting costs
	echo "[1/4] the log from Rust; the first time it is compiled with full optimisation: a few minutes"
	cargo bench --quiet -p runlake-benches --bench log
	echo "[2/4] the package, into $(VENV)"
	$(MAKE) --no-print-directory tools package
	echo "[3/4] benches/python_log.py: a row, a few seconds"
	$(BIN)/python $(PACKAGE)/benches/python_log.py
	echo "[4/4] benches/python_start.py: import, init, a thousand short programs, a few minutes"
	$(BIN)/python $(PACKAGE)/benches/python_start.py

wheel: ## the wheel as it is shipped, into dist/: about 35 minutes the first time
	echo "[1/2] tools"
	$(MAKE) --no-print-directory tools
	echo "[2/2] the wheel, optimised"
	$(BIN)/maturin build --manifest-path $(PACKAGE)/Cargo.toml --profile dist --out dist

prove: ## proofs of the log, 2,000 kills, 25 made-up logs, many damaged bytes
	echo "Proofs of the log; writers killed, stopped and forked at random; logs made up from seeds; flipped bytes: about 40 minutes."
	echo "[1/4] proofs, by loom"
	CARGO_TARGET_DIR="$$CARGO_TARGET_DIR/proof" RUSTFLAGS="--cfg proof" cargo test -p runlake-engine --lib proofs -- --nocapture
	echo "[2/4] the same, larger, in random schedules by shuttle"
	CARGO_TARGET_DIR="$$CARGO_TARGET_DIR/shuttle" RUSTFLAGS="--cfg proof --cfg shuttle" \
		cargo test -p runlake-engine --lib proofs -- --nocapture
	echo "[3/4] kills"
	RUNLAKE_KILLS=2000 cargo test --workspace --test it -- --nocapture --test-threads=1 kills forked
	echo "[4/4] made-up logs, damage, and a log of 4 GiB"
	RUNLAKE_SEEDS=25 RUNLAKE_FLIPS=200 RUNLAKE_LOG_MIB=4096 cargo test --workspace --test it -- roundtrip damage recovery

frameworks: ## (nothing yet) the package under PyTorch, Lightning and others
	echo "No framework is tested yet."

fuzz: ## (nothing yet) fuzzing of the decoders
	echo "There are no fuzz targets yet. The decoders' own tests in 'make test' try every prefix and every flipped byte."

# The virtual environment with what builds the package.
tools:
	command -v cargo > /dev/null || { echo "cargo is missing: install Rust with rustup" >&2; exit 1; }
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "Python 3.10 or later is needed: make PYTHON=..." >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -c 'import importlib.metadata as m; v = m.version("pip").split("."); raise SystemExit((int(v[0]), int(v[1])) < (25, 1))' \
		|| $(BIN)/pip install --quiet --upgrade "pip>=25.1"
	test -x $(BIN)/maturin || $(BIN)/pip install --quiet "maturin>=1.9.4,<2"

# The package, built in the profile that the tests share, into the virtual environment.
package:
	VIRTUAL_ENV=$(abspath $(VENV)) $(BIN)/maturin develop --manifest-path $(PACKAGE)/Cargo.toml
