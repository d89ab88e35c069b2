package main

import (
	"context"
	"log/slog"
	"os"
	"time"

	"thaw"
	"thaw/metrics"
	"thaw/tracing"
)

// flushTime is how long the last spans may take to be sent.
const flushTime = 5 * time.Second

// observer is told of every invocation, once, when it has ended.
type observer func(thaw.Invocation)

// observability is what a daemon shows of itself.
type observability struct {
	metrics *metrics.Metrics
	spans   *tracing.Exporter // nil if nobody wants them
}

// observe begins to: metrics always, spans if endpoint or the environment says where
// they go.
func observe(ctx context.Context, endpoint string, logger *slog.Logger) (*observability, error) {
	o := &observability{metrics: metrics.New(buildVersion())}
	target, ok, err := tracing.FindTarget(endpoint, os.Getenv)
	if err != nil || !ok {
		return o, err
	}
	if o.spans, err = tracing.New(ctx, target, buildVersion(), logger); err != nil {
		return nil, err
	}
	logger.Info("spans are exported", "to", target.URL)
	return o, nil
}

func (o *observability) observer() observer {
	if o.spans == nil {
		return o.metrics.Observe
	}
	return func(i thaw.Invocation) {
		o.metrics.Observe(i)
		o.spans.Observe(i)
	}
}

// close sends the last spans. That they are lost is no failure of the daemon.
func (o *observability) close(ctx context.Context, logger *slog.Logger) {
	if o.spans == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTime)
	defer cancel()
	if err := o.spans.Close(ctx); err != nil {
		logger.Warn("spans are lost", "error", err)
	}
}

// inventory is an engine as the metrics look at it.
type inventory struct{ engine }

func (i inventory) Instances() []thaw.Instance     { return i.monitor.Instances() }
func (i inventory) Load() thaw.Load                { return i.load() }
func (i inventory) Prestarted() (n int, full bool) { return i.prestarted() }
func (i inventory) Functions(ctx context.Context) ([]thaw.Version, error) {
	return i.catalog.Functions(ctx)
}
func (i inventory) Snapshots(ctx context.Context) ([]thaw.Snapshot, error) {
	return i.snapshots.Snapshots(ctx)
}
