package daemon

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Bounds of what is kept of a function's log: 8 MiB, about the newest 4 of them
// at least.
const (
	logBytes   = 4 << 20
	logBackups = 1
)

// openLogs is how many logs are kept open: any number of functions may write, and a
// process has only so many descriptors.
const openLogs = 64

// logFile is a log that is open for writing at its end.
type logFile struct {
	*os.File
	bytes int64
	used  uint64 // counts up, for the one used least recently
}

// openLog opens the log called name and ends a line that a kill left without an end.
func openLog(name string) (*logFile, error) {
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	l := &logFile{File: f}
	if l.bytes, err = f.Seek(0, io.SeekEnd); err == nil && l.bytes > 0 {
		err = l.mend()
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return l, nil
}

func (l *logFile) mend() error {
	last := make([]byte, 1)
	if _, err := l.ReadAt(last, l.bytes-1); err != nil || last[0] == '\n' {
		return err
	}
	return l.append([]byte{'\n'})
}

func (l *logFile) append(b []byte) error {
	n, err := l.Write(b)
	l.bytes += int64(n)
	return err
}

// backupTime is in the name of what was rotated, after the function's and a dash.
const backupTime = "2006-01-02T15-04-05.000"

// rotate closes l, moves it aside and removes the oldest of what is there.
func (l *logFile) rotate() error {
	stem := strings.TrimSuffix(l.Name(), logSuffix)
	err := errors.Join(l.Close(), os.Rename(l.Name(), stem+"-"+time.Now().UTC().Format(backupTime)+logSuffix))
	if err != nil {
		return err
	}
	backups, err := rotated(stem)
	slices.Sort(backups)
	for _, name := range backups[:max(0, len(backups)-logBackups)] {
		if rerr := os.Remove(name); rerr != nil && !errors.Is(rerr, fs.ErrNotExist) {
			err = errors.Join(err, rerr)
		}
	}
	return err
}

// rotated returns what was rotated of the log called stem with [logSuffix].
func rotated(stem string) ([]string, error) {
	const form = "-[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]T*" + logSuffix
	return filepath.Glob(stem + form)
}

// file returns the log of function, open and with room for n bytes. The caller holds
// mu.
func (l *logs) file(function string, n int) (*logFile, error) {
	f := l.files[function]
	if f != nil && f.bytes > 0 && f.bytes+int64(n) > logBytes {
		delete(l.files, function)
		if err := f.rotate(); err != nil {
			return nil, fmt.Errorf("rotate: %w", err)
		}
		f = nil
	}
	if f == nil {
		if err := l.makeRoom(); err != nil {
			return nil, err
		}
		var err error
		if f, err = openLog(l.path(function)); err != nil {
			return nil, err
		}
		l.files[function] = f
	}
	l.writes++
	f.used = l.writes
	return f, nil
}

// makeRoom closes the log that was not written to for the longest, if there are
// enough.
func (l *logs) makeRoom() error {
	if len(l.files) < openLogs {
		return nil
	}
	var oldest string
	for name, f := range l.files {
		if oldest == "" || f.used < l.files[oldest].used {
			oldest = name
		}
	}
	f := l.files[oldest]
	delete(l.files, oldest)
	return f.Close()
}
