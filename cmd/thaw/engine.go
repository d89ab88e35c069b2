package main

import (
	"context"
	"log/slog"

	"thaw/daemon"
)

// startEngine is the one place that puts the daemon behind the gateway.
func startEngine(ctx context.Context, f serveFlags, observe observer, logger *slog.Logger) (engine, error) {
	d, err := daemon.New(ctx, daemon.Config{
		StateDir:        f.state,
		ImageDir:        f.images,
		IdleTimeout:     f.idle,
		MaxInstances:    f.maxInstances,
		MaxPerFunction:  f.maxPerFunction,
		KeepVersions:    f.keepVersions,
		Prestarted:      f.prestarted,
		PrestartedBytes: int64(f.prestartedMemory),
		Accelerator:     f.accelerator,
		Observer:        observe,
		Logger:          logger,
	})
	if err != nil {
		return engine{}, err
	}
	return engine{invoker: d, deployer: d, catalog: d, versions: d, snapshots: d, verifier: d, monitor: d, accelerator: d.Accelerator, prestarted: d.Prestarted, close: d.Close}, nil
}
