package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"golang.org/x/net/netutil"
)

// The bounds of a connection. The bodies of requests have their own, as a
// deploy may take minutes and an invocation a quarter of an hour.
const (
	headerTimeout  = 10 * time.Second
	idleTimeout    = 2 * time.Minute
	maxHeaderBytes = 32 << 10
)

// DefaultMaxConnections bounds the descriptors and the memory of clients unless said
// otherwise. It is far more than VMs serve at once, or wait for one.
const DefaultMaxConnections = 4096

// Bounded is l with at most so many connections open at once, 0 for no bound. The system
// keeps those who come meanwhile waiting, until one closes. It owns l.
func Bounded(l net.Listener, connections int) net.Listener {
	if connections == 0 {
		return l
	}
	return netutil.LimitListener(l, connections)
}

// Serve answers requests on l with handler until ctx is done, then takes no new
// ones and waits up to drain for those that run; what is left is cut off and
// its context cancelled. It owns l. It returns nil after a stop by ctx.
func Serve(ctx context.Context, l net.Listener, handler http.Handler, drain time.Duration, logger *slog.Logger) error {
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelWarn),
		// A request outlives the signal that stops the server: it is drained.
		BaseContext: func(net.Listener) context.Context {
			return context.WithValue(context.WithoutCancel(ctx), stoppingKey{}, ctx)
		},
	}
	stopped := make(chan error, 1)
	go func() { stopped <- server.Serve(l) }()
	select {
	case err := <-stopped:
		return fmt.Errorf("serve HTTP: %w", err)
	case <-ctx.Done():
	}
	err := shutdown(ctx, server, drain)
	<-stopped
	return err
}

type stoppingKey struct{}

// untilStop returns a context that ends with ctx, that of a request, or with the
// server's own: what would go on for ever is not waited for.
func untilStop(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	server, ok := ctx.Value(stoppingKey{}).(context.Context)
	if !ok {
		return ctx, cancel
	}
	stop := context.AfterFunc(server, cancel)
	return ctx, func() { stop(); cancel() }
}

func shutdown(ctx context.Context, server *http.Server, drain time.Duration) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), drain)
	defer cancel()
	err := server.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = server.Close()
	}
	if err != nil {
		return fmt.Errorf("stop HTTP: %w", err)
	}
	return nil
}
