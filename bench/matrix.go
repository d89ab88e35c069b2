package bench

import (
	"fmt"
	"slices"
	"strings"
)

// Snapshots says which snapshots invocations start from that start together.
type Snapshots string

const (
	// SameSnapshot is one for all of them.
	SameSnapshot Snapshots = "same"
	// DifferentSnapshots is one for each, with sets and a place in the page cache of
	// its own.
	DifferentSnapshots Snapshots = "different"
)

// Coordinates say where in the matrix of a run a sample was taken.
type Coordinates struct {
	// Kind is "" in the coordinates of a [Function.Cells], which holds all kinds.
	Kind Kind `json:"kind"`
	// Input names the event that was measured.
	Input string `json:"input,omitempty"`
	// Clones is how many invocations started at the same time.
	Clones    int       `json:"clones"`
	Snapshots Snapshots `json:"snapshots"`
	// MemoryMiB is the guest's.
	MemoryMiB int64 `json:"guest_memory_mib"`
}

// Cell is c for all kinds.
func (c Coordinates) Cell() Coordinates {
	c.Kind = ""
	return c
}

// String names a cell for people; "" is the plainest one.
func (c Coordinates) String() string {
	var words []string
	if c.Input != "" {
		words = append(words, "input "+c.Input)
	}
	if c.Clones > 1 {
		words = append(words, fmt.Sprintf("%d at the same time of %s", c.Clones, c.Snapshots.words()))
	}
	return strings.Join(words, ", ")
}

func (s Snapshots) words() string {
	if s == DifferentSnapshots {
		return "different snapshots"
	}
	return "the same snapshot"
}

// Cells returns the cells that samples were taken in, in the order they took
// turns. Samples of different cells are not to be compared as if they were alike.
func (f Function) Cells() []Coordinates {
	var cells []Coordinates
	for _, s := range f.Samples {
		if c := s.Cell(); !slices.Contains(cells, c) {
			cells = append(cells, c)
		}
	}
	return cells
}

// In returns f with the samples of one cell only.
func (f Function) In(cell Coordinates) Function {
	in := f
	in.Samples = nil
	for _, s := range f.Samples {
		if s.Cell() == cell.Cell() {
			in.Samples = append(in.Samples, s)
		}
	}
	return in
}

// cells are the cells that subject s is measured in.
func (o Options) cells(s Subject, memoryMiB int64) []Coordinates {
	var cells []Coordinates
	for _, in := range s.Inputs {
		for _, n := range o.Clones {
			cell := Coordinates{Input: in.Name, Clones: n, Snapshots: SameSnapshot, MemoryMiB: memoryMiB}
			cells = append(cells, cell)
			if n > 1 && len(s.Copies) > 0 {
				cell.Snapshots = DifferentSnapshots
				cells = append(cells, cell)
			}
		}
	}
	return cells
}

// functions are those that the invocations of a cell are of, one each.
func (s Subject) functions(cell Coordinates) []string {
	names := make([]string, cell.Clones)
	for i := range names {
		names[i] = s.Function
		if cell.Snapshots == DifferentSnapshots && i > 0 {
			names[i] = s.Copies[i-1]
		}
	}
	return names
}

// all are the function and its copies.
func (s Subject) all() []string { return append([]string{s.Function}, s.Copies...) }

// input is the one that cell is measured with.
func (s Subject) input(cell Coordinates) Input {
	i := slices.IndexFunc(s.Inputs, func(in Input) bool { return in.Name == cell.Input })
	return s.Inputs[i]
}
