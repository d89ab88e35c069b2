package resident

import (
	"context"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"thaw"
	"thaw/aio"
	"thaw/pagecache"
	"thaw/workingset"
)

// reader reads a loading set from its beginning to its end, past the page cache,
// several chunks in flight, and verifies each.
//
// It has no goroutine of its own: whoever calls next waits for the disk, verifies,
// and has the next chunk read before that. The methods may be called concurrently,
// except close.
type reader struct {
	set    *workingset.LoadingSet
	file   *os.File
	chunks [][]workingset.Extent
	blocks *blocks
	cache  *Cache // that the blocks are of
	// spill has room for the whole set: for what comes before anyone calls next.
	spill []byte

	mu      sync.Mutex
	moved   sync.Cond // something below has changed
	started int       // chunks whose read has begun
	flying  int       // reads under way
	awaited int       // of them somebody waits for
	free    []int     // slots
	at      []int     // the slot of each chunk, or spilled
	ahead   bool      // nobody has called next yet
	came    []int     // chunks that came meanwhile
	given   int       // chunks that next has returned
	read    int64     // bytes
	err     error     // why no more chunks come
	closing sync.Once
}

// spilled stands for a slot.
const spilled = -1

// newReader begins to read set out of file, which it owns.
func newReader(cache *Cache, set *workingset.LoadingSet, file *os.File) (*reader, error) {
	b, err := cache.borrow()
	if err != nil {
		return nil, err
	}
	r := &reader{set: set, file: file, chunks: set.ByChunk(), blocks: b, cache: cache, at: make([]int, set.Chunks())}
	r.moved.L = &r.mu
	for n := range slots {
		r.free = append(r.free, n)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.submit()
	return r, nil
}

// submit has as much read as should be in flight. The caller holds mu.
func (r *reader) submit() {
	for r.err == nil && r.flying < inFlight && r.started < len(r.chunks) && r.room(r.started) {
		n := r.started
		err := r.blocks.queue.Read(int(r.file.Fd()), n, r.data(n), r.set.DataOffset()+int64(n)*workingset.ChunkBytes)
		if err != nil {
			r.failed(fmt.Errorf("read the loading set: %w", err))
			return
		}
		r.started, r.flying = r.started+1, r.flying+1
	}
	r.moved.Broadcast()
}

// room finds room for a chunk. The caller holds mu.
func (r *reader) room(chunk int) bool {
	if last := len(r.free) - 1; last >= 0 {
		r.at[chunk], r.free = r.free[last], r.free[:last]
		return true
	}
	if r.ahead && r.spill == nil {
		r.spill, _ = reserve(int64(len(r.chunks)) * workingset.ChunkBytes) // without, reading waits
	}
	r.at[chunk] = spilled
	return r.ahead && r.spill != nil
}

// data is where a chunk is read to. The caller holds mu.
func (r *reader) data(chunk int) []byte {
	size := bytesOf(r.chunks[chunk])
	if slot := r.at[chunk]; slot != spilled {
		return r.blocks.slot(slot)[:size:size]
	}
	return r.spill[chunk*workingset.ChunkBytes:][:size:size]
}

// next returns a chunk that has come in and can be trusted, in the order in which the
// disk brings them: ok is false after the last, and when no more come. The caller
// calls release when it needs data no more.
func (r *reader) next() (chunk int, data []byte, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ahead = false
	for r.err == nil && r.given < len(r.chunks) {
		switch {
		case len(r.came) > 0:
			chunk, r.came = r.came[0], r.came[1:]
		case r.flying > r.awaited:
			if chunk, ok = r.wait(); !ok {
				continue
			}
		default:
			r.moved.Wait()
			continue
		}
		r.given++
		return chunk, r.data(chunk), true
	}
	return 0, nil, false
}

// readAhead goes on reading until somebody calls next.
func (r *reader) readAhead() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.ahead && r.err == nil && r.flying > r.awaited {
		if chunk, ok := r.wait(); ok {
			r.came = append(r.came, chunk)
			r.moved.Broadcast()
		}
	}
}

// wait waits for a read that nobody else waits for, has another begin, and verifies
// what came. The caller holds mu, which is free meanwhile.
func (r *reader) wait() (chunk int, ok bool) {
	r.awaited++
	r.mu.Unlock()
	ended, err := r.blocks.queue.Wait()
	r.mu.Lock()
	r.awaited--
	if err != nil {
		r.failed(fmt.Errorf("wait for the loading set: %w", err))
		return 0, false
	}
	r.flying, r.read = r.flying-1, r.read+int64(ended.N)
	r.submit()
	data := r.data(ended.Tag)
	r.mu.Unlock()
	err = r.check(ended, data)
	r.mu.Lock()
	if err != nil {
		r.failed(err)
		return 0, false
	}
	return ended.Tag, true
}

// check says whether a chunk can be trusted.
func (r *reader) check(ended aio.Ended, data []byte) error {
	if pagecache.Damaged(ended.Err) {
		return fmt.Errorf("loading set %w: %w", workingset.ErrCorrupt, ended.Err)
	}
	if ended.Err != nil {
		return fmt.Errorf("read the loading set: %w", ended.Err)
	}
	if ended.N < len(data) {
		return fmt.Errorf("loading set %w: it is cut off", workingset.ErrCorrupt)
	}
	return r.set.Verify(ended.Tag, data)
}

// release makes room where a chunk was.
func (r *reader) release(chunk int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if slot := r.at[chunk]; slot != spilled {
		r.free = append(r.free, slot)
		r.submit()
	}
}

// until waits until done, of what mu protects, and returns why it never will be. Of ctx it
// returns the cause.
func (r *reader) until(ctx context.Context, done func() bool) error {
	defer context.AfterFunc(ctx, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.moved.Broadcast()
	})()
	r.mu.Lock()
	defer r.mu.Unlock()
	for !done() && r.err == nil && ctx.Err() == nil {
		r.moved.Wait()
	}
	switch {
	case done():
		return nil
	case r.err != nil:
		return r.err
	}
	return context.Cause(ctx)
}

// fail ends the reading because of err, unless it has ended, and wakes everyone who
// waits.
func (r *reader) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed(err)
}

// failed is fail; the caller holds mu.
func (r *reader) failed(err error) {
	if r.err == nil {
		r.err = err
	}
	r.moved.Broadcast()
}

func (r *reader) bytesRead() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.read
}

// close waits for reads under way and gives everything back. Nobody may call next or use
// data any more. It may be called again.
func (r *reader) close() {
	r.closing.Do(func() {
		// Without mu: a page fault may be asking for a page that is not of the set.
		if r.drain() {
			r.cache.giveBack(r.blocks)
		} else {
			r.blocks.close() // which waits, too
		}
		_ = r.file.Close() // read only
		if r.spill != nil {
			_ = unix.Munmap(r.spill)
		}
	})
}

// drain waits for the reads under way, and says whether that was possible.
func (r *reader) drain() bool {
	for ; r.flying > 0; r.flying-- {
		ended, err := r.blocks.queue.Wait()
		if err != nil {
			return false
		}
		r.mu.Lock()
		r.read += int64(ended.N)
		r.mu.Unlock()
	}
	return true
}

// chunkOf finds the chunk with the page at a memory offset.
func (r *reader) chunkOf(offset int64) (chunk int, ok bool) {
	page := uint32(offset / thaw.PageSize)
	for n, extents := range r.chunks {
		for _, e := range extents {
			if page >= e.Page && page < e.End() {
				return n, true
			}
		}
	}
	return 0, false
}

func bytesOf(extents []workingset.Extent) (n int64) {
	for _, e := range extents {
		n += int64(e.Pages) * thaw.PageSize
	}
	return n
}
