# forno: `make demo` bakes two images here, `make test` passes the tests.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

export CARGO_TARGET_DIR ?= $(if $(FORNO_TARGET),$(FORNO_TARGET),$(HOME)/.cache/forno/target)
# Where tools that the checks need are kept between runs.
TOOLS ?= $(HOME)/.cache/forno/tools
DENY_VERSION := 0.20.2
FORNO := $(CARGO_TARGET_DIR)/release/forno

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

build: ## forno, optimised
	@scripts/setup build
	cargo build --release --locked --bin forno
	@echo "forno is $(FORNO)"

demo: ## bake images/base and images/worker on this machine's own pocket EC2
	@scripts/setup bake
	@cargo build --locked --bin forno
	@scripts/demo $(CARGO_TARGET_DIR)/debug/forno

test: ## everything that must hold: format, lints, licences, tests with real machines
	@scripts/setup test
	$(MAKE) lint
	scripts/test

fire: ## the bake under fire in full: every call, thirty kills, a hundred at once, all ways, a VM (long)
	@scripts/setup test
	FORNO_MATRIX=all FORNO_KILLS=30 FORNO_CROWD=100 FORNO_WAYS=all FORNO_VM=1 cargo test --locked --workspace --test it -- --nocapture --test-threads 1 crowd killed:: fire:: team_images:: virtual_machine::

lint: ## format, clippy, scripts, playbooks, jobs, licences
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets --features forno-cli/kms -- -D warnings
	shellcheck scripts/setup scripts/demo .ci/run
	provision/tests/lint.sh
	examples/nightly/check.sh
	$(MAKE) deny

$(TOOLS)/bin/cargo-deny-$(DENY_VERSION):
	cargo install --locked --debug --root $(TOOLS) --target-dir $(TOOLS)/build cargo-deny@$(DENY_VERSION)
	rm -rf $(TOOLS)/build
	mv $(TOOLS)/bin/cargo-deny $@

deny: $(TOOLS)/bin/cargo-deny-$(DENY_VERSION) ## licences, banned crates, sources
	$< --all-features check --hide-inclusion-graph bans licenses sources

advisories: $(TOOLS)/bin/cargo-deny-$(DENY_VERSION) ## known vulnerabilities (asks the advisory database)
	$< check advisories

.PHONY: help build demo test fire lint deny advisories
