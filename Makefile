# make run     a demo store on loopback ports, in the foreground (DATA=<dir> PORT_BASE=<n>)
# make test    the whole check: format, clippy, docs, tests, tidy
# make simulate  random runs of whole stores with power cuts and faults (SEED=n SEEDS=n)
# make kills   the server killed again and again under load, on each disk (KILLS=n)
# make imaptest  Dovecot's imaptest against a demo server (IMAPTEST=<binary> IMAPTEST_TESTS=<dir>)
# make fuzz    every fuzz target for a minute, or TARGET=<name>, SECONDS=<n> (docs/reliability.md)
# make bench-index  what the full-text index costs: to make, beside deliveries, in a store of many
# make bench   Criterion benches; make bench-peers: the same load against Dovecot and Pillarbox
# make bench-search  searches of 200,000 messages, here and in Dovecot
# make bench-idle  what an idle TLS connection costs, here and in Dovecot
# make deps    Debian packages for all of the above

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c

# The demo's data directory and the number that is added to the standard ports.
DATA ?= $(HOME)/.local/share/pillarbox/demo
PORT_BASE ?= 10000
# The address to listen on. Anything but loopback is refused while the password is "demo".
LISTEN ?= 127.0.0.1

# Outside of the clone, so that a fresh clone builds in seconds.
CACHE := $(or $(PILLARBOX_CACHE),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/pillarbox)
export CARGO_TARGET_DIR ?= $(CACHE)/target
# One profile for running, linting and testing: dependencies and their C are compiled once.
# Cargo.toml says what is in it.
PROFILE := fast
CARGO = ROCKSDB_LIB_DIR="$$rocksdb" ROCKSDB_STATIC=1 cargo
# Compiles RocksDB where this machine has no archive of it yet (once, about 15 minutes).
WITH_ROCKSDB = rocksdb=$$(tools/rocksdb/build.sh);

.PHONY: run build release test lint unit simulate kills imaptest fuzz bench bench-index bench-peers bench-search bench-idle deps deps-build deps-test deps-peers clean

run: build
	@exec "$(CARGO_TARGET_DIR)/$(PROFILE)/pillarbox" demo "$(DATA)" --port-base "$(PORT_BASE)" --listen "$(LISTEN)"

build: deps-build
	@$(WITH_ROCKSDB) $(CARGO) build --locked --profile $(PROFILE) --bin pillarbox

# What is installed: optimised across crates, without the checks that only tests want.
release: deps-build
	@$(WITH_ROCKSDB) $(CARGO) build --locked --release --bin pillarbox
	@echo "$(CARGO_TARGET_DIR)/release/pillarbox"

test: deps-build deps-test lint unit

lint: deps-build
	cargo fmt --all --check
	@$(WITH_ROCKSDB) set -x; \
	$(CARGO) clippy --locked --profile $(PROFILE) --workspace --all-targets -- -D warnings; \
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --profile $(PROFILE) --workspace --no-deps --quiet

# nextest runs tests side by side and tells which one hangs; a fresh machine has only cargo test.
unit: deps-build
	@$(WITH_ROCKSDB) set -x; \
	if cargo nextest --version >/dev/null 2>&1; then \
		$(CARGO) nextest run --locked --cargo-profile $(PROFILE) --workspace; \
	else \
		$(CARGO) test --locked --profile $(PROFILE) --workspace --tests; \
	fi; \
	$(CARGO) test --locked --profile $(PROFILE) --workspace --doc --quiet

# Whole stores in a simulated world: more seeds, or one that is to be replayed (SEED=n SEEDS=1), or
# some of its steps (KEEP=3,10-12), or with a promise broken, which must be noticed (BREAK=flush|hash|dirsync|uidnext|answer|release|reference|base|key|summary|index).
SEED ?= 1
SEEDS ?= 1000
STEPS ?= 250
BREAK ?=
KEEP ?=
simulate: deps-build
	@$(WITH_ROCKSDB) PILLARBOX_SEED=$(SEED) PILLARBOX_SEEDS=$(SEEDS) PILLARBOX_STEPS=$(STEPS) PILLARBOX_BREAK=$(BREAK) PILLARBOX_KEEP=$(KEEP) \
		$(CARGO) test --locked --profile $(PROFILE) -p pillarbox-engine --lib random_runs_keep_every_promise -- --nocapture

# SIGKILL under load through the whole server, over plain calls and over io_uring; then stores killed
# in chosen system calls, and the commands that mend them.
KILLS ?= 200
kills: deps-build deps-test
	@$(WITH_ROCKSDB) PILLARBOX_KILLS=$(KILLS) PILLARBOX_KILL_POINTS=$(KILLS) \
		$(CARGO) test --locked --profile $(PROFILE) -p pillarbox -p pillarbox-engine --lib \
		--test crash --test interrupted -- --nocapture kill

# Scripted tests and stress; tools/imaptest/run.sh says where a binary comes from.
imaptest: build
	@tools/imaptest/run.sh "$(CARGO_TARGET_DIR)/$(PROFILE)/pillarbox"

# On stable Rust: without a sanitizer, which finds nothing in safe code that an assertion does not.
# New inputs go into the cache; the committed ones in fuzz/corpus only grow by hand.
TARGET ?= $(sort $(notdir $(wildcard fuzz/corpus/*)))
FUZZ_SECONDS := $(if $(filter-out undefined environment default,$(origin SECONDS)),$(SECONDS),60)
fuzz: deps-build
	@cargo fuzz --version >/dev/null 2>&1 || cargo install cargo-fuzz --locked
	@$(WITH_ROCKSDB) export ROCKSDB_LIB_DIR="$$rocksdb" ROCKSDB_STATIC=1; unset CARGO_TARGET_DIR; \
	for target in $(TARGET); do \
		mkdir -p "$(CACHE)/fuzz-corpus/$$target"; \
		echo "$$target: $(FUZZ_SECONDS) s"; \
		cargo fuzz run --sanitizer none --target-dir "$(CACHE)/fuzz-target" "$$target" \
			"$(CACHE)/fuzz-corpus/$$target" "fuzz/corpus/$$target" \
			-- -max_total_time=$(FUZZ_SECONDS) -timeout=25 -rss_limit_mb=2048 -max_len=8192 \
			-verbosity=0 -print_final_stats=1; \
	done

bench: deps-build
	@$(WITH_ROCKSDB) $(CARGO) bench --locked -p pillarbox-engine --bench sealing --bench log_append \
		--bench delivery --bench mailbox --bench message

# Each says in its first lines what it asks and by which variables it is changed.
bench-index: deps-build
	@$(WITH_ROCKSDB) set -x; for bench in indexing beside_the_indexer accounts; do \
		$(CARGO) bench --locked -p pillarbox-engine --bench "$$bench"; done

bench-peers: deps-build deps-peers release
	@python3 benches/peers/run.py --pillarbox "$(CARGO_TARGET_DIR)/release/pillarbox"

bench-search: deps-build deps-peers release
	@python3 benches/search/run.py --pillarbox "$(CARGO_TARGET_DIR)/release/pillarbox" --count 200000
	@python3 benches/search/run.py --pillarbox "$(CARGO_TARGET_DIR)/release/pillarbox" --count 8000 \
		--servers pillarbox,dovecot-xapian

bench-idle: deps-build deps-peers
	@$(WITH_ROCKSDB) $(CARGO) build --locked --release --bin pillarbox --example idle-load
	@python3 benches/idle/run.py --pillarbox "$(CARGO_TARGET_DIR)/release/pillarbox" \
		--load "$(CARGO_TARGET_DIR)/release/examples/idle-load"

deps: deps-build deps-test deps-peers

deps-build deps-test deps-peers:
	@tools/deps.sh $(patsubst deps-%,%,$@)

clean:
	rm -rf "$(CARGO_TARGET_DIR)"
