package guest

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"thaw/agent/wire"
)

// logs turns the function's two output pipes into lines.
type logs struct {
	streams [2]*stream
	done    sync.WaitGroup
}

// newLogs returns logs and the ends of the pipes for the function's stdout and
// stderr, which the caller closes. emit is called with one line at a time per
// stream; the line is valid during the call only.
func newLogs(emit func(stream string, line []byte)) (*logs, []*os.File, error) {
	var l logs
	var ends []*os.File
	for i, name := range []string{"stdout", "stderr"} {
		s, end, err := newStream(name, emit)
		if err != nil {
			l.close()
			closeAll(ends)
			return nil, nil, err
		}
		l.streams[i] = s
		ends = append(ends, end)
	}
	for _, s := range l.streams {
		l.done.Go(s.pump)
	}
	return &l, ends, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// drain hands on everything the function has written so far, the last line
// also when it has no end yet.
func (l *logs) drain() {
	for _, s := range l.streams {
		s.drain()
	}
}

// close ends the pipes and waits for their goroutines.
func (l *logs) close() {
	for _, s := range l.streams {
		if s != nil {
			s.file.Close()
		}
	}
	l.done.Wait()
}

// stream is the reading end of one pipe.
type stream struct {
	name string
	file *os.File
	conn syscall.RawConn
	emit func(stream string, line []byte)

	mu   sync.Mutex // held from reading bytes to handing them on
	line []byte     // has no end yet
	buf  [4096]byte
}

func newStream(name string, emit func(string, []byte)) (*stream, *os.File, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, nil, fmt.Errorf("make %s pipe: %w", name, err)
	}
	conn, err := r.SyscallConn()
	if err != nil {
		closeAll([]*os.File{r, w})
		return nil, nil, fmt.Errorf("make %s pipe: %w", name, err)
	}
	return &stream{name: name, file: r, conn: conn, emit: emit}, w, nil
}

// pump reads until the pipe ends. The poller calls the function whenever there
// may be something to read.
func (s *stream) pump() {
	_ = s.conn.Read(func(fd uintptr) bool {
		for {
			if n, open := s.read(int(fd)); n == 0 {
				return !open
			}
		}
	})
}

// drain reads what is in the pipe now, not what a busy writer adds meanwhile.
// The lock makes it wait for a pump that has read something but not handed it
// on yet.
func (s *stream) drain() {
	_ = s.conn.Control(func(fd uintptr) {
		left, err := unix.IoctlGetInt(int(fd), unix.TIOCINQ)
		for err == nil && left > 0 {
			n, _ := s.read(int(fd))
			if n == 0 {
				break
			}
			left -= n
		}
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.line) > 0 {
		s.endLine()
	}
}

// read takes one buffer from the pipe. It reports false when the pipe has
// ended.
func (s *stream) read(fd int) (n int, open bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, err := syscall.Read(fd, s.buf[:])
	for errors.Is(err, syscall.EINTR) {
		n, err = syscall.Read(fd, s.buf[:])
	}
	if err != nil {
		return 0, errors.Is(err, syscall.EAGAIN)
	}
	s.feed(s.buf[:n])
	return n, n > 0
}

// feed splits b into lines, and lines over the limit into pieces.
func (s *stream) feed(b []byte) {
	for len(b) > 0 {
		room := wire.MaxLine - len(s.line)
		part, rest, found := bytes.Cut(b, []byte{'\n'})
		if len(part) > room {
			part, rest, found = b[:room], b[room:], true
		}
		s.line = append(s.line, part...)
		if found {
			s.endLine()
		}
		b = rest
	}
}

func (s *stream) endLine() {
	s.emit(s.name, s.line)
	s.line = s.line[:0]
}
