package daemon

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"thaw"
	"thaw/agent/wire"
)

func newTestLogs(t *testing.T) *logs {
	t.Helper()
	l := newLogs(filepath.Join(t.TempDir(), "logs"))
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

func logLine(function, text string) thaw.LogLine {
	return thaw.LogLine{
		Time: time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC), Function: function, Instance: "i", RequestID: "r", Stream: "stdout", Text: text,
	}
}

func all(thaw.LogLine) bool { return true }

// texts returns what tail does, without the rest.
func texts(t *testing.T, l *logs, function string, limit int) []string {
	t.Helper()
	lines, err := l.tail(function, limit, all)
	if err != nil {
		t.Fatal(err)
	}
	texts := []string{}
	for _, line := range lines {
		texts = append(texts, line.Text)
	}
	return texts
}

func TestLogs(t *testing.T) {
	l := newTestLogs(t)
	want := []string{}
	for n := range 10 {
		text := fmt.Sprintf("line %d\t\"ü\" <&> \x00", n)
		want = append(want, text)
		l.add(logLine("f", text))
	}
	for limit, want := range map[int][]string{0: {}, 1: want[9:], 3: want[7:], 10: want, 1000: want} {
		if d := cmp.Diff(want, texts(t, l, "f", limit)); d != "" {
			t.Errorf("tail of %d: %s", limit, d)
		}
	}
	lines, err := l.tail("f", 1, all)
	if err != nil || len(lines) != 1 {
		t.Fatal(lines, err)
	}
	if d := cmp.Diff(logLine("f", want[9]), lines[0]); d != "" {
		t.Error(d)
	}
	if got := texts(t, l, "never", 10); len(got) != 0 {
		t.Errorf("a function that has no log: %q", got)
	}
}

func TestLogsOutliveTheDaemon(t *testing.T) {
	l := newTestLogs(t)
	l.add(logLine("f", "before"))
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	again := newLogs(l.dir)
	defer again.Close()
	again.add(logLine("f", "after"))
	if d := cmp.Diff([]string{"before", "after"}, texts(t, again, "f", 10)); d != "" {
		t.Error(d)
	}
}

// filler is a text that makes a log line of about 64 KiB.
func filler(n int) string { return fmt.Sprintf("%05d ", n) + strings.Repeat("x", 64<<10-400) }

// rotate writes lines of 64 KiB until the log of function was rotated times
// times, and returns how many there are.
func rotate(t *testing.T, l *logs, function string, times int) (written int) {
	t.Helper()
	for range logBytes / (64 << 10) * times {
		l.add(logLine(function, filler(written)))
		written++
	}
	for range 3 {
		l.add(logLine(function, filler(written)))
		written++
	}
	return written
}

func files(t *testing.T, l *logs, pattern string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(l.dir, pattern))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestLogsRotate(t *testing.T) {
	l := newTestLogs(t)
	last := rotate(t, l, "f", 1) - 1
	if got := files(t, l, "f-*.jsonl"); len(got) != 1 {
		t.Fatalf("backups are %q, want one", got)
	}
	// The newest lines, across the backup, in their order.
	got := texts(t, l, "f", 20)
	if len(got) != 20 {
		t.Fatalf("tail has %d lines, want 20", len(got))
	}
	for i, text := range got {
		if want := fmt.Sprintf("%05d", last-19+i); text[:5] != want {
			t.Fatalf("line %d is %s, want %s", i, text[:5], want)
		}
	}
	if all := texts(t, l, "f", 1000); len(all) != last+1 || all[0][:5] != "00000" {
		t.Errorf("%d lines are there, want all %d", len(all), last+1)
	}
}

func TestLogsAreBounded(t *testing.T) {
	l := newTestLogs(t)
	last := rotate(t, l, "f", 4) - 1
	if got := texts(t, l, "f", 1); len(got) != 1 || got[0][:5] != fmt.Sprintf("%05d", last) {
		t.Errorf("newest line is not the last one written")
	}
	var size int64
	for range 100 { // backups are removed in the background
		size = 0
		for _, name := range files(t, l, "*") {
			if info, err := os.Stat(name); err == nil {
				size += info.Size()
			}
		}
		if size <= (logBackups+1)*logBytes {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Errorf("log occupies %d MiB, want at most %d", size>>20, (logBackups+1)*logBytes>>20)
}

// TestLogsOfAlikeNames: the log of a-1 looks like a backup of the log of a.
func TestLogsOfAlikeNames(t *testing.T) {
	l := newTestLogs(t)
	for _, name := range []string{"a", "a-1", "a-1-2", "a_1", "A", "aa"} {
		l.add(logLine(name, name))
	}
	rotate(t, l, "a-1", 1)
	for _, name := range []string{"a", "a-1-2", "a_1", "A", "aa"} {
		if d := cmp.Diff([]string{name}, texts(t, l, name, 10)); d != "" {
			t.Errorf("log of %s: %s", name, d)
		}
	}
	if err := l.remove("a", 0); err != nil {
		t.Fatal(err)
	}
	if got := texts(t, l, "a", 10); len(got) != 0 {
		t.Errorf("removed log has %d lines", len(got))
	}
	if got := texts(t, l, "a-1", 1000); len(got) != logBytes/(64<<10)+4 {
		t.Errorf("remove of a leaves %d lines of a-1", len(got))
	}
	if d := cmp.Diff([]string{"a-1-2"}, texts(t, l, "a-1-2", 10)); d != "" {
		t.Error(d)
	}
}

// TestLogsRemove: a function that is deployed again under the name of a removed
// one, by somebody else perhaps, must not show what that one wrote.
func TestLogsRemove(t *testing.T) {
	l := newTestLogs(t)
	rotate(t, l, "f", 1)
	for _, last := range []int{4, 0} { // the second time it is missing
		if err := l.remove("f", last); err != nil {
			t.Error(err)
		}
	}
	l.add(thaw.LogLine{Function: "f", Version: 4, Text: "of an invocation that was under way"})
	if got := files(t, l, "*"); len(got) != 0 {
		t.Errorf("remove leaves %q", got)
	}
	if got := texts(t, l, "f", 1000); len(got) != 0 {
		t.Errorf("remove leaves %d lines", len(got))
	}
	l.add(thaw.LogLine{Function: "f", Version: 5, Text: "new"})
	if got := texts(t, l, "f", 1); len(got) != 1 || got[0] != "new" {
		t.Errorf("log after remove is %.80q", got)
	}
}

// TestLogsTornLine: the end of a line can be missing after a power cut. It takes
// no other line with it.
func TestLogsTornLine(t *testing.T) {
	l := newTestLogs(t)
	l.add(logLine("f", "whole"))
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(l.path("f"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(`{"time":"2026-01-02T03:04:05Z","function":"f","te`); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	again := newLogs(l.dir)
	defer again.Close()
	if d := cmp.Diff([]string{"whole"}, texts(t, again, "f", 10)); d != "" {
		t.Error(d)
	}
	t.Run("AndThenMore", func(t *testing.T) {
		again.add(logLine("f", "first after the restart"))
		again.add(logLine("f", "second"))
		if d := cmp.Diff([]string{"whole", "first after the restart", "second"}, texts(t, again, "f", 10)); d != "" {
			t.Error(d)
		}
	})
}

// TestLogsGarbage: what is no log line is passed over.
func TestLogsGarbage(t *testing.T) {
	l := newTestLogs(t)
	l.add(logLine("f", "one"))
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(l.path("f"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString("\n\nnull\n[]\n{\n\x00\xff\n{\"function\":\"g\"}\n{\"function\":7}\n"); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	l.add(logLine("f", "two"))
	if d := cmp.Diff([]string{"one", "two"}, texts(t, l, "f", 10)); d != "" {
		t.Error(d)
	}
}

// TestLogsLongestLines: the guest sends lines of up to wire.MaxLine bytes of any
// kind, and some kinds grow six times as JSON.
func TestLogsLongestLines(t *testing.T) {
	for name, char := range map[string]string{"Letters": "x", "Unicode": "ü", "Markup": "<", "NUL": "\x00", "NotUTF8": "\xff"} {
		t.Run(name, func(t *testing.T) {
			l := newTestLogs(t)
			l.add(logLine("f", "before"))
			l.add(logLine("f", strings.Repeat(char, wire.MaxLine/len(char))))
			l.add(logLine("f", "after"))
			got := texts(t, l, "f", 10)
			if len(got) != 3 || got[0] != "before" || got[2] != "after" {
				t.Errorf("%d of 3 lines can be read: a long one hides all that come after it", len(got))
			}
		})
	}
}

// TestLogsOfManyFunctions: any number may write, and few files are open.
func TestLogsOfManyFunctions(t *testing.T) {
	l := newTestLogs(t)
	const functions = 3 * openLogs
	for round := range 3 {
		for n := range functions {
			l.add(logLine(fmt.Sprint("f", n), fmt.Sprint("round ", round)))
		}
		l.add(logLine("f0", "again")) // the one that is open must not be lost
	}
	if n := len(l.files); n > openLogs {
		t.Errorf("%d logs are open, want at most %d", n, openLogs)
	}
	for n := 1; n < functions; n += 7 {
		if d := cmp.Diff([]string{"round 0", "round 1", "round 2"}, texts(t, l, fmt.Sprint("f", n), 10)); d != "" {
			t.Fatal(d)
		}
	}
	if got := texts(t, l, "f0", 10); len(got) != 6 {
		t.Errorf("f0 has %q", got)
	}
}

func TestLogsThatCannotBeWritten(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "logs"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	l := newLogs(filepath.Join(dir, "logs"))
	l.add(logLine("f", "lost"))
	l.add(logLine("f", "lost too"))
	if err := l.Close(); err == nil || !strings.Contains(err.Error(), "write the log of function f") {
		t.Errorf("Close = %v, want the first write that failed", err)
	}
}

func TestLogsAtOnce(t *testing.T) {
	l := newTestLogs(t)
	var work sync.WaitGroup
	for i := range 4 {
		work.Go(func() {
			function := fmt.Sprint("f", i%2)
			for n := range 100 {
				l.add(logLine(function, fmt.Sprint(n)))
				if _, err := l.tail(function, 5, all); err != nil {
					t.Error(err)
				}
			}
		})
	}
	work.Wait()
	for _, function := range []string{"f0", "f1"} {
		if got := texts(t, l, function, 1000); len(got) != 200 {
			t.Errorf("log of %s has %d lines, want 200", function, len(got))
		}
	}
}
