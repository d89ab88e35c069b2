package thaw

import "time"

// InstanceState is where an instance is in its life.
type InstanceState string

const (
	InstanceStarting InstanceState = "starting"
	InstanceBusy     InstanceState = "busy"
	InstanceIdle     InstanceState = "idle"
)

// Instance is a running VM as listed to people.
type Instance struct {
	ID       string        `json:"id"`
	Function string        `json:"function"`
	Version  int           `json:"version"`
	State    InstanceState `json:"state"`
	Start    Start         `json:"start"`
	Policy   Policy        `json:"policy"`
	PID      int           `json:"pid"`
	Created  time.Time     `json:"created"`
	// Invocations counts the requests it has served.
	Invocations int `json:"invocations"`
	// Leases is how many invocations it serves now.
	Leases int `json:"leases"`
	// RSSBytes is the VMM's resident memory now.
	RSSBytes int64 `json:"rss_bytes"`
	// MemoryBytes is what it is charged to the memory budget: what was measured last
	// of its own memory, without the page cache, or until then what it was taken to
	// need.
	MemoryBytes    int64 `json:"memory_bytes"`
	MemoryMeasured bool  `json:"memory_measured"`
}

// SnapshotInfo is a version's snapshot with its sizes.
type SnapshotInfo struct {
	Manifest
	// Folder is where its files are on the daemon's machine.
	Folder string `json:"folder"`
	// DiskBytes is what all its files occupy, holes not counted.
	DiskBytes int64 `json:"disk_bytes"`
	// WorkingSetPages is 0 until a restore has recorded one.
	WorkingSetPages int64 `json:"working_set_pages"`
	// HostPages is 0 until FaaSnap's recording has seen some.
	HostPages int64 `json:"host_pages"`
	// Files are the snapshot's files that exist, by name.
	Files []SnapshotFile `json:"files"`
}

// SnapshotFile is one file of a snapshot.
type SnapshotFile struct {
	Name string `json:"name"`
	// Bytes is its length, DiskBytes what it occupies.
	Bytes     int64 `json:"bytes"`
	DiskBytes int64 `json:"disk_bytes"`
}

// VersionInfo is a version as listed to people.
type VersionInfo struct {
	Version
	// Serves says that invocations without a qualifier get it.
	Serves bool `json:"serves"`
	// Aliases are those that name it, be it with a weight.
	Aliases []string `json:"aliases,omitempty"`
	// SnapshotState says what starts of it have to go by.
	SnapshotState SnapshotState `json:"snapshot_state"`
	// DiskBytes is what its snapshot occupies.
	DiskBytes int64 `json:"disk_bytes"`
}

// FunctionQuery says which functions are wanted, by name.
type FunctionQuery struct {
	// Prefix is what their names begin with.
	Prefix string
	// After is the name that those wanted come after.
	After string
	// Limit bounds how many are returned; 0 is all.
	Limit int
}

// SnapshotState is how a version stands with its snapshot.
type SnapshotState string

const (
	// SnapshotReady is a snapshot to start from.
	SnapshotReady SnapshotState = "ready"
	// SnapshotRebuilding is none, but one is being made.
	SnapshotRebuilding SnapshotState = "rebuilding"
	// SnapshotNone is none: every start is a boot, and has one made.
	SnapshotNone SnapshotState = "none"
)

// Description is everything about a version of a function that people ask for.
type Description struct {
	Version
	// Serving is the version that serves; Aliases are those of this one.
	Serving      int           `json:"serving"`
	Aliases      []Alias       `json:"aliases,omitempty"`
	SnapshotInfo *SnapshotInfo `json:"snapshot_info,omitempty"`
	// Disks are the read-only disk images on the daemon's machine.
	Disks       []string     `json:"disks,omitempty"`
	Instances   []Instance   `json:"instances"`
	Invocations []Invocation `json:"invocations"`
	// Deploy is the function's latest deploy, also one that is under way or has failed.
	Deploy *Publish `json:"deploy,omitempty"`
}

// DeployEvent is one line of progress of a deploy. The last one of a deploy
// that worked carries the version.
type DeployEvent struct {
	// Step is one of [PublishSteps].
	Step    string `json:"step"`
	Message string `json:"message"`
	// DurationMS is set when the step has ended.
	DurationMS float64  `json:"duration_ms,omitempty"`
	Version    *Version `json:"result,omitempty"`
}

// LogLine is one line a function wrote, or the platform about it.
type LogLine struct {
	Time     time.Time `json:"time"`
	Function string    `json:"function"`
	// Version is 0 in lines of before it was noted.
	Version int `json:"version,omitempty"`
	// Qualifier is what its invocation was asked for by, see [Invocation.Qualifier].
	Qualifier string `json:"qualifier,omitempty"`
	Instance  string `json:"instance"`
	// RequestID is "" for lines outside an invocation.
	RequestID string `json:"request_id,omitempty"`
	// Stream is stdout, stderr or platform.
	Stream string `json:"stream"`
	Text   string `json:"text"`
}

// MaxLogTail is the most of an invocation's log in bytes that comes with its reply:
// 4 KiB, as AWS Lambda has it.
const MaxLogTail = 4 << 10

// LogQuery says which lines of a function's log are wanted. The zero value wants
// none: Limit bounds how many of the newest are returned.
type LogQuery struct {
	Limit int
	// RequestID wants the lines of one invocation, "" those of all.
	RequestID string
	// Since wants the lines from then on; the zero time wants all.
	Since time.Time
}

// Wants says whether line is asked for, whatever the limit.
func (q LogQuery) Wants(line LogLine) bool {
	return (q.RequestID == "" || line.RequestID == q.RequestID) && !line.Time.Before(q.Since)
}

// Load is what all functions share at a moment, and who waits for it.
type Load struct {
	// Waiting is how many requests of each function wait for an instance, where
	// there are any.
	Waiting map[string]int `json:"waiting"`
	// MemoryBytes is what all instances are charged to MemoryBudget, which is 0
	// without one.
	MemoryBytes  int64 `json:"memory_bytes"`
	MemoryBudget int64 `json:"memory_budget"`
	// Evictions is how many instances have had to make room since the daemon began.
	Evictions int `json:"evictions"`
	// Ending is how many instances are not listed any more, but not gone yet.
	Ending int `json:"ending"`
}
