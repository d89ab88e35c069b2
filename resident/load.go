package resident

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"sync"

	"thaw"
	"thaw/pagecache"
	"thaw/uffd"
	"thaw/workingset"
)

// depth is how many reads are in flight: a disk serves large reads faster when
// several wait.
const depth = 4

// load is the reading of one loading set.
type load struct {
	set    *workingset.LoadingSet
	file   *os.File
	chunks [][]workingset.Extent
	work   sync.WaitGroup

	mu    sync.Mutex
	moved sync.Cond // something below has changed
	next  int       // chunk to be read next
	ready []bool    // chunks that are in
	read  int64     // bytes
	err   error     // why no more chunks come
}

// Load begins to bring in the loading set described by set out of file, which the
// image closes. Call it at most once, before the image is shared.
func (i *Image) Load(set *workingset.LoadingSet, file *os.File) {
	l := &load{set: set, file: file, chunks: set.ByChunk()}
	l.ready, l.moved.L = make([]bool, len(l.chunks)), &l.mu
	i.load = l
	for range min(depth, len(l.chunks)) {
		l.work.Go(func() { i.loadChunks(l) })
	}
}

// Set describes the loading set that the image is filled from, nil without one.
func (i *Image) Set() *workingset.LoadingSet {
	if i.load == nil {
		return nil
	}
	return i.load.set
}

// Wait waits until the load has ended and returns its error, one that wraps
// [workingset.ErrCorrupt] when the file cannot be trusted: nothing of a bad chunk
// is in the image.
func (i *Image) Wait() error {
	if i.load == nil {
		return nil
	}
	for n := range i.load.ready {
		if err := i.load.wait(n); err != nil {
			return err
		}
	}
	return nil
}

// BytesRead is what was read of the loading set.
func (i *Image) BytesRead() int64 {
	if i.load == nil {
		return 0
	}
	i.load.mu.Lock()
	defer i.load.mu.Unlock()
	return i.load.read
}

// Pieces yields the pages of the loading set as they come in: those that clones
// write to as copies to be made, the others to be mapped. It ends early when the
// load fails. The bytes belong to the image.
func (i *Image) Pieces() iter.Seq[uffd.Piece] {
	return func(yield func(uffd.Piece) bool) {
		if i.load == nil {
			return
		}
		for n, extents := range i.load.chunks {
			if i.load.wait(n) != nil || !i.piecesOf(extents, yield) {
				return
			}
		}
	}
}

func (i *Image) piecesOf(extents []workingset.Extent, yield func(uffd.Piece) bool) bool {
	for _, e := range extents {
		at, n := int64(e.Page)*thaw.PageSize, int64(e.Pages)*thaw.PageSize
		if !yield(uffd.Piece{Offset: at, Data: i.view[at : at+n : at+n], Shared: !e.Written}) {
			return false
		}
	}
	return true
}

// stop ends the reading and waits for that.
func (l *load) stop() {
	l.fail(os.ErrClosed)
	l.work.Wait()
	_ = l.file.Close() // read only
}

// fail ends the reading because of err and wakes everyone who waits.
func (l *load) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		l.err = err
	}
	l.moved.Broadcast()
}

// wait waits for a chunk.
func (l *load) wait(chunk int) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for !l.ready[chunk] && l.err == nil {
		l.moved.Wait()
	}
	if l.ready[chunk] {
		return nil
	}
	return l.err
}

// take hands out the next chunk to read, if there is one.
func (l *load) take() (chunk int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil || l.next == len(l.chunks) {
		return 0, false
	}
	l.next++
	return l.next - 1, true
}

func (l *load) finish(chunk int, bytes int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ready[chunk] = true
	l.read += bytes
	l.moved.Broadcast()
}

// loadChunks is one of the readers.
func (i *Image) loadChunks(l *load) {
	buf := pagecache.Aligned(workingset.ChunkBytes)
	for {
		n, ok := l.take()
		if !ok {
			return
		}
		data, err := l.readChunk(n, buf)
		if err == nil {
			err = i.putChunk(l.chunks[n], data)
		}
		if err != nil {
			l.fail(err)
			return
		}
		l.finish(n, int64(len(data)))
	}
}

// readChunk reads and verifies a chunk.
func (l *load) readChunk(n int, buf []byte) ([]byte, error) {
	at := int64(n) * workingset.ChunkBytes
	buf = buf[:min(workingset.ChunkBytes, l.set.Pages()*thaw.PageSize-at)]
	got, err := l.file.ReadAt(buf, l.set.DataOffset()+at)
	if got < len(buf) {
		if errors.Is(err, io.EOF) {
			err = fmt.Errorf("loading set %w: it is cut off", workingset.ErrCorrupt)
		}
		return nil, fmt.Errorf("read the loading set: %w", err)
	}
	return buf, l.set.Verify(n, buf)
}

func (i *Image) putChunk(extents []workingset.Extent, data []byte) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	for offset, piece := range workingset.Pieces(extents, data) {
		if err := i.put(uint32(offset/thaw.PageSize), piece); err != nil {
			return err
		}
	}
	return nil
}
