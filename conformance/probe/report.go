// Package probe is the inside of the conformance suite: functions that say what a
// clone sees, in Python, in JavaScript and, for the runtime provided, in Go. [Report] is what
// all reply.
package probe

import (
	"embed"
	"io/fs"
)

//go:embed python/app.py node/index.js
var files embed.FS

// Python returns the folder of the Python function, whose handler is app.handler.
func Python() (fs.FS, error) { return fs.Sub(files, "python") }

// Node returns the folder of the JavaScript function, whose handler is index.handler.
func Node() (fs.FS, error) { return fs.Sub(files, "node") }

// The environment variable whose value is a secret of its version.
const SecretEnv = "CONFORMANCE_SECRET"

// SecretName is the secret that the functions name, SecretFile where they find it.
const (
	SecretName = "thaw-conformance"
	SecretFile = "/run/thaw/secrets/" + SecretName
)

// Pattern is what memory and the file [MarkFile] hold before the snapshot.
const Pattern = "this was there before a snapshot"

// MarkFile is the file in /tmp that every invocation writes its token to.
const MarkFile = "mark"

// TokenLen is the length of a token in bytes, that of [Pattern].
const TokenLen = len(Pattern)

// Event is what the functions are invoked with.
type Event struct {
	// Token is what this invocation writes: TokenLen bytes.
	Token string `json:"token"`
	// NapMS is a sleep that is measured, HoldMS the time between the writes and
	// reading them back. Both in milliseconds.
	NapMS  int64 `json:"nap_ms"`
	HoldMS int64 `json:"hold_ms"`
}

// Report is what a clone says.
type Report struct {
	// Born is before the snapshot, Restored when the runtime was told of the
	// restore, Served and Ended are the begin and the end of the invocation.
	Born     Moment `json:"born"`
	Restored Moment `json:"restored"`
	Served   Moment `json:"served"`
	Ended    Moment `json:"ended"`
	// Before and After count the calls of the hooks; where the runtime asks
	// restore/next itself there is no call before.
	Before int `json:"before"`
	After  int `json:"after"`
	// Drawn are random values by where they come from, DrawnBefore those from
	// before the snapshot.
	Drawn       map[string]string `json:"drawn"`
	DrawnBefore map[string]string `json:"drawn_before"`
	// Inherited are random values of generators that nothing outside of the
	// function can reseed.
	Inherited map[string]string `json:"inherited,omitempty"`
	// Backward counts steps back of the monotonic clock in many readings.
	Backward int `json:"backward"`
	Nap      Nap `json:"nap"`
	// Found is what there was before this invocation wrote, Left what there was
	// when it had written and waited.
	Found Writes `json:"found"`
	Left  Writes `json:"left"`
	// Environ is the environment as the runtime has it, ProcEnviron as the kernel
	// does.
	Environ     map[string]string `json:"environ"`
	ProcEnviron string            `json:"proc_environ"`
	Interfaces  []string          `json:"interfaces"`
	Connections []Connection      `json:"connections"`
	// Secret is what the file [SecretFile] holds.
	Secret string `json:"secret"`
	// Reach is what came of sending to an address outside.
	Reach string `json:"reach"`
	// Echo is the token after it went through a connection within the guest that
	// was made before the snapshot.
	Echo string `json:"echo"`
}

// Moment is a reading of the clocks, in nanoseconds, and of the identity.
type Moment struct {
	WallNS   int64 `json:"wall_ns"`
	MonoNS   int64 `json:"mono_ns"`
	Identity `json:"identity"`
}

// Identity is who the clone is.
type Identity struct {
	Instance string `json:"instance"`
	Hostname string `json:"hostname"`
	Machine  string `json:"machine"`
	Boot     string `json:"boot"`
}

// Nap is how long a sleep was by each clock, in nanoseconds.
type Nap struct {
	MonoNS int64 `json:"mono_ns"`
	WallNS int64 `json:"wall_ns"`
}

// Writes is what the memory that invocations write holds, and the files in /tmp.
type Writes struct {
	Memory string            `json:"memory"`
	Files  map[string]string `json:"files"`
}

// Connection is a row of the kernel's tables (proc(5), /proc/net/tcp): addresses
// in hex, as they are there.
type Connection struct {
	Kind   string `json:"kind"`
	Local  string `json:"local"`
	Remote string `json:"remote"`
}
