// Package functions holds the functions that the papers on snapshot starts are
// measured with, written anew for thaw, and what is known of each: how it is
// deployed, two events for it and what it replies to them. The README beside it
// says what they are and how they differ from the originals.
package functions

import (
	"embed"
	"encoding/json"
	"io/fs"
	"time"

	"thaw"
)

//go:embed */*.py */thaw-bench.json
var files embed.FS

// Files returns a folder for each function, named as the function is: its code,
// ready for [thaw/image.PackFS] by [fs.Sub], and its [SpecName].
func Files() fs.FS { return files }

// SpecName is the file in a function's folder that describes it as a workload.
const SpecName = "thaw-bench.json"

// Paper is a publication whose evaluation runs a workload.
type Paper string

// The papers, as they call their systems.
const (
	REAP    Paper = "REAP"    // ASPLOS'21
	FaaSnap Paper = "FaaSnap" // EuroSys'22
)

// Workload is a function with what to measure it with.
type Workload struct {
	// Name is the function's, and that of its folder.
	Name string
	// Description says in one line what the function does, Original what the papers
	// run, and Differs what is not so here.
	Description, Original, Differs string
	// Papers are those that measure it.
	Papers []Paper
	// Packages are the Debian packages that it imports, in order.
	Packages []string
	// MemoryBytes is the memory of its guests, Timeout enough for any input when
	// guests are emulated.
	MemoryBytes int64
	Timeout     time.Duration
	// A is the input that a working set is recorded with, B the one that is measured.
	A, B Input
	// Sizes are the inputs of FaaSnap's experiment on input sizes, in its order:
	// about 1/4, 1/2, 1, 1, 2 and 4 times the size of the third, which is the one to
	// record with. It is empty for workloads that are not in that experiment.
	Sizes []Input
}

// Settings returns how w is deployed, with defaults set.
func (w Workload) Settings() thaw.Settings {
	s := thaw.Settings{Runtime: thaw.RuntimePython, MemoryBytes: w.MemoryBytes, Timeout: w.Timeout, Packages: w.Packages}
	return s.WithDefaults()
}

// Input is an event with the result that it always has, on every machine.
type Input struct {
	Event  json.RawMessage `json:"event"`
	Result string          `json:"result"`
}

// Check returns nil if reply, a function's whole reply to the event, holds the
// result, and otherwise an error that says what it holds.
func (i Input) Check(reply []byte) error {
	var got struct {
		Result string `json:"result"`
	}
	if err := json.Unmarshal(reply, &got); err != nil {
		return thaw.Errorf(thaw.CodeFunction, "reply %.200q to %s is no result: %w", reply, i.Event, err)
	}
	if got.Result != i.Result {
		return thaw.Errorf(thaw.CodeFunction, "reply %.200q to %s: want the result %q", reply, i.Event, i.Result)
	}
	return nil
}
