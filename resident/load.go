package resident

import (
	"context"
	"fmt"
	"iter"
	"os"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"thaw"
	"thaw/uffd"
	"thaw/workingset"
)

// Load is a loading set on its way into an image, for all clones that share it.
type Load struct {
	*reader
	image *Image
	// parts are the chunks, by what becomes of them.
	parts []part
	// copies are the pages that clones write to, one after the other as in the set:
	// each clone gets its own, so that they need no place in the image.
	copies []byte
	work   sync.WaitGroup

	ready []bool // chunks that are in; protected by mu
}

// part is what a chunk holds, by kind, in the order of the data.
type part struct {
	shared, written []workingset.Extent
	copies          []byte // where what is written goes
}

// Lanes are how many goroutines should put chunks in place: the disk brings one sooner than
// one processor deals with it.
const Lanes = 2

// Load returns the loading of the image, which the first call begins: the set that open
// returns is read out of its file, which is owned from then on. The caller of that is
// told began.
func (i *Image) Load(cache *Cache, open func() (*workingset.LoadingSet, *os.File, error)) (l *Load, began bool, err error) {
	i.loading.Lock()
	defer i.loading.Unlock()
	if l := i.load.Load(); l != nil {
		return l, false, nil
	}
	set, file, err := open()
	if err != nil {
		return nil, false, err
	}
	if l, err = i.begin(cache, set, file); err != nil {
		return nil, false, err
	}
	i.load.Store(l)
	return l, true, nil
}

// LoadFailed says that a load has ended early: not all of the set will be in the image.
func (i *Image) LoadFailed() bool {
	l := i.load.Load()
	if l == nil {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err != nil
}

func (i *Image) begin(cache *Cache, set *workingset.LoadingSet, file *os.File) (*Load, error) {
	r, err := newReader(cache, set, file)
	if err != nil {
		_ = file.Close() // read only
		return nil, err
	}
	l := &Load{reader: r, image: i, ready: make([]bool, len(r.chunks))}
	if err := l.arrange(); err != nil {
		r.close()
		return nil, err
	}
	l.work.Go(func() {
		defer r.close()
		var work sync.WaitGroup
		for range Lanes {
			work.Go(l.put)
		}
		work.Wait()
	})
	return l, nil
}

// arrange makes room for the copies.
func (l *Load) arrange() (err error) {
	written := int64(0)
	for _, extents := range l.chunks {
		p := part{}
		for _, e := range extents {
			if e.Written {
				p.written = append(p.written, e)
			} else {
				p.shared = append(p.shared, e)
			}
		}
		written += bytesOf(p.written)
		l.parts = append(l.parts, p)
	}
	if written == 0 {
		return nil
	}
	if l.copies, err = reserve(written); err != nil {
		return fmt.Errorf("make room for copies: %w", err)
	}
	left := l.copies
	for n := range l.parts {
		size := bytesOf(l.parts[n].written)
		l.parts[n].copies, left = left[:size:size], left[size:]
	}
	return nil
}

// put puts chunks in place until there are no more.
func (l *Load) put() {
	for {
		chunk, data, ok := l.next()
		if !ok {
			return
		}
		if err := l.image.putChunk(l.chunks[chunk], l.parts[chunk].copies, data); err != nil {
			l.fail(err)
			return
		}
		l.release(chunk)
		l.finish(chunk)
	}
}

func (l *Load) finish(chunk int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ready[chunk] = true
	l.moved.Broadcast()
}

// putChunk puts what is shared into the image, and the rest to copies.
func (i *Image) putChunk(extents []workingset.Extent, copies, data []byte) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, e := range extents {
		size := int(e.Pages) * thaw.PageSize
		if e.Written {
			copies = copies[copy(copies, data[:size]):]
		} else if err := i.put(e.Page, data[:size]); err != nil {
			return err
		}
		data = data[size:]
	}
	return i.check()
}

// Set describes the loading set.
func (l *Load) Set() *workingset.LoadingSet { return l.set }

// Wait waits until the load has ended and returns its error, one that wraps
// [workingset.ErrCorrupt] when the file cannot be trusted: nothing of a bad chunk
// is in the image.
//
// Of ctx it returns the cause.
func (l *Load) Wait(ctx context.Context) error {
	for n := range l.ready {
		if err := l.waitFor(ctx, n); err != nil {
			return err
		}
	}
	return nil
}

// waitFor waits for a chunk.
func (l *Load) waitFor(ctx context.Context, chunk int) error {
	return l.until(ctx, func() bool { return l.ready[chunk] })
}

func (l *Load) isReady(chunk int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ready[chunk]
}

// BytesRead is what was read of the loading set.
func (l *Load) BytesRead() int64 { return l.bytesRead() }

// Pieces yields the pages of the loading set as they come in, for one clone: those
// that clones write to as copies to be made, the others to be mapped. Several
// goroutines may take pieces at the same time: each piece goes to one of them. It
// ends early when the load fails. The bytes belong to the image.
func (l *Load) Pieces() iter.Seq[uffd.Piece] {
	var next atomic.Int64
	return func(yield func(uffd.Piece) bool) {
		for {
			n := int(next.Add(1)) - 1
			if n >= len(l.parts) || l.waitFor(context.Background(), n) != nil || !l.piecesOf(l.parts[n], yield) {
				return
			}
		}
	}
}

func (l *Load) piecesOf(p part, yield func(uffd.Piece) bool) bool {
	for offset, data := range workingset.Pieces(p.written, p.copies) {
		if !yield(uffd.Piece{Offset: offset, Data: data}) {
			return false
		}
	}
	for _, e := range p.shared {
		at, n := int64(e.Page)*thaw.PageSize, int64(e.Pages)*thaw.PageSize
		if !yield(uffd.Piece{Offset: at, Data: l.image.view[at : at+n : at+n], Shared: true}) {
			return false
		}
	}
	return true
}

// Coming says that the page at a memory offset is on its way into the image.
func (l *Load) Coming(offset int64) bool {
	chunk, ok := l.chunkOf(offset)
	l.mu.Lock()
	defer l.mu.Unlock()
	return ok && !l.ready[chunk] && l.err == nil
}

// Await waits for the page at a memory offset. It says that no clone has it yet:
// [Image.Fill] gives it to one.
func (l *Load) Await(offset int64) bool {
	if chunk, ok := l.chunkOf(offset); ok {
		_ = l.waitFor(context.Background(), chunk) // Fill looks for itself
	}
	return false
}

// copyOf returns the copy of a page that clones write to, nil if there is none, or
// none yet.
func (l *Load) copyOf(page uint32) []byte {
	chunk, ok := l.chunkOf(int64(page) * thaw.PageSize)
	if !ok || !l.isReady(chunk) {
		return nil
	}
	at := int64(0)
	for _, e := range l.parts[chunk].written {
		if page >= e.Page && page < e.End() {
			at += int64(page-e.Page) * thaw.PageSize
			return l.parts[chunk].copies[at : at+thaw.PageSize]
		}
		at += int64(e.Pages) * thaw.PageSize
	}
	return nil
}

// stop ends the reading and waits for that.
func (l *Load) stop() {
	l.fail(os.ErrClosed)
	l.work.Wait()
}

// discard gives the copies back; nobody may need a piece any more.
func (l *Load) discard() {
	if l.copies != nil {
		_ = unix.Munmap(l.copies)
	}
	l.copies, l.parts = nil, nil
}
