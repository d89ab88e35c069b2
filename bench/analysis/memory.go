// Package analysis computes what the papers say of working sets: how large they
// are, how contiguous, and how much two inputs have in common. It is pure: sets in,
// figures out.
package analysis

import "thaw/workingset"

// Memory is what a snapshot's memory is to invocations of its function. Figures
// are pages.
type Memory struct {
	// Booted are not zero in the snapshot: the footprint of the guest after it booted
	// and initialised (REAP, figure 4).
	Booted int64 `json:"booted_pages"`
	// WorkingSet are those that an invocation touched first, zero ones included, and
	// Runs as how many contiguous stretches (figure 3).
	WorkingSet int64 `json:"working_set_pages"`
	Runs       int64 `json:"runs"`
	// Written of the working set were written to.
	Written int64 `json:"written_pages"`
	// Zero of the working set are zero in the snapshot: memory that the guest
	// allocated anew.
	Zero int64 `json:"zero_pages"`
	// Inputs is nil unless two inputs were recorded.
	Inputs *Inputs `json:"inputs,omitempty"`
}

// Inputs compares the working sets of two inputs (REAP, figure 5).
type Inputs struct {
	// Same are in both; OnlyRecorded in that of the recorded input alone, OnlyMeasured
	// in that of the other.
	Same         int64 `json:"same_pages"`
	OnlyRecorded int64 `json:"only_recorded_pages"`
	OnlyMeasured int64 `json:"only_measured_pages"`
}

// Of looks at a trace of first touches on a snapshot, of which nonZero are not
// zero.
func Of(trace workingset.Set, nonZero []workingset.Run) Memory {
	m := Memory{Booted: workingset.CountPages(nonZero), WorkingSet: int64(len(trace.Touches)), Runs: int64(len(trace.Runs()))}
	image := workingset.BitsOf(trace.MemoryPages, nonZero)
	for _, t := range trace.Touches {
		if t.Written {
			m.Written++
		}
		if !image.Has(t.Page) {
			m.Zero++
		}
	}
	return m
}

// Compare compares the traces of the recorded input and of the measured one.
func Compare(recorded, measured workingset.Set) Inputs {
	in := workingset.BitsOf(recorded.MemoryPages, recorded.Runs())
	var i Inputs
	for _, t := range measured.Touches {
		if in.Has(t.Page) {
			i.Same++
		} else {
			i.OnlyMeasured++
		}
	}
	i.OnlyRecorded = int64(len(recorded.Touches)) - i.Same
	return i
}

// Contiguity is the mean length of a run of the working set, in pages; 0 of none.
func (m Memory) Contiguity() float64 { return ratio(m.WorkingSet, m.Runs) }

// Share is the working set over the booted footprint; 0 of none. It can exceed 1,
// as the working set has zero pages.
func (m Memory) Share() float64 { return ratio(m.WorkingSet, m.Booted) }

// Unique is the share of the measured input's pages that the recorded one had not
// touched: what a prefetch of the other's working set misses.
func (i Inputs) Unique() float64 { return ratio(i.OnlyMeasured, i.Same+i.OnlyMeasured) }

func ratio(a, b int64) float64 {
	if b == 0 {
		return 0
	}
	return float64(a) / float64(b)
}
