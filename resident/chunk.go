package resident

import (
	"fmt"

	"golang.org/x/sys/unix"

	"thaw"
	"thaw/workingset"
)

// chunk is a part of a loading set that is read at once.
type chunk struct {
	extents []workingset.Extent // in the order of the data
	// shared and written are the two kinds of them.
	shared, written []workingset.Extent
	copies          []byte // where what is written goes
}

// arrange cuts the set into chunks and makes room for the copies.
func (l *load) arrange() error {
	written := int64(0)
	for _, extents := range l.set.ByChunk() {
		c := chunk{extents: extents}
		for _, e := range extents {
			if e.Written {
				c.written = append(c.written, e)
			} else {
				c.shared = append(c.shared, e)
			}
		}
		written += bytesOf(c.written)
		l.chunks = append(l.chunks, c)
	}
	if err := l.reserve(written); err != nil {
		return fmt.Errorf("make room for copies: %w", err)
	}
	left := l.copies
	for n := range l.chunks {
		size := bytesOf(l.chunks[n].written)
		l.chunks[n].copies, left = left[:size:size], left[size:]
	}
	return nil
}

// reserve asks for huge pages, the first touch of which costs less in all.
func (l *load) reserve(size int64) (err error) {
	if size == 0 {
		return nil
	}
	l.copies, err = unix.Mmap(-1, 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err == nil {
		_ = unix.Madvise(l.copies, unix.MADV_HUGEPAGE) // as well without
	}
	return err
}

func bytesOf(extents []workingset.Extent) (n int64) {
	for _, e := range extents {
		n += int64(e.Pages) * thaw.PageSize
	}
	return n
}

func (c chunk) bytes() int64 { return bytesOf(c.extents) }

// parts returns where the chunk's data goes, in its order: to the copies and to
// scratch. shared is what of scratch it fills.
func (c chunk) parts(scratch []byte) (parts [][]byte, shared []byte) {
	kinds := [2][]byte{scratch, c.copies}
	for i := 0; i < len(c.extents); {
		written, size := c.extents[i].Written, int64(0)
		for ; i < len(c.extents) && c.extents[i].Written == written; i++ {
			size += int64(c.extents[i].Pages) * thaw.PageSize
		}
		kind := &kinds[0]
		if written {
			kind = &kinds[1]
		}
		parts, *kind = append(parts, (*kind)[:size]), (*kind)[size:]
	}
	return parts, scratch[:len(scratch)-len(kinds[0])]
}

// copyOf returns the copy of a page that clones write to, nil if there is none, or
// none yet.
func (l *load) copyOf(page uint32) []byte {
	if l == nil {
		return nil
	}
	for n, c := range l.chunks {
		at := int64(0)
		for _, e := range c.written {
			if page >= e.Page && page < e.End() {
				if !l.isReady(n) {
					return nil
				}
				at += int64(page-e.Page) * thaw.PageSize
				return c.copies[at : at+thaw.PageSize]
			}
			at += int64(e.Pages) * thaw.PageSize
		}
	}
	return nil
}
