# FolioMQ. A bare `make` lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help run test unit clients conformance check fix bench-transfer demo clean

BIN := target/release/foliomq
NEXTEST := $(shell command -v cargo-nextest 2>/dev/null)

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: binary ## build the broker and serve on 127.0.0.1:8081 (ARGS="..." adds flags)
	@exec $(BIN) serve $(ARGS)

.PHONY: binary
binary:
	cargo build --locked --release -p foliomq

test: locks binary clients unit conformance ## everything: unit, property, crash and end-to-end tests, official clients included

# Workspaces of their own: what they depend on is nobody else's.
ASIDE := benches/peers tests/fuzz/fuzz tests/clients/rust
.PHONY: locks
locks: # the lock files of the workspaces aside follow the crates they use; nothing is fetched for it but the registry's index
	@for workspace in $(ASIDE); do \
		cargo update --quiet --workspace --locked --manifest-path $$workspace/Cargo.toml; \
	done

unit: binary clients ## the Rust tests and the documentation's examples
ifdef NEXTEST
	cargo nextest run --locked --workspace
else
	cargo test --locked --workspace --lib --bins --tests --examples
endif
	cargo test --locked --workspace --doc

clients: ## install the official Python, Node.js and Rust clients for the tests (in this folder only)
	tests/setup

conformance: binary clients ## the official clients against the real binary; prints client x scenario
	cargo run --locked -q -p foliomq-tests --bin conformance -- --binary $(BIN)

check: locks ## formatting, clippy and documentation, warnings denied; that what stands aside compiles
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps
	cargo check --locked --manifest-path benches/peers/Cargo.toml --target-dir target
	if command -v c++ >/dev/null; then \
		cargo check --locked --manifest-path tests/fuzz/fuzz/Cargo.toml --target-dir target; \
	else \
		echo "skipped: the fuzz targets, since libFuzzer needs a C++ compiler"; \
	fi

fix: ## format, and apply clippy's suggestions
	cargo fmt --all
	cargo clippy --locked --workspace --all-targets --fix --allow-dirty --allow-staged

# How many images for each mode, for how long at least (seconds), and with which seed.
CRASH_IMAGES ?= 200
CRASH_SECONDS ?=
CRASH_SEED ?=
# The page that is written of them, if any.
CRASH_PAGE ?=
CRASH_TABLES := $(addprefix target/crash-,power.json planted.json flush-error.json)
.PHONY: durability
durability: ## try every durability mode against every fault, and write docs/durability.md (SEED=... repeats a run)
	cargo run --locked --release -q -p foliomq-crashkit --bin durability -- docs/durability.md

.PHONY: crash
crash: SEED := $(if $(CRASH_SEED),--seed $(CRASH_SEED))
crash: RIG := target/release/crashrig
crash: ## cut the power and fail the device under a store, on a real kernel (as root; CRASH_IMAGES=200 CRASH_SECONDS=...)
	cargo build --locked --release -q -p foliomq-crashrig
	$(RIG) power --images $(CRASH_IMAGES) $(if $(CRASH_SECONDS),--seconds $(CRASH_SECONDS)) $(SEED) --json target/crash-power.json
	$(RIG) power --images 20 --fault acknowledged-early --fault lying-device $(SEED) --json target/crash-planted.json
	$(RIG) flush-error --rounds 3 $(SEED) --json target/crash-flush-error.json
	$(if $(CRASH_PAGE),$(RIG) page --out $(CRASH_PAGE) $(CRASH_TABLES))

.PHONY: bench-store
bench-store: locks ## all that the store is held to, as a table; writes docs/benchmarks/store.* (under 30 minutes; QUICK=1: under 3)
	cargo build --locked --release -q -p foliomq-benches
	cargo run --locked --release -q --manifest-path benches/peers/Cargo.toml --target-dir target -- \
		measure --out target/bench-crates --quick
	target/release/foliomq-benches $(if $(QUICK),--quick --rounds 1,--rounds 3) --crates target/bench-crates/crates.json \
		--report docs/benchmarks/store.md --json docs/benchmarks/store.json

# How long for each target (seconds), and which.
FUZZ_SECONDS ?= 60
FUZZ_TARGETS ?= segment checkpoint indexes control metadata message
CARGO_FUZZ := target/tools/bin/cargo-fuzz
.PHONY: fuzz
fuzz: $(CARGO_FUZZ) ## hostile bytes in the store's files, by libFuzzer (FUZZ_SECONDS=60 for each of FUZZ_TARGETS="...")
	for target in $(FUZZ_TARGETS); do \
		mkdir -p target/fuzz/corpus/$$target target/fuzz/found; \
		RUSTC_BOOTSTRAP=1 $(CARGO_FUZZ) fuzz run --fuzz-dir tests/fuzz/fuzz --target-dir target/fuzz $$target \
			target/fuzz/corpus/$$target tests/fuzz/corpus/$$target -- -max_total_time=$(FUZZ_SECONDS) -timeout=20 \
			-max_len=4096 -detect_leaks=0 -print_final_stats=1 -artifact_prefix=target/fuzz/found/$$target-; \
	done

.PHONY: fuzz-grpc
fuzz-grpc: binary ## hostile requests by random programs to every gRPC method of the real binary (FUZZ_SECONDS=60 FUZZ_SEED=...)
	cargo run --locked -q -p foliomq-tests --bin fuzz_grpc -- --binary $(BIN) --seconds $(FUZZ_SECONDS) \
		$(if $(FUZZ_SEED),--seed $(FUZZ_SEED))

# The sanitizers' switches need RUSTC_BOOTSTRAP, no other compiler.
$(CARGO_FUZZ):
	cargo install --root target/tools --locked --version 0.13.2 cargo-fuzz

.PHONY: bench-cold bench-read bench-crates
bench-cold: ## ways to read history beside a hot head: faults, populate, give back, uncached; writes docs/benchmarks/coldways.*
	cargo run --locked --release -q -p foliomq-benches --bin coldways -- --out docs/benchmarks $(if $(QUICK),--memory 128 --rounds 1)

bench-read: ## mapped reads against pread, BufReader and chunks; writes docs/benchmarks/read.* (QUICK=1: under 2 minutes)
	cargo run --locked --release -q -p foliomq-benches --bin reading -- --out docs/benchmarks $(if $(QUICK),--quick)

bench-crates: ## the store beside six other crates; writes docs/benchmarks/crates.* (QUICK=1: under 2 minutes)
	cargo run --locked --release -q --manifest-path benches/peers/Cargo.toml --target-dir target -- \
		measure --out docs/benchmarks $(if $(QUICK),--quick)

bench-transfer: ## how stored messages reach a socket; writes docs/benchmarks/transfer.* (QUICK=1: 2 minutes; root: more networks)
	cargo run --locked --release -q -p foliomq-benches --bin transfer -- $(if $(QUICK),--quick)

.PHONY: bench-lite
bench-lite: binary ## 100,000 lite topics with a subscriber each, memory and idle time; writes docs/benchmarks/lite.md
	cargo run --locked --release -q -p foliomq-tests --bin lite -- --binary $(BIN) --out docs/benchmarks/lite.md

.PHONY: bench-delivery
# Where make bench-lite leaves its figures for it.
LITE_FIGURES := target/bench-lite.json
bench-delivery: binary ## delayed messages, acks, messages in flight and lite topics, as a table; writes docs/benchmarks/delivery.* (QUICK=1)
	cargo build --locked --release -q -p foliomq-benches --bin delivery
	cargo run --locked --release -q -p foliomq-tests --bin lite -- --binary $(BIN) --json $(LITE_FIGURES) \
		$(if $(QUICK),--lite-topics 10000 --clients 5,--out docs/benchmarks/lite.md) >/dev/null
	target/release/delivery --binary $(BIN) --lite $(LITE_FIGURES) $(if $(QUICK),--quick)

.PHONY: bench-wire bench-peers
bench-wire: binary ## the broker on the wire beside bare tonic; writes docs/benchmarks/wire.* (under 30 minutes; QUICK=1: under 3)
	cargo build --locked --release -q -p foliomq-benches --bin wire
	target/release/wire --binary $(BIN) $(if $(QUICK),--quick)

bench-peers: binary ## the broker beside NATS JetStream and Redis Streams, if installed; writes docs/benchmarks/peers.* (QUICK=1)
	cargo build --locked --release -q -p foliomq-benches --bin wire
	target/release/wire --binary $(BIN) $(if $(QUICK),--quick) peers

demo: binary ## a broker, a few messages through it, and a look at its log; all in a temporary folder
	examples/demo.sh $(BIN)

clean: ## remove what was built and installed here
	cargo clean
	rm -rf tests/.venv tests/clients/node/node_modules tests/clients/rust/target
