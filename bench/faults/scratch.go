package faults

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"thaw"
	"thaw/bench/standin"
	"thaw/pagecache"
)

// minScratch is the least size in bytes: what the bulk ways move, and enough to
// measure the disk by.
const minScratch = 8 << 20

// scratch is numbered pages, in memory, in files in memory and in one on the disk.
// None of them has a name: nothing is left of them, however the process ends. Close
// frees them.
type scratch struct {
	bytes []byte
	// disk is without readahead (FADV_RANDOM), sequential the same file with it.
	disk, sequential *os.File
	// memory are files in memory; the second is for huge pages.
	memory, hugeMemory *os.File
}

func newScratch(folder string, pages int) (_ *scratch, err error) {
	size := max(int64(pages)*thaw.PageSize, minScratch)
	size = (size + standin.HugeSize - 1) / standin.HugeSize * standin.HugeSize
	s := &scratch{bytes: numbered(size)}
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	if s.disk, err = unnamed(folder); err != nil {
		return nil, err
	}
	if s.memory, err = inMemory("scratch"); err != nil {
		return nil, err
	}
	if s.hugeMemory, err = inMemory("scratch of huge pages"); err != nil {
		return nil, err
	}
	for _, f := range []*os.File{s.disk, s.memory, s.hugeMemory} {
		if _, err := f.Write(s.bytes); err != nil {
			return nil, err
		}
	}
	if s.sequential, err = os.Open(pathOf(s.disk)); err != nil {
		return nil, err
	}
	return s, unix.Fadvise(int(s.disk.Fd()), 0, 0, unix.FADV_RANDOM)
}

// numbered returns random bytes, each page of which begins with its number.
func numbered(size int64) []byte {
	b, random := make([]byte, size), rand.New(rand.NewPCG(5, 6))
	for at := 0; at < len(b); at += 8 {
		binary.LittleEndian.PutUint64(b[at:], random.Uint64())
	}
	for page := range size / thaw.PageSize {
		binary.LittleEndian.PutUint32(b[page*thaw.PageSize:], standin.Number(uint32(page)))
	}
	return b
}

func unnamed(folder string) (*os.File, error) {
	f, err := os.CreateTemp(folder, "thaw-faults-*")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func inMemory(name string) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("create a file in memory: %w", err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// pathOf is how any process of the same user opens f.
func pathOf(f *os.File) string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), f.Fd()) }

// Close frees everything.
func (s *scratch) Close() {
	for _, f := range []*os.File{s.disk, s.sequential, s.memory, s.hugeMemory} {
		if f != nil {
			_ = f.Close()
		}
	}
}

func (s *scratch) size() int64    { return int64(len(s.bytes)) }
func (s *scratch) hugePages() int { return len(s.bytes) / standin.HugeSize }

// chill drops the file from the page cache and verifies that nothing is left.
func (s *scratch) chill() error {
	for wait := time.Millisecond; ; wait *= 2 {
		if err := pagecache.Evict(s.disk); err != nil {
			return err
		}
		left, err := pagecache.Resident(s.disk)
		if err != nil || left == 0 {
			return err
		}
		if wait > time.Second {
			return thaw.Errorf(thaw.CodeConflict, "%d pages of the scratch file stay in the page cache", left)
		}
		time.Sleep(wait) // a mapping may have ended just now
	}
}

// fill brings all of the file into the page cache through f and verifies that. It is
// dropped before: the kernel keeps what the disk file reads in single pages, and what
// sequential reads in large ones (folios), each of which one fault may map whole.
func (s *scratch) fill(f *os.File) error {
	buf := make([]byte, 1<<20) // divides the size
	return s.hold(int(s.size()/thaw.PageSize), func() error {
		for at := int64(0); at < s.size(); at += int64(len(buf)) {
			if _, err := f.ReadAt(buf, at); err != nil {
				return err
			}
		}
		return nil
	})
}

// fillOnly brings these pages alone into the page cache and verifies that.
func (s *scratch) fillOnly(pages []uint32) error {
	buf := make([]byte, thaw.PageSize)
	return s.hold(len(pages), func() error {
		for _, p := range pages {
			if _, err := s.disk.ReadAt(buf, int64(p)*thaw.PageSize); err != nil {
				return err
			}
		}
		return nil
	})
}

// hold reads what brings want pages into the empty page cache, and verifies how many
// are there: pages may be dropped again before they are counted.
func (s *scratch) hold(want int, read func() error) error {
	for wait := time.Millisecond; ; wait *= 2 {
		if err := errors.Join(s.chill(), read()); err != nil {
			return err
		}
		got, err := pagecache.Resident(s.disk)
		if err != nil || got == want {
			return err
		}
		if wait > time.Second {
			return thaw.Errorf(thaw.CodeConflict, "%d pages of the scratch file stay in the page cache, not %d: is there enough memory?", got, want)
		}
		time.Sleep(wait)
	}
}

// readAlone verifies that what was read of the file since it was dropped is these
// pages and no more: that no readahead has helped.
func (s *scratch) readAlone(pages []uint32) error {
	got, err := pagecache.Resident(s.disk)
	if err == nil && got > len(pages) {
		err = fmt.Errorf("%d pages were read from the disk for %d touches: readahead has helped", got, len(pages))
	}
	return err
}
