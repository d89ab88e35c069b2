package tracing

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	sdk "go.opentelemetry.io/otel/sdk/trace"
)

// sendTimeout bounds one request, as the specification has it; the others wait.
const sendTimeout = 10 * time.Second

// client posts spans to a collector. It implements otlptrace.Client. The client of
// the SDK's own exporter is not used: it links all of gRPC, for HTTP as well, which
// makes the program 5.4 MB larger.
type client struct {
	target Target
	http   *http.Client
}

func newClient(target Target) *client {
	return &client{target: target, http: &http.Client{Timeout: sendTimeout, Transport: &http.Transport{Proxy: http.ProxyFromEnvironment}}}
}

// Start implements otlptrace.Client: a connection is made when it is needed.
func (*client) Start(context.Context) error { return nil }

// Stop implements otlptrace.Client.
func (c *client) Stop(context.Context) error {
	c.http.CloseIdleConnections()
	return nil
}

// UploadTraces implements otlptrace.Client. Spans that are refused or that nobody
// takes are lost: those of the next batch are as good.
func (c *client) UploadTraces(ctx context.Context, spans []*tracepb.ResourceSpans) error {
	// On the wire this is an ExportTraceServiceRequest, whose package needs gRPC.
	body, err := proto.Marshal(&tracepb.TracesData{ResourceSpans: spans})
	if err != nil {
		return fmt.Errorf("encode spans: %w", err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.target.URL, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("send spans: %w", err)
	}
	request.Header = c.target.Headers.Clone()
	request.Header.Set("Content-Type", "application/x-protobuf")
	reply, err := c.http.Do(request)
	if err != nil {
		return fmt.Errorf("send spans: %w", err)
	}
	defer reply.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(reply.Body, 64<<10)) // so that the connection can be used again
	if reply.StatusCode/100 != 2 {
		return fmt.Errorf("send spans: %s answers %s", c.target.URL, reply.Status)
	}
	return nil
}

// reporter says in the log when spans begin to be lost, and when no longer: once
// each, however many there are.
type reporter struct {
	sdk.SpanExporter
	log    *slog.Logger
	failed atomic.Bool
}

// ExportSpans implements sdk.SpanExporter. An error would go to a handler that is
// the whole program's.
func (r *reporter) ExportSpans(ctx context.Context, spans []sdk.ReadOnlySpan) error {
	err := r.SpanExporter.ExportSpans(ctx, spans)
	if was := r.failed.Swap(err != nil); was != (err != nil) {
		if err != nil {
			r.log.Warn("spans are lost until the collector takes them", "error", err)
		} else {
			r.log.Info("the collector takes spans again")
		}
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err // of Close
	}
	return nil
}
