# The build, for people; `make demo` and `make test` set up a new Debian 12
# machine by themselves, as root.

GO      ?= go
CACHE   ?= $(CURDIR)/.cache
# Debian's packages and the images made of them are kept here between runs.
export THAW_TEST_CACHE ?= $(CACHE)/test

AGENT   := image/embedded/thaw-agent
LDFLAGS := -s -w

.PHONY: all build demo bench bench-full test soak lint fuzz bench deps clean

all: build

## build: bin/thaw, one static binary with the guest agent inside
build:
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags='$(LDFLAGS)' -o $(AGENT) ./cmd/thaw-agent
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags='$(LDFLAGS)' -o bin/thaw ./cmd/thaw

## demo: deploy a function and start it in every way there is
demo: deps build
	bin/thaw demo --images '$(CACHE)/images' examples/hello

## bench: the papers' workloads, a few, in about ten minutes; the reports are in bench-report
BENCH = bin/thaw bench suite --own --images '$(CACHE)/images' --scratch '$(CACHE)' --out bench-report
bench: deps build
	mkdir -p '$(CACHE)'
	$(BENCH) --short $(BENCHFLAGS)

## bench-full: all of them, with enough samples to tell
bench-full: deps build
	mkdir -p '$(CACHE)'
	$(BENCH) $(BENCHFLAGS)

## test: every test, real VMs included
test: deps build
	$(GO) vet ./...
	$(GO) test -timeout 18m ./...

## soak: every kind of request for SOAK, the daemon killed twice meanwhile; accounts for all of them
SOAK ?= 10m
soak: deps build
	SOAK=$(SOAK) $(GO) test ./e2e -run '^TestSoak$$' -v -count 1 -timeout 60m

## lint: the rules in .golangci.yml
lint:
	$(GO) run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0 run

## fuzz: every fuzz target for FUZZTIME
FUZZTIME ?= 60s
fuzz:
	scripts/fuzz.sh $(FUZZTIME)

deps:
	scripts/deps.sh

clean:
	rm -rf bin $(AGENT)
