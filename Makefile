# Builds, tests and runs clusterbus. Needs only Rust, Python 3.11 or newer and make; `make help` lists the targets.
# Python packages are in .venv, pinned by requirements.lock; what Rust builds is in target/, pinned by Cargo.lock. Every
# target makes what it needs first, so each works on a fresh clone.

# A pipe fails when any part of it fails.
SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
# Two stamp files: .venv holds the locked packages, and the package in it is built from the current Rust sources.
INSTALLED := $(VENV)/.installed
BUILT := $(VENV)/.built
# What only the picture of bench-peers, only the site and only fuzzing need have lock files of their own.
BENCH_INSTALLED := $(VENV)/.bench-installed
DOCS_INSTALLED := $(VENV)/.docs-installed
FUZZ_INSTALLED := $(VENV)/.fuzz-installed
AUDIT_INSTALLED := target/audit-venv/.installed
# What builds the wheel stands apart from .venv, and so does what it compiles: zig links against an old glibc.
WHEEL_VENV := target/wheel-venv
MATURIN := PATH=$(abspath $(WHEEL_VENV)/bin):$$PATH CARGO_TARGET_DIR=$(abspath target/wheel) maturin
RUST_SOURCES := $(shell find rust -path rust/fuzz -prune -o \( -name '*.rs' -o -name Cargo.toml -o -name build.rs \) -print)
PYTHON_FILES := python tests examples scripts docs
CORES := $(shell nproc)
# Tests with real servers mostly wait, so a core runs several of them.
TEST_WORKERS ?= $(shell echo $$(( $(CORES) < 5 ? 3 * $(CORES) : 16 )))
# What `make check` runs side by side; each is also a target of its own.
CHECKS := build lint-rust lint-python test-rust test-units sim-hundred

.DEFAULT_GOAL := help
.PHONY: help build demo check sim sim-hundred test loom mutate sanitize memcheck audit sim-liars \
	test-rust test-units test-python lint lint-rust lint-python \
	format docs wheel sdist bench bench-many bench-peers bench-push bench-scrape bench-slots soak fuzz instructions lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: $(BUILT) ## make .venv and install a release build into it, with everything tests and demo need

$(INSTALLED): requirements.lock
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "clusterbus needs Python 3.11 or newer")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --require-hashes --requirement requirements.lock
	touch $@

# An editable install: changes of Python files take effect at once, and only the Rust core is rebuilt.
$(BUILT): $(INSTALLED) $(RUST_SOURCES) Cargo.toml Cargo.lock pyproject.toml
	VIRTUAL_ENV=$(abspath $(VENV)) $(BIN)/maturin develop --release --locked --extras test,demo,metrics,top,uvloop
	touch $@

demo: build ## six nodes over mutual TLS: join, fail, come back
	$(BIN)/clusterbus demo

check: ## lint, tests without servers, a hundred simulated clusters: before each commit
	@rm -rf target/check && mkdir -p target/check
	@$(MAKE) --no-print-directory --jobs=$(CORES) --keep-going --output-sync $(CHECKS:%=check-%) \
		&& echo "make check: all is well, $$SECONDS s" \
		|| { cd target/check; printf '\nfailed: %s\n' "$$(ls | sed -n 's/.failed$$//p' | xargs)"; \
			grep -h '^repeat: ' *.failed; exit 1; }

# One part of `make check`. Its output goes to a file, whose end is shown when the part fails. It must not see make's
# job server, which cargo would otherwise share.
ALONE := env -u MAKEFLAGS -u MFLAGS $(MAKE) --no-print-directory $(MAKEOVERRIDES)
check-%:
	@$(ALONE) $* >target/check/$*.log 2>&1 && echo "$*: ok, $$SECONDS s" \
		|| { mv target/check/$*.log target/check/$*.failed; echo "---- the end of target/check/$*.failed"; \
			tail -n 200 target/check/$*.failed; exit 1; }

# Otherwise each of these would build the package itself.
check-lint-python check-test-units check-sim-hundred: check-build

sim: build ## a thousand simulated clusters in trouble, every rule checked after every event
	$(BIN)/clusterbus simulate --seeds 1000

sim-liars: build ## 200 simulated clusters with a member that lies
	$(BIN)/clusterbus simulate --seeds 200 --liar

sim-hundred: build
	$(BIN)/clusterbus simulate --seeds 100

test: test-rust loom test-python ## run every test, Rust and Python

# Runs the cargo command in the first argument. When a test fails, prints the command that repeats it, which begins with
# the second argument.
define cargo_tests
	@mkdir -p target
	$(1) 2>&1 | tee target/$@.log || { awk -v prefix='$(2)' -f .ci/repeat.awk target/$@.log; exit 1; }
endef

LOOM := RUSTFLAGS="--cfg loom" cargo test --release --target-dir target/loom

test-rust:
	$(call cargo_tests,cargo test --workspace --locked --no-fail-fast,cargo test)

loom: ## model-check the thread pool in every interleaving
	$(call cargo_tests,$(LOOM) --package clusterbus-engine --lib --locked,$(LOOM))

test-python: build
	$(BIN)/python -m pytest -n $(TEST_WORKERS)

mutate: build ## throw 100,000 damaged packets at running nodes; MUTATE_ARGS="2000 --seed 7" for others
	$(BIN)/python -m tests.hostile.mutation $(MUTATE_ARGS)

# Sanitizers are a matter of the nightly compiler; RUSTC_BOOTSTRAP lets the stable one do it. std itself is not rebuilt.
# Address brings leak with it; the second run has leak alone, which looks at more of what is still in use at the end.
HOST_TARGET := $(shell rustc -vV | sed -n 's/^host: //p')
define sanitized
	RUSTC_BOOTSTRAP=1 RUSTFLAGS="-Zsanitizer=$(1)" cargo test --locked --package clusterbus-wire \
		--package clusterbus-engine --target $(HOST_TARGET) --target-dir target/sanitize-$(1)
endef

sanitize: ## the tests of wire and engine under the address and the leak sanitizer
	$(call sanitized,address)
	$(call sanitized,leak)

# Without mimalloc, whose blocks memcheck does not know.
memcheck: $(INSTALLED) ## the extension under valgrind's memcheck, driven from Python
	CARGO_PROFILE_RELEASE_LTO=off cargo build --release --locked --no-default-features --package clusterbus-py \
		--target-dir target/memcheck
	$(BIN)/python scripts/memcheck.py target/memcheck/release/lib_core.so

audit: $(AUDIT_INSTALLED) ## licences, bans and sources of crates; known holes of crates and packages where a network is; AUDIT_ARGS=--strict
	$(PYTHON) scripts/audit.py $(AUDIT_ARGS)

test-units: build
	$(BIN)/python -m pytest -n $(CORES) -m "not processes"

lint: lint-rust lint-python ## rustfmt, clippy, ruff, mypy, stubtest, made files; any finding fails

lint-rust:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings

lint-python: build
	$(BIN)/ruff check $(wildcard $(PYTHON_FILES))
	$(BIN)/ruff format --check $(wildcard $(PYTHON_FILES))
	$(BIN)/mypy
	$(BIN)/mypy tests
	$(BIN)/mypy --strict examples scripts
	$(BIN)/python scripts/typed_directives.py --check
	$(BIN)/python -m mypy.stubtest clusterbus._core --concise

format: build ## rewrite the sources as rustfmt and ruff want them, and the made files
	cargo fmt --all
	$(BIN)/python scripts/typed_directives.py
	$(BIN)/ruff check --fix $(wildcard $(PYTHON_FILES))
	$(BIN)/ruff format $(wildcard $(PYTHON_FILES))

docs: build $(DOCS_INSTALLED) ## build the site into target/docs; a warning fails
	$(BIN)/sphinx-build -W --keep-going --quiet -b html docs target/docs

wheel: $(WHEEL_VENV)/.installed ## build the sdist, and from it the wheel for Linux with glibc 2.17 or newer, into dist/
	rm -rf dist
	$(MATURIN) build --quiet --sdist --zig --compatibility manylinux_2_17 --out dist

sdist: $(WHEEL_VENV)/.installed ## build the sdist into dist/
	$(MATURIN) sdist --out dist

bench-peers: build $(BENCH_INSTALLED) ## compare with Redis, Valkey, asyncio and a bare epoll loop; BENCH_ARGS=--quick for less
	cargo build --release --locked --package clusterbus-peers-bench
	PYTHONPATH=benches/peers $(BIN)/python -m runner $(BENCH_ARGS)

bench-many: build ## many buses in one process: time to join and to close, processor time at rest; BENCH_ARGS=20 for one size
	$(BIN)/python benches/many $(BENCH_ARGS)

bench-push: build ## a failover as redis-py sees it, with its own way to find the topology and with the pushed one
	PYTHONPATH=benches/push $(BIN)/python -m failover_calls $(BENCH_ARGS)

bench-scrape: build ## how long a scrape of metrics holds the main loop at 2,000 nodes; BENCH_ARGS="--nodes 500" for others
	PYTHONPATH=benches/scrape $(BIN)/python -m scrape_cost $(BENCH_ARGS)

bench-slots: build ## compare moving slots with Valkey: redis-cli --cluster fix, SETSLOT, MIGRATE; BENCH_ARGS="--rounds 2" for less
	PYTHONPATH=benches/slots $(BIN)/python -m moves $(BENCH_ARGS)

soak: build $(BENCH_INSTALLED) ## make mutate, then a mixed cluster and faults for 20 minutes; SOAK_ARGS="--minutes 5 --seed 7"
	$(MAKE) --no-print-directory mutate
	PYTHONPATH=benches/soak $(BIN)/python -m soak $(SOAK_ARGS)

fuzz: build $(FUZZ_INSTALLED) ## fuzz all parsers, guided by coverage: MINUTES=5 each, or TOTAL=60 for all; TARGET=check for one
	$(BIN)/python scripts/fuzz.py $(if $(TOTAL),--total $(TOTAL),--minutes $(or $(MINUTES),1)) $(TARGET)

$(FUZZ_INSTALLED): $(INSTALLED) requirements-fuzz.lock
	$(PIP) install --quiet --require-hashes --requirement requirements-fuzz.lock \
		|| { echo "make fuzz needs atheris (requirements-fuzz.lock), and pip finds no wheel of it for this Python"; exit 1; }
	touch $@

$(BENCH_INSTALLED): $(INSTALLED) requirements-bench.lock
	$(PIP) install --quiet --require-hashes --requirement requirements-bench.lock
	touch $@

$(WHEEL_VENV)/.installed: requirements-wheel.lock
	$(PYTHON) -m venv $(WHEEL_VENV)
	$(WHEEL_VENV)/bin/python -m pip --disable-pip-version-check install --quiet --require-hashes --requirement $<
	touch $@

$(AUDIT_INSTALLED): requirements-audit.lock
	$(PYTHON) -m venv target/audit-venv
	target/audit-venv/bin/python -m pip --disable-pip-version-check install --quiet --require-hashes --requirement $<
	touch $@

$(DOCS_INSTALLED): $(INSTALLED) requirements-docs.lock
	$(PIP) install --quiet --require-hashes --requirement requirements-docs.lock
	touch $@

instructions: ## compare instructions per packet with benches/instructions/counts.md; WRITE=--write makes a new table
	cargo build --release --locked --package clusterbus-instructions
	$(PYTHON) benches/instructions/check.py $(WRITE)

bench: bench-scrape ## run the criterion benchmarks, and measure a scrape of metrics
	cargo bench --workspace --locked

lock: $(INSTALLED) ## pin the newest versions that pyproject.toml and requirements.in allow
	$(PIP) install --quiet uv
	$(BIN)/uv pip compile pyproject.toml requirements.in --extra test --extra demo --extra metrics --extra top --extra uvloop \
		--universal --python-version 3.11 --generate-hashes --no-emit-index-url --upgrade --quiet \
		--custom-compile-command "make lock" --output-file requirements.lock
	$(BIN)/uv pip compile pyproject.toml --extra bench --constraint requirements.lock \
		--universal --python-version 3.11 --generate-hashes --no-emit-index-url --upgrade --quiet \
		--custom-compile-command "make lock" --output-file requirements-bench.lock
	$(BIN)/uv pip compile pyproject.toml --extra docs --constraint requirements.lock \
		--universal --python-version 3.11 --generate-hashes --no-emit-index-url --upgrade --quiet \
		--custom-compile-command "make lock" --output-file requirements-docs.lock
	$(BIN)/uv pip compile pyproject.toml --extra fuzz --constraint requirements.lock \
		--universal --python-version 3.11 --generate-hashes --no-emit-index-url --upgrade --quiet \
		--custom-compile-command "make lock" --output-file requirements-fuzz.lock
	$(BIN)/uv pip compile requirements-wheel.in --constraint requirements.lock \
		--universal --python-version 3.11 --generate-hashes --no-emit-index-url --upgrade --quiet \
		--custom-compile-command "make lock" --output-file requirements-wheel.lock
	$(BIN)/uv pip compile requirements-audit.in --constraint requirements.lock \
		--universal --python-version 3.11 --generate-hashes --no-emit-index-url --upgrade --quiet \
		--custom-compile-command "make lock" --output-file requirements-audit.lock
	cargo update

clean: ## remove what the other targets made
	rm -rf $(VENV) target dist
	find python -name '*.so' -delete
