// Package report makes one HTML page of what was measured: a summary in words,
// pictures, and the tables behind them. The page needs nothing but itself. The
// package is pure.
package report

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"slices"

	"thaw"
	"thaw/bench"
)

// Data is what a page is made of. Each part may be missing, and what it would have
// shown is then left out.
type Data struct {
	Bench  *bench.Report
	Replay *bench.ReplayReport
	// Faults are the costs of page faults by class.
	Faults []Fault
	// Memory are maps of guest memory as policies bring it in, by function.
	Memory []thaw.MemoryMap
	// Points are measured besides those that Bench has: see [Points].
	Points []Point
}

// Fault is what one class of page fault costs, in microseconds.
type Fault struct {
	Class      string
	Median     float64
	Q1, Q3     float64
	TheirPaper float64 // what a paper has for it, 0 if none does
}

//go:embed page.gohtml
var pageSource string

//go:embed style.css
var style string

// Write writes the page. It is HTML5 that is well-formed XML as well.
func Write(w io.Writer, d Data) error { return pageOf(d).write(w) }

func (p page) write(w io.Writer) error {
	t, err := template.New("page").Parse(pageSource)
	if err != nil {
		return fmt.Errorf("read the page's template: %w", err)
	}
	var b bytes.Buffer
	if err := t.Execute(&b, p); err != nil {
		return fmt.Errorf("make the page: %w", err)
	}
	_, err = b.WriteTo(w)
	return err
}

// page is what the template shows.
type page struct {
	Style    template.CSS
	Title    string
	Made     string
	Summary  Summary
	Sections []section
}

// section is a part of the page.
type section struct {
	ID, Title string
	// Text are paragraphs before the figures.
	Text    []string
	Keys    []key // what the colours mean
	Figures []figure
	Tables  []table
}

// figure is a picture with its caption.
type figure struct {
	Caption string
	Note    string
	Picture template.HTML
}

// key is an entry of a legend.
type key struct {
	Ink    string
	Name   string
	Line   bool // or an area
	Dashed bool
}

// table has rows the first cell of which is the row's own head.
type table struct {
	Caption string
	Groups  []group // above Head, where there are
	Head    []string
	Rows    [][]string
	Folded  bool // until the reader opens it
}

// group is the common head of some columns.
type group struct {
	Name string
	Span int
}

func pageOf(d Data) page {
	if d.Bench != nil {
		d.Points = append(slices.Clone(d.Points), Points(*d.Bench)...)
		r := alone(*d.Bench)
		d.Bench = &r
	}
	p := page{Style: template.CSS(style), Title: "How functions start", Summary: Summarize(d)}
	if d.Bench == nil && d.Replay != nil {
		p.Title = "How functions would start: a replay"
	}
	p.Made = made(d)
	for _, s := range []section{
		totals(d), phases(d), distributions(d), concurrency(d), replays(d), memoryMaps(d), faultCosts(d), rungs(d), results(d), papers(d),
	} {
		if len(s.Figures)+len(s.Tables) > 0 {
			p.Sections = append(p.Sections, s)
		}
	}
	return p
}

// environment is where the figures come from.
func (d Data) environment() bench.Environment {
	switch {
	case d.Bench != nil:
		return d.Bench.Environment
	case d.Replay != nil:
		return d.Replay.Environment
	}
	return bench.Environment{}
}

func made(d Data) string {
	e := d.environment()
	if e.Time.IsZero() {
		return ""
	}
	return fmt.Sprintf("%s, thaw %s", e.Time.UTC().Format("2 January 2006, 15:04 UTC"), e.Version)
}
