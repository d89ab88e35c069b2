// Package procstat reads what the kernel counts of a process or a thread
// (proc(5)). The files stay open, so that a reading is one system call: it is
// taken twice for every invocation.
package procstat

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
)

// Process is a process whose counters are read. Its methods may be called
// concurrently; after the process has ended they return an error.
type Process struct {
	stat, io *os.File
}

// Open opens the counters of process pid.
func Open(pid int) (*Process, error) {
	stat, err := os.Open(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil, fmt.Errorf("open process counters: %w", err)
	}
	io, err := os.Open(fmt.Sprintf("/proc/%d/io", pid))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open process counters: %w", err), stat.Close())
	}
	return &Process{stat: stat, io: io}, nil
}

// Close closes the files.
func (p *Process) Close() error { return errors.Join(p.stat.Close(), p.io.Close()) }

// Memory are the counters of a process's memory.
type Memory struct {
	// MinorFaults were served from memory, MajorFaults waited for the disk.
	MinorFaults, MajorFaults int64
	// RSSBytes are resident.
	RSSBytes int64
}

// Positions in /proc/pid/stat, counted from 0 after the name in parentheses:
// field 3 of proc(5) is number 0.
const (
	fieldMinFlt = 10 - 3
	fieldMajFlt = 12 - 3
	fieldRSS    = 24 - 3
)

// Memory reads the faults and the resident size.
func (p *Process) Memory() (Memory, error) {
	buf := make([]byte, 1024)
	n, err := p.stat.ReadAt(buf, 0)
	if n == 0 {
		return Memory{}, fmt.Errorf("read process counters: %w", err)
	}
	return parseStat(buf[:n])
}

func parseStat(b []byte) (m Memory, err error) {
	// The name may hold anything, so its end is the last parenthesis.
	fields := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	if len(fields) <= fieldRSS {
		return m, errors.New("read process counters: too few fields")
	}
	number := func(i int) (n int64) {
		n, e := strconv.ParseInt(string(fields[i]), 10, 64)
		err = errors.Join(err, e)
		return n
	}
	m.MinorFaults, m.MajorFaults = number(fieldMinFlt), number(fieldMajFlt)
	m.RSSBytes = number(fieldRSS) * int64(os.Getpagesize())
	if err != nil {
		return Memory{}, fmt.Errorf("read process counters: %w", err)
	}
	return m, nil
}

// ReadBytes is what the process, all its threads together, has made the disks
// read.
func (p *Process) ReadBytes() (int64, error) { return readBytes(p.io) }

// Thread is one thread of this process.
type Thread struct{ io *os.File }

// OpenThread opens the counters of thread tid of this process.
func OpenThread(tid int) (*Thread, error) {
	io, err := os.Open(fmt.Sprintf("/proc/self/task/%d/io", tid))
	if err != nil {
		return nil, fmt.Errorf("open thread counters: %w", err)
	}
	return &Thread{io: io}, nil
}

// Close closes the file.
func (t *Thread) Close() error { return t.io.Close() }

// ReadBytes is what the thread has made the disks read.
func (t *Thread) ReadBytes() (int64, error) { return readBytes(t.io) }

func readBytes(f *os.File) (int64, error) {
	buf := make([]byte, 512)
	n, err := f.ReadAt(buf, 0)
	if n == 0 {
		return 0, fmt.Errorf("read I/O counters: %w", err)
	}
	return parseIO(buf[:n])
}

func parseIO(b []byte) (int64, error) {
	for line := range bytes.Lines(b) {
		if v, ok := bytes.CutPrefix(line, []byte("read_bytes: ")); ok {
			n, err := strconv.ParseInt(string(bytes.TrimSpace(v)), 10, 64)
			if err != nil {
				return 0, fmt.Errorf("read I/O counters: %w", err)
			}
			return n, nil
		}
	}
	return 0, errors.New("read I/O counters: this kernel counts no read_bytes (CONFIG_TASK_IO_ACCOUNTING)")
}
