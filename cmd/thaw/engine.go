package main

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"

	"thaw"
	"thaw/daemon"
	"thaw/gateway"
	"thaw/queue"
	"thaw/schedule"
)

// startEngine is the one place that puts the daemon behind the gateway.
func startEngine(ctx context.Context, f serveFlags, observe observer, logger *slog.Logger) (engine, error) {
	var e engine // whole once there is a daemon for the queue to invoke, and before any request
	d, err := daemon.New(ctx, daemon.Config{
		StateDir:        f.state,
		ImageDir:        f.images,
		SecretsKey:      f.secretsKey,
		IdleTimeout:     f.idle,
		MaxInstances:    f.maxInstances,
		MaxPerFunction:  f.maxPerFunction,
		MemoryBudget:    int64(f.memoryBudget),
		QueueDepth:      f.queueDepth,
		QueueTimeout:    f.queueTimeout,
		KeepVersions:    f.keepVersions,
		NamedBy:         func(ref thaw.Ref) string { return schedule.NamedBy(e.schedules.Schedules(), ref) },
		Prestarted:      f.prestarted,
		PrestartedBytes: int64(f.prestartedMemory),
		Accelerator:     f.accelerator,
		Observer:        observe,
		Logger:          logger,
	})
	if err != nil {
		return engine{}, err
	}
	e, err = withQueue(d, f, logger)
	if err != nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTime)
		defer cancel()
		return engine{}, errors.Join(err, d.Close(ctx))
	}
	return e, nil
}

// withQueue puts the queue and the schedules in front of d. What accepts and fires
// ends first, then what is under way, then the daemon.
func withQueue(d *daemon.Daemon, f serveFlags, logger *slog.Logger) (engine, error) {
	limits, retry := queue.DefaultLimits(), queue.DefaultRetry()
	limits.Workers, limits.WorkersPerFunction = f.asyncWorkers, max(1, f.asyncWorkers/2)
	limits.Items, limits.PerFunction = f.queueLength, max(1, f.queueLength/4)
	limits.Event = int(f.asyncEvent)
	retry.Retries, retry.MaxAge, retry.Function.Base = f.asyncRetries, f.asyncMaxAge, f.asyncDelay
	callbacks := gateway.NewCallbacks()
	q, err := queue.Open(queue.Config{
		Path: filepath.Join(f.state, "queue.db"), Invoker: d, Deliver: callbacks, Limits: limits, Retry: retry, Logger: logger,
	})
	if err != nil {
		return engine{}, err
	}
	schedules := schedule.Start(q, nil, logger)
	return engine{
		invoker: d, exchanger: d, deployer: d, publisher: d, journal: d, catalog: d, finder: d, versions: d, snapshots: d, verifier: d, monitor: d, acceptor: q, queue: q, schedules: schedules, secrets: d,
		accelerator: d.Accelerator, prestarted: d.Prestarted, load: d.Load,
		close: func(ctx context.Context) error {
			schedules.Close()
			err := errors.Join(q.Close(ctx), d.Close(ctx))
			callbacks.Close()
			return err
		},
	}, nil
}
