# The build, for people; `make demo` and `make test` set up a new Debian 12
# machine by themselves, as root.

GO      ?= go
CACHE   ?= $(CURDIR)/.cache
# Debian's packages and the images made of them are kept here between runs.
export THAW_TEST_CACHE ?= $(CACHE)/test

AGENT   := image/embedded/thaw-agent
LDFLAGS := -s -w
# The same for all that is built, so that nothing is compiled twice.
export CGO_ENABLED := 0
export GOFLAGS := -trimpath $(GOFLAGS)

.PHONY: all build demo bench bench-full test test-trees test-packages test-starts test-platform test-long soak lint fuzz bench deps clean

all: build

## build: bin/thaw, one static binary with the guest agent inside
build:
	$(GO) build -ldflags='$(LDFLAGS)' -o $(AGENT) ./cmd/thaw-agent
	$(GO) build -ldflags='$(LDFLAGS)' -o bin/thaw ./cmd/thaw

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

## test: every test but the long ones, real VMs included, in about a quarter of an hour
# (go vet is part of lint)
test: deps build
	scripts/deps.sh nodejs python3
	$(MAKE) --no-print-directory test-trees
	$(MAKE) --no-print-directory -j3 test-packages test-starts test-platform

# End-to-end tests take turns, on a core each: two processes, each with images of its own
# (a folder of them belongs to one daemon at a time), share them.
E2E_PLATFORM := ^Test(Dependencies|DiskFull|HTTP|Image|ImageHTTP|ImageRefused|ManyFunctions|MinScaleAfterRestart|Node|Prime|Provided|Redeploy|Scale|SDK)$$
E2E_LONG     := ^Test(Artifacts|Conformance|DiskFullMeanwhile|HTTPPython|ImagePython|LambdaGo|MemoryBudget|Packages|PeersGVisor|PublishKilled|PythonClients|SDKImage|Soak|Suite|Templates)$$
# What every function of the benchmark replies, natively.
LONG         := ^TestResults$$

# The Debian trees that they all need are made once, two at a time, and linked into the
# other folders: they never change.
test-trees:
	$(GO) test -vet=off -timeout 10m -count 1 ./image -run '^TestOwnTrees$$'
	cd '$(THAW_TEST_CACHE)' && mkdir -p images platform/images && for tree in images-test/python-* images-test/node-* images-test/tools-*; do \
		[ ! -d $$tree ] || { cp -al --no-clobber $$tree images/ && cp -al --no-clobber $$tree platform/images/; } || exit 1; \
	done

test-packages:
	$(GO) test -vet=off -timeout 17m -skip '$(LONG)' $$($(GO) list ./... | grep -v '/e2e$$')
test-starts:
	$(GO) test -vet=off -timeout 17m ./e2e -skip '$(E2E_PLATFORM)|$(E2E_LONG)'
test-platform:
	THAW_TEST_CACHE='$(THAW_TEST_CACHE)/platform' $(GO) test -vet=off -timeout 17m ./e2e -run '$(E2E_PLATFORM)'

## test-long: damaged snapshots, kills at each step of a deploy, full disks, hazards of clones, every template and function,
#  the benchmark suite, gVisor, AWS's clients in Python, a short soak
test-long: deps build
	$(GO) test -timeout 30m ./functions -run '$(LONG)'
	$(GO) test -timeout 30m ./e2e -run '$(E2E_LONG)'

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
