# Parley: what one types while working on it. `make` or `make help` prints this list.
SHELL       := /usr/bin/env bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# Packages that a target works on, and how long each fuzz target and benchmark runs.
PKG       ?= ./...
FUZZTIME  ?= 10s
BENCHTIME ?= 1s
BENCH     ?=
DURATION  ?= 1h

.PHONY: help
help: ## Print this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "  Variables: PKG=./topic/...  FUZZTIME=$(FUZZTIME)  BENCHTIME=$(BENCHTIME)  DURATION=$(DURATION) (of soak)  ARGS='--addr :9000' (for run)"

.PHONY: setup
setup: ## Install what building and testing need (Debian: with apt, as root)
	@scripts/setup.sh

.PHONY: generate
generate: ## Regenerate code from the protocol schema
	@scripts/setup.sh protoc
	@scripts/generate.sh

.PHONY: lint
lint: ## Vet and lint (configuration and reasons: .golangci.yaml)
	@scripts/setup.sh lint
	@scripts/test.sh generated vet lint

.PHONY: fmt
fmt: ## Format the Go code
	@scripts/setup.sh lint
	@bin/golangci-lint fmt

.PHONY: test
test: ## Everything: setup, generated code, vet, lint, JavaScript, Go with -race, browsers
	@scripts/setup.sh
	@scripts/test.sh generated vet lint js race browser

.PHONY: test-short
test-short: ## The quick part: Go tests without -race, long ones skipped
	@go test -short $(PKG)

.PHONY: fuzz
fuzz: ## Run every fuzz target for FUZZTIME each
	@scripts/fuzz.sh $(FUZZTIME) $(PKG)

.PHONY: bench
bench: ## Benchmarks: hot paths, other servers beside Parley, scenarios (BENCH=paths, compare, scenarios)
	@BENCHTIME=$(BENCHTIME) PKG=$(PKG) scripts/bench.sh $(BENCH)

.PHONY: soak
soak: ## A server under coming and going connections for DURATION: does it hold more and more?
	@scripts/soak.sh $(DURATION)

.PHONY: cover
cover: ## Test coverage, as a table here and a page in out/coverage.html
	@mkdir -p out
	@go test -coverprofile out/coverage.out -coverpkg ./... $(PKG)
	@go tool cover -html out/coverage.out -o out/coverage.html
	@go tool cover -func out/coverage.out | tail -n 1

.PHONY: run
run: ## Start the server with data in ./data
	@go run ./cmd/parley serve $(ARGS)

.PHONY: build
build: ## Build bin/parley
	@mkdir -p bin
	@CGO_ENABLED=0 go build -trimpath -o bin/parley ./cmd/parley

.PHONY: clean
clean: ## Remove what building and testing made (never ./data)
	@rm -rf bin out sdk/js/node_modules web/node_modules node_modules
