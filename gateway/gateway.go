// Package gateway is thaw's HTTP edge: it turns requests into calls of an
// engine and what comes back into replies. The words of the interface (paths,
// headers, bodies, statuses) are in package gateway/api.
//
// docs/openapi.yaml, which the daemon serves as /openapi.yaml, has every path; the
// tests compare it with the routes, and with what they send and get. There are three
// kinds: those of AWS Lambda begin with a date (docs/lambda-api.md), those of thaw
// with /v1, and those of OpenFaaS are /function, /async-function and /system.
//
// {name} may have a qualifier, name:QUALIFIER, or on Lambda's paths ?Qualifier=: a
// version, an alias or $LATEST; without one the version that serves is meant. An
// invocation of type Event is accepted into the queue and answered with 202. What is
// accepted must exist then; which version an alias names is decided at each attempt.
// How requests on OpenFaaS's paths become events, openfaas.go says; their query is the
// function's own.
//
// There is no authentication: whoever can connect can run code in VMs. What the
// gateway does keep out is web pages in a browser on the same machine, by
// refusing cross-origin requests and, on a loopback address, host names that
// are not this machine's (DNS rebinding).
package gateway

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"thaw"
	"thaw/gateway/api"
)

// Invoker runs functions. A failure of the function itself is a reply whose
// FunctionError is set, not an error.
type Invoker interface {
	Invoke(ctx context.Context, r thaw.InvokeRequest) (thaw.Reply, error)
	// Invocation returns the record of a past invocation.
	Invocation(id string) (thaw.Invocation, error)
}

// Deployer makes new versions. It reads code, a tar stream, at most once, calls
// events from one goroutine at a time and not after it has returned.
type Deployer interface {
	Deploy(ctx context.Context, name string, s thaw.Settings, code io.Reader, events func(thaw.DeployEvent)) (thaw.Version, error)
}

// Publisher makes new versions for those who do not wait for them.
type Publisher interface {
	// Publish returns when the code has been read. It does not read it afterwards,
	// nor when ctx has ended.
	Publish(ctx context.Context, r thaw.PublishRequest) (thaw.Deployment, error)
	// Deployment returns the deploy of a function that is under way, or the last one if
	// it failed; Deployments returns all of these, by name.
	Deployment(name string) (thaw.Deployment, bool)
	Deployments() []thaw.Deployment
	// Annotate sets the description of a version.
	Annotate(ctx context.Context, name string, number int, description string) error
}

// Catalog holds what is deployed.
type Catalog interface {
	// Functions returns the version of each function that serves.
	Functions(ctx context.Context) ([]thaw.Version, error)
	// Describe and the others take NAME[:QUALIFIER]. Remove without a qualifier
	// removes every version.
	Describe(ctx context.Context, name string) (thaw.Description, error)
	Remove(ctx context.Context, name string) error
	// Memory returns what the memory of a version's snapshot is made of, as policy
	// sees it.
	Memory(ctx context.Context, name string, policy thaw.Policy) (thaw.MemoryMap, error)
}

// Finder looks functions up without going through all that there are.
type Finder interface {
	// Find returns the version that NAME[:QUALIFIER] names.
	Find(ctx context.Context, name string) (thaw.Version, error)
	// Page returns the version that serves of each function q asks for, by name, and
	// whether there are more.
	Page(ctx context.Context, q thaw.FunctionQuery) (some []thaw.Version, more bool, err error)
}

// Versioner keeps the versions of functions and what points at them.
type Versioner interface {
	// Versions returns them newest first.
	Versions(ctx context.Context, name string) ([]thaw.VersionInfo, error)
	// Rollback makes a version the one that serves: with 0 the one that did before.
	Rollback(ctx context.Context, name string, number int) (thaw.Version, error)
	Aliases(ctx context.Context, name string) ([]thaw.Alias, error)
	SetAlias(ctx context.Context, name string, a thaw.Alias) error
	RemoveAlias(ctx context.Context, name, alias string) error
}

// SnapshotCatalog holds the snapshots, and what was put in quarantine.
type SnapshotCatalog interface {
	Snapshots(ctx context.Context) ([]thaw.Snapshot, error)
	DescribeSnapshot(ctx context.Context, id string) (thaw.Snapshot, error)
	// RemoveSnapshot refuses one that is in use.
	RemoveSnapshot(ctx context.Context, id string) error
}

// Verifier compares the files of a snapshot with their checksums and changes
// nothing. It calls events from one goroutine at a time and not after it has
// returned.
type Verifier interface {
	VerifySnapshot(ctx context.Context, id string, events func(thaw.FileCheck)) (thaw.Verification, error)
}

// Monitor shows what runs.
type Monitor interface {
	Instances() []thaw.Instance
	// EndIdle ends the idle instances of NAME[:QUALIFIER].
	EndIdle(name string) error
	// Logs returns what q asks for of the log of NAME[:QUALIFIER], newest last.
	Logs(name string, q thaw.LogQuery) ([]thaw.LogLine, error)
	// FollowLogs gives emit the same, and then each line as it is written, until ctx
	// ends or emit fails.
	FollowLogs(ctx context.Context, name string, q thaw.LogQuery, emit func(thaw.LogLine) error) error
}

// Acceptor takes invocations that nobody waits for. When it returns nil, the
// invocation survives whatever happens.
type Acceptor interface {
	Enqueue(ctx context.Context, r thaw.AsyncRequest) (thaw.QueueItem, error)
}

// Queue holds what was accepted and is not done.
type Queue interface {
	Items(f thaw.ItemFilter) []thaw.QueueItem
	// Item returns one with its payload.
	Item(id string) (thaw.QueueItem, []byte, error)
	// Redrive has dead letters tried again, Purge removes what does not run. They
	// return how many items these are.
	Redrive(f thaw.ItemFilter) (int, error)
	Purge(f thaw.ItemFilter) (int, error)
}

// Schedules invokes functions at times.
type Schedules interface {
	Schedules() []thaw.Schedule
	SetSchedule(ctx context.Context, s thaw.Schedule) (thaw.Schedule, error)
	RemoveSchedule(ctx context.Context, id string) error
	RemoveSchedulesOf(ctx context.Context, function string) error
}

// Secrets keeps values that functions are given. It tells nobody else what they are.
type Secrets interface {
	Secrets(ctx context.Context) ([]thaw.Secret, error)
	SetSecret(ctx context.Context, v thaw.SecretValue) (thaw.Secret, error)
	// RemoveSecret refuses one that a version names.
	RemoveSecret(ctx context.Context, name string) error
}

// Config is what a gateway stands before. All fields are required.
type Config struct {
	Invoker   Invoker
	Exchanger Exchanger
	Deployer  Deployer
	Publisher Publisher
	Journal   Journal
	Catalog   Catalog
	Finder    Finder
	Versions  Versioner
	Snapshots SnapshotCatalog
	Verifier  Verifier
	Monitor   Monitor
	Acceptor  Acceptor
	Queue     Queue
	Schedules Schedules
	Secrets   Secrets
	// Info is called for each request that asks about the daemon.
	Info func() api.Info
	// Metrics answers those who scrape.
	Metrics http.Handler
	// Patience is how long a client may take to read each large part of a reply; 0 is
	// a minute.
	Patience time.Duration
	// Logger gets one line per request and the detail of internal errors.
	Logger *slog.Logger
}

// handlers carries a Config to the handlers of requests.
type handlers struct {
	Config
	// uploads is held by those who have an archive of code in memory.
	uploads chan struct{}
	// aliasing serialises changes of an alias that keep part of it.
	aliasing *sync.Mutex
}
