package metrics

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"thaw"
)

// Source is what a daemon has at the moment.
type Source interface {
	Instances() []thaw.Instance
	// Load is what they share, and who waits for it.
	Load() thaw.Load
	// Prestarted is how many VMMs wait for a restore.
	Prestarted() (n int, full bool)
	Functions(ctx context.Context) ([]thaw.Version, error)
	Snapshots(ctx context.Context) ([]thaw.Snapshot, error)
}

// snapshotsAge is for how long a look at the files of all snapshots will do.
const snapshotsAge = 10 * time.Second

// state collects what a source has. It implements [prometheus.Collector].
type state struct {
	source  Source
	metrics *Metrics

	mu        sync.Mutex // held while snapshots are looked at
	snapshots []thaw.Snapshot
	looked    time.Time
}

// desc describes a gauge of state.
func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

func describeInstances() *prometheus.Desc {
	return desc("thaw_instances", "VMs that run, by state: starting, busy or idle.", "state")
}

func describeResident() *prometheus.Desc {
	return desc("thaw_instances_resident_bytes", "Resident memory of the VMMs that run, by state; what clones share counts for each.", "state")
}

func describeQueueDepth() *prometheus.Desc {
	return desc("thaw_queue_depth", "Requests that wait for an instance, by function.", "function")
}

func describeCharged() *prometheus.Desc {
	return desc("thaw_memory_charged_bytes", "Memory that instances are charged to the budget: as measured last, or until then as they are taken to need.")
}

func describeBudget() *prometheus.Desc {
	return desc("thaw_memory_budget_bytes", "Most memory that instances may be charged for when another one is started; 0 without a budget.")
}

func describeEvictions() *prometheus.Desc {
	return desc("thaw_evictions_total", "Idle instances that were ended to make room for others.")
}

func describePrestarted() *prometheus.Desc {
	return desc("thaw_prestarted_vmms", "VMMs that wait for a restore.")
}

func describeFunctions() *prometheus.Desc {
	return desc("thaw_functions", "Functions that are deployed.")
}

func describeWithoutSnapshot() *prometheus.Desc {
	return desc("thaw_versions_without_snapshot", "Versions that serve and have no snapshot: every start of them is a boot.")
}

func describeSnapshots() *prometheus.Desc {
	return desc("thaw_snapshots", "Snapshots, by status: serves, orphaned or quarantined.", "status")
}

func describeSnapshotBytes() *prometheus.Desc {
	return desc("thaw_snapshot_bytes", "Disk space that snapshots and their sets occupy, by function and status.", "function", "status")
}

func describeWorkingSet() *prometheus.Desc {
	return desc("thaw_working_set_bytes", "Guest memory in the recorded working set of the version that serves, 0 until one was recorded.", "function")
}

func describeServiceCount() *prometheus.Desc {
	return desc("gateway_service_count", "VMs of a function, under the name that OpenFaaS has for it.", "function_name")
}

// Describe implements [prometheus.Collector].
func (s *state) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		describeInstances(), describeResident(), describePrestarted(), describeFunctions(), describeWithoutSnapshot(), describeSnapshots(), describeSnapshotBytes(),
		describeWorkingSet(), describeServiceCount(),
		describeQueueDepth(), describeCharged(), describeBudget(), describeEvictions(),
	} {
		to <- d
	}
}

// Collect implements [prometheus.Collector].
func (s *state) Collect(to chan<- prometheus.Metric) {
	n, _ := s.source.Prestarted()
	to <- gauge(describePrestarted(), float64(n))
	instances := s.source.Instances()
	collectInstances(to, instances)
	s.collectLoad(to)
	functions, err := s.source.Functions(context.Background())
	if err != nil {
		to <- prometheus.NewInvalidMetric(describeFunctions(), err)
		return
	}
	to <- gauge(describeFunctions(), float64(len(functions)))
	to <- gauge(describeWithoutSnapshot(), float64(withoutSnapshot(functions)))
	s.collectServices(to, functions, instances)
	snapshots, err := s.look()
	if err != nil {
		to <- prometheus.NewInvalidMetric(describeSnapshots(), err)
		return
	}
	s.collectSnapshots(to, functions, snapshots)
}

// collectLoad tells of functions for which nobody waits only together.
func (s *state) collectLoad(to chan<- prometheus.Metric) {
	load, waiting := s.source.Load(), map[string]float64{OtherFunction: 0}
	for function, n := range load.Waiting {
		waiting[s.metrics.functions.label(function)] += float64(n)
	}
	for function, n := range waiting {
		to <- gauge(describeQueueDepth(), n, function)
	}
	to <- gauge(describeCharged(), float64(load.MemoryBytes))
	to <- gauge(describeBudget(), float64(load.MemoryBudget))
	to <- prometheus.MustNewConstMetric(describeEvictions(), prometheus.CounterValue, float64(load.Evictions))
}

func gauge(d *prometheus.Desc, value float64, labels ...string) prometheus.Metric {
	return prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
}

func withoutSnapshot(serving []thaw.Version) (n int) {
	for _, v := range serving {
		if v.Snapshot == "" {
			n++
		}
	}
	return n
}

// look returns the snapshots there were not long ago.
func (s *state) look() (_ []thaw.Snapshot, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.looked.IsZero() || time.Since(s.looked) > snapshotsAge {
		if s.snapshots, err = s.source.Snapshots(context.Background()); err != nil {
			return nil, err
		}
		s.looked = time.Now()
	}
	return s.snapshots, nil
}

func collectInstances(to chan<- prometheus.Metric, instances []thaw.Instance) {
	for _, state := range []thaw.InstanceState{thaw.InstanceStarting, thaw.InstanceBusy, thaw.InstanceIdle} {
		var n, bytes int64
		for _, in := range instances {
			if in.State == state {
				n, bytes = n+1, bytes+in.RSSBytes
			}
		}
		to <- gauge(describeInstances(), float64(n), string(state))
		to <- gauge(describeResident(), float64(bytes), string(state))
	}
}

// collectServices counts the instances of each function, and forgets the functions
// that are no more.
func (s *state) collectServices(to chan<- prometheus.Metric, all []thaw.Version, instances []thaw.Instance) {
	existing := map[string]bool{}
	for _, v := range all {
		existing[v.Function] = true
	}
	s.metrics.forget(s.metrics.functions.keep(existing))
	s.metrics.functions.expect(existing)
	count := map[string]float64{}
	for _, v := range all {
		count[s.metrics.functions.shown(v.Function)] += 0
	}
	for _, in := range instances {
		if existing[in.Function] {
			count[s.metrics.functions.shown(in.Function)]++
		}
	}
	for function, n := range count {
		to <- gauge(describeServiceCount(), n, function)
	}
}

// collectSnapshots takes those of all versions of a function together, but for the
// working set, which is that of the version in serving.
func (s *state) collectSnapshots(to chan<- prometheus.Metric, serving []thaw.Version, all []thaw.Snapshot) {
	serves := map[string]int{}
	for _, v := range serving {
		serves[v.Function] = v.Number
	}
	type key struct{ function, status string }
	count, bytes, working := map[thaw.SnapshotStatus]float64{}, map[key]float64{}, map[string]float64{}
	for _, snapshot := range all {
		// Few places are for what does not serve: its function may be no more.
		function := OtherFunction
		count[snapshot.Status]++
		if snapshot.Status == thaw.SnapshotServes {
			function = s.metrics.functions.shown(snapshot.Function)
			if serves[snapshot.Function] == snapshot.Version {
				working[function] += float64(snapshot.WorkingSetPages * thaw.PageSize)
			}
		}
		bytes[key{function, string(snapshot.Status)}] += float64(snapshot.DiskBytes)
	}
	for _, status := range []thaw.SnapshotStatus{thaw.SnapshotServes, thaw.SnapshotOrphaned, thaw.SnapshotQuarantined} {
		to <- gauge(describeSnapshots(), count[status], string(status))
	}
	for k, n := range bytes {
		to <- gauge(describeSnapshotBytes(), n, k.function, k.status)
	}
	for function, n := range working {
		to <- gauge(describeWorkingSet(), n, function)
	}
}
