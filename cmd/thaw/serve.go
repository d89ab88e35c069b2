package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"thaw"
	"thaw/bench"
	"thaw/client"
	"thaw/daemon"
	"thaw/doctor"
	"thaw/gateway"
	"thaw/gateway/api"
	"thaw/queue"
	"thaw/tracing"
)

const (
	// drainTime is how long invocations may go on after a signal to stop, and
	// closeTime how long VMs may take to end after that.
	drainTime = 30 * time.Second
	closeTime = 20 * time.Second
	// maxPrestarted bounds the memory that is held for nothing yet.
	maxPrestarted = 64
)

type serveFlags struct {
	listen, state, images        string
	secretsKey                   string
	idle                         time.Duration
	maxInstances, maxPerFunction int
	prestarted, keepVersions     int
	prestartedMemory             bytesFlag
	memoryBudget                 bytesFlag
	queueDepth, maxConnections   int
	queueTimeout                 time.Duration
	accelerator                  string
	asyncWorkers, asyncRetries   int
	asyncDelay, asyncMaxAge      time.Duration
	asyncEvent                   bytesFlag
	queueLength                  int
	otlpEndpoint                 string
}

// engine is a running daemon as serve sees it.
type engine struct {
	invoker   gateway.Invoker
	exchanger gateway.Exchanger
	deployer  gateway.Deployer
	publisher gateway.Publisher
	journal   gateway.Journal
	catalog   gateway.Catalog
	finder    gateway.Finder
	versions  gateway.Versioner
	snapshots gateway.SnapshotCatalog
	verifier  gateway.Verifier
	monitor   gateway.Monitor
	acceptor  gateway.Acceptor
	queue     gateway.Queue
	schedules gateway.Schedules
	secrets   gateway.Secrets
	// accelerator says in one line for people what runs the guests.
	accelerator func() string
	// prestarted counts the VMMs that wait for a restore, and says whether none
	// is missing.
	prestarted func() (n int, full bool)
	// load is what VMs share, and who waits for it.
	load func() thaw.Load
	// close ends every VM.
	close func(context.Context) error
}

// starter starts an engine; its context ends a start that takes too long.
type starter func(context.Context, serveFlags, observer, *slog.Logger) (engine, error)

func newServeCommand(a *app) *cobra.Command {
	f := serveFlags{prestartedMemory: daemon.DefaultPrestartedBytes}
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the daemon",
		Long: `Run the daemon: it keeps functions, makes VMs and answers HTTP.

One line on standard output says when it is ready; its log goes to standard
error. The first SIGINT or SIGTERM lets running invocations finish, a second one
ends it at once. There is no authentication: whoever can connect can run code in
VMs, so listen on a loopback address unless something else guards the way.`,
		Example: `  thaw serve
  thaw serve --listen 127.0.0.1:8000 --state /srv/thaw --idle-timeout 5m
  thaw serve --accel tcg --max-instances 4`,
		Args:              arguments(),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if f.state, err = lookUp(cmd.Flags(), settingState); err != nil {
				return err
			}
			if err := f.check(); err != nil {
				return err
			}
			if !cmd.Flags().Changed("memory-budget") {
				f.memoryBudget = defaultMemoryBudget()
			}
			if err := preflight(cmd.Context(), f.state); err != nil {
				return err
			}
			return a.serve(cmd.Context(), f, startEngine)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.listen, "listen", client.DefaultAddr, "`address` to answer HTTP on")
	flags.StringVar(&f.state, settingState, defaultState(), "`folder` for functions, images and snapshots, also THAW_STATE")
	flags.StringVar(&f.images, "images", "", "`folder` for what guests boot from (default: in the state folder)")
	flags.StringVar(&f.secretsKey, "secrets-key", "", "`file` with the key of the secrets (default: secrets.key in the state folder)")
	flags.DurationVar(&f.idle, "idle-timeout", daemon.DefaultIdleTimeout, "how long a VM waits for the next invocation, 0 for not at all")
	flags.IntVar(&f.maxInstances, "max-instances", daemon.DefaultMaxInstances, "most VMs at once")
	flags.IntVar(&f.maxPerFunction, "max-per-function", daemon.DefaultMaxPerFunction, "most VMs at once of one function")
	flags.Var(&f.memoryBudget, "memory-budget", "most memory of all VMs, as it is measured; 0 for no limit")
	flags.Lookup("memory-budget").DefValue = fmt.Sprintf("%d%% of the machine's", memoryShare)
	flags.IntVar(&f.queueDepth, "queue-depth", daemon.DefaultQueueDepth, "most requests of one function that wait for a VM when a limit is reached")
	flags.DurationVar(&f.queueTimeout, "queue-timeout", daemon.DefaultQueueTimeout, "how long they wait before they are refused, 0 for not at all")
	flags.IntVar(&f.maxConnections, "max-connections", gateway.DefaultMaxConnections, "most connections of clients at once, others wait; 0 for no limit")
	flags.IntVar(&f.prestarted, "prestarted", daemon.DefaultPrestarted, "VMMs kept waiting for a restore, of each memory size in use")
	flags.Var(&f.prestartedMemory, "prestarted-memory", "most memory of all VMMs that wait")
	flags.IntVar(&f.keepVersions, "keep-versions", daemon.DefaultKeepVersions, "how many versions of a function to keep, besides those that serve or have an alias")
	flags.StringVar(&f.accelerator, "accel", "auto", "what runs the guests: auto, kvm or tcg")
	limits, retry := queue.DefaultLimits(), queue.DefaultRetry()
	f.asyncEvent = bytesFlag(limits.Event)
	flags.IntVar(&f.asyncWorkers, "async-workers", limits.Workers, "most asynchronous invocations at once; one function has half of them at most")
	flags.IntVar(&f.asyncRetries, "async-retries", retry.Retries, "how often an asynchronous invocation is tried again after the function failed")
	flags.DurationVar(&f.asyncDelay, "async-delay", retry.Function.Base, "most time before the first of these retries; it doubles")
	flags.DurationVar(&f.asyncMaxAge, "async-max-age", retry.MaxAge, "how long an asynchronous invocation is tried at all")
	flags.Var(&f.asyncEvent, "async-event", "largest event of an asynchronous invocation")
	flags.IntVar(&f.queueLength, "queue-length", limits.Items, "most asynchronous invocations kept, dead letters included; of one function a quarter")
	flags.StringVar(&f.otlpEndpoint, "otlp-endpoint", "", "`URL` of an OpenTelemetry collector that takes spans over HTTP, also OTEL_EXPORTER_OTLP_ENDPOINT (default: none are made)")
	completeWords(cmd, "accel", accelerators()...)
	return cmd
}

func accelerators() []string { return []string{"auto", "kvm", "tcg"} }

func (f serveFlags) check() error {
	switch {
	case !slices.Contains(accelerators(), f.accelerator):
		return thaw.Errorf(thaw.CodeInvalid, "unknown accelerator %q: choose %s", f.accelerator, strings.Join(accelerators(), ", "))
	case f.maxInstances < 1 || f.maxPerFunction < 1:
		return thaw.Errorf(thaw.CodeInvalid, "--max-instances and --max-per-function must be at least 1")
	case f.idle < 0:
		return thaw.Errorf(thaw.CodeInvalid, "--idle-timeout cannot be negative")
	case f.queueDepth < 1 || f.queueTimeout < 0:
		return thaw.Errorf(thaw.CodeInvalid, "--queue-depth must be at least 1, and --queue-timeout cannot be negative: 0 refuses at once")
	case f.maxConnections < 0:
		return thaw.Errorf(thaw.CodeInvalid, "--max-connections cannot be negative: 0 is no limit")
	case f.prestarted < 0 || f.prestarted > maxPrestarted:
		return thaw.Errorf(thaw.CodeInvalid, "--prestarted must be 0 to %d", maxPrestarted)
	case f.keepVersions < 1:
		return thaw.Errorf(thaw.CodeInvalid, "--keep-versions must be at least 1")
	case f.asyncWorkers < 1 || f.queueLength < 1:
		return thaw.Errorf(thaw.CodeInvalid, "--async-workers and --queue-length must be at least 1")
	case f.asyncRetries < 0 || f.asyncDelay < 0 || f.asyncMaxAge <= 0:
		return thaw.Errorf(thaw.CodeInvalid, "--async-retries and --async-delay cannot be negative, and --async-max-age must be more than 0")
	case f.asyncEvent < 2 || f.asyncEvent > thaw.MaxPayload:
		return thaw.Errorf(thaw.CodeInvalid, "--async-event must be 2 bytes to %s", size(thaw.MaxPayload))
	case f.state == "":
		return thaw.Errorf(thaw.CodeInvalid, "--state must name a folder")
	}
	_, _, err := tracing.FindTarget(f.otlpEndpoint, os.Getenv)
	return err
}

// preflight refuses a machine on which no daemon can start.
func preflight(ctx context.Context, state string) error {
	for _, r := range doctor.Failed(doctor.Preflight(ctx, doctor.Machine(state))) {
		return thaw.Errorf(thaw.CodeUnavailable, "thaw cannot serve here: %s: %s: %s", r.Name, r.Detail, r.Fix)
	}
	return nil
}

// serve listens first, so that a second daemon fails before it touches
// anything, then starts the engine and answers until ctx is done.
func (a *app) serve(ctx context.Context, f serveFlags, start starter) (err error) {
	logger := slog.New(slog.NewTextHandler(a.stderr, nil))
	l, err := listen(ctx, f.listen)
	if err != nil {
		return err
	}
	l = gateway.Bounded(l, f.maxConnections)
	defer l.Close() // a second close is harmless
	warnOpen(logger, l.Addr())
	o, err := observe(ctx, f.otlpEndpoint, logger)
	if err != nil {
		return err
	}
	defer o.close(ctx, logger) // after the engine
	e, err := start(ctx, f, o.observer(), logger)
	if err != nil {
		return err
	}
	o.metrics.Watch(inventory{e})
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTime)
		defer cancel()
		err = errors.Join(err, e.close(ctx))
	}()
	if err := bench.Recover(f.state); err != nil {
		logger.Warn("the disk's readahead, which a killed benchmark changed, could not be put back", "error", err)
	}
	defer context.AfterFunc(ctx, func() {
		fmt.Fprintln(a.stderr, "thaw: stopping when running invocations have ended; again to stop at once")
	})()
	if _, err := fmt.Fprintf(a.stdout, "thaw: serving on http://%s; state %s; accelerator %s\n", l.Addr(), f.state, e.accelerator()); err != nil {
		return written(err)
	}
	return gateway.Serve(ctx, l, newHandler(e, f, o.metrics.Handler(), logger), drainTime, logger)
}

func newHandler(e engine, f serveFlags, scrape http.Handler, logger *slog.Logger) http.Handler {
	started := time.Now()
	return gateway.New(gateway.Config{
		Invoker:   e.invoker,
		Exchanger: e.exchanger,
		Deployer:  e.deployer,
		Publisher: e.publisher,
		Journal:   e.journal,
		Catalog:   e.catalog,
		Finder:    e.finder,
		Versions:  e.versions,
		Snapshots: e.snapshots,
		Verifier:  e.verifier,
		Monitor:   e.monitor,
		Acceptor:  e.acceptor,
		Queue:     e.queue,
		Schedules: e.schedules,
		Secrets:   e.secrets,
		Metrics:   scrape,
		Logger:    logger,
		Info: func() api.Info {
			n, full := e.prestarted()
			return api.Info{Version: buildVersion(), Accelerator: e.accelerator(), PID: os.Getpid(), StateDir: f.state, Prestarted: n, PrestartedFull: full, Ending: e.load().Ending, Started: started}
		},
	})
}

func listen(ctx context.Context, addr string) (net.Listener, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err == nil {
		return l, nil
	}
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, thaw.Errorf(thaw.CodeUnavailable, "address %s is in use: stop the other program (is it another thaw?), or choose one with --listen", addr)
	}
	if _, ok := errors.AsType[syscall.Errno](err); ok {
		return nil, thaw.Errorf(thaw.CodeUnavailable, "%w: choose another address with --listen", err)
	}
	return nil, thaw.Errorf(thaw.CodeInvalid, "--listen %q is not valid (%w): write host:port, such as %s", addr, err, client.DefaultAddr)
}

// warnOpen says so when others than this machine can connect.
func warnOpen(logger *slog.Logger, addr net.Addr) {
	if tcp, ok := addr.(*net.TCPAddr); ok && !tcp.IP.IsLoopback() {
		logger.Warn("whoever can reach this address can run code: there is no authentication", "address", addr.String())
	}
}
