# `make run` brings up a live three-node cluster; `make test` passes all tests. Each installs what
# is missing. One cargo profile for everything, so that RocksDB's C++ is compiled once.

SHELL := /bin/bash
.DEFAULT_GOAL := help

CARGO ?= cargo
# Flags for `synckairos dev`, e.g. make run DEV_FLAGS="--http-port-base 4000"
DEV_FLAGS ?=
TARGET_DIR = $(shell $(CARGO) metadata --format-version 1 --no-deps --locked | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')

.PHONY: help
help: ## Show this help
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

.PHONY: deps
deps: ## Install the C++ toolchain that RocksDB's bindings need
	@./.ci/deps

.PHONY: build
build: deps ## Build everything
	$(CARGO) build --workspace --locked

.PHONY: run
run: build ## Run a three-node cluster on this machine until Ctrl-C
	exec "$(TARGET_DIR)/debug/synckairos" dev $(DEV_FLAGS)

.PHONY: test
test: deps ## Run all tests
	./.ci/first-release "$(TARGET_DIR)"
	$(CARGO) build --workspace --locked
	$(CARGO) test --workspace --locked --no-fail-fast

.PHONY: smoke
smoke: deps ## Break a cluster on purpose for three minutes; see jepsen/README.md
	$(CARGO) build --workspace --locked
	"$(TARGET_DIR)/debug/synckairos-jepsen" test-all --suite smoke --bin "$(TARGET_DIR)/debug/synckairos" --store "$(TARGET_DIR)/jepsen"

.PHONY: lint
lint: deps ## Check formatting, lints, documentation and dependencies; changes nothing
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	$(CARGO) clippy -p synckairos-daemon --features planted-bugs --all-targets --locked -- -D warnings
	RUSTDOCFLAGS=-Dwarnings $(CARGO) doc --workspace --no-deps --locked
	@if $(CARGO) deny --version >/dev/null 2>&1; then $(CARGO) deny check; else echo "cargo-deny is not installed: licences and advisories are not checked"; fi

.PHONY: fix
fix: ## Format the code
	$(CARGO) fmt --all

.PHONY: bench
bench: ## Measure the session machine alone; see README.md for the load tool
	$(CARGO) bench --locked -p synckairos-protocol
