package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"

	"thaw"
)

// screen is a terminal that is drawn on as a whole. Its close gives it back as it was.
type screen struct {
	out   io.Writer
	tty   *os.File
	state *term.State
	// quit is closed when somebody has pressed q or Ctrl-C, or its context has ended.
	quit   <-chan struct{}
	cancel context.CancelFunc
	read   chan struct{} // closed when no key is read any more
}

const (
	enterScreen = "\x1b[?1049h\x1b[?25l" // the other screen, no cursor
	leaveScreen = "\x1b[?25h\x1b[?1049l"
	keyCtrlC    = 3
)

// openScreen takes over the terminal that out is. Keys are read from the controlling
// terminal: the standard input may be something else.
func openScreen(ctx context.Context, out io.Writer) (*screen, error) {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return nil, thaw.Errorf(thaw.CodeUnavailable, "open the terminal: %w", err)
	}
	s := &screen{out: out, tty: tty, read: make(chan struct{})}
	if err := s.control(func(fd int) (err error) { s.state, err = term.MakeRaw(fd); return err }); err != nil {
		tty.Close()
		return nil, thaw.Errorf(thaw.CodeUnavailable, "set up the terminal: %w", err)
	}
	ctx, s.cancel = context.WithCancel(ctx)
	s.quit = ctx.Done()
	fmt.Fprint(out, enterScreen)
	go s.keys()
	return s, nil
}

// control leaves the descriptor as it is: Fd would have close wait for a key.
func (s *screen) control(do func(fd int) error) error {
	conn, err := s.tty.SyscallConn()
	if err != nil {
		return err
	}
	var failure error
	err = conn.Control(func(fd uintptr) { failure = do(int(fd)) })
	if err != nil {
		return err
	}
	return failure
}

// keys waits for one that means the end. In raw mode Ctrl-C is a key as well.
func (s *screen) keys() {
	defer close(s.read)
	defer s.cancel()
	key := make([]byte, 1)
	for {
		if _, err := s.tty.Read(key); err != nil || key[0] == 'q' || key[0] == 'Q' || key[0] == keyCtrlC {
			return
		}
	}
}

// draw shows text, as much of it as there is room for.
func (s *screen) draw(text string) error {
	width, height := 80, 24
	_ = s.control(func(fd int) error { // else as if it were an old terminal
		w, h, err := term.GetSize(fd)
		if err == nil && w > 0 && h > 0 {
			width, height = w, h
		}
		return err
	})
	var b strings.Builder
	b.WriteString("\x1b[H")
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	for i, line := range lines[:min(len(lines), height)] {
		if i > 0 {
			b.WriteString("\r\n")
		}
		if runes := []rune(line); len(runes) > width {
			line = string(runes[:width])
		}
		b.WriteString(line + "\x1b[K")
	}
	b.WriteString("\x1b[J")
	_, err := io.WriteString(s.out, b.String())
	return written(err)
}

// close gives the terminal back.
func (s *screen) close() {
	fmt.Fprint(s.out, leaveScreen)
	_ = s.control(func(fd int) error { return term.Restore(fd, s.state) }) // there is nobody to tell
	s.cancel()
	s.tty.Close()
	<-s.read
}
