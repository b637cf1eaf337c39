# The two commands of this project, and what they are made of. `make` alone says what there is.
# Lives here: the order of steps. Not here: what the tests need (tests/setup.sh), what CI runs (.ci/run).

SHELL := /bin/bash
# Namespaces and packet filters need root; a user's own cargo builds, and sudo runs what was built.
AS_ROOT := $(if $(filter 0,$(shell id -u)),,sudo -E)
TRIPLE := $(shell rustc -vV | sed -n 's/^host: //p' | tr 'a-z-' 'A-Z_')
RUNNER := $(if $(AS_ROOT),CARGO_TARGET_$(TRIPLE)_RUNNER="$(AS_ROOT)")

.PHONY: help setup demo test bench bench-tracking bench-micro bench-scale instructions lint bsd-check

help:
	@echo "make demo   installs what it needs, builds, and shows FTP through NAT without and with ftpgate (a minute, plus the build)"
	@echo "make test   installs what it needs, and runs every test, with real servers, clients and kernel (some minutes)"
	@echo "make bench  measures ftpgate beside its peers and writes the figures into docs (less than ten minutes, plus the build)"
	@echo "make bench-tracking   measures what following data connections costs (two minutes, plus the build); see docs/benchmarks.md"
	@echo "make bench-micro   measures what a command, a session and a pinhole cost in user space (a minute, plus the build); see docs/benchmarks-micro.md"
	@echo "make instructions  counts the instructions of the same and compares them with benches/micro/instructions.txt (seconds, plus the build)"
	@echo "make bench-scale   measures idle sessions by the thousand and 20,000 pinholes (four minutes, plus the build); see docs/scaling.md"
	@echo "make lint   checks formatting, clippy and documentation"
	@echo "make bsd-check   compiles and links for FreeBSD and OpenBSD, from here (minutes the first time, then seconds); runs nothing"
	@echo "make setup  only installs what demo and test need: nft, four FTP clients; unpacks three FTP servers, HAProxy and promtool"

setup:
	@echo "== setup: clients and nft are installed by apt, servers are unpacked below target/lab and never installed"
	tests/setup.sh

demo: setup
	@echo "== demo: building ftpgate and the demo"
	cargo build --release --locked --bin ftpgate --example demo
	@echo "== demo: running"
	$(AS_ROOT) env FTPGATE="$(CURDIR)/target/release/ftpgate" "$(CURDIR)/target/release/examples/demo"

test: setup
	@echo "== test: everything, as root, because a test that lacks a privilege fails"
	$(RUNNER) cargo test --locked

bench: setup
	@echo "== bench: as root; on a quiet machine, or with more rounds (BENCH_ROUNDS=20); BENCH_ONLY=ftpgate,kernel,storm for a part"
	benches/gateway/setup.sh
	$(RUNNER) cargo bench --locked --bench gateway

bench-tracking:
	@echo "== bench-tracking: as root; on a quiet machine, or with more rounds (BENCH_ROUNDS=20)"
	$(RUNNER) cargo bench --locked --bench tracking

bench-micro:
	@echo "== bench-micro: nanoseconds and allocations; on a quiet machine"
	cargo bench --locked --bench micro

instructions: setup
	@echo "== instructions: under callgrind, so that the load of the machine does not count"
	.ci/instructions

bench-scale:
	@echo "== bench-scale: as root; HAPROXY=FILE measures HAProxy beside it"
	$(RUNNER) cargo bench --locked --bench scale

lint:
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --document-private-items

bsd-check:
	@echo "== bsd-check: fetches a compiler, both systems' headers and a linker once, and keeps them (see .ci/bsd-check)"
	.ci/bsd-check
