package snapshot

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"thaw"
	"thaw/workingset"
)

// sum returns the size and checksum of f from its beginning, unless ctx ends
// first.
func sum(ctx context.Context, f *os.File) (thaw.File, error) {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return thaw.File{}, fmt.Errorf("sum %s: %w", filepath.Base(f.Name()), err)
	}
	h, size := sha256.New(), int64(0)
	for buf := make([]byte, 1<<20); ; {
		n, err := f.Read(buf)
		_, _ = h.Write(buf[:n]) // never fails
		size += int64(n)
		if errors.Is(err, io.EOF) {
			return thaw.File{Bytes: size, SHA256: hex.EncodeToString(h.Sum(nil))}, nil
		}
		if err == nil {
			err = context.Cause(ctx)
		}
		if err != nil {
			return thaw.File{}, unreadable(fmt.Errorf("sum %s: %w", filepath.Base(f.Name()), err))
		}
	}
}

// punchZeroPages gives the zero pages of f back to the file system and returns
// the runs of those that are left.
func punchZeroPages(f *os.File) (nonZero []workingset.Run, err error) {
	err = eachExtent(f, func(start, end int64) error {
		return punchExtent(f, start, end, func(page uint32) { nonZero = grow(nonZero, page) })
	})
	if err != nil {
		return nil, fmt.Errorf("punch holes into the memory file: %w", err)
	}
	return nonZero, nil
}

// grow adds page, which is after those of runs.
func grow(runs []workingset.Run, page uint32) []workingset.Run {
	if n := len(runs); n > 0 && runs[n-1].End() == page {
		runs[n-1].Pages++
		return runs
	}
	return append(runs, workingset.Run{Page: page, Pages: 1})
}

// eachExtent calls do for each stretch of f that is not a hole (lseek(2)).
func eachExtent(f *os.File, do func(start, end int64) error) error {
	for at := int64(0); ; {
		start, err := f.Seek(at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return nil // no data after at
		}
		if err != nil {
			return err
		}
		if at, err = f.Seek(start, unix.SEEK_HOLE); err != nil {
			return err
		}
		if err := do(start, at); err != nil {
			return err
		}
	}
}

// punchExtent looks at the pages from start to end, all of them data, and
// punches each stretch of zero pages at once. nonZero is told of the others.
func punchExtent(f *os.File, start, end int64, nonZero func(page uint32)) error {
	buf, zero := make([]byte, 1<<20), make([]byte, thaw.PageSize)
	hole := start // zero pages from here on
	for at := start; at < end; at += int64(len(buf)) {
		buf = buf[:min(int64(len(buf)), end-at)]
		if _, err := f.ReadAt(buf, at); err != nil {
			return err
		}
		for p := 0; p < len(buf); p += thaw.PageSize {
			page := at + int64(p)
			if bytes.Equal(buf[p:min(p+thaw.PageSize, len(buf))], zero) {
				continue
			}
			nonZero(uint32(page / thaw.PageSize))
			if err := punch(f, hole, page); err != nil {
				return err
			}
			hole = page + thaw.PageSize
		}
	}
	return punch(f, hole, end)
}

func punch(f *os.File, start, end int64) error {
	if start >= end {
		return nil
	}
	return unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, start, end-start)
}

// DiskBytes is what the file at path occupies, holes not counted.
func DiskBytes(path string) (int64, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return 0, fmt.Errorf("size of %s: %w", filepath.Base(path), err)
	}
	return st.Blocks * 512, nil
}
