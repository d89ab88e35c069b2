package standin

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"thaw"
)

// Area is private memory that is mapped to be touched, one at a time, at an address
// that a huge page may begin at.
type Area struct {
	// Bytes is its size, a multiple of [HugeSize].
	Bytes int64
	// Path is the file that it is mapped from, from its beginning; "" is none.
	Path string
	// Advice is what the kernel is told of it (madvise(2)).
	Advice []int
	// ReadOnly maps it so.
	ReadOnly bool
}

// HugeSize is the size in bytes of a huge page of x86-64.
const HugeSize = 2 << 20

// Order says which touches to time.
type Order struct {
	// Pages are touched one after the other, by their number in the area.
	Pages []uint32
	// Write stores a byte, which no other touch does.
	Write bool
	// Numbered says that each page begins with its own number ([Number]), to be
	// verified afterwards. Otherwise it begins with zeroes.
	Numbered bool
}

// Number is what a numbered page begins with, little endian: one more than its
// number, so that no page begins with zeroes.
func Number(page uint32) uint32 { return page + 1 }

// numberSize is the length of a number; a write goes after it.
const numberSize = 4

// Bulk is a way to bring many pages in with one call.
type Bulk struct {
	Way Way
	// Piece is how many bytes a call is for.
	Piece int64
}

// Way names a way of [Bulk].
type Way string

// The ways. Populate maps the file anew with MAP_POPULATE (mmap(2)), as the area
// was mapped; PopulateRead and PopulateWrite are of madvise(2); Copy copies from
// other memory to pages that are in place, as a yardstick.
const (
	Populate      Way = "populate"
	PopulateRead  Way = "populate-read"
	PopulateWrite Way = "populate-write"
	Copy          Way = "copy"
)

// Raised is what touches or calls came to.
type Raised struct {
	// NS is how long each took, in nanoseconds.
	NS []int64
	// Major and Minor are the page faults that the kernel counted for the thread that
	// touched (getrusage(2)).
	Major, Minor int64
	// Wrong is how many pages held something else than they should.
	Wrong int
}

// area is an Area as it is mapped.
type area struct {
	Area
	reserved, memory []byte
	file, faults     int // descriptors, -1 for none
}

func mapArea(a Area) (_ *area, err error) {
	m := &area{Area: a, file: -1, faults: -1}
	defer func() {
		if err != nil {
			err = errors.Join(err, m.unmap())
		}
	}()
	if a.Path != "" {
		if m.file, err = unix.Open(a.Path, unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
			return nil, fmt.Errorf("open %s: %w", a.Path, err)
		}
	}
	m.reserved, err = unix.Mmap(-1, 0, int(a.Bytes+HugeSize), unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		return nil, fmt.Errorf("reserve addresses: %w", err)
	}
	skip := -address(m.reserved) & (HugeSize - 1)
	m.memory = m.reserved[skip:][:a.Bytes]
	if err := m.place(0, a.Bytes, 0); err != nil {
		return nil, err
	}
	for _, advice := range a.Advice {
		if err := unix.Madvise(m.memory, advice); err != nil {
			return nil, fmt.Errorf("advise %d: %w", advice, err)
		}
	}
	return m, nil
}

// place maps length bytes at an offset over what is there.
func (m *area) place(offset, length int64, more int) error {
	prot, flags := unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_FIXED|unix.MAP_NORESERVE|more
	if m.ReadOnly {
		prot = unix.PROT_READ
	}
	if m.file < 0 {
		flags |= unix.MAP_ANONYMOUS
	}
	if err := mapAt(m.memory[offset:][:length], m.file, offset, prot, flags); err != nil {
		return fmt.Errorf("map %d bytes: %w", length, err)
	}
	return nil
}

func (m *area) unmap() (err error) {
	if m == nil {
		return nil
	}
	if m.reserved != nil {
		err = unix.Munmap(m.reserved)
	}
	for _, fd := range []int{m.file, m.faults} {
		if fd >= 0 {
			err = errors.Join(err, unix.Close(fd))
		}
	}
	return err
}

// trap creates a userfaultfd.
func (m *area) trap() (int, error) {
	fd, _, errno := unix.Syscall(unix.SYS_USERFAULTFD, unix.O_CLOEXEC|unix.O_NONBLOCK, 0, 0)
	if errno != 0 {
		return -1, fmt.Errorf("create a userfaultfd: %w", errno)
	}
	m.faults = int(fd)
	return m.faults, nil
}

// touch times one touch of each page, then verifies the pages.
func (m *area) touch(o Order) (r Raised, err error) {
	r.NS = make([]int64, len(o.Pages))
	raise := func(i int) { raiseOne(m.page(o.Pages[i]), o.Write) }
	if err := r.time(raise); err != nil {
		return r, err
	}
	for _, n := range o.Pages {
		want := uint32(0)
		if o.Numbered {
			want = Number(n)
		}
		if binary.LittleEndian.Uint32(m.page(n)) != want {
			r.Wrong++
		}
	}
	return r, nil
}

func (m *area) page(n uint32) []byte { return m.memory[int64(n)*thaw.PageSize:][:thaw.PageSize] }

// time times do of each index of r.NS and has the kernel count the faults. Nothing
// it needs itself is touched for the first time in between.
func (r *Raised) time(do func(i int)) error {
	clear(r.NS)
	clock := stopwatch()
	before, err := threadFaults()
	if err != nil {
		return err
	}
	for i := range r.NS {
		start := clock()
		do(i)
		r.NS[i] = clock() - start
	}
	after, err := threadFaults()
	r.Major, r.Minor = after.Majflt-before.Majflt, after.Minflt-before.Minflt
	return err
}

// stopwatch returns a clock in nanoseconds that costs no system call, as now does.
func stopwatch() func() int64 {
	base := time.Now()
	return func() int64 { return int64(time.Since(base)) }
}

//go:noinline
func raiseOne(page []byte, write bool) byte {
	if write {
		page[numberSize] = 1
		return 0
	}
	return page[0]
}

func threadFaults() (u unix.Rusage, err error) {
	err = unix.Getrusage(unix.RUSAGE_THREAD, &u)
	return u, err
}

// bulk times calls that bring in a piece of the area each, until all of it is.
func (m *area) bulk(b Bulk) (r Raised, err error) {
	r.NS = make([]int64, m.Bytes/b.Piece)
	var from []byte
	if b.Way == Copy {
		from = make([]byte, m.Bytes)
		copy(from, m.memory)
		copy(m.memory, from)
	}
	var failed error
	timed := r.time(func(i int) {
		at := int64(i) * b.Piece
		if err := m.bring(b.Way, at, b.Piece, from); err != nil {
			failed = err
		}
	})
	return r, errors.Join(timed, failed)
}

func (m *area) bring(w Way, at, length int64, from []byte) error {
	piece := m.memory[at:][:length]
	switch w {
	case Populate:
		return m.place(at, length, unix.MAP_POPULATE)
	case PopulateRead:
		return unix.Madvise(piece, unix.MADV_POPULATE_READ)
	case PopulateWrite:
		return unix.Madvise(piece, unix.MADV_POPULATE_WRITE)
	case Copy:
		copy(piece, from[at:])
		return nil
	}
	return fmt.Errorf("no such way: %s", w)
}
