package main

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"thaw"
)

// reporter shows the steps of a deploy as they come.
type reporter interface {
	event(thaw.DeployEvent)
	// close ends what event began; it is safe to call after an error.
	close()
}

func (a *app) reporter() reporter {
	switch {
	case a.quiet:
		return silentReporter{}
	case a.asValues():
		return valueReporter{a}
	}
	s := &stepReporter{out: a.stderr, live: isTerminal(a.stderr), done: make(chan struct{})}
	if s.live {
		s.ticker.Go(s.tick)
	}
	return s
}

// valueReporter writes each event as -o says.
type valueReporter struct{ app *app }

func (r valueReporter) event(e thaw.DeployEvent) {
	// A reader that has gone away ends the process by SIGPIPE.
	_ = r.app.nextValue(e)
}

func (valueReporter) close() {}

// silentReporter says nothing.
type silentReporter struct{}

func (silentReporter) event(thaw.DeployEvent) {}
func (silentReporter) close()                 {}

// stepReporter writes a line per finished step and, on a terminal, counts the
// seconds of the one that runs.
type stepReporter struct {
	out    io.Writer
	live   bool // out is a terminal
	done   chan struct{}
	ticker sync.WaitGroup

	mu      sync.Mutex
	step    string // the one that runs, "" for none
	running string // what it says
	began   time.Time
	drawn   bool // a line without an end is on the terminal
}

// tickTime is how often the elapsed time is drawn.
const tickTime = 100 * time.Millisecond

func (s *stepReporter) event(e thaw.DeployEvent) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.erase()
	switch {
	case e.DurationMS != 0:
		s.step = ""
		fmt.Fprintln(s.out, stepLine(e.Step, duration(e.DurationMS), e.Message))
	case e.Version != nil: // the result, which has its own line
		s.step = ""
	default:
		s.begin(e)
	}
}

// begin notes what runs now: a new step, or something within the one that
// runs. Where nothing is drawn, what is said within a step gets a line, as a
// step may take minutes.
func (s *stepReporter) begin(e thaw.DeployEvent) {
	if s.step != e.Step {
		s.began = time.Now()
	}
	s.step, s.running = e.Step, e.Message
	if !s.live && e.Message != "" {
		fmt.Fprintln(s.out, stepLine(e.Step, "", e.Message))
	}
}

func stepLine(step, time, message string) string {
	return strings.TrimRight(fmt.Sprintf("  %-9s %9s  %s", printable(step), time, printable(message)), " ")
}

func (s *stepReporter) tick() {
	t := time.NewTicker(tickTime)
	defer t.Stop()
	for {
		select {
		case <-s.done:
			return
		case <-t.C:
			s.draw()
		}
	}
}

func (s *stepReporter) draw() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.step == "" {
		return
	}
	elapsed := fmt.Sprintf("%.1f s", time.Since(s.began).Seconds())
	fmt.Fprint(s.out, "\r\x1b[K"+stepLine(s.step, elapsed, s.running))
	s.drawn = true
}

func (s *stepReporter) erase() {
	if s.drawn {
		fmt.Fprint(s.out, "\r\x1b[K")
		s.drawn = false
	}
}

// close ends the ticker. A step that still runs is the one that failed.
func (s *stepReporter) close() {
	close(s.done)
	s.ticker.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.erase()
	if s.step != "" {
		elapsed := duration(float64(time.Since(s.began)) / float64(time.Millisecond))
		fmt.Fprintln(s.out, stepLine(s.step, elapsed, strings.TrimSpace(s.running+" (not finished)")))
	}
}
