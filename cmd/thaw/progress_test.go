package main

import (
	"strings"
	"testing"
	"time"

	"thaw"
)

func steps(live bool, wait time.Duration, events ...thaw.DeployEvent) string {
	out := &output{}
	s := &stepReporter{out: out, live: live, done: make(chan struct{})}
	if live {
		s.ticker.Go(s.tick)
	}
	for _, e := range events {
		s.event(e)
		time.Sleep(wait)
	}
	s.close()
	return out.String()
}

func TestSteps(t *testing.T) {
	got := steps(false, 0,
		thaw.DeployEvent{Step: "build"},
		thaw.DeployEvent{Step: "build", Message: "building the root disk"},
		thaw.DeployEvent{Step: "build", Message: "disks are ready", DurationMS: 61_000},
		thaw.DeployEvent{Step: "activate"},
		thaw.DeployEvent{Step: "activate", Message: "version 1 serves", DurationMS: 1.5},
		thaw.DeployEvent{Step: "activate", Message: "the new version serves", Version: &thaw.Version{}})
	want := "  build                building the root disk\n" +
		"  build        61.0 s  disks are ready\n" +
		"  activate    1.50 ms  version 1 serves\n"
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestStepsOnATerminal(t *testing.T) {
	got := steps(true, 3*tickTime,
		thaw.DeployEvent{Step: "boot"},
		thaw.DeployEvent{Step: "boot", Message: "loading\x1b[2J"},
		thaw.DeployEvent{Step: "boot", Message: "booted", DurationMS: 600},
		thaw.DeployEvent{Step: "init"})
	if !strings.Contains(got, "\r\x1b[K  boot          0.1 s\r") && !strings.Contains(got, "\r\x1b[K  boot          0.2 s\r") {
		t.Errorf("no counter: %q", got)
	}
	if !strings.Contains(got, "loading\uFFFD[2J\r\x1b[K") || !strings.Contains(got, "\r\x1b[K  boot         600 ms  booted\n") {
		t.Errorf("lines: %q", got)
	}
	if i := strings.LastIndex(got, "\r\x1b[K  init"); i < 0 || !strings.HasSuffix(got, " ms  (not finished)\n") {
		t.Errorf("the end: %q", got)
	}
}
