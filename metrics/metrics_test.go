package metrics

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"go.uber.org/goleak"

	"thaw"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// inventory is a source that holds what a test gives it.
type inventory struct {
	instances []thaw.Instance
	functions []thaw.Version
	snapshots []thaw.Snapshot
	err       error
	looks     int // at the snapshots
}

func (s *inventory) Instances() []thaw.Instance { return s.instances }

func (s *inventory) Load() thaw.Load {
	return thaw.Load{Waiting: map[string]int{"hello": 3}, MemoryBytes: 50 << 20, MemoryBudget: 100 << 20, Evictions: 7}
}

func (s *inventory) Prestarted() (int, bool) { return 2, true }

func (s *inventory) Functions(context.Context) ([]thaw.Version, error) { return s.functions, nil }

func (s *inventory) Snapshots(context.Context) ([]thaw.Snapshot, error) {
	s.looks++
	return s.snapshots, s.err
}

func coldStart(function string) thaw.Invocation {
	return thaw.Invocation{
		Function: function, Version: 1, Instance: "i-1", Start: thaw.StartCold, Policy: thaw.PolicyThaw, DurationMS: 218, Prestarted: true,
		PhasesMS: map[string]float64{thaw.PhasePlan: 2, thaw.PhaseState: 40, thaw.PhaseInvoke: 9},
		Faults:   thaw.Faults{Trapped: 12, Major: 3, Minor: 700}, BytesRead: 6 << 20,
		BytesBySource: thaw.BytesRead{Prefetch: 4 << 20, Server: 1 << 20, VMM: 1 << 20},
		Quality:       &thaw.Quality{Brought: 1000, Hits: 900, Misses: 100}, PagesRecorded: 1000,
	}
}

// filled returns metrics in which every series there can be has something.
func filled() (*Metrics, *inventory) {
	m := New("v1")
	source := &inventory{
		functions: []thaw.Version{{Function: "hello", Number: 2, Snapshot: "s"}, {Function: "idle"}},
		instances: []thaw.Instance{
			{Function: "hello", State: thaw.InstanceIdle, RSSBytes: 20 << 20}, {Function: "hello", State: thaw.InstanceBusy, RSSBytes: 30 << 20},
		},
		snapshots: []thaw.Snapshot{
			{Status: thaw.SnapshotServes, SnapshotInfo: thaw.SnapshotInfo{Manifest: thaw.Manifest{Function: "hello", Version: 2}, DiskBytes: 80 << 20, WorkingSetPages: 1000}},
			{Status: thaw.SnapshotServes, SnapshotInfo: thaw.SnapshotInfo{Manifest: thaw.Manifest{Function: "hello", Version: 1}, DiskBytes: 8 << 20, WorkingSetPages: 500}},
			{Status: thaw.SnapshotQuarantined, SnapshotInfo: thaw.SnapshotInfo{DiskBytes: 1 << 20}},
		},
	}
	m.Watch(source)
	m.Observe(coldStart("hello"))
	m.Observe(thaw.Invocation{Function: "hello", Instance: "i-1", Start: thaw.StartWarm, Policy: thaw.PolicyThaw, DurationMS: 10, FunctionError: "ValueError"})
	m.Observe(thaw.Invocation{Function: "hello", DurationMS: 1, ErrorCode: thaw.CodeThrottled, PhasesMS: map[string]float64{thaw.PhaseQueue: 1}})
	return m, source
}

// scrape gets /metrics as Prometheus does and parses what comes.
func scrape(t *testing.T, m *Metrics) map[string]*dto.MetricFamily {
	t.Helper()
	server := httptest.NewServer(m.Handler())
	defer server.Close()
	defer http.DefaultClient.CloseIdleConnections()
	reply, err := http.Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer reply.Body.Close()
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(reply.Body)
	if err != nil || reply.StatusCode != http.StatusOK {
		t.Fatalf("%s: %v", reply.Status, err)
	}
	return families
}

// value finds one series: name{label=value,…}. It returns the value of a counter or
// gauge, and how much a histogram has counted; -1 if it is not there.
func value(families map[string]*dto.MetricFamily, name string, labels ...string) float64 {
	for _, m := range families[name].GetMetric() {
		if !matches(m, labels) {
			continue
		}
		switch families[name].GetType() {
		case dto.MetricType_COUNTER:
			return m.GetCounter().GetValue()
		case dto.MetricType_HISTOGRAM:
			return float64(m.GetHistogram().GetSampleCount())
		default:
			return m.GetGauge().GetValue()
		}
	}
	return -1
}

func matches(m *dto.Metric, labels []string) bool {
	got := map[string]string{}
	for _, l := range m.GetLabel() {
		got[l.GetName()] = l.GetValue()
	}
	for _, want := range labels {
		if name, value, _ := strings.Cut(want, "="); got[name] != value {
			return false
		}
	}
	return true
}

func TestScrape(t *testing.T) {
	m, _ := filled()
	got := scrape(t, m)
	for series, want := range map[string]float64{
		"thaw_starts_total start=cold policy=thaw":                         1,
		"thaw_starts_total start=warm policy=thaw":                         1,
		"thaw_start_duration_seconds start=cold policy=thaw":               1,
		"thaw_prestarted_starts_total":                                     1,
		"thaw_phase_duration_seconds start=cold policy=thaw phase=state":   1,
		"thaw_invocation_duration_seconds function=hello start=cold":       1,
		"thaw_invocation_errors_total function=hello error=function_error": 1,
		"thaw_invocation_errors_total function=hello error=throttled":      1,
		"thaw_faults_total start=cold policy=thaw class=trapped":           12,
		"thaw_faults_total start=cold policy=thaw class=major":             3,
		"thaw_faults_total start=cold policy=thaw class=minor":             700,
		"thaw_read_bytes_total policy=thaw source=prefetch":                4 << 20,
		"thaw_prefetched_bytes_total policy=thaw":                          1000 * thaw.PageSize,
		"thaw_prefetch_wasted_bytes_total policy=thaw":                     100 * thaw.PageSize,
		"thaw_prefetch_recall_ratio policy=thaw":                           1,
		"thaw_recordings_total":                                            1,
		"thaw_instances state=idle":                                        1,
		"thaw_instances state=starting":                                    0,
		"thaw_instances_resident_bytes state=busy":                         30 << 20,
		"thaw_prestarted_vmms":                                             2,
		"thaw_functions":                                                   2,
		"thaw_versions_without_snapshot":                                   1,
		"thaw_snapshots status=serves":                                     2,
		"thaw_snapshot_bytes function=hello status=serves":                 88 << 20,
		"thaw_snapshot_bytes function=_other status=quarantined":           1 << 20,
		"thaw_working_set_bytes function=hello":                            1000 * thaw.PageSize,
		"thaw_build_info version=v1":                                       1,
		"gateway_function_invocation_total function_name=hello code=200":   1,
		"gateway_function_invocation_total function_name=hello code=500":   1,
		"gateway_function_invocation_total function_name=hello code=429":   1,
		"gateway_functions_seconds function_name=hello code=200":           1,
		"gateway_service_count function_name=hello":                        2,
		"gateway_service_count function_name=idle":                         0,
	} {
		name, labels, _ := strings.Cut(series, " ")
		if v := value(got, name, strings.Fields(labels)...); v != want {
			t.Errorf("%s is %v, want %v", series, v, want)
		}
	}
	for _, f := range got["thaw_phase_duration_seconds"].GetMetric() {
		if matches(f, []string{"phase=state"}) && f.GetHistogram().GetSampleSum() != .04 {
			t.Errorf("phase state took %v s, want 0.04", f.GetHistogram().GetSampleSum())
		}
	}
}

// TestLint has the names and units checked as Prometheus's own linter does.
func TestLint(t *testing.T) {
	m, _ := filled()
	problems, err := testutil.GatherAndLint(m.registry)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if p.Metric != "gateway_service_count" { // the name is OpenFaaS's
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
}

func TestFailureNames(t *testing.T) {
	for want, i := range map[string]thaw.Invocation{
		"":                {},
		"function_error":  {FunctionError: "ValueError"},
		"timeout":         {FunctionError: thaw.ErrorTypeTimeout},
		"exit":            {FunctionError: thaw.ErrorTypeExit},
		"too_large":       {FunctionError: thaw.ErrorTypeTooBig},
		"instance_failed": {Error: "the VM ended", ErrorCode: thaw.CodeInstance},
	} {
		if got := failure(i); got != want {
			t.Errorf("%+v: %q, want %q", i, got, want)
		}
	}
}

// TestFunctionsAreBounded: whoever deploys many functions does not make a scrape grow
// without end, and those that are removed make room.
func TestFunctionsAreBounded(t *testing.T) {
	m, source := New("v1"), &inventory{}
	for n := range MaxFunctions + 50 {
		name := fmt.Sprintf("f%03d", n)
		source.functions = append(source.functions, thaw.Version{Function: name})
		m.Observe(coldStart(name))
	}
	m.Watch(source)
	got := scrape(t, m)
	for name, perFunction := range map[string]int{"thaw_invocation_duration_seconds": 1, "gateway_service_count": 1, "gateway_function_invocation_total": 1} {
		if n := len(got[name].GetMetric()); n != (MaxFunctions+1)*perFunction {
			t.Errorf("%s has %d series, want %d", name, n, MaxFunctions+1)
		}
	}
	if v := value(got, "gateway_function_invocation_total", "function_name="+OtherFunction); v != 50 {
		t.Errorf("%v invocations of other functions, want 50", v)
	}
	source.functions = source.functions[1:] // f000 is removed
	scrape(t, m)                            // finds out, while it collects the others
	if v := value(scrape(t, m), "gateway_function_invocation_total", "function_name=f000"); v != -1 {
		t.Errorf("a removed function has a series: %v", v)
	}
	m.Observe(coldStart("f100"))
	if v := value(scrape(t, m), "gateway_function_invocation_total", "function_name=f100"); v != 1 {
		t.Errorf("f100 has no series of its own (%v), though there is room", v)
	}
}

// TestFunctionsInUseAreShown: of many functions those have series that are invoked,
// not those whose names come first.
func TestFunctionsInUseAreShown(t *testing.T) {
	m, source := New("v1"), &inventory{}
	for n := range 10 * MaxFunctions {
		source.functions = append(source.functions, thaw.Version{Function: fmt.Sprintf("f%03d", n)})
	}
	source.functions = append(source.functions, thaw.Version{Function: "zebra"})
	m.Watch(source)
	scrape(t, m)
	m.Observe(coldStart("zebra"))
	got := scrape(t, m)
	if n := len(got["gateway_service_count"].GetMetric()); n != 2 || value(got, "gateway_service_count", "function_name=zebra") != 0 {
		t.Errorf("%d series, want that of zebra and that of all others", n)
	}
	if v := value(got, "gateway_function_invocation_total", "function_name=zebra"); v != 1 {
		t.Errorf("%v invocations of zebra", v)
	}
}

// TestSnapshotsAreLookedAtSeldom: scrapes in a row cost one look at the disk.
func TestSnapshotsAreLookedAtSeldom(t *testing.T) {
	m, source := filled()
	for range 5 {
		scrape(t, m)
	}
	if source.looks != 1 {
		t.Errorf("%d looks at the snapshots, want 1", source.looks)
	}
}

// TestWhatFailsIsLeftOut: the rest of a scrape is as good.
func TestWhatFailsIsLeftOut(t *testing.T) {
	m, source := filled()
	source.err = errors.New("the disk is gone")
	got := scrape(t, m)
	if value(got, "thaw_instances", "state=idle") != 1 || value(got, "thaw_snapshots", "status=serves") != -1 {
		t.Errorf("%d families", len(got))
	}
}

func TestScrapesAtOnce(t *testing.T) {
	m, _ := filled()
	var work sync.WaitGroup
	for range 4 {
		work.Go(func() {
			for range 20 {
				m.Observe(coldStart("hello"))
				if _, err := m.registry.Gather(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	work.Wait()
	if v := value(scrape(t, m), "thaw_starts_total", "start=cold"); v != 81 {
		t.Errorf("%v cold starts, want 81", v)
	}
}

func BenchmarkScrape(b *testing.B) {
	m, source := filled()
	for n := range MaxFunctions {
		name := fmt.Sprint("f", n)
		source.functions = append(source.functions, thaw.Version{Function: name})
		m.Observe(coldStart(name))
	}
	handler := m.Handler()
	for b.Loop() {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
		b.ReportMetric(float64(w.Body.Len()), "bytes")
	}
}
