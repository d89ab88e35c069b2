// Package peers measures how other systems bring the same function back on the same
// machine: gVisor's checkpoint/restore, CRIU, and QEMU by itself, with its whole
// migration stream. They take turns with thaw.
//
// What is measured is equal for all: the time from the start of the restore, a
// command or a request, to the function's first reply, which must be the right one.
// Before each start every file that it may read, the snapshot and the root disk or
// tree, is synced and dropped from the page cache, and the measurement is refused
// unless nothing is left there (mincore). The programs themselves (QEMU, runsc, criu,
// thaw) stay in the page cache, as they do where they are in use. All run the same
// CPython with the same modules and the same function, taken from the disks that the
// daemon made for it; the snapshot is taken when the function is initialised.
//
// The time includes, of
//
//   - thaw: its HTTP request, the choice of the policy and its checks, and clock,
//     entropy and identity of the clone, proven; a VMM was waiting, as the daemon has
//     one by default.
//   - thaw-on-demand: the same, and the start of a QEMU.
//   - gvisor: the start of `runsc restore`, of the sandbox and of its gofer. The event
//     comes through standard input. Systrap, no network, pages not compressed.
//   - criu: the start of unshare(1), for a PID namespace, and of `criu restore`. The
//     function is a process of the host's kernel below another root, without
//     capabilities: no isolation to speak of.
//   - qemu: the start of a QEMU whose command line and guest are thaw's, the whole
//     migration stream, and the event by thaw's agent, as thaw does it. Clock, entropy
//     and identity stay what they were.
//
// What was read is, of thaw, its own count, and of the others what of their files is
// in the page cache afterwards, where nothing was before.
package peers

import (
	"context"
	"encoding/json"

	"thaw"
	"thaw/bench"
)

// The names of what takes turns.
const (
	Thaw     = "thaw"
	OnDemand = "thaw-on-demand"
	GVisor   = "gvisor"
	CRIU     = "criu"
	QEMU     = "qemu"
)

// Names are those that can be chosen; thaw itself is always measured.
func Names() []string { return []string{GVisor, CRIU, QEMU} }

// Options choose what is measured.
type Options struct {
	// Function is its name; "" deploys a small one and removes it afterwards.
	Function string
	// Event is the event, as JSON. The function must give one reply to it.
	Event []byte
	N     int
	// Peers are some of [Names]; nil is all that the machine can do. One that is named
	// must work.
	Peers        []string
	ReadaheadKiB int
	// Dir is a folder on the disk of the daemon's snapshots, for those of the peers.
	Dir string
	// Cache is a folder that keeps the runsc that was built.
	Cache string
	// Runsc and Criu are programs; "" builds one and takes the installed one.
	Runsc, Criu string
	// Say is told of each step of the preparation.
	Say func(string)
}

// Sample is one restore.
type Sample struct {
	Round  int     `json:"round"`
	WallMS float64 `json:"wall_ms"`
	// BytesRead came from the disk.
	BytesRead int64 `json:"bytes_read"`
	// Policy is the one that thaw chose.
	Policy thaw.Policy `json:"policy,omitempty"`
}

// Peer is what was measured of one of them.
type Peer struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	// SnapshotBytes is what its snapshot occupies on the disk.
	SnapshotBytes int64    `json:"snapshot_bytes"`
	Samples       []Sample `json:"samples"`
}

// Skip is a peer that could not be measured here.
type Skip struct {
	Name   string `json:"name"`
	Reason string `json:"reason"`
}

// Report is a run.
type Report struct {
	Environment bench.Environment `json:"environment"`
	Function    string            `json:"function"`
	MemoryMiB   int64             `json:"guest_memory_mib"`
	Event       json.RawMessage   `json:"event"`
	Peers       []Peer            `json:"peers"`
	Skipped     []Skip            `json:"skipped"`
}

// restorer is a snapshot and how to start from it. Its files are in a work folder.
type restorer interface {
	// files are all that a start may read.
	files() []string
	// restore starts a function and has it answer event. The caller ends the answer.
	restore(ctx context.Context, event []byte) (*answer, error)
}

// answer is a function that was restored and has replied.
type answer struct {
	reply []byte
	// read returns what was read from the disk; nil leaves that to the page cache.
	read   func(ctx context.Context) (int64, error)
	policy thaw.Policy
	end    func() error
}

// entry is a restorer that takes turns.
type entry struct {
	Peer
	restorer
}
