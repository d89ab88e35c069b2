package daemon

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"gopkg.in/natefinch/lumberjack.v2"

	"thaw"
)

// Bounds of what is kept of a function's log.
const (
	logMegabytes = 4
	logBackups   = 1
	maxLogLine   = 128 << 10
)

// logs keeps what functions write: one file each, JSON lines, rotated. Its
// methods may be called concurrently.
type logs struct {
	dir string

	mu    sync.Mutex
	files map[string]*lumberjack.Logger
	err   error // the first write that failed
}

func newLogs(dir string) *logs { return &logs{dir: dir, files: map[string]*lumberjack.Logger{}} }

func (l *logs) path(function string) string { return filepath.Join(l.dir, function+".jsonl") }

// add appends a line to its function's log.
func (l *logs) add(line thaw.LogLine) {
	b, err := json.Marshal(line)
	if err != nil {
		return // strings and a time always marshal
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.files[line.Function]
	if f == nil {
		f = &lumberjack.Logger{Filename: l.path(line.Function), MaxSize: logMegabytes, MaxBackups: logBackups}
		l.files[line.Function] = f
	}
	if _, err := f.Write(append(b, '\n')); err != nil && l.err == nil {
		l.err = fmt.Errorf("write the log of function %s: %w", line.Function, err)
	}
}

// tail returns up to limit of the newest lines, newest last.
func (l *logs) tail(function string, limit int) ([]thaw.LogLine, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	backups, err := filepath.Glob(filepath.Join(l.dir, function+"-*.jsonl"))
	if err != nil {
		return nil, err
	}
	lines := []thaw.LogLine{}
	for _, name := range append(backups, l.path(function)) {
		if lines, err = readLog(name, function, lines, limit); err != nil {
			return nil, err
		}
	}
	return lines, nil
}

func readLog(name, function string, lines []thaw.LogLine, limit int) ([]thaw.LogLine, error) {
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return lines, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the log of function %s: %w", function, err)
	}
	defer f.Close()
	scanner := bufio.NewScanner(f)
	scanner.Buffer(nil, maxLogLine)
	for scanner.Scan() {
		var line thaw.LogLine
		if json.Unmarshal(scanner.Bytes(), &line) != nil || line.Function != function {
			continue // torn by a kill, or of a function whose name begins alike
		}
		lines = append(lines, line)
		if len(lines) > limit {
			lines = lines[1:]
		}
	}
	return lines, nil
}

// remove deletes the log of function.
func (l *logs) remove(function string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var errs []error
	if f := l.files[function]; f != nil {
		errs = append(errs, f.Close())
		delete(l.files, function)
	}
	if err := os.Remove(l.path(function)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// Close closes the files and returns the first write that failed.
func (l *logs) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	errs := []error{l.err}
	for _, f := range l.files {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}
