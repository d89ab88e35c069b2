// Package explain says why an invocation took as long as it did: on one screen,
// and as a picture of guest memory. It is pure.
package explain

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/dustin/go-humanize"

	"thaw"
)

// Subject is what is explained.
type Subject struct {
	Invocation thaw.Invocation `json:"invocation"`
	// Memory is that of the snapshot, nil where there is none.
	Memory *thaw.MemoryMap `json:"memory,omitempty"`
	// WarmMS is the median of the function's warm invocations, 0 without any.
	WarmMS float64 `json:"warm_ms,omitempty"`
	// Accelerator is how guests run.
	Accelerator string `json:"accelerator"`
}

// WriteText writes s on one screen.
func (s Subject) WriteText(w io.Writer) error {
	i := s.Invocation
	fmt.Fprintf(w, "%s, %s: %s", i.Asked(), i.Time.Local().Format("2006-01-02 15:04:05"), outcome(i))
	fmt.Fprintf(w, "\ninvocation %s on instance %s\n", i.ID, dash(i.Instance))
	if i.Reason != "" {
		fmt.Fprintf(w, "because    %s\n", clean(i.Reason))
	}
	fmt.Fprintln(w)
	if err := writeTimeLine(w, i); err != nil {
		return err
	}
	fmt.Fprintln(w)
	if err := s.writeFacts(w); err != nil {
		return err
	}
	fmt.Fprintln(w, "\nWhat to change")
	for _, line := range s.Advice() {
		fmt.Fprintf(w, "  - %s\n", line)
	}
	_, err := fmt.Fprintln(w)
	return err
}

// outcome says how the invocation started and ended.
func outcome(i thaw.Invocation) string {
	text := fmt.Sprintf("%s start", i.Start)
	if i.Start == thaw.StartCold {
		text += " by " + string(i.Policy)
	}
	if i.Prestarted {
		text += " in a VMM that was waiting"
	}
	text += fmt.Sprintf(", %.1f ms", i.DurationMS)
	switch {
	case i.Error != "":
		text += "; no reply: " + clean(i.Error)
	case i.FunctionError != "":
		text += "; the function failed: " + clean(i.FunctionError)
	}
	return text
}

// lineWidth is that of a time line, in columns.
const lineWidth = 60

// writeTimeLine draws a bar for each phase.
func writeTimeLine(w io.Writer, i thaw.Invocation) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	whole := max(i.DurationMS*1e3, 1)
	for _, name := range thaw.PhaseNames() {
		bar, found := bars(i.Spans, name, whole)
		if !found {
			continue
		}
		fmt.Fprintf(t, "%s\t%.1f ms\t%s\n", name, i.PhasesMS[name], bar)
	}
	return t.Flush()
}

// bars draws the spans of a phase on a line that stands for whole microseconds.
func bars(spans []thaw.Span, name string, whole float64) (line string, found bool) {
	cells := []rune(strings.Repeat(" ", lineWidth))
	for _, s := range spans {
		if s.Phase != name {
			continue
		}
		found = true
		first := min(int(float64(s.StartUS)/whole*lineWidth), lineWidth-1)
		last := min(int(float64(s.StartUS+s.DurationUS)/whole*lineWidth), lineWidth-1)
		for c := max(first, 0); c <= last; c++ {
			cells[c] = '█'
		}
	}
	return strings.TrimRight(string(cells), " "), found
}

// writeFacts writes what was counted.
func (s Subject) writeFacts(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range s.facts() {
		fmt.Fprintf(t, "%s\t%s\n", row[0], row[1])
	}
	return t.Flush()
}

// atMost says that the hits are a bound.
func atMost(q *thaw.Quality) string {
	if q.Unwatched > 0 {
		return "at most "
	}
	return ""
}

func (s Subject) facts() (rows [][2]string) {
	i := s.Invocation
	rows = append(rows,
		[2]string{"faults", fmt.Sprintf("%s trapped by thaw, %s waited for the disk, %s served from memory", comma(i.Faults.Trapped), comma(i.Faults.Major), comma(i.Faults.Minor))},
		[2]string{"read", read(i.BytesBySource)})
	if q := i.Quality; q != nil && q.Brought > 0 {
		rows = append(rows, [2]string{"prefetch", fmt.Sprintf("%s pages, %s%s of them used, %s missed: recall %.3f, precision %.3f, %s for nothing",
			comma(q.Brought), atMost(q), comma(q.Hits), comma(q.Misses), q.Recall(), q.Precision(), bytes(q.BytesWasted()))})
	}
	if l := i.Layout; l != nil {
		text := fmt.Sprintf("%d mappings, %s swallowed to have no more", l.Mappings, plural(l.MergedPages, "page"))
		if l.Recording != "" {
			text += "; recorded " + l.Recording
		}
		rows = append(rows, [2]string{"layout", text})
	}
	if m := i.Memory; m != nil {
		rows = append(rows, [2]string{"memory", fmt.Sprintf("%s mapped after the reply, %s of it this guest's alone", bytes(m.Resident), bytes(m.Private))})
	}
	if s.Memory != nil {
		rows = append(rows, s.snapshotFacts()...)
	}
	return rows
}

// read says what came from the disk.
func read(b thaw.BytesRead) string {
	if b.Total() == 0 {
		return "nothing: what was needed was in memory already"
	}
	return fmt.Sprintf("%s ahead of the guest, %s at trapped faults, %s by the VMM and the kernel", bytes(b.Prefetch), bytes(b.Server), bytes(b.VMM))
}

// snapshotFacts describe what guest memory is made of.
func (s Subject) snapshotFacts() [][2]string {
	m := s.Memory
	parts := []string{}
	for _, c := range []thaw.PageClass{thaw.PageZero, thaw.PageUntouched, thaw.PageRead, thaw.PageWritten} {
		parts = append(parts, fmt.Sprintf("%s %s", bytes(m.Count(c)*thaw.PageSize), c))
	}
	return [][2]string{
		{"snapshot", bytes(m.Pages*thaw.PageSize) + ": " + strings.Join(parts, ", ")},
		{"", strip(*m)},
		{"", "░ untouched  ▒ read  █ written, as recorded; blank is zero"},
	}
}

// strip draws guest memory on one line: each column shows the class of its pages
// that matters most.
func strip(m thaw.MemoryMap) string {
	cells := make([]int, lineWidth)
	for _, r := range m.Runs {
		first := int64(r.Page) * lineWidth / max(m.Pages, 1)
		last := (int64(r.Page) + int64(r.Pages) - 1) * lineWidth / max(m.Pages, 1)
		for c := first; c <= min(last, lineWidth-1); c++ {
			cells[c] = max(cells[c], rank(r.Class))
		}
	}
	var b strings.Builder
	for _, c := range cells {
		b.WriteRune([]rune(" ░▒█")[c])
	}
	return "[" + b.String() + "]"
}

// rank orders classes by how much they matter.
func rank(c thaw.PageClass) int {
	return max(0, slices.Index([]thaw.PageClass{thaw.PageZero, thaw.PageUntouched, thaw.PageRead, thaw.PageWritten}, c))
}

func comma(n int64) string { return humanize.Comma(n) }

func bytes(n int64) string { return humanize.IBytes(uint64(max(n, 0))) }

func plural(n int64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return comma(n) + " " + noun + "s"
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// clean puts what may come from a function on one line without control
// characters.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return ' '
		}
		return r
	}, s)
}
