# Everything runs as root or through sudo, and a second time at no cost.

GO       ?= go
FUZZTIME ?= 10s
PICTURES ?=
BENCH    ?=
ONLY     ?=
VERSION  := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)

# The same flags everywhere, so that tests that build the programs find them
# compiled. The version is stamped by -ldflags; Go's own stamp would fail in a
# tree that belongs to somebody else.
export GOFLAGS := $(strip $(GOFLAGS) -trimpath -buildvcs=false)

# The race detector looks at our code and at the libraries that run goroutines
# of theirs. Left out are SQLite, which is C by a translator with one mutex for
# all, the C library and the allocator below it, a cipher that tests fill files
# with, and the arithmetic of signatures: instrumented, they took most of the
# processor time of the slowest packages.
RACE := -race -gcflags='modernc.org/...=-d=checkptr=0' \
	$(foreach p,modernc.org/sqlite/lib modernc.org/libc modernc.org/memory golang.org/x/crypto/chacha20 \
		crypto/internal/fips140/edwards25519 crypto/internal/fips140/edwards25519/field,-gcflags='$p=-race=false -d=checkptr=0')

# Parts of which no test may skip itself.
REQUIRE := IPDC_TEST_REQUIRE=docker,images,kubo,mosquitto,compose,runsc,schemathesis,wasm,index,netns,fuse,s3,root

comma := ,
space := $(subst x, ,x)
bench := $(subst $(comma),$(space),$(BENCH))

# Tests and demos mount file systems, which takes root rights.
AS_ROOT := $(if $(filter-out 0,$(shell id -u)),sudo -E env "PATH=$(PATH)" "HOME=$(HOME)")
EXEC    := $(if $(AS_ROOT),-exec '$(AS_ROOT)')

.DEFAULT_GOAL := help
.PHONY: help build images container compose engine parts test prove prove-long test-unit demo bench scale lint generate verify fuzz clean go

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: go ## bin/ipdc and bin/ipdc-guest
	CGO_ENABLED=0 $(GO) build -ldflags '-s -w -X main.version=$(VERSION)' -o bin/ ./cmd/ipdc ./cmd/ipdc-guest

engine: ## make sure that a Docker Engine answers; installs what is missing
	@scripts/engine.sh

images: engine build ## build the stock images and load them into the engine
	@$(AS_ROOT) bin/ipdc image build

container: build ## the node as an image, ipdc/sidecar; docs/install.md
	@DOCKER_BUILDKIT=0 $(AS_ROOT) docker build -q -t ipdc/sidecar .

compose: images ## a domain of three nodes, mosquitto and a Kubo; docs/machines.md
	@scripts/engine.sh compose
	@scripts/kubo.sh >/dev/null
	@$(AS_ROOT) scripts/compose.sh up

# The end-to-end tests count what is left on the machine, so they run alone;
# those that mostly wait run three at a time.
# A package that fails does not keep the others from running, nor does a part
# that cannot be built: the tests that need it fail. internal/prove prints what
# go test prints, and counts the rows of docs/threats.tsv and docs/faults.tsv.
test: parts ## all tests, with the real engine, the race detector and stock images
	@rm -f build/rows build/rows.times
	@export $(REQUIRE); code=0; \
	build/prove run -to build/rows -- $(GO) test -json $(RACE) -p 2 -timeout 20m $(EXEC) $$($(GO) list ./... | grep -v '/e2e$$') || code=$$?; \
	build/prove run -to build/rows -count -- $(GO) test -json $(RACE) -parallel 3 -timeout 45m $(EXEC) ./e2e || code=$$?; \
	exit $$code

prove: parts ## run the tests of docs/guarantees.md, and say what each came to; ONLY=G01,G02
	@export $(REQUIRE); build/prove guarantees -only '$(ONLY)' -- $(GO) test -json -timeout 45m $(EXEC)

prove-long: parts ## campaigns that take hours, for docs/campaigns.md; goes on where it was stopped; ONLY=fuzz
	@export $(REQUIRE); build/prove long -only '$(ONLY)' -- $(GO) test $(EXEC)

# What the tests of real parts need.
parts: go
	@scripts/engine.sh test
	@$(MAKE) --no-print-directory images
	-@scripts/kubo.sh >/dev/null
	-@scripts/runsc.sh
	-@scripts/mosquitto.sh >/dev/null
	-@scripts/versitygw.sh >/dev/null
	-@scripts/schemathesis.sh install
	-@$(AS_ROOT) scripts/compose.sh images
	@mkdir -p build && $(GO) build -o build/prove ./internal/prove

test-unit: go ## the tests that need no engine and no root rights
	DOCKER_HOST=unix:///nonexistent $(GO) test -short ./...

demo: images ## a whole job, with pictures; PICTURES=DIR for your own
	@scripts/demo.sh $(if $(PICTURES),'$(PICTURES)')

# BENCH=mr measures map-reduce alone, and BENCH=mr,full on a GiB; other words are
# names of sections as e2e/bench_test.go has them.
bench: images ## measure, and write docs/benchmarks.md; BENCH=mr: map-reduce only, BENCH=full: more of it
	@scripts/kubo.sh >/dev/null
	-@scripts/runsc.sh
	-@$(if $(filter mr wordcount full,$(bench)),$(AS_ROOT) scripts/pyspark.sh >/dev/null)
	IPDC_BENCH_FULL='$(filter full,$(bench))' IPDC_BENCH_ONLY='$(subst $(space),$(comma),$(patsubst mr,wordcount terasort,$(filter-out full,$(bench))))' \
	IPDC_TEST_REQUIRE=docker,images,kubo IPDC_BENCH=$(CURDIR)/docs/benchmarks.md $(GO) test -count=1 -timeout 60m $(EXEC) -run '^TestBench$$' ./e2e

scale: go ## simulate 10, 50 and 200 nodes, and write the tables of docs/scale.md
	IPDC_SCALE=$(CURDIR)/docs/scale.md $(GO) test -count=1 -timeout 30m -run '^TestScaleCurves$$' ./sidecar

lint: go ## gofmt, go vet, staticcheck, shellcheck and govulncheck when installed, go mod verify
	@unformatted=$$(gofmt -l .); [ -z "$$unformatted" ] || \
		{ echo "not formatted (mend it with: gofmt -w .):" $$unformatted >&2; exit 1; }
	$(GO) vet ./...
	$(GO) tool staticcheck ./...
	@if command -v shellcheck >/dev/null; then shellcheck scripts/*.sh init/compose/*.sh .ci/run; \
	else echo "shellcheck is not installed, scripts are not checked; mend it with: sudo apt-get install -y shellcheck" >&2; fi
	$(GO) mod verify
	@if command -v govulncheck >/dev/null; then govulncheck ./...; \
	else echo "govulncheck is not installed, known holes are not looked for; mend it with: $(GO) install golang.org/x/vuln/cmd/govulncheck@v1.9.0" >&2; fi

generate: go ## generated files
	$(GO) generate ./...

verify: generate ## fail when generated files are not up to date
	@git diff --exit-code --stat || \
		{ echo "generated files differ from what is committed; commit what make generate made" >&2; exit 1; }

fuzz: go ## each fuzz target for FUZZTIME (10s)
	@grep -rEo '^func Fuzz[A-Za-z0-9_]*' --include='*_test.go' . | sed 's/:func / /' | while read -r file name; do \
		echo "$$file $$name"; \
		$(GO) test -run '^$$' -fuzz "^$$name$$" -fuzztime $(FUZZTIME) "$$(dirname "$$file")" || exit 1; \
	done

clean: ## remove bin and build
	@if [ -x bin/ipdc ] && [ -d build/demo/node ]; then IPDC_PATH=build/demo/node $(AS_ROOT) bin/ipdc node stop 2>/dev/null || true; fi
	$(AS_ROOT) rm -rf bin build

go:
	@command -v $(GO) >/dev/null || { echo "Go is missing; install Go 1.26 or later and put it on PATH" >&2; exit 1; }
