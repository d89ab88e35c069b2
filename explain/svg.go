package explain

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"

	"thaw"
)

// The picture, in CSS pixels: a time line over the whole width, and below it guest
// memory to the left and the trace of first touches to the right.
const (
	pictureWidth = 1000
	margin       = 24
	barHeight    = 12
	barStep      = 18
	labelWidth   = 120 // of phases and addresses
	cell         = 2   // side of the square that stands for some pages
	cellsPerRow  = 256
	traceLeft    = margin + 56 + cellsPerRow*cell + 76
	traceWidth   = pictureWidth - traceLeft - margin
)

const style = `<style>
:root{color-scheme:light dark}
svg{background:#fff;font:12px system-ui,sans-serif}
text{fill:#222}.dim{fill:#666}.title{font-size:16px;font-weight:600}.frame{fill:none;stroke:#999}
.zero{fill:#f3f3f0}.untouched{fill:#bcbcb6}.read{fill:#2b78c5}.written{fill:#e07b00}.unused{fill:#6fb58a}.late{fill:#9a63c4}.missed{fill:#d0021b}
.bar{fill:#5b6b7b}.invoke{fill:#2b78c5}
path.read{stroke:#2b78c5;fill:none}path.written{stroke:#e07b00;fill:none}path.missed{stroke:#d0021b;fill:none}
path{stroke-width:2;stroke-linecap:square}path.missed{stroke-width:4}
@media(prefers-color-scheme:dark){svg{background:#16181b}text{fill:#e6e6e6}.dim{fill:#9aa0a6}.frame{stroke:#555}
.zero{fill:#22252a}.untouched{fill:#555a61}.bar{fill:#8a99a8}}
</style>
`

// WriteSVG draws s: its phases on a time line, guest memory, and when which page
// was touched first. It is an error to draw what has no memory map.
func (s Subject) WriteSVG(w io.Writer) error {
	if s.Memory == nil {
		return thaw.Errorf(thaw.CodeConflict, "function %s has no snapshot whose memory could be drawn", s.Invocation.Function)
	}
	d := drawing{subject: s, memory: *s.Memory}
	d.grid = NewGrid(d.memory, cellsPerRow)
	d.title()
	d.timeLine()
	d.guestMemory()
	d.trace()
	d.legend()
	_, err := fmt.Fprintf(w, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" height=\"%d\">\n%s%s</svg>\n",
		pictureWidth, d.y+margin, pictureWidth, d.y+margin, style, d.body.String())
	return err
}

// drawing is a picture in the making, from top to bottom.
type drawing struct {
	subject Subject
	memory  thaw.MemoryMap
	grid    Grid
	body    strings.Builder
	y       int
}

func (d *drawing) add(format string, args ...any) { fmt.Fprintf(&d.body, format+"\n", args...) }

// text writes a line of text; what it says may come from anywhere.
func (d *drawing) text(x, y int, class, anchor, text string) {
	var escaped strings.Builder
	_ = xml.EscapeText(&escaped, []byte(clean(text))) // a Builder does not fail
	d.add(`<text x="%d" y="%d" class="%s" text-anchor="%s">%s</text>`, x, y, class, anchor, escaped.String())
}

func (d *drawing) title() {
	i := d.subject.Invocation
	d.y = margin + 14
	d.text(margin, d.y, "title", "start", i.Asked()+": "+outcome(i))
	d.y += 20
	d.text(margin, d.y, "dim", "start", fmt.Sprintf("invocation %s, %s", i.ID, i.Time.UTC().Format("2006-01-02 15:04:05 UTC")))
	d.y += 14
}

func (d *drawing) timeLine() {
	i := d.subject.Invocation
	scale := float64(pictureWidth-2*margin-labelWidth) / max(i.DurationMS*1e3, 1)
	for _, name := range thaw.PhaseNames() {
		if ms, ok := i.PhasesMS[name]; ok {
			d.y += barStep
			d.text(margin, d.y, "", "start", name)
			d.text(margin+labelWidth-10, d.y, "dim", "end", fmt.Sprintf("%.1f ms", ms))
			d.phase(i.Spans, name, scale)
		}
	}
	d.y += 2 * barStep
}

func (d *drawing) phase(spans []thaw.Span, name string, scale float64) {
	class := "bar"
	if name == thaw.PhaseInvoke {
		class = "invoke"
	}
	for _, s := range spans {
		if s.Phase == name {
			d.add(`<rect class="%s" x="%.1f" y="%d" width="%.1f" height="%d"/>`, class,
				margin+labelWidth+float64(s.StartUS)*scale, d.y-barHeight+2, max(float64(s.DurationUS)*scale, 1), barHeight)
		}
	}
}

// guestMemory draws a cell for every few pages, row by row from address 0.
func (d *drawing) guestMemory() {
	left := margin + 56
	d.text(left, d.y, "", "start", fmt.Sprintf("Guest memory, %s to a point", plural(d.grid.PerCell, "page")))
	d.text(traceLeft, d.y, "", "start", fmt.Sprintf("First touches as recorded: %s", plural(int64(len(d.memory.Trace)), "page")))
	d.y += 10
	d.add(`<rect class="zero" x="%d" y="%d" width="%d" height="%d"/>`, left, d.y, cellsPerRow*cell, d.grid.Rows*cell)
	d.grid.Stretches(func(kind string, column, row, length int64) {
		d.add(`<rect class="%s" x="%d" y="%d" width="%d" height="%d"/>`, kind, left+int(column)*cell, d.y+int(row)*cell, int(length)*cell, cell)
	})
	d.misses(left)
	d.addresses(left)
}

// misses marks what this invocation had to wait for.
func (d *drawing) misses(left int) {
	q := d.subject.Invocation.Quality
	if q == nil {
		return
	}
	for _, m := range q.MissedPages {
		column, row := d.grid.Place(m.Page)
		d.add(`<rect class="missed" x="%d" y="%d" width="%d" height="%d"/>`, left+int(column)*cell-1, d.y+int(row)*cell-1, 2*cell, 2*cell)
	}
}

// addresses labels the rows.
func (d *drawing) addresses(left int) {
	for part := range int64(5) {
		row := d.grid.Rows * part / 4
		mib := row * cellsPerRow * d.grid.PerCell * thaw.PageSize >> 20
		d.text(left-8, d.y+int(row)*cell+4, "dim", "end", fmt.Sprintf("%d MiB", mib))
	}
}
