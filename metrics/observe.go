package metrics

import (
	"net/http"
	"strconv"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"thaw"
	"thaw/gateway/api"
)

// Observe counts an invocation, which has ended.
func (m *Metrics) Observe(i thaw.Invocation) {
	function := m.functions.label(i.Function)
	took := i.DurationMS / 1e3
	if kind := failure(i); kind != "" {
		m.errors.WithLabelValues(function, kind).Inc()
	}
	code := strconv.Itoa(status(i))
	m.faasCount.WithLabelValues(function, code).Inc()
	m.faasDuration.WithLabelValues(function, code).Observe(took)
	if ms, waited := i.PhasesMS[thaw.PhaseQueue]; waited {
		m.queued.WithLabelValues(function).Observe(ms / 1e3)
	}
	if i.Instance == "" {
		return // it did not get as far as that
	}
	m.durations.WithLabelValues(function, string(i.Start)).Observe(took)
	m.start(i)
}

// start counts what an invocation on an instance cost.
func (m *Metrics) start(i thaw.Invocation) {
	start, policy := string(i.Start), string(i.Policy)
	m.starts.WithLabelValues(start, policy).Inc()
	m.startTimes.WithLabelValues(start, policy).Observe(max(0, i.DurationMS-i.PhasesMS[thaw.PhaseInvoke]) / 1e3)
	for phase, ms := range i.PhasesMS {
		m.phases.WithLabelValues(start, policy, phase).Observe(ms / 1e3)
	}
	for class, n := range map[string]int64{"trapped": i.Faults.Trapped, "major": i.Faults.Major, "minor": i.Faults.Minor} {
		add(m.faults.WithLabelValues(start, policy, class), n)
	}
	for source, n := range map[string]int64{"prefetch": i.BytesBySource.Prefetch, "server": i.BytesBySource.Server, "vmm": i.BytesBySource.VMM} {
		add(m.read.WithLabelValues(policy, source), n)
	}
	if i.Prestarted {
		m.prestarted.Inc()
	}
	if i.PagesRecorded > 0 {
		m.recorded.Inc()
	}
	if q := i.Quality; q != nil && q.Brought > 0 {
		add(m.brought.WithLabelValues(policy), q.Brought*thaw.PageSize)
		add(m.wasted.WithLabelValues(policy), q.BytesWasted())
		m.recall.WithLabelValues(policy).Observe(q.Recall())
	}
}

// add leaves out what cannot be: a process that has ended counts as nothing, which
// is less than what it had before.
func add(c prometheus.Counter, n int64) {
	if n > 0 {
		c.Add(float64(n))
	}
}

// failure names what went wrong, "" for nothing. The types of functions' own errors
// are not among the names: there is no end of them.
func failure(i thaw.Invocation) string {
	switch i.FunctionError {
	case "":
		return string(i.ErrorCode)
	case thaw.ErrorTypeTimeout:
		return "timeout"
	case thaw.ErrorTypeExit:
		return "exit"
	case thaw.ErrorTypeTooBig:
		return string(thaw.CodeTooLarge)
	}
	return string(thaw.CodeFunction)
}

// status is the HTTP status that OpenFaaS would count the invocation under.
func status(i thaw.Invocation) int {
	switch {
	case i.FunctionError != "" || i.ErrorCode == thaw.CodeFunction:
		return http.StatusInternalServerError
	case i.ErrorCode != "":
		return api.MappingOf(i.ErrorCode).Status
	}
	return http.StatusOK
}

// functions are those that have series of their own.
type functions struct {
	mu     sync.Mutex
	labels map[string]bool
}

// label returns what the series of a function are called by.
func (f *functions) label(name string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.labels[name] && len(f.labels) >= MaxFunctions {
		return OtherFunction
	}
	f.labels[name] = true
	return name
}

// expect has the functions of a machine with few of them shown before they are
// invoked. Of many only those that are invoked get series of their own.
func (f *functions) expect(existing map[string]bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(existing) > MaxFunctions {
		return
	}
	for name := range existing {
		f.labels[name] = true
	}
}

// shown is what the series of a function are called by now.
func (f *functions) shown(name string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.labels[name] {
		return name
	}
	return OtherFunction
}

// keep makes room: it forgets the functions that are not among existing and returns
// them.
func (f *functions) keep(existing map[string]bool) (gone []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for name := range f.labels {
		if !existing[name] {
			delete(f.labels, name)
			gone = append(gone, name)
		}
	}
	return gone
}

// forget drops the series of functions that are no more.
func (m *Metrics) forget(gone []string) {
	for _, name := range gone {
		m.durations.DeletePartialMatch(prometheus.Labels{"function": name})
		m.errors.DeletePartialMatch(prometheus.Labels{"function": name})
		m.queued.DeletePartialMatch(prometheus.Labels{"function": name})
		m.faasCount.DeletePartialMatch(prometheus.Labels{"function_name": name})
		m.faasDuration.DeletePartialMatch(prometheus.Labels{"function_name": name})
	}
}
