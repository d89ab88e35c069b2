package daemon

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"thaw"
	"thaw/agent/wire"
)

// maxLogLine holds a line of control characters, six bytes each in JSON.
const maxLogLine = 6*wire.MaxLine + 4096

// logSuffix ends the names of logs.
const logSuffix = ".jsonl"

// logs keeps what functions write: one file each, JSON lines, rotated. Its
// methods may be called concurrently.
type logs struct {
	dir string

	mu     sync.Mutex
	files  map[string]*logFile // at most openLogs
	writes uint64
	live   listeners
	err    error // the first write that failed

	removed removed
}

func newLogs(dir string) *logs {
	return &logs{dir: dir, files: map[string]*logFile{}, removed: removed{}}
}

func (l *logs) path(function string) string { return filepath.Join(l.dir, function+logSuffix) }

// add appends a line to its function's log.
func (l *logs) add(line thaw.LogLine) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.removed.has(line.Function, line.Version) {
		return
	}
	if c := l.live.captures[line.RequestID]; c != nil {
		line.Qualifier = c.qualifier
	}
	b, err := json.Marshal(line)
	if err != nil {
		return // strings and a time always marshal
	}
	if err := l.write(line.Function, append(b, '\n')); err != nil && l.err == nil {
		l.err = fmt.Errorf("write the log of function %s: %w", line.Function, err)
	}
	l.live.give(line)
}

func (l *logs) write(function string, b []byte) error {
	f, err := l.file(function, len(b))
	if err != nil {
		return err
	}
	if err := f.append(b); err != nil { // perhaps half of it was written: openLog mends that
		delete(l.files, function)
		return errors.Join(err, f.Close())
	}
	return nil
}

// all returns the logs of function, oldest first: what was rotated has the
// time in its name.
func (l *logs) all(function string) ([]string, error) {
	backups, err := rotated(filepath.Join(l.dir, function))
	return append(backups, l.path(function)), err
}

// part is a file of a log as it was when it was opened.
type part struct {
	*os.File
	bytes int64
}

// open opens the log of function as it is now, oldest part first. The caller holds
// mu, so that no line moves meanwhile, and closes the parts.
func (l *logs) open(function string) (parts []part, err error) {
	names, err := l.all(function)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		f, err := os.Open(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			closeParts(parts)
			return nil, fmt.Errorf("read the log of function %s: %w", function, err)
		}
		end, err := f.Seek(0, io.SeekEnd)
		parts = append(parts, part{f, end})
		if err != nil {
			closeParts(parts)
			return nil, fmt.Errorf("read the log of function %s: %w", function, err)
		}
	}
	return parts, nil
}

func closeParts(parts []part) {
	for _, p := range parts {
		p.Close() // read only
	}
}

// tail returns up to limit of the newest lines of function that keep wants, newest
// last.
func (l *logs) tail(function string, limit int, keep func(thaw.LogLine) bool) ([]thaw.LogLine, error) {
	l.mu.Lock()
	parts, err := l.open(function)
	l.mu.Unlock()
	if err != nil {
		return nil, err
	}
	return readTail(parts, function, limit, keep)
}

// readTail reads parts, and closes them.
func readTail(parts []part, function string, limit int, keep func(thaw.LogLine) bool) (lines []thaw.LogLine, err error) {
	defer closeParts(parts)
	lines = []thaw.LogLine{}
	for _, p := range parts {
		err := readLog(io.NewSectionReader(p, 0, p.bytes), func(line thaw.LogLine) {
			if line.Function != function || !keep(line) {
				return
			}
			if lines = append(lines, line); len(lines) > limit {
				lines = lines[1:]
			}
		})
		if err != nil {
			return nil, fmt.Errorf("read the log of function %s: %w", function, err)
		}
	}
	return lines, nil
}

// readLog gives each line of r to each, except what was torn by a kill.
func readLog(r io.Reader, each func(thaw.LogLine)) error {
	scanner := bufio.NewScanner(r)
	scanner.Buffer(nil, maxLogLine)
	for scanner.Scan() {
		var line thaw.LogLine
		if json.Unmarshal(scanner.Bytes(), &line) == nil {
			each(line)
		}
	}
	return scanner.Err()
}

// remove deletes the logs of function. What its versions up to last still write, whose
// invocations are under way, is in none.
func (l *logs) remove(function string, last int) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.removed.add(function, last)
	l.live.end(function)
	names, err := l.all(function)
	errs := []error{err}
	if f := l.files[function]; f != nil {
		errs = append(errs, f.Close())
		delete(l.files, function)
	}
	for _, name := range names {
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Close closes the files and returns the first write that failed.
func (l *logs) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.live.end("")
	errs := []error{l.err}
	for _, f := range l.files {
		errs = append(errs, f.Close())
	}
	clear(l.files)
	return errors.Join(errs...)
}
