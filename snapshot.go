package thaw

import (
	"regexp"
	"strings"
	"time"
)

// SnapshotStatus says what a snapshot is there for.
type SnapshotStatus string

const (
	// SnapshotServes is what a version of a function starts from.
	SnapshotServes SnapshotStatus = "serves"
	// SnapshotOrphaned is what no version starts from.
	SnapshotOrphaned SnapshotStatus = "orphaned"
	// SnapshotQuarantined could not be trusted and is kept to be looked at.
	SnapshotQuarantined SnapshotStatus = "quarantined"
)

// Snapshot is a snapshot as listed to people, or a single set of one that is in
// quarantine.
type Snapshot struct {
	// SnapshotInfo holds what could be read. Its ID is what to ask for it by; in
	// quarantine that may have an ending.
	SnapshotInfo
	Status SnapshotStatus `json:"status"`
	// Set is the name of the set that is in quarantine by itself, else "".
	Set string `json:"set,omitempty"`
	// Users is how many VMs were restored from it and run, or are being restored.
	Users int `json:"users"`
	// Problem says why it is in quarantine or why its manifest cannot be used.
	Problem string `json:"problem,omitempty"`
	// Quarantined is when it was put in quarantine.
	Quarantined time.Time `json:"quarantined,omitzero"`
}

// LoadingBytes is the length of all loading sets.
func (s SnapshotInfo) LoadingBytes() (n int64) {
	for _, f := range s.Files {
		if strings.HasPrefix(f.Name, loadingSetPrefix) {
			n += f.Bytes
		}
	}
	return n
}

const loadingSetPrefix = "loading-set-"

// snapshotRule also allows for what the quarantine adds: the name of a set, and a
// number.
var snapshotRule = regexp.MustCompile(`^[a-z0-9]{8,64}(\.[a-z0-9-]{1,64}){0,2}$`)

// CheckSnapshotID returns a [CodeInvalid] error unless id can be a snapshot's.
func CheckSnapshotID(id string) error {
	if !snapshotRule.MatchString(id) {
		return Errorf(CodeInvalid, "snapshot id %.100q is not valid: take one from the list of snapshots", id)
	}
	return nil
}

// CheckStatus is what was found out about a file.
type CheckStatus string

const (
	CheckOK      CheckStatus = "ok"
	CheckCorrupt CheckStatus = "corrupt"
	CheckMissing CheckStatus = "missing"
	// CheckStale is a manifest of a format that this build does not read.
	CheckStale CheckStatus = "stale"
	// CheckSkipped is a file that is there, while the manifest that says what
	// belongs in it is of no use.
	CheckSkipped CheckStatus = "skipped"
)

// FileCheck is how a file of a snapshot compares with its checksum.
type FileCheck struct {
	Name string `json:"name"`
	// Status is "" while the file is being read.
	Status CheckStatus `json:"status,omitempty"`
	// Optional says that the snapshot is good without it.
	Optional bool `json:"optional,omitempty"`
	// Bytes is its length, ReadBytes how much of it was read.
	Bytes      int64   `json:"bytes"`
	ReadBytes  int64   `json:"read_bytes"`
	DurationMS float64 `json:"duration_ms"`
	// Problem says what is wrong with it.
	Problem string `json:"problem,omitempty"`
}

// Verification is how all files of a snapshot compare with their checksums.
type Verification struct {
	ID       string         `json:"id"`
	Status   SnapshotStatus `json:"status"`
	Function string         `json:"function,omitempty"`
	Version  int            `json:"version,omitempty"`
	// Good says that each file is what was published.
	Good       bool        `json:"good"`
	Files      []FileCheck `json:"files"`
	DurationMS float64     `json:"duration_ms"`
}
