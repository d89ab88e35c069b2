package resident

import (
	"fmt"

	"golang.org/x/sys/unix"

	"thaw/aio"
	"thaw/workingset"
)

const (
	// inFlight is how many chunks are being read at once: a disk serves large reads
	// faster when several wait. More than it needs make the first of them come later.
	inFlight = 4
	// slots is for how many chunks there is room: those in flight, and those that are
	// verified and put in place meanwhile.
	slots = 2 * inFlight
)

// blocks is memory that chunks are read into. It is used for one loading set after
// the other, as the first touch of new memory takes as long as the disk does.
type blocks struct {
	queue *aio.Queue
	area  []byte // slots chunks
}

func newBlocks() (*blocks, error) {
	area, err := reserve(slots * workingset.ChunkBytes)
	if err != nil {
		return nil, fmt.Errorf("make room to read into: %w", err)
	}
	_ = unix.Madvise(area, unix.MADV_POPULATE_WRITE) // as well without
	return &blocks{queue: aio.New(inFlight), area: area}, nil
}

func (b *blocks) slot(n int) []byte {
	return b.area[n*workingset.ChunkBytes:][:workingset.ChunkBytes]
}

func (b *blocks) close() {
	_ = b.queue.Close() // waits for what is under way
	_ = unix.Munmap(b.area)
}

// reserve asks for memory past the Go heap, in huge pages, the first touch of which
// costs less in all. It is zero, and takes no room before it is touched.
func reserve(size int64) ([]byte, error) {
	b, err := unix.Mmap(-1, 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err == nil {
		_ = unix.Madvise(b, unix.MADV_HUGEPAGE) // as well without
	}
	return b, err
}
