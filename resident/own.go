package resident

import (
	"context"
	"iter"
	"os"
	"sync"

	"thaw/uffd"
	"thaw/workingset"
)

// Own is a loading set on its way to one clone, which gets a copy of each page. It is
// for a clone that has nobody to share with: a page is copied once, from where the
// disk put it, and nothing of the set stays in memory but what the clone has.
//
// Its methods may be called concurrently, except Close.
type Own struct {
	*reader
	work sync.WaitGroup // the reading ahead

	in   []bool // chunks that are in place; protected by mu, as is
	left int    // how many are not
}

// NewOwn begins to read set out of file, which it owns from now on, also when that
// fails. Until somebody takes pieces it reads on into memory of its own.
func NewOwn(cache *Cache, set *workingset.LoadingSet, file *os.File) (*Own, error) {
	r, err := newReader(cache, set, file)
	if err != nil {
		_ = file.Close() // read only
		return nil, err
	}
	o := &Own{reader: r, in: make([]bool, len(r.chunks)), left: len(r.chunks)}
	r.ahead = true
	o.work.Go(r.readAhead)
	return o, nil
}

// Set describes the loading set.
func (o *Own) Set() *workingset.LoadingSet { return o.set }

// Pieces yields the pages of the set as they come in, as copies to be made before the
// loop asks for the next. Several goroutines may take pieces at the same time: each
// piece goes to one of them. It ends early when no more can come. A loop that breaks
// off ends the others, too.
func (o *Own) Pieces() iter.Seq[uffd.Piece] {
	return func(yield func(uffd.Piece) bool) {
		for {
			chunk, data, ok := o.next()
			if !ok {
				return
			}
			for offset, piece := range workingset.Pieces(o.chunks[chunk], data) {
				if !yield(uffd.Piece{Offset: offset, Data: piece}) {
					o.Stop()
					return
				}
			}
			o.release(chunk)
			o.placed(chunk)
		}
	}
}

func (o *Own) placed(chunk int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.in[chunk], o.left = true, o.left-1
	o.moved.Broadcast()
}

// Coming says that the page at a memory offset is on its way, or in place. To wait for
// it is quicker than to read it from elsewhere: the set has its pages in the order in
// which they are touched.
func (o *Own) Coming(offset int64) bool {
	chunk, ok := o.chunkOf(offset)
	o.mu.Lock()
	defer o.mu.Unlock()
	return ok && (o.in[chunk] || o.err == nil)
}

// Await waits for the page at a memory offset and says whether it was put in place.
func (o *Own) Await(offset int64) bool {
	chunk, ok := o.chunkOf(offset)
	return ok && o.until(context.Background(), func() bool { return o.in[chunk] }) == nil
}

// Wait waits until everything is in place and returns why it never will be: an error
// that wraps [workingset.ErrCorrupt] when the file cannot be trusted. Nothing of a
// bad chunk was a piece. Of ctx it returns the cause.
func (o *Own) Wait(ctx context.Context) error {
	return o.until(ctx, func() bool { return o.left == 0 })
}

// BytesRead is what was read of the set.
func (o *Own) BytesRead() int64 { return o.bytesRead() }

// Stop makes the reading end soon, and Pieces with it.
func (o *Own) Stop() { o.fail(os.ErrClosed) }

// Close ends the reading and gives back what it needed. Nobody may take pieces any
// more. It may be called again.
func (o *Own) Close() {
	o.Stop()
	o.work.Wait()
	o.close()
}
