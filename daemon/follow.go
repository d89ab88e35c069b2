package daemon

import (
	"context"
	"fmt"

	"thaw"
)

// followerLines is how many lines may wait for a follower that reads slowly.
const followerLines = 1024

// listeners are those who are given lines as they are written. The zero value is
// ready; the mutex of the logs that it is part of guards it.
type listeners struct {
	followers map[*follower]struct{}
	captures  map[string]*capture // by request id
}

// follower waits for the lines of a function that keep wants.
type follower struct {
	function string
	keep     func(thaw.LogLine) bool
	lines    chan thaw.LogLine // closed when there will be no more
	lost     int               // lines that it was too slow for
}

// give hands line to those who listen.
func (l *listeners) give(line thaw.LogLine) {
	for f := range l.followers {
		if f.function == line.Function && f.keep(line) {
			f.give(line)
		}
	}
	if c := l.captures[line.RequestID]; c != nil {
		c.add(line.Text)
	}
}

// give never waits: what a follower has no room for is lost, and it is told so in
// the place of that.
func (f *follower) give(line thaw.LogLine) {
	if f.lost > 0 {
		missing := line
		missing.Stream, missing.Text = "platform", fmt.Sprintf("%d lines are missing here: they came faster than they were read", f.lost)
		if f.send(missing) {
			f.lost = 0
		}
	}
	if f.lost > 0 || !f.send(line) {
		f.lost++
	}
}

func (f *follower) send(line thaw.LogLine) bool {
	select {
	case f.lines <- line:
		return true
	default:
		return false
	}
}

// end lets the followers of function go, of all for "".
func (l *listeners) end(function string) {
	for f := range l.followers {
		if function == "" || f.function == function {
			delete(l.followers, f)
			close(f.lines)
		}
	}
}

// follow gives emit up to limit of the newest lines of function that keep wants, and
// then each as it is written: none twice, and none is left out unless it says so. It
// ends with ctx, with the log, and when emit fails, whose error it returns.
func (l *logs) follow(ctx context.Context, function string, limit int, keep func(thaw.LogLine) bool, emit func(thaw.LogLine) error) error {
	f := &follower{function: function, keep: keep, lines: make(chan thaw.LogLine, followerLines)}
	parts, err := l.join(f)
	if err != nil {
		return err
	}
	defer l.leave(f)
	older, err := readTail(parts, function, limit, keep)
	if err != nil {
		return err
	}
	for _, line := range older {
		if err := emit(line); err != nil {
			return err
		}
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case line, more := <-f.lines:
			if !more {
				return nil
			}
			if err := emit(line); err != nil {
				return err
			}
		}
	}
}

// join has f told of every line that is not in the parts it returns.
func (l *logs) join(f *follower) ([]part, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	parts, err := l.open(f.function)
	if err != nil {
		return nil, err
	}
	if l.live.followers == nil {
		l.live.followers = map[*follower]struct{}{}
	}
	l.live.followers[f] = struct{}{}
	return parts, nil
}

func (l *logs) leave(f *follower) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.live.followers, f)
}

// capture is an invocation under way, for the lines that it writes: it knows what
// these are to say of it, and may keep the end of them.
type capture struct {
	logs      *logs
	id        string
	qualifier string
	keep      bool
	text      []byte
}

// capture begins with the lines of a request, that of record; their end is kept if
// wanted.
func (l *logs) capture(record thaw.Invocation, wanted bool) *capture {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := &capture{logs: l, id: record.ID, qualifier: record.Qualifier, keep: wanted}
	if l.live.captures == nil {
		l.live.captures = map[string]*capture{}
	}
	l.live.captures[c.id] = c
	return c
}

func (c *capture) add(line string) {
	if !c.keep {
		return
	}
	c.text = append(append(c.text, line...), '\n')
	if extra := len(c.text) - thaw.MaxLogTail; extra > 0 {
		c.text = append(c.text[:0], c.text[extra:]...)
	}
}

// end returns what was kept, nil if nothing was wanted.
func (c *capture) end() []byte {
	c.logs.mu.Lock()
	defer c.logs.mu.Unlock()
	delete(c.logs.live.captures, c.id)
	return c.text
}
