package faults

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"thaw"
	"thaw/bench"
	"thaw/bench/standin"
	"thaw/uffd"
)

// Name is a way to bring in many pages with one call.
type Name string

// The ways. UffdCopy and ProcessWrite bring pages into another process out of
// memory; the others are calls of the process itself. MapPopulate is mmap(2) with
// MAP_POPULATE of a file in the page cache, as readahead has left it there, which the kernel maps if the mapping is
// read-only, and copies if it can be written to (MapPopulateWrite). PopulateRead and
// PopulateWrite are of madvise(2), of a mapping that can be written to. Copy is Go's
// copy between pages that are in place: the yardstick. DirectSequential and
// DirectRandom read the disk past the page cache, in requests of 1 MiB, four in
// flight, and of 4 KiB, one at a time.
const (
	UffdCopy         Name = "uffdio-copy"
	ProcessWrite     Name = "process_vm_writev"
	MapPopulate      Name = "map-populate-read"
	MapPopulateWrite Name = "map-populate-write"
	PopulateRead     Name = "madv-populate-read"
	PopulateWrite    Name = "madv-populate-write"
	Copy             Name = "copy"
	DirectSequential Name = "direct-sequential"
	DirectRandom     Name = "direct-random"
)

// Method is a way with what it is used on.
type Method struct {
	Way Name `json:"way"`
	// From is where the pages come from: memory, page-cache, zeroes or disk.
	From string `json:"from"`
	// Pages are how many 4 KiB pages a call is for.
	Pages int `json:"pages"`
}

// String describes m in a few words.
func (m Method) String() string {
	return fmt.Sprintf("%s from %s, %d pages a call", m.Way, m.From, m.Pages)
}

// Way is what was measured of one method.
type Way struct {
	Method
	// Unavailable is why this machine does not have the way, "" if it has.
	Unavailable string `json:"unavailable,omitempty"`
	// US are the times of all calls, per page.
	US bench.Spread `json:"us_per_page"`
	// GBps is the rate at the median, in 10^9 bytes per second.
	GBps float64 `json:"gbps"`
	// Mapped and Own are by how many pages a call grew the page map, on average, of
	// the pages it was for: see [Counts].
	Mapped float64 `json:"mapped_per_page"`
	Own    float64 `json:"own_per_page"`
	// RoundsUS are the raw samples, by round: one a call, and of the disk one a round.
	RoundsUS [][]float64 `json:"rounds_us_per_page"`
}

// Where pages come from.
const (
	fromMemory = "memory"
	fromCache  = "page-cache"
	fromZeroes = "zeroes"
	fromDisk   = "disk"
)

// bulkBytes is how much a way brings in in each round.
const bulkBytes = minScratch

// methods are all, in the order they take turns. A call of the process itself is for
// 2 MiB.
func methods() (list []Method) {
	for _, w := range []Name{UffdCopy, ProcessWrite} {
		for _, run := range []int{1, 8, 64, 512} {
			list = append(list, Method{w, fromMemory, run})
		}
	}
	const call = standin.HugeSize / thaw.PageSize
	return append(list,
		Method{MapPopulate, fromCache, call}, Method{MapPopulateWrite, fromCache, call},
		Method{PopulateRead, fromCache, call}, Method{PopulateWrite, fromCache, call},
		Method{PopulateWrite, fromZeroes, call}, Method{Copy, fromMemory, call},
		Method{DirectSequential, fromDisk, 256}, Method{DirectRandom, fromDisk, 1})
}

// take returns what takes a sample of the way and keeps it.
func (w *Way) take(r *run) func(context.Context, int) error {
	return func(ctx context.Context, round int) error {
		if w.Unavailable != "" {
			return nil
		}
		us, grown, err := r.bring(ctx, w.Method)
		switch {
		case errors.Is(err, errors.ErrUnsupported):
			w.Unavailable = err.Error()
			return nil
		case err != nil || round == 0:
			return err
		}
		w.RoundsUS = append(w.RoundsUS, us)
		share := 1 / float64(r.options.N) / (bulkBytes / thaw.PageSize)
		w.Mapped += float64(grown.Mapped) * share
		w.Own += float64(grown.Own) * share
		return nil
	}
}

// bring brings pages in once, and returns the time of each call, per page.
func (r *run) bring(ctx context.Context, m Method) (us []float64, grown Counts, err error) {
	if m.From == fromDisk {
		us, err = r.disk(m)
		return us, grown, err
	}
	if m.From == fromCache {
		if err := r.scratch.fill(r.scratch.sequential); err != nil {
			return nil, grown, err
		}
	}
	base, err := r.process.Map(r.bulkArea(m))
	if err != nil {
		return nil, grown, err
	}
	defer func() { err = errors.Join(err, r.process.Unmap()) }()
	ns, err := r.calls(m, base)
	if err != nil {
		return nil, grown, err
	}
	if grown, err = r.count(base, bulkBytes); err != nil {
		return nil, grown, err
	}
	return micros(ns, m.Pages), grown, r.verify(m)
}

func (r *run) disk(m Method) ([]float64, error) {
	d, err := bench.MeasureDisk(pathOf(r.scratch.disk))
	if m.Way == DirectRandom {
		return []float64{d.Random4KiBUS}, err
	}
	return []float64{thaw.PageSize / d.SequentialMBps}, err // bytes per 10^6 bytes per second are microseconds
}

func (r *run) bulkArea(m Method) standin.Area {
	a := standin.Area{Bytes: bulkBytes, Advice: []int{unix.MADV_NOHUGEPAGE}, ReadOnly: m.Way == MapPopulate}
	if m.From == fromCache {
		a.Path = pathOf(r.scratch.disk)
	}
	return a
}

// calls makes the calls, here or there.
func (r *run) calls(m Method, base uint64) ([]int64, error) {
	switch m.Way {
	case UffdCopy:
		return r.uffdCopy(m, base)
	case ProcessWrite:
		return r.each(m, func(at int64, piece []byte) error { return r.write(base+uint64(at), piece) })
	}
	raised, err := r.process.Bring(standin.Bulk{Way: there(m.Way), Piece: int64(m.Pages) * thaw.PageSize})
	return raised.NS, err
}

// there is what the stand-in calls a way.
func there(w Name) standin.Way {
	switch w {
	case PopulateRead:
		return standin.PopulateRead
	case PopulateWrite:
		return standin.PopulateWrite
	case Copy:
		return standin.Copy
	}
	return standin.Populate
}

// each times do of each piece.
func (r *run) each(m Method, do func(at int64, piece []byte) error) (ns []int64, err error) {
	length := int64(m.Pages) * thaw.PageSize
	for at := int64(0); at < bulkBytes; at += length {
		piece := r.scratch.bytes[at:][:length]
		start := time.Now()
		err := do(at, piece)
		ns = append(ns, time.Since(start).Nanoseconds())
		if err != nil {
			return nil, err
		}
	}
	return ns, nil
}

func (r *run) uffdCopy(m Method, base uint64) ([]int64, error) {
	t := &trap{}
	defer func() { _ = t.close() }() // nobody has waited for a page
	if err := t.register(r.process, Kind{Backing: Userfaultfd}, base, bulkBytes); err != nil {
		return nil, err
	}
	return r.each(m, func(at int64, piece []byte) error {
		_, _, err := t.fd.Copy(base+uint64(at), piece, uffd.DontWake)
		return err
	})
}

func (r *run) write(addr uint64, b []byte) error {
	local := []unix.Iovec{{Base: &b[0], Len: uint64(len(b))}}
	n, err := unix.ProcessVMWritev(r.process.PID(), local, []unix.RemoteIovec{{Base: uintptr(addr), Len: len(b)}}, 0)
	if err == nil && n < len(b) {
		err = fmt.Errorf("%d bytes of %d", n, len(b))
	}
	if err != nil {
		return fmt.Errorf("write remote memory: %w", err)
	}
	return nil
}

// verify has every page read that was brought in.
func (r *run) verify(m Method) error {
	o := standin.Order{Numbered: m.From == fromCache || m.Way == UffdCopy || m.Way == ProcessWrite}
	for page := range uint32(bulkBytes / thaw.PageSize) {
		o.Pages = append(o.Pages, page)
	}
	raised, err := r.process.Touch(o)
	if err == nil && raised.Wrong > 0 {
		err = fmt.Errorf("%d pages hold something else than they should", raised.Wrong)
	}
	if err == nil && raised.Major+raised.Minor > strays {
		err = fmt.Errorf("%d pages of %d had not been brought in", raised.Major+raised.Minor, len(o.Pages))
	}
	return err
}
