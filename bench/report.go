package bench

import (
	"slices"
	"time"

	"thaw"
	"thaw/bench/analysis"
)

// Sample is one invocation.
type Sample struct {
	Coordinates
	Round int `json:"round"`
	// Clone counts those that started at the same time, from 0.
	Clone int `json:"clone,omitempty"`
	// WallMS is the time that the client saw.
	WallMS float64 `json:"wall_ms"`
	thaw.Invocation
}

// Refusal is a measurement that was not what it should have been, and is in no
// figure: a start from the disk that found something in the page cache, say.
type Refusal struct {
	Coordinates
	Round int    `json:"round"`
	Why   string `json:"why"`
}

// Recording is what it took to learn a working set.
type Recording struct {
	Policy thaw.Policy `json:"policy"`
	// Input names the event.
	Input string `json:"input,omitempty"`
	Pages int64  `json:"pages"`
	// InvocationMS is until the function's reply, PublishMS from there until the sets
	// were arranged, written and synced.
	InvocationMS float64 `json:"invocation_ms"`
	PublishMS    float64 `json:"publish_ms"`
}

// Function is what was measured of one function.
type Function struct {
	Name      string `json:"function"`
	MemoryMiB int64  `json:"guest_memory_mib"`
	// SnapshotBytes is what the snapshot occupies on the disk, its sets included.
	SnapshotBytes int64 `json:"snapshot_bytes"`
	// WorkingSetPages is how many pages the trace of first touches held, HostPages
	// how many FaaSnap's recording saw.
	WorkingSetPages int64 `json:"working_set_pages"`
	HostPages       int64 `json:"host_pages"`
	// Files are those of the snapshot, with what each occupies.
	Files []thaw.SnapshotFile `json:"files,omitempty"`
	// Memory is what the working set is made of, nil where it was not looked at.
	Memory     *analysis.Memory `json:"memory_analysis,omitempty"`
	Recordings []Recording      `json:"recordings,omitempty"`
	Samples    []Sample         `json:"samples"`
	Refusals   []Refusal        `json:"refusals,omitempty"`
	// Problem is why it was not measured to the end, "" if it was.
	Problem string `json:"problem,omitempty"`
}

// Report is a run.
type Report struct {
	Environment Environment `json:"environment"`
	// Clones is the most that started at the same time.
	Clones    int        `json:"clones"`
	Functions []Function `json:"functions"`
	// Partial is why the run ended before its time, "" if it did not.
	Partial string `json:"partial,omitempty"`
}

// Measured says that there is a sample.
func (r Report) Measured() bool {
	return slices.ContainsFunc(r.Functions, func(f Function) bool { return len(f.Samples) > 0 })
}

// Problems are what went wrong, by function.
func (r Report) Problems() (list []string) {
	for _, f := range r.Functions {
		if f.Problem != "" {
			list = append(list, f.Name+": "+f.Problem)
		}
	}
	return list
}

// Environment is what a figure depends on besides the program.
type Environment struct {
	Time        time.Time `json:"time"`
	Kernel      string    `json:"kernel"`
	CPU         string    `json:"cpu"`
	Cores       int       `json:"cores"`
	Accelerator string    `json:"accelerator"`
	VMM         string    `json:"vmm"`
	Version     string    `json:"thaw"`
	// The disk's readahead in KiB.
	ReadaheadBefore int `json:"readahead_kib_before"`
	ReadaheadDuring int `json:"readahead_kib_during"`
	// The load averages (proc(5), loadavg); LoadAfter is of the end.
	LoadBefore string `json:"load_before"`
	LoadAfter  string `json:"load_after,omitempty"`
	// DiskModel is what the disk calls itself, "" where it does not say.
	DiskModel string `json:"disk_model,omitempty"`
	Disk      Disk   `json:"disk"`
	Noise     Noise  `json:"noise"`
}

// Noise is what the machine did besides, over the whole run.
type Noise struct {
	// Steal is the share of the processors' time that a hypervisor gave to others
	// (proc(5), stat).
	Steal float64 `json:"steal"`
	// CPUPressure, IOPressure and MemoryPressure are the shares of the time in which
	// something waited for it (/proc/pressure, "some"); 0 where the kernel does not
	// count. What is measured waits as well.
	CPUPressure    float64 `json:"cpu_pressure,omitempty"`
	IOPressure     float64 `json:"io_pressure,omitempty"`
	MemoryPressure float64 `json:"memory_pressure,omitempty"`
}
