package main

import (
	"fmt"
	"time"
)

// meter shows how far a long command is.
type meter struct {
	out  *app
	live bool
	last int
	// start is when the first of samples was done, in whose time the rest is
	// reckoned.
	start time.Time
	first int
}

func (a *app) meter() *meter { return &meter{out: a, live: isTerminal(a.stderr), last: -1} }

// show draws one line on a terminal; elsewhere it writes a line per tenth.
func (m *meter) show(done, total int, what string) {
	line := fmt.Sprintf("  %d of %d samples%s, now %s", done, total, m.left(done, total), what)
	if m.live {
		fmt.Fprint(m.out.stderr, "\r\x1b[K"+line)
		return
	}
	if tenth := done * 10 / max(total, 1); tenth != m.last {
		m.last = tenth
		fmt.Fprintln(m.out.stderr, line)
	}
}

// left says how long the rest will take, once there is something to tell by.
func (m *meter) left(done, total int) string {
	if done > 0 && m.start.IsZero() {
		m.start, m.first = time.Now(), done
	}
	if done <= m.first {
		return ""
	}
	each := time.Since(m.start) / time.Duration(done-m.first)
	return fmt.Sprintf(", %v left", (each * time.Duration(total-done)).Round(time.Second))
}

func (m *meter) close() {
	if m.live {
		fmt.Fprint(m.out.stderr, "\r\x1b[K")
	}
}
