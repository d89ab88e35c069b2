package explain

import (
	"slices"

	"thaw"
)

// Grid is guest memory as a picture: cells in rows from address 0, each for the same
// number of pages.
type Grid struct {
	Columns, Rows int64
	// PerCell is how many pages a cell stands for.
	PerCell int64
	// cells are indexes into cellKinds.
	cells []int
}

// cellKinds are what a cell can show, from what matters least: nothing but zeroes;
// what no recording saw in use; what is brought in for nothing; what is brought in
// and only read; what is brought in and written; what a recording saw in use and
// is not brought in. Without a policy that brings in, read and written are just
// that.
func cellKinds() []string { return []string{"zero", "untouched", "unused", "read", "written", "late"} }

// NewGrid draws m in rows of columns cells, and in as many rows as there are
// columns at most: larger memories have more pages to a cell, which then shows
// the one that matters most.
func NewGrid(m thaw.MemoryMap, columns int64) Grid {
	g := Grid{Columns: columns, PerCell: max(1, (m.Pages+columns*columns-1)/(columns*columns))}
	g.Rows = (m.Pages + columns*g.PerCell - 1) / (columns * g.PerCell)
	g.cells = make([]int, g.Rows*columns)
	brings := Brings(m)
	for _, r := range m.Runs {
		k := slices.Index(cellKinds(), RunKind(r, brings))
		for c := int64(r.Page) / g.PerCell; c <= (int64(r.Page)+int64(r.Pages)-1)/g.PerCell && c < int64(len(g.cells)); c++ {
			g.cells[c] = max(g.cells[c], k)
		}
	}
	return g
}

// Brings says whether the policy brings anything in ahead of the guest.
func Brings(m thaw.MemoryMap) bool {
	return slices.ContainsFunc(m.Runs, func(r thaw.MemoryRun) bool { return r.Prefetched })
}

// RunKind is what a run looks like in a picture of a policy that brings something
// in, or does not: zero, untouched, unused, read, written or late.
func RunKind(r thaw.MemoryRun, brings bool) string {
	used := r.Class == thaw.PageRead || r.Class == thaw.PageWritten
	switch {
	case used && !r.Prefetched && brings:
		return "late"
	case r.Prefetched && !used:
		return "unused"
	case used || r.Class == thaw.PageUntouched:
		return string(r.Class)
	}
	return "zero"
}

// Place is where a page is drawn. One that memory does not have is drawn beyond the
// last row.
func (g Grid) Place(page uint32) (column, row int64) {
	c := int64(page) / g.PerCell
	return c % g.Columns, min(c/g.Columns, g.Rows)
}

// Stretches calls draw for neighbours in a row that show the same, other than
// zeroes.
func (g Grid) Stretches(draw func(kind string, column, row, length int64)) {
	for first := int64(0); first < int64(len(g.cells)); {
		last, end := first, (first/g.Columns+1)*g.Columns
		for last < end && g.cells[last] == g.cells[first] {
			last++
		}
		if k := g.cells[first]; k > 0 {
			draw(cellKinds()[k], first%g.Columns, first/g.Columns, last-first)
		}
		first = last
	}
}
