// Package metrics turns what thaw records into Prometheus metrics. What each of
// them means, in what unit, is its help text; docs/observability.md lists them all.
//
// Invocations are counted as they end ([Metrics.Observe]); what exists (instances,
// snapshots, VMMs that wait) is looked at when somebody asks ([Metrics.Watch]).
// Nothing is registered globally.
package metrics

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// MaxFunctions is how many functions have series of their own. Further ones share
// those of [OtherFunction], until one of the others is removed.
const MaxFunctions = 100

// OtherFunction stands for the functions over [MaxFunctions]. It cannot be the name
// of one.
const OtherFunction = "_other"

// scrapesAtOnce bounds what many scrapers can cost.
const scrapesAtOnce = 4

// Metrics holds the metrics of one daemon. Its methods may be called concurrently.
type Metrics struct {
	registry  *prometheus.Registry
	functions functions

	starts       *prometheus.CounterVec
	startTimes   *prometheus.HistogramVec
	prestarted   prometheus.Counter
	phases       *prometheus.HistogramVec
	durations    *prometheus.HistogramVec
	errors       *prometheus.CounterVec
	faults       *prometheus.CounterVec
	read         *prometheus.CounterVec
	brought      *prometheus.CounterVec
	wasted       *prometheus.CounterVec
	recall       *prometheus.HistogramVec
	recorded     prometheus.Counter
	queued       *prometheus.HistogramVec
	faasCount    *prometheus.CounterVec
	faasDuration *prometheus.HistogramVec
}

// New returns the metrics of a daemon that calls itself version.
func New(version string) *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry(), functions: functions{labels: map[string]bool{}}}
	m.starts = counters("thaw_starts_total", "Invocations by how they came by their instance (warm, cold, boot) and the policy that made it.", "start", "policy")
	m.startTimes = seconds("thaw_start_duration_seconds", "Time from a request's arrival to an instance that is ready for it: all but the function's own work.", "start", "policy")
	m.prestarted = prometheus.NewCounter(prometheus.CounterOpts{Name: "thaw_prestarted_starts_total", Help: "Cold starts that took a VMM that was waiting."})
	m.phases = seconds("thaw_phase_duration_seconds", "How long each phase of an invocation took. Phases overlap.", "start", "policy", "phase")
	m.durations = seconds("thaw_invocation_duration_seconds", "Time from a request's arrival to its reply.", "function", "start")
	m.errors = counters("thaw_invocation_errors_total", "Invocations that failed: in the function (function_error, timeout, exit, too_large) or around it (throttled, instance_failed, unavailable, internal, and others as in the error codes of the API).", "function", "error")
	m.faults = counters("thaw_faults_total", "Page faults of guests from the start of the virtual CPU to the reply: trapped were served by thaw, major waited for the disk, minor were served by the kernel from memory.", "start", "policy", "class")
	m.read = counters("thaw_read_bytes_total", "Bytes read from the disk for invocations: ahead of the guest (prefetch), at a trapped fault (server), by the VMM and the kernel for it (vmm).", "policy", "source")
	m.brought = counters("thaw_prefetched_bytes_total", "Guest memory brought in before the guest asked for it.", "policy")
	m.wasted = counters("thaw_prefetch_wasted_bytes_total", "Guest memory brought in that the invocation did not use.", "policy")
	m.recall = ratios("thaw_prefetch_recall_ratio", "Share of the pages a cold start needed that had been brought in ahead of the guest.", "policy")
	m.recorded = prometheus.NewCounter(prometheus.CounterOpts{Name: "thaw_recordings_total", Help: "Invocations whose working set was recorded."})
	m.queued = seconds("thaw_queue_wait_seconds", "How long requests waited for room, or for an instance to be free, of those that did; refused ones among them.", "function")
	m.faasCount = counters("gateway_function_invocation_total", "Invocations by HTTP status, under the name that OpenFaaS has for it; a failure of the function itself is 500.", "function_name", "code")
	m.faasDuration = seconds("gateway_functions_seconds", "Time from a request's arrival to its reply, under the name that OpenFaaS has for it.", "function_name", "code")
	m.registry.MustRegister(
		m.starts, m.startTimes, m.prestarted, m.phases, m.durations, m.errors, m.faults, m.read, m.brought, m.wasted, m.recall, m.recorded, m.queued,
		m.faasCount, m.faasDuration, buildInfo(version), collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return m
}

func counters(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
}

// seconds is a histogram with classic buckets from half a millisecond to half a
// minute, and native ones for those who scrape them.
func seconds(name, help string, labels ...string) *prometheus.HistogramVec {
	return histograms(name, help, []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}, labels)
}

func ratios(name, help string, labels ...string) *prometheus.HistogramVec {
	return histograms(name, help, []float64{.25, .5, .75, .9, .95, .98, .99, .995, 1}, labels)
}

// The native buckets, as fine as a tenth, are at most nativeBuckets; if more are
// needed they begin again, not oftener than once an hour.
const (
	nativeFactor  = 1.1
	nativeBuckets = 100
	nativeReset   = time.Hour
)

func histograms(name, help string, buckets []float64, labels []string) *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: name, Help: help, Buckets: buckets, NativeHistogramBucketFactor: nativeFactor,
		NativeHistogramMaxBucketNumber: nativeBuckets, NativeHistogramMinResetDuration: nativeReset,
	}, labels)
}

func buildInfo(version string) prometheus.Collector {
	g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "thaw_build_info", Help: "1, with the version that runs."}, []string{"version"})
	g.WithLabelValues(version).Set(1)
	return g
}

// Watch adds what source has to what is shown. It may be called once.
func (m *Metrics) Watch(source Source) { m.registry.MustRegister(&state{source: source, metrics: m}) }

// Handler answers scrapes, in the text format or in one that is asked for.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		MaxRequestsInFlight: scrapesAtOnce, ErrorHandling: promhttp.ContinueOnError, EnableOpenMetrics: true,
	})
}
