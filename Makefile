# `make run` and `make test` do all the set-up by themselves, each safe to repeat.

.DEFAULT_GOAL := help
.PHONY: check help setup guest node run test test-node node-shell dist bench bench-node fuzz

CARGO_TARGET_DIR ?= target
RELEASE := $(CARGO_TARGET_DIR)/release
DIST := $(CARGO_TARGET_DIR)/dist

help: ## What can be made
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/make \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 18

setup: ## Install what is missing (as root; says what it does)
	@tests/setup/install

guest: setup ## Build the demo guest into target/guest
	@tests/guest/build

node: setup ## Build the emulated node into target/node, and its demo guests into target/guest-*
	@tests/setup/install node
	@tests/guest/build generic
	@tests/guest/build testpmd
	@tests/node/build
	@tests/node/build older

run: guest ## Boot the demo guest, prove its network both ways, power off
	cargo build --release --locked -p launcher -p tests --bin virt-launcher --bin prove
	$(RELEASE)/prove $(RELEASE)/virt-launcher run --vmi examples/masquerade.json \
		--kernel-boot-dir target/guest --allow-emulation

test: guest node ## Format, lints, documentation, every test
	@tests/setup/with-pages $(MAKE) --no-print-directory check

check: # All of `test` but its set-up
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --document-private-items --locked
	cargo build --workspace --bins --locked
	@rm -f target/not-run
	@cargo nextest run --workspace --locked $(if $(CI),--profile ci); code=$$?; \
	if [ -s target/not-run ]; then echo "NOT RUN, $$(wc -l <target/not-run):"; cat target/not-run; fi; exit $$code
	@tests/fuzz/run 2

# Static: no library to look up at either exec. Position-independent all the same: the supervisor reads what guests send
# (docs/performance.md says what both cost).
STATIC := -C target-feature=+crt-static

dist: setup ## Build the program that ships, into target/dist
	cargo rustc --profile dist --locked -p launcher --bin virt-launcher -- $(STATIC)

bench: guest dist ## Measure launch, stop, memory and control beside a bare QEMU and libvirt, into target/bench
	@tests/setup/install bench
	cargo build --profile dist --locked -p tests --bin bench
	$(DIST)/bench $(BENCH)

test-node: node ## The emulated node's cases alone; CASE=WORD: those whose names contain it
	cargo build --workspace --bins --locked
	cargo test --quiet --locked -p tests --test node -- $(CASE)

node-shell: node ## A prompt on the emulated node; `exit` ends it, SHAPE=NAME picks another than the default
	cargo build --workspace --bins --locked
	cargo test --quiet --locked -p tests --test node -- --shell $(SHAPE)

bench-node: node ## Compare a VM's networks, regular, faster and really fast, in the emulated node, into target/bench
	cargo build --workspace --bins --locked
	$(CARGO_TARGET_DIR)/debug/bench-node

FUZZ_SECONDS ?= 10

fuzz: ## Fuzz everything that reads what others send, FUZZ_SECONDS each
	@tests/fuzz/run $(FUZZ_SECONDS) $(TARGET)
