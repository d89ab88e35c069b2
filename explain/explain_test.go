package explain_test

import (
	"bytes"
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"thaw"
	"thaw/explain"
)

var update = flag.Bool("update", false, "write the golden files anew")

// subject is a cold start that missed two pages.
func subject() explain.Subject {
	return explain.Subject{
		Accelerator: "KVM: the guest kernel boots in 600 ms", WarmMS: 9,
		Invocation: thaw.Invocation{
			ID: "0c1f2a3b-5d6e-4f70-8192-a3b4c5d6e7f8", Function: "hello", Version: 3, Instance: "i-1", Start: thaw.StartCold, Policy: thaw.PolicyThaw,
			Reason: "auto: thaw, median 262 ms of 15 starts from the disk", Time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), DurationMS: 100, Prestarted: true,
			PhasesMS: map[string]float64{thaw.PhaseVMM: 10, thaw.PhasePrefetch: 15, thaw.PhaseResume: 30, thaw.PhaseInvoke: 55},
			Spans: []thaw.Span{
				{Phase: thaw.PhaseVMM, StartUS: 0, DurationUS: 10_000}, {Phase: thaw.PhasePrefetch, StartUS: 1000, DurationUS: 5000},
				{Phase: thaw.PhasePrefetch, StartUS: 12_000, DurationUS: 10_000}, {Phase: thaw.PhaseResume, StartUS: 15_000, DurationUS: 30_000},
				{Phase: thaw.PhaseInvoke, StartUS: 45_000, DurationUS: 55_000},
			},
			Faults: thaw.Faults{Trapped: 2, Minor: 407}, BytesBySource: thaw.BytesRead{Prefetch: 300 << 12, Server: 2 << 12},
			Layout:  &thaw.Layout{Mappings: 39, MergedPages: 1},
			Quality: &thaw.Quality{Brought: 300, Hits: 290, Misses: 2, MissedPages: []thaw.Miss{{Page: 700, AfterUS: 20_000}, {Page: 4000, AfterUS: 60_000}}},
			Memory:  &thaw.MemoryUse{Resident: 8 << 20, Private: 2 << 20},
		},
		Memory: &thaw.MemoryMap{
			Function: "hello", Version: 3, Snapshot: "s1", Policy: thaw.PolicyThaw, Pages: 4096,
			Runs: []thaw.MemoryRun{
				{Page: 0, Pages: 500, Class: thaw.PageZero},
				{Page: 500, Pages: 500, Class: thaw.PageUntouched},
				{Page: 1000, Pages: 200, Class: thaw.PageRead, Prefetched: true},
				{Page: 1200, Pages: 90, Class: thaw.PageWritten, Prefetched: true},
				{Page: 1290, Pages: 10, Class: thaw.PageUntouched, Prefetched: true},
				{Page: 1300, Pages: 5, Class: thaw.PageWritten},
				{Page: 1305, Pages: 2791, Class: thaw.PageZero},
			},
			Trace: []thaw.FirstTouch{{Page: 1000, AfterUS: 100}, {Page: 1210, AfterUS: 900, Written: true}, {Page: 1100, AfterUS: 80_000}},
		},
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), string(got)); d != "" {
		t.Error(d)
	}
}

func TestWriteText(t *testing.T) {
	t.Setenv("TZ", "UTC")
	var b bytes.Buffer
	s := subject()
	if err := s.WriteText(&b); err != nil {
		t.Fatal(err)
	}
	got := strings.Replace(b.String(), s.Invocation.Time.Local().Format("2006-01-02 15:04:05"), "TIME", 1)
	golden(t, "explain.txt", []byte(got))
	if lines := strings.Count(got, "\n"); lines > 24 {
		t.Errorf("%d lines are more than a screen", lines)
	}
}

func TestWriteSVG(t *testing.T) {
	var b bytes.Buffer
	if err := subject().WriteSVG(&b); err != nil {
		t.Fatal(err)
	}
	golden(t, "explain.svg", b.Bytes())
	wellFormed(t, b.Bytes())
}

func wellFormed(t *testing.T, b []byte) {
	t.Helper()
	for d := xml.NewDecoder(bytes.NewReader(b)); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

// TestStrange draws what a hostile function or an old record could hold.
func TestStrange(t *testing.T) {
	s := subject()
	s.Invocation.Function, s.Invocation.FunctionError = "a<b", "</svg>\x1b[2J&\n"
	s.Invocation.DurationMS, s.Invocation.Spans[0].StartUS = 0, -5
	s.Memory.Pages, s.Memory.Runs = 1<<20, []thaw.MemoryRun{{Pages: 1 << 20, Class: "none"}}
	var svg, text bytes.Buffer
	if err := errors.Join(s.WriteSVG(&svg), s.WriteText(&text)); err != nil {
		t.Fatal(err)
	}
	wellFormed(t, svg.Bytes())
	if strings.ContainsRune(text.String(), 0x1b) {
		t.Error("a terminal's escape gets through")
	}
	if svg.Len() > 1<<20 {
		t.Errorf("%d bytes for 4 GiB", svg.Len())
	}
	s.Memory = nil
	if err := s.WriteSVG(&svg); thaw.CodeOf(err) != thaw.CodeConflict {
		t.Errorf("drawing without memory = %v", err)
	}
}

func TestAdvice(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*explain.Subject)
		want   string
	}{
		"Good":       {func(s *explain.Subject) { s.Invocation.PhasesMS[thaw.PhaseInvoke] = 10 }, "Nothing stands out"},
		"Queued":     {func(s *explain.Subject) { s.Invocation.PhasesMS[thaw.PhaseQueue] = 12 }, "waited 12 ms in line"},
		"Itself":     {func(*explain.Subject) {}, "55 % of the time is the invocation itself; warm it takes 9.0 ms"},
		"Boot":       {func(s *explain.Subject) { s.Invocation.Start, s.Invocation.Reason = thaw.StartBoot, "restore failed" }, "thaw describe hello"},
		"AskedBoot":  {func(s *explain.Subject) { s.Invocation.Start, s.Invocation.Reason = thaw.StartBoot, "" }, "as was asked for"},
		"OnDemand":   {func(s *explain.Subject) { s.Invocation.Prestarted, s.Invocation.PhasesMS[thaw.PhaseVMM] = false, 60 }, "Starting a VMM took 60 ms"},
		"Major":      {func(s *explain.Subject) { s.Invocation.Faults.Major = 300 }, "300 page faults waited"},
		"Recording":  {func(s *explain.Subject) { s.Invocation.Faults.Major, s.Invocation.Layout.Recording = 300, "trace" }, "the next one will"},
		"LowRecall":  {func(s *explain.Subject) { s.Invocation.Quality.Misses = 400 }, "400 pages that were needed"},
		"Wasted":     {func(s *explain.Subject) { s.Invocation.Quality.Hits = 100 }, "800 KiB were brought in for nothing"},
		"Emulated":   {func(s *explain.Subject) { s.Accelerator = "TCG, which translates" }, "emulated"},
		"NoWarmSeen": {func(s *explain.Subject) { s.WarmMS = 0 }, "the invocation itself."},
	} {
		t.Run(name, func(t *testing.T) {
			s := subject()
			c.change(&s)
			if got := strings.Join(s.Advice(), "\n"); !strings.Contains(got, c.want) {
				t.Errorf("advice is %q, want %q", got, c.want)
			}
		})
	}
}
