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

# How long each fuzz target runs, and which.
FUZZ_SECONDS ?= 60
FUZZ_TARGETS ?= frames log_file commit segment operations

# How many points the queries of `make bench` are asked of: 10 metrics of so many runs and steps.
QUERY_RUNS ?= 500
QUERY_STEPS ?= 10000

# The wandb that programs are compared under.
WANDB ?= 0.31.0

# In which profile the package is built; `make bench` measures what users get, as far as that compiles in a quarter of an hour.
PROFILE ?= dev

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

bench: ## what logging and queries cost, beside bare loops and peers, held against their bars: more than half an hour
	echo "Give it a quiet machine: it measures microseconds."
	echo "[1/8] benches/log.rs: a row; the first time it is compiled with full optimisation: a few minutes"
	cargo bench --quiet -p runlake-benches --bench log
	echo "[2/8] benches/sustained.rs: 500 M points from log() to committed Parquet, about 2 minutes"
	cargo bench --quiet -p runlake-benches --bench sustained
	echo "[3/8] benches/tables.rs: a flush, merges, a thousand lakes into one, half a minute"
	cargo bench --quiet -p runlake-benches --bench tables
	echo "[4/8] the package, into $(VENV), optimised; to compile DataFusion so takes long the first time"
	$(MAKE) --no-print-directory tools package PROFILE=release
	$(BIN)/pip install --quiet numpy wandb "scikit-learn>=1.3" "duckdb>=2.0" "polars>=2.1" "pyarrow>=22"
	echo "[5/8] python_log.py: a row, a column, half a minute"
	$(BIN)/python $(PACKAGE)/benches/python_log.py
	echo "[6/8] python_training.py: what logging costs a training, about 13 minutes"
	$(BIN)/python $(PACKAGE)/benches/python_training.py
	echo "[7/8] python_start.py: import, init, short programs, finish, SIGTERM, a few minutes; 5 GB of disk for a while"
	$(BIN)/python $(PACKAGE)/benches/python_start.py
	echo "[8/8] python_query.py: queries over $(QUERY_RUNS) runs x 10 metrics x $(QUERY_STEPS) steps, beside DuckDB and polars, about 10 minutes"
	folder=$$(mktemp -d)
	trap 'rm -rf "$$folder"' EXIT
	$(BIN)/python $(PACKAGE)/benches/python_query.py make "$$folder/lakes" --runs $(QUERY_RUNS) --steps $(QUERY_STEPS)
	$(BIN)/python $(PACKAGE)/benches/python_query.py measure "$$folder/lakes"
	echo "      python_chart.py: charts of 20 runs x 5 M points, and of runs that are being logged, about 5 minutes"
	$(BIN)/python $(PACKAGE)/benches/python_chart.py long "$$folder/long"
	$(BIN)/python $(PACKAGE)/benches/python_chart.py live "$$folder/lakes/compacted.lake"

wheel: ## the wheel as it is shipped, into dist/: about 35 minutes the first time
	echo "[1/2] tools"
	$(MAKE) --no-print-directory tools
	echo "[2/2] the wheel, optimised"
	$(BIN)/maturin build --manifest-path $(PACKAGE)/Cargo.toml --profile dist --out dist

prove: ## proofs of the log, power cuts, failing disks, 2,000 kills, damage, a log of 4 GiB, a million series, 100,000 runs, a thousand lakes into one, fuzzing: about 4 hours
	echo "[1/8] proofs, by loom"
	CARGO_TARGET_DIR="$$CARGO_TARGET_DIR/proof" RUSTFLAGS="--cfg proof" cargo test -p runlake-engine --lib proofs -- --nocapture
	echo "[2/8] the same, larger, in random schedules by shuttle"
	CARGO_TARGET_DIR="$$CARGO_TARGET_DIR/shuttle" RUSTFLAGS="--cfg proof --cfg shuttle" \
		cargo test -p runlake-engine --lib proofs -- --nocapture
	echo "[3/8] frames and blocks under valgrind"
	if command -v valgrind > /dev/null; then
		cargo test -p runlake-engine -p runlake-query --lib --config \
			'target."cfg(unix)".runner = ["valgrind", "--error-exitcode=1", "--leak-check=full", "--show-leak-kinds=definite", "--errors-for-leak-kinds=definite"]' \
			-- --test-threads=1 log::frame log::memory log::header log::reader
	else
		echo "valgrind is missing: this step is left out"
	fi
	echo "[4/8] crashes at every moment, every operation of a disk that fails, images of a power cut; each of the mutants"
	RUNLAKE_CRASHES=20000 RUNLAKE_FAULTS=1000000 cargo test --workspace --lib -- --nocapture lake::crash lake::care lake::faults
	RUNLAKE_IMAGES=100000 RUNLAKE_MUTANTS=all cargo test --workspace --test it -- --nocapture images mutants
	echo "[5/8] kills"
	RUNLAKE_KILLS=2000 cargo test --workspace --test it -- --nocapture --test-threads=1 kills forked merge::killed expire::killed
	RUNLAKE_KILLS=100 RUNLAKE_LAKES=1000 cargo test --workspace --test it -- --nocapture merge::lakes_of_many
	echo "[6/8] made-up logs, damage, and a log of 4 GiB"
	RUNLAKE_SEEDS=25 RUNLAKE_FLIPS=200 RUNLAKE_LOG_MIB=4096 cargo test --workspace --test it -- roundtrip damage recovery
	echo "[7/8] a run of 1,000,000 series, a lake of 100,000 runs"
	RUNLAKE_SERIES=1000000 RUNLAKE_RUNS=100000 cargo test --workspace --test it -- --nocapture --test-threads=1 many_series many_runs
	echo "[8/8] fuzzing, ten minutes for each target"
	$(MAKE) --no-print-directory fuzz FUZZ_SECONDS=600

frameworks: ## scripts under wandb and on runlake, and the callbacks of frameworks for wandb: 10 minutes, and 8 GB the first time
	echo "[1/4] the package, into $(VENV)"
	$(MAKE) --no-print-directory tools package
	$(BIN)/pip install --quiet --group $(PACKAGE)/pyproject.toml:test
	echo "[2/4] wandb $(WANDB), into $(VENV)/wandb; its names are those that are recorded"
	test -x $(VENV)/wandb/bin/python || $(PYTHON) -m venv $(VENV)/wandb
	$(VENV)/wandb/bin/pip install --quiet "wandb==$(WANDB)" numpy pyyaml
	$(VENV)/wandb/bin/python $(PACKAGE)/tests/wandb_names.py --check
	echo "[3/4] what scripts store under wandb is what is recorded, and what they store under runlake.as_wandb"
	$(BIN)/python $(PACKAGE)/tests/wandb_oracle.py $(abspath $(VENV)/wandb/bin/python)
	$(BIN)/python -m pytest -q $(PACKAGE)/tests/test_as_wandb_scripts.py
	echo "[4/4] training in earnest: Transformers, Lightning, Accelerate, Keras on JAX, LightGBM, XGBoost, Ray, into $(VENV)/frameworks"
	test -x $(VENV)/frameworks/bin/python || $(PYTHON) -m venv $(VENV)/frameworks
	$(VENV)/frameworks/bin/pip install --quiet torch transformers accelerate lightning keras jax lightgbm xgboost-cpu scikit-learn "ray[tune]" pytest
	PYTHONPATH=$(abspath $(PACKAGE)/python) RUNLAKE_FRAMEWORKS=1 \
		RUNLAKE_WANDB=$$($(VENV)/wandb/bin/python -c 'import importlib.util as u; print(u.find_spec("wandb").submodule_search_locations[0])') \
		$(VENV)/frameworks/bin/python -m pytest -q $(PACKAGE)/tests/test_as_wandb_frameworks.py

fuzz: ## fuzzing of decoders, and of operations beside a model; FUZZ_SECONDS=60 for each target
	command -v cargo-fuzz > /dev/null || test -x "$$CARGO_TARGET_DIR/tools/bin/cargo-fuzz" \
		|| cargo install --quiet --locked --root "$$CARGO_TARGET_DIR/tools" cargo-fuzz
	export PATH="$$PATH:$$CARGO_TARGET_DIR/tools/bin"
	# The stable compiler has the address sanitizer, and asks for this where somebody wants it.
	export RUSTC_BOOTSTRAP=1
	for target in $(FUZZ_TARGETS); do
		echo "[$$target] $(FUZZ_SECONDS) seconds; the first time it is compiled, with its dependencies: about 10 minutes"
		mkdir -p fuzz/corpus/$$target
		cargo fuzz run --target-dir "$$CARGO_TARGET_DIR/fuzz" --codegen-units 16 $$target fuzz/corpus/$$target fuzz/seeds/$$target -- \
			-max_total_time=$(FUZZ_SECONDS) -timeout=30 -rss_limit_mb=2048 -malloc_limit_mb=512 -print_final_stats=1 -verbosity=1
	done

# The virtual environment with what builds the package.
tools:
	command -v cargo > /dev/null || { echo "cargo is missing: install Rust with rustup" >&2; exit 1; }
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "Python 3.10 or later is needed: make PYTHON=..." >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -c 'import importlib.metadata as m; v = m.version("pip").split("."); raise SystemExit((int(v[0]), int(v[1])) < (25, 1))' \
		|| $(BIN)/pip install --quiet --upgrade "pip>=25.1"
	test -x $(BIN)/maturin || $(BIN)/pip install --quiet "maturin>=1.9.4,<2"

# The package, built in the profile that the tests share unless PROFILE says otherwise, into the virtual environment.
package:
	VIRTUAL_ENV=$(abspath $(VENV)) $(BIN)/maturin develop --profile $(PROFILE) --manifest-path $(PACKAGE)/Cargo.toml
