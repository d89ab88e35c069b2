package report

import (
	"fmt"
	"html/template"
	"strings"

	"github.com/dustin/go-humanize"

	"thaw"
	"thaw/bench"
	"thaw/bench/report/svg"
	"thaw/explain"
)

// gridColumns is how many cells a row of guest memory has, and how many rows there
// are at most: of 256 MiB, a cell is 16 KiB.
const gridColumns = 128

// memoryMaps draw which pages of guest memory a policy brings in.
func memoryMaps(d Data) section {
	s := section{ID: "memory", Title: "Working sets in guest memory"}
	pages := []string{}
	for i, m := range d.Memory {
		if m.Pages <= 0 {
			continue
		}
		missed, known := d.missed(m)
		s.Figures = append(s.Figures, memoryFigure(i, m, missed, known))
		pages = append(pages, m.Function)
	}
	if len(pages) == 0 {
		return s
	}
	s.Text = []string{"Guest memory from address 0, row by row; a cell shows what matters most of its pages. Recorded is what the invocation used that the sets were made of; missed is what a measured start needed, had not been brought in, and was served while the guest waited (of the start of median time)."}
	s.Keys = []key{
		{Ink: "memzero", Name: "zero"}, {Ink: "memuntouched", Name: "not zero, not recorded"}, {Ink: "memread", Name: "brought in, read"},
		{Ink: "memwritten", Name: "brought in, written"}, {Ink: "memunused", Name: "brought in, not recorded"}, {Ink: "memlate", Name: "recorded, not brought in"}, {Ink: "memmissed", Name: "missed"},
	}
	return s
}

// missed are the pages that the start of median time under m's policy waited for,
// with a VMM that was waiting or else without.
func (d Data) missed(m thaw.MemoryMap) (pages []thaw.Miss, known bool) {
	if d.Bench == nil {
		return nil, false
	}
	for _, f := range d.Bench.Functions {
		for _, pool := range []bool{true, false} {
			if s, ok := middle(f, bench.Of(m.Policy, pool)); ok && f.Name == m.Function && s.Quality != nil {
				return s.Quality.MissedPages, true
			}
		}
	}
	return nil, false
}

func memoryFigure(n int, m thaw.MemoryMap, missed []thaw.Miss, known bool) figure {
	g := explain.NewGrid(m, gridColumns)
	cell := float64(pictureWidth) / gridColumns
	c := svg.New(pictureWidth, float64(g.Rows)*cell)
	c.Add(`<rect style="fill:var(--memzero)" width="%d" height="%.2f"/>`, pictureWidth, float64(g.Rows)*cell)
	paths := map[string]*strings.Builder{}
	g.Stretches(func(kind string, column, row, length int64) {
		if paths[kind] == nil {
			paths[kind] = &strings.Builder{}
		}
		fmt.Fprintf(paths[kind], "M%d %d.5h%d", column, row, length)
	})
	for _, kind := range []string{"untouched", "unused", "read", "written", "late"} {
		if b := paths[kind]; b != nil {
			c.Add(`<path style="stroke:var(--mem%s)" fill="none" stroke-width="1" transform="scale(%.4f)" d="%s"/>`, kind, cell, b)
		}
	}
	for _, p := range missed {
		column, row := g.Place(p.Page)
		c.Add(`<circle style="stroke:var(--memmissed)" fill="none" stroke-width="2" cx="%.1f" cy="%.1f" r="4"/>`, (float64(column)+.5)*cell, (float64(row)+.5)*cell)
	}
	what := amounts(m)
	if known {
		what += "; " + count(len(missed), "page") + " missed"
	}
	return figure{
		fmt.Sprintf("%s by %s", m.Function, m.Policy), what,
		template.HTML(c.String(fmt.Sprintf("memory%d", n), fmt.Sprintf("Guest memory of %s as %s brings it in", m.Function, m.Policy), what+".")),
	}
}

// amounts says how much there is of each kind of page.
func amounts(m thaw.MemoryMap) string {
	bytes, brings := map[string]int64{}, explain.Brings(m)
	for _, r := range m.Runs {
		bytes[explain.RunKind(r, brings)] += int64(r.Pages) * thaw.PageSize
	}
	size := func(kinds ...string) string {
		sum := int64(0)
		for _, k := range kinds {
			sum += bytes[k]
		}
		return humanize.IBytes(uint64(sum))
	}
	of := "of " + humanize.IBytes(uint64(m.Pages*thaw.PageSize)) + ", " + size("untouched", "unused", "read", "written", "late") + " are not zero"
	if !brings {
		return of + ", " + size("read", "written") + " recorded"
	}
	text := fmt.Sprintf("%s, %s recorded, %s brought in", of, size("read", "written", "late"), size("read", "written", "unused"))
	if bytes["unused"] > 0 {
		text += ", " + size("unused") + " of it not recorded"
	}
	return text
}
