package resident

import (
	"fmt"
	"iter"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"thaw"
	"thaw/pagecache"
	"thaw/uffd"
	"thaw/workingset"
)

// depth is how many reads are in flight: a disk serves large reads faster when
// several wait. More than it needs would only make the first of them come later.
const depth = 2

// load is the reading of one loading set.
type load struct {
	set    *workingset.LoadingSet
	file   *os.File
	chunks []chunk
	// copies are the pages that clones write to, one after the other as in the set:
	// each clone gets its own, so that they need no place in the image.
	copies []byte
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
	l := &load{set: set, file: file}
	l.ready, l.moved.L = make([]bool, set.Chunks()), &l.mu
	i.load = l
	if l.err = l.arrange(); l.err != nil {
		return
	}
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
		for n, c := range i.load.chunks {
			if i.load.wait(n) != nil || !i.piecesOf(c, yield) {
				return
			}
		}
	}
}

func (i *Image) piecesOf(c chunk, yield func(uffd.Piece) bool) bool {
	for offset, data := range workingset.Pieces(c.written, c.copies) {
		if !yield(uffd.Piece{Offset: offset, Data: data}) {
			return false
		}
	}
	for _, e := range c.shared {
		at, n := int64(e.Page)*thaw.PageSize, int64(e.Pages)*thaw.PageSize
		if !yield(uffd.Piece{Offset: at, Data: i.view[at : at+n : at+n], Shared: true}) {
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

// release gives the copies back; nobody may need a piece any more.
func (l *load) release() {
	if l.copies != nil {
		_ = unix.Munmap(l.copies)
	}
	l.copies, l.chunks = nil, nil
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

func (l *load) isReady(chunk int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ready[chunk]
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
	scratch := pagecache.Aligned(workingset.ChunkBytes)
	for {
		n, ok := l.take()
		if !ok {
			return
		}
		shared, err := l.readChunk(n, scratch)
		if err == nil {
			err = i.putShared(l.chunks[n].shared, shared)
		}
		if err != nil {
			l.fail(err)
			return
		}
		l.finish(n, l.chunks[n].bytes())
	}
}

// readChunk reads and verifies a chunk: what is written goes to the copies, the rest
// to scratch, of which it returns that part.
func (l *load) readChunk(n int, scratch []byte) (shared []byte, err error) {
	c := l.chunks[n]
	parts, shared := c.parts(scratch)
	got, err := unix.Preadv(int(l.file.Fd()), parts, l.set.DataOffset()+int64(n)*workingset.ChunkBytes)
	if err != nil {
		return nil, fmt.Errorf("read the loading set: %w", err)
	}
	if int64(got) < c.bytes() {
		return nil, fmt.Errorf("loading set %w: it is cut off", workingset.ErrCorrupt)
	}
	return shared, l.set.Verify(n, parts...)
}

// putShared puts pages into the image.
func (i *Image) putShared(extents []workingset.Extent, data []byte) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	for offset, piece := range workingset.Pieces(extents, data) {
		if err := i.put(uint32(offset/thaw.PageSize), piece); err != nil {
			return err
		}
	}
	return nil
}
