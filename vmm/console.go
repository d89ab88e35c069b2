package vmm

import (
	"bytes"
	"strings"
	"sync"
	"unicode"
)

const (
	consoleLines = 100
	consoleLine  = 400
)

// Console keeps the last lines of what is written to it. The zero value is
// ready; its methods may be called concurrently.
type Console struct {
	mu      sync.Mutex
	lines   []string
	partial []byte
}

// Write takes b apart into lines. It never fails.
func (c *Console) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := len(b)
	for len(b) > 0 {
		line, rest, whole := bytes.Cut(b, []byte("\n"))
		c.partial = append(c.partial, line[:min(len(line), max(0, consoleLine-len(c.partial)))]...)
		if whole {
			c.end()
		}
		b = rest
	}
	return n, nil
}

// end moves the partial line to the lines. The caller holds mu.
func (c *Console) end() {
	if line := printable(c.partial); line != "" {
		c.lines = append(c.lines, line)
	}
	if over := len(c.lines) - consoleLines; over > 0 {
		c.lines = append(c.lines[:0], c.lines[over:]...)
	}
	c.partial = c.partial[:0]
}

// Tail returns the last n lines, the unfinished one included.
func (c *Console) Tail(n int) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	lines := c.lines
	if last := printable(c.partial); last != "" {
		lines = append(lines[:len(lines):len(lines)], last)
	}
	return append([]string(nil), lines[max(0, len(lines)-n):]...)
}

// LastWords returns what an error should quote: the last n lines or, of a guest
// kernel that panicked, n lines from there.
func (c *Console) LastWords(n int) []string {
	lines := c.Tail(consoleLines + 1)
	for i, line := range lines {
		if strings.Contains(line, "Kernel panic") {
			return lines[i:min(len(lines), i+n)]
		}
	}
	return lines[max(0, len(lines)-n):]
}

// printable drops what a guest could use to confuse a terminal.
func printable(b []byte) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\t' || r == unicode.ReplacementChar {
			return -1
		}
		return r
	}, string(b)))
}

// Quote formats console lines for the end of an error message; "" for none.
func Quote(lines []string) string {
	if len(lines) == 0 {
		return ""
	}
	return "; its console ended with:\n    " + strings.Join(lines, "\n    ")
}
