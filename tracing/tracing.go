// Package tracing exports invocations as OpenTelemetry spans: one for each
// invocation and one for each phase of it, over OTLP/HTTP
// (https://opentelemetry.io/docs/specs/otlp/#otlphttp).
//
// A span is made out of the record of an invocation that has ended, so tracing is
// not in the way of one. What cannot be sent is dropped, and the log says so.
package tracing

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"thaw"
)

// Exporter sends spans from the background. Its methods may be called concurrently;
// Close ends it.
type Exporter struct {
	provider *sdk.TracerProvider
	tracer   trace.Tracer
}

// New returns an exporter to target. Spans carry version as that of the service;
// OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES and OTEL_TRACES_SAMPLER are heeded.
func New(ctx context.Context, target Target, version string, log *slog.Logger) (*Exporter, error) {
	exporter, err := otlptrace.New(ctx, newClient(target))
	if err != nil {
		return nil, fmt.Errorf("begin to export spans: %w", err)
	}
	about, err := resource.New(ctx,
		resource.WithAttributes(attribute.String("service.name", "thaw"), attribute.String("service.version", version)),
		resource.WithHost(), resource.WithTelemetrySDK(), resource.WithFromEnv())
	if err != nil {
		log.Warn("a part of the attributes of spans is missing", "error", err)
	}
	// The batches and how many spans wait for one are those of the SDK: 512 and 2048.
	provider := sdk.NewTracerProvider(sdk.WithResource(about), sdk.WithBatcher(&reporter{SpanExporter: exporter, log: log}))
	return &Exporter{provider: provider, tracer: provider.Tracer("thaw", trace.WithInstrumentationVersion(version))}, nil
}

// Close sends what waits, until ctx ends, and gives up on the rest.
func (e *Exporter) Close(ctx context.Context) error {
	if err := e.provider.Shutdown(ctx); err != nil {
		return fmt.Errorf("send the last spans: %w", err)
	}
	return nil
}

// Observe makes the spans of an invocation, which has ended.
func (e *Exporter) Observe(i thaw.Invocation) {
	parent := propagation.TraceContext{}.Extract(context.Background(), propagation.MapCarrier{
		"traceparent": i.Trace.Parent, "tracestate": i.Trace.State,
	})
	ctx, span := e.tracer.Start(parent, "invoke "+i.Function, trace.WithSpanKind(trace.SpanKindServer), trace.WithTimestamp(i.Time))
	defer span.End(trace.WithTimestamp(i.Time.Add(time.Duration(i.DurationMS * float64(time.Millisecond)))))
	if !span.IsRecording() {
		return // not sampled
	}
	span.SetAttributes(attributes(i)...)
	switch {
	case i.Error != "":
		span.SetStatus(codes.Error, i.Error)
	case i.FunctionError != "":
		span.SetStatus(codes.Error, i.FunctionError)
	}
	for _, s := range i.Spans {
		begin := i.Time.Add(time.Duration(s.StartUS) * time.Microsecond)
		_, phase := e.tracer.Start(ctx, s.Phase, trace.WithTimestamp(begin))
		phase.End(trace.WithTimestamp(begin.Add(time.Duration(s.DurationUS) * time.Microsecond)))
	}
}

// attributes says of an invocation what its record does. The names that begin with
// faas are OpenTelemetry's (semantic conventions, FaaS spans).
func attributes(i thaw.Invocation) []attribute.KeyValue {
	list := []attribute.KeyValue{
		attribute.String("faas.invoked_name", i.Function),
		attribute.Int("faas.version", i.Version),
		attribute.String("faas.invocation_id", i.ID),
		attribute.Bool("faas.coldstart", i.Start != thaw.StartWarm),
		attribute.String("faas.instance", i.Instance),
		attribute.String("thaw.start", string(i.Start)),
		attribute.String("thaw.policy", string(i.Policy)),
		attribute.Bool("thaw.prestarted", i.Prestarted),
		attribute.Int64("thaw.faults.trapped", i.Faults.Trapped),
		attribute.Int64("thaw.faults.major", i.Faults.Major),
		attribute.Int64("thaw.faults.minor", i.Faults.Minor),
		attribute.Int64("thaw.bytes_read", i.BytesRead),
		attribute.Int64("thaw.pages_prefetched", i.PagesPrefetched),
		attribute.Int64("thaw.pages_recorded", i.PagesRecorded),
	}
	for name, value := range map[string]string{"thaw.reason": i.Reason, "error.type": errorType(i)} {
		if value != "" {
			list = append(list, attribute.String(name, value))
		}
	}
	if q := i.Quality; q != nil {
		list = append(list, attribute.Float64("thaw.recall", q.Recall()), attribute.Float64("thaw.precision", q.Precision()))
	}
	return list
}

func errorType(i thaw.Invocation) string {
	if i.FunctionError != "" {
		return i.FunctionError
	}
	return string(i.ErrorCode)
}
