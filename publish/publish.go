// Package publish is the journal of the way from code to a version that serves: what
// is noted of it, and what a daemon that finds such a note at its start makes of it.
// It is pure; package registry keeps the records, package daemon takes the steps.
//
// # Format
//
// A record is one JSON object, the value of the function's name in the registry's
// bucket publishes: of each function the latest publish is kept, whatever came of it.
//
//	format    1
//	publish   thaw.Publish: function, version, state, step, steps, began, …
//	version   thaw.Version: settings, and what is known so far of images and snapshot
//
// It is written before each step begins, and durable then. The id of a snapshot is in
// it before the snapshot can be seen under that id, so that none is ever without an
// owner. The record of a step is in the registry, and not in a file of its own, for
// the last write: the version is stored, begins to serve, and its record says done, in
// one transaction. So there is no state in which a version serves and its publish
// seems to be under way, or the other way round.
//
// A record that cannot be read, be it damaged or of another format, is forgotten: its
// publish is undone.
package publish

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"thaw"
)

// Format is the version of [Record] this build writes and reads.
const Format = 1

// MaxResumes is how many daemons go on with a publish. One that ended each of them may
// be what ended them.
const MaxResumes = 3

// Record is a publish as the journal has it.
type Record struct {
	Format  int          `json:"format"`
	Publish thaw.Publish `json:"publish"`
	// Version is what will serve, as far as it is known.
	Version thaw.Version `json:"version"`
}

// Encode returns r as it is kept.
func Encode(r Record) ([]byte, error) {
	r.Format = Format
	b, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encode the publish of %s: %w", r.Publish.Function, err)
	}
	return b, nil
}

// Decode reads the record that is filed under function. A record that contradicts
// itself is an error.
func Decode(function string, b []byte) (r Record, err error) {
	if err := json.Unmarshal(b, &r); err != nil {
		return Record{}, fmt.Errorf("decode the publish of %s: %w", function, err)
	}
	if err := r.check(function); err != nil {
		return Record{}, fmt.Errorf("decode the publish of %s: %w", function, err)
	}
	return r, nil
}

func (r Record) check(function string) error {
	p, v := r.Publish, r.Version
	switch {
	case r.Format != Format:
		return fmt.Errorf("its format is %d, this build reads %d", r.Format, Format)
	case p.Function != function:
		return fmt.Errorf("it is of %.80q", p.Function)
	case !slices.Contains([]thaw.PublishState{thaw.PublishRunning, thaw.PublishDone, thaw.PublishFailed}, p.State):
		return fmt.Errorf("its state is %.80q", p.State)
	case !slices.Contains(thaw.PublishSteps(), p.Step):
		return fmt.Errorf("its step is %.80q", p.Step)
	case p.Number < 0 || p.Resumed < 0:
		return errors.New("a number in it is negative")
	case p.Number != v.Number || p.Number > 0 && v.Function != function:
		return fmt.Errorf("version %d is to be version %d of %.80q", p.Number, v.Number, v.Function)
	case p.State == thaw.PublishRunning && p.Number == 0 && p.Step != thaw.StepBuild:
		return fmt.Errorf("step %s has no version", p.Step)
	}
	return nil
}

// After says whether step a comes after b, or is b.
func After(a, b string) bool {
	steps := thaw.PublishSteps()
	return slices.Index(steps, a) >= slices.Index(steps, b)
}
