package bench

import (
	"fmt"
	"io"
	"strings"
)

// WriteGo writes the samples in the Go benchmark format
// (golang.org/design/14313-benchmark-format), one line each, which benchstat
// reads. The coordinates of a sample are parts of its name: benchstat -col /start
// compares the kinds of start, -row and -filter choose among the others.
func (r Report) WriteGo(w io.Writer) error {
	e := r.Environment
	for _, line := range [][2]string{
		{"thaw", e.Version}, {"kernel", e.Kernel}, {"cpu", e.CPU}, {"cores", fmt.Sprint(e.Cores)}, {"accelerator", e.Accelerator}, {"vmm", e.VMM},
		{"disk", e.DiskModel}, {"readahead-kib", fmt.Sprint(e.ReadaheadDuring)}, {"load", e.LoadBefore}, {"load-after", e.LoadAfter},
	} {
		if line[1] != "" { // a key without a value takes it away
			fmt.Fprintf(w, "%s: %s\n", line[0], strings.Join(strings.Fields(line[1]), " "))
		}
	}
	fmt.Fprint(w, "Unit trapped better=lower\nUnit major better=lower\nUnit minor better=lower\nUnit read-B better=lower\nUnit private-B better=lower\n"+
		"Unit prefetched-pages assume=exact\n")
	for _, f := range r.Functions {
		for _, s := range f.Samples {
			if err := f.writeGo(w, s); err != nil {
				return err
			}
		}
	}
	return nil
}

func (f Function) writeGo(w io.Writer, s Sample) error {
	_, err := fmt.Fprintf(w, "BenchmarkStart/function=%s/start=%s/input=%s/clones=%d/snapshots=%s/memory=%dMiB 1 %.0f ns/op %d trapped %d major %d minor %d read-B %d prefetched-pages",
		f.Name, s.Kind, goName(s.Input), s.Clones, s.Snapshots, s.MemoryMiB, s.DurationMS*1e6, s.Faults.Trapped, s.Faults.Major, s.Faults.Minor, s.BytesRead, s.PagesPrefetched)
	if s.Memory != nil {
		fmt.Fprintf(w, " %d private-B", s.Memory.Private)
	}
	if err == nil {
		_, err = fmt.Fprintln(w)
	}
	return err
}

// goName makes a part of a benchmark's name of an input's.
func goName(input string) string {
	if input == "" {
		return "event"
	}
	return strings.Map(func(r rune) rune {
		if r <= ' ' || r == '/' || r == '=' {
			return '_'
		}
		return r
	}, input)
}
