// Command thaw runs functions in microVMs that start from memory snapshots. It
// is the daemon (thaw serve) and the client of one: see thaw --help.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	_ "time/tzdata" // schedules name zones, and a machine may have none

	"thaw/conformance/probe"
)

func main() {
	if probe.IsBootstrap() {
		fmt.Fprintln(os.Stderr, "thaw conformance:", probe.Serve())
		os.Exit(exitFunction)
	}
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		<-signals
		cancel()
		<-signals // a shell may have had us ignore it: the default will not do
		os.Exit(exitInterrupted)
	}()
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
