package daemon

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"thaw"
)

// followed runs follow until it ends, and returns what it told and its error.
type followed struct {
	lines chan thaw.LogLine
	done  chan error
}

func follow(t *testing.T, l *logs, function string, limit int, keep func(thaw.LogLine) bool) (*followed, context.CancelFunc) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	f := &followed{lines: make(chan thaw.LogLine), done: make(chan error, 1)}
	go func() {
		f.done <- l.follow(ctx, function, limit, keep, func(line thaw.LogLine) error {
			select {
			case f.lines <- line:
				return nil
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		})
	}()
	t.Cleanup(cancel)
	return f, cancel
}

func (f *followed) want(t *testing.T, texts ...string) {
	t.Helper()
	for _, want := range texts {
		select {
		case line := <-f.lines:
			if line.Text != want {
				t.Fatalf("line %.80q, want %q", line.Text, want)
			}
		case err := <-f.done:
			t.Fatalf("follow ended (%v), want %q", err, want)
		}
	}
}

func TestFollow(t *testing.T) {
	l := newTestLogs(t)
	for n := range 5 {
		l.add(logLine("f", fmt.Sprint("old ", n)))
	}
	f, stop := follow(t, l, "f", 2, all)
	f.want(t, "old 3", "old 4")
	l.add(logLine("g", "another's"))
	for n := range 3 {
		l.add(logLine("f", fmt.Sprint("new ", n)))
	}
	f.want(t, "new 0", "new 1", "new 2")
	stop()
	if err := <-f.done; err != nil {
		t.Error(err)
	}
	if n := len(l.live.followers); n != 0 {
		t.Errorf("%d followers are left", n)
	}
}

func TestFollowOneRequest(t *testing.T) {
	l := newTestLogs(t)
	write := func(id, text string) {
		line := logLine("f", text)
		line.RequestID = id
		l.add(line)
	}
	write("a", "a old")
	write("b", "b old")
	f, _ := follow(t, l, "f", 10, thaw.LogQuery{RequestID: "b"}.Wants)
	f.want(t, "b old")
	write("a", "a new")
	write("b", "b new")
	f.want(t, "b new")
}

// TestFollowWhileWritten: none is missing and none comes twice, whenever a follower
// joins, and though the log is rotated under it.
func TestFollowWhileWritten(t *testing.T) {
	l := newTestLogs(t)
	written := make(chan int)
	go func() { written <- rotate(t, l, "f", 1) }()
	var followers []*followed
	for range 3 {
		f, _ := follow(t, l, "f", 1000, all)
		followers = append(followers, f)
		f.want(t, filler(0)) // from the file, or as it is written
	}
	for i, f := range followers {
		for n := 1; n < logBytes/(64<<10)+3; n++ {
			if line := <-f.lines; line.Text[:5] != fmt.Sprintf("%05d", n) {
				t.Fatalf("follower %d: line %.20s, want %d", i, line.Text, n)
			}
		}
	}
	if n := <-written; n != logBytes/(64<<10)+3 {
		t.Fatal(n)
	}
}

// TestFollowSlowly: nobody who writes waits for somebody who reads.
func TestFollowSlowly(t *testing.T) {
	l := newTestLogs(t)
	f := &follower{function: "f", keep: all, lines: make(chan thaw.LogLine, 2)}
	if parts, err := l.join(f); err != nil || len(parts) != 0 {
		t.Fatal(parts, err)
	}
	for n := range 10 {
		l.add(logLine("f", fmt.Sprint(n)))
	}
	<-f.lines
	<-f.lines
	l.add(logLine("f", "10"))
	l.leave(f)
	var got []string
	for len(f.lines) > 0 {
		got = append(got, (<-f.lines).Text)
	}
	if want := []string{"8 lines are missing here: they came faster than they were read", "10"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestFollowEnds(t *testing.T) {
	l := newTestLogs(t)
	l.add(logLine("f", "one"))
	removed, _ := follow(t, l, "f", 1, all)
	removed.want(t, "one")
	if err := l.remove("f", 0); err != nil {
		t.Fatal(err)
	}
	if err := <-removed.done; err != nil {
		t.Error(err)
	}
	l.add(logLine("g", "one"))
	broken := errors.New("the reader is gone")
	if err := l.follow(t.Context(), "g", 1, all, func(thaw.LogLine) error { return broken }); !errors.Is(err, broken) {
		t.Errorf("follow = %v, want what its reader said", err)
	}
	closed, _ := follow(t, l, "g", 1, all)
	closed.want(t, "one")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-closed.done; err != nil {
		t.Error(err)
	}
}

func TestCapture(t *testing.T) {
	l := newTestLogs(t)
	none, c := l.capture(thaw.Invocation{ID: "other", Qualifier: "live"}, false), l.capture(thaw.Invocation{ID: "r"}, true)
	l.add(logLine("f", "first"))
	l.add(thaw.LogLine{Function: "f", RequestID: "other", Text: "not ours"})
	l.add(logLine("f", strings.Repeat("x", thaw.MaxLogTail)))
	l.add(logLine("f", "last"))
	got := string(c.end())
	if len(got) != thaw.MaxLogTail || !strings.HasPrefix(got, "xxx") || !strings.HasSuffix(got, "x\nlast\n") {
		t.Errorf("%d bytes: %.20q…%q", len(got), got, got[max(0, len(got)-20):])
	}
	if lines, err := l.tail("f", 10, all); err != nil || lines[0].Qualifier != "" || lines[1].Qualifier != "live" {
		t.Errorf("%+v, %v", lines, err)
	}
	if none.end() != nil || len(l.live.captures) != 0 {
		t.Errorf("%d captures are left", len(l.live.captures))
	}
}
