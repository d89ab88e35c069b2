package explain

import (
	"fmt"
	"strings"

	"thaw"
)

// trace draws when which page was touched first: time to the right, addresses
// down as in the picture of guest memory beside it.
func (d *drawing) trace() {
	height := int(d.grid.Rows) * cell
	d.add(`<rect class="frame" x="%d" y="%d" width="%d" height="%d"/>`, traceLeft, d.y, traceWidth, height)
	longest := d.longest()
	var read, written, missed strings.Builder
	for _, t := range d.memory.Trace {
		b := &read
		if t.Written {
			b = &written
		}
		d.point(b, t.Page, t.AfterUS, longest)
	}
	if q := d.subject.Invocation.Quality; q != nil {
		for _, m := range q.MissedPages {
			d.point(&missed, m.Page, m.AfterUS, longest)
		}
	}
	d.path("read", read.String())
	d.path("written", written.String())
	d.path("missed", missed.String())
	d.y += height
	d.text(traceLeft, d.y+16, "dim", "start", "0 ms")
	d.text(traceLeft+traceWidth, d.y+16, "dim", "end", fmt.Sprintf("%.0f ms after memory was laid out", float64(longest)/1e3))
}

// longest is the time that the trace covers, in microseconds.
func (d *drawing) longest() int64 {
	longest := int64(1)
	for _, t := range d.memory.Trace {
		longest = max(longest, t.AfterUS)
	}
	if q := d.subject.Invocation.Quality; q != nil {
		for _, m := range q.MissedPages {
			longest = max(longest, m.AfterUS)
		}
	}
	return longest
}

// point adds a point to a path.
func (d *drawing) point(b *strings.Builder, page uint32, afterUS, longest int64) {
	x := float64(traceLeft) + float64(afterUS)/float64(longest)*float64(traceWidth)
	y := float64(d.y) + float64(page)/float64(max(d.memory.Pages, 1))*float64(d.grid.Rows*cell)
	fmt.Fprintf(b, "M%.1f %.1fh.1", x, y)
}

func (d *drawing) path(class, points string) {
	if points != "" {
		d.add(`<path class="%s" d="%s"/>`, class, points)
	}
}

// legend says what the colours mean, with how much there is of each.
func (d *drawing) legend() {
	d.y += 40
	x := margin + 56
	for _, entry := range d.entries() {
		width := 15 + 7*len(entry[1]) // about
		if x+width > pictureWidth-margin {
			x, d.y = margin+56, d.y+20
		}
		d.add(`<rect class="%s" x="%d" y="%d" width="10" height="10"/>`, entry[0], x, d.y-9)
		d.text(x+15, d.y, "", "start", entry[1])
		x += width + 14
	}
}

func (d *drawing) entries() [][2]string {
	pages, brings := map[string]int64{}, Brings(d.memory)
	for _, r := range d.memory.Runs {
		pages[RunKind(r, brings)] += int64(r.Pages)
	}
	amount := func(k string) string { return bytes(pages[k] * thaw.PageSize) }
	entries := [][2]string{{"zero", "zero, " + amount("zero")}, {"untouched", "untouched, " + amount("untouched")}}
	if !brings {
		return append(entries, [2]string{"read", "read, " + amount("read")}, [2]string{"written", "written, " + amount("written")})
	}
	entries = append(entries, [2]string{"read", "brought in, read, " + amount("read")}, [2]string{"written", "brought in, written, " + amount("written")},
		[2]string{"unused", "brought in, not used by the recording, " + amount("unused")})
	if pages["late"] > 0 {
		entries = append(entries, [2]string{"late", "recorded, not brought in, " + amount("late")})
	}
	if q := d.subject.Invocation.Quality; q != nil && len(q.MissedPages) > 0 {
		entries = append(entries, [2]string{"missed", fmt.Sprintf("missed by this invocation, %s", plural(int64(len(q.MissedPages)), "page"))})
	}
	return entries
}
