# What a newcomer needs: make demo, make test. `make help` lists the rest.
GO        ?= go
GOTESTSUM := $(GO) run gotest.tools/gotestsum@v1.13.0
STATICCHECK := $(GO) run honnef.co/go/tools/cmd/staticcheck@v0.8.2
BIN       := .cache/securecache
VAULTDEV  := $(CURDIR)/.cache/vaultdev
WITH_VAULT = SECURECACHE_VAULT="$$(command -v vault || echo $(VAULTDEV))"
MODULES   := . internal/vaultdev bench
FUZZTIME  ?= 20s
# What make test tests.
PACKAGES  ?= ./...
# Programs built with -race sleep for a second at their end otherwise.
export GORACE ?= atexit_sleep_ms=0
# What go test prints, with the reason of every skipped test behind it.
REPORT    := --format pkgname
# Always anew, and make lint vets.
FRESH     := -count=1 -vet=off

.DEFAULT_GOAL := help
.PHONY: help demo build test test-race test-fips test-vault test-modules test-all bench vet lint fuzz examples matrix certs vectors vault clean servers

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: ## the whole product in one minute, on a throw-away server
	@$(GO) run ./cmd/securecache demo

build: ## the command, into .cache
	$(GO) build -trimpath -o $(BIN) ./cmd/securecache

servers:
	@.ci/servers redis

test: servers ## the tests, on a real Redis: under five minutes
	$(GOTESTSUM) $(REPORT) -- $(FRESH) -timeout 5m $(PACKAGES)

test-race: vault servers
	$(WITH_VAULT) SECURECACHE_LONG=1 $(GOTESTSUM) $(REPORT) -- $(FRESH) -race -timeout 20m ./...

test-fips: vault servers
	$(WITH_VAULT) GODEBUG=fips140=only $(GOTESTSUM) $(REPORT) -- $(FRESH) -timeout 15m ./...

test-vault: vault servers ## what needs a real Vault, alone
	$(WITH_VAULT) $(GOTESTSUM) $(REPORT) -- $(FRESH) -race -timeout 15m ./keys/vault/... ./internal/vaulttest/... ./cmd/...

test-modules: servers vault
	@for m in internal/vaultdev bench; do (cd $$m && $(GOTESTSUM) $(REPORT) -- $(FRESH) -timeout 15m ./...) || exit 1; done

test-all: test-modules test-fips test-race ## all of it: -race, FIPS only, a real Vault, the long runs

bench: ## the table of ratios against the peers, on one mutual-TLS server
	cd bench && $(GO) run .

vet:
	@for m in $(MODULES); do (cd $$m && echo "vet $$m" && $(GO) vet ./...) || exit 1; done
	@echo "vet . for macOS" && GOOS=darwin $(GO) vet ./...

lint: vet ## vet, gofmt, staticcheck, tidy, luacheck
	@unformatted=$$("$$($(GO) env GOROOT)/bin/gofmt" -l $$(git ls-files '*.go')) || exit 1; \
	  test -z "$$unformatted" || { echo "not gofmt'ed:"; echo "$$unformatted"; exit 1; }
	@for m in $(MODULES); do (cd $$m && echo "staticcheck $$m" && $(STATICCHECK) ./...) || exit 1; done
	@for m in $(MODULES); do (cd $$m && echo "tidy $$m" && $(GO) mod tidy -diff) || exit 1; done
	@if command -v luacheck >/dev/null; then luacheck --no-color scripts/lua; else echo "luacheck is not on PATH: the scripts were not linted"; fi

fuzz: ## each fuzz target for FUZZTIME
	@grep -rl --include='*_test.go' '^func Fuzz' . | while read -r file; do \
	  for target in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\).*/\1/p' $$file); do \
	    echo "fuzz $$target" && $(GO) test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x ./$$(dirname $$file) || exit 1; \
	  done; done

examples: servers ## build and run every example
	@for e in examples/*/; do echo "example $$e" && $(GO) run ./cmd/securecache dev -- $(GO) run ./$$e || exit 1; done

matrix: servers ## the table of docs/tls.md, from what the servers do
	$(GO) test -count=1 -run '^TestMatrix$$' ./hardening -update

certs: ## the matrix of good and bad certificates, into testdata/certs
	$(GO) run ./internal/server/gencerts testdata/certs

vectors: ## add golden vectors that are missing; none is ever rewritten
	$(GO) run ./codec/internal/genvectors testdata/vectors

vault: $(VAULTDEV) ## the real Vault for tests, where no vault is on PATH

$(VAULTDEV): $(wildcard internal/vaultdev/*.go) internal/vaultdev/go.mod
	@if command -v vault >/dev/null; then echo "vault is on PATH: nothing to build"; else \
	  echo "building a Vault server for the tests: some minutes, once" && mkdir -p $(@D) && cd internal/vaultdev && $(GO) build -trimpath -o $@ . ; fi

clean: ## what was built or generated
	rm -rf .cache testdata/certs/out
