package restore

import (
	"context"
	"fmt"
	"iter"
	"os"
	"runtime"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"thaw"
	"thaw/pagecache"
	"thaw/plan"
	"thaw/resident"
	"thaw/uffd"
	"thaw/workingset"
)

// Contents is where the pages of a plan come from.
type Contents struct {
	// Memory is the path of a file.
	Memory string
	// Loading is the loading set that Set describes, open for reading past the page
	// cache; nil for plans that do not read it themselves. The Prefetch owns it.
	Loading *os.File
	Set     *workingset.LoadingSet
	// Image is for plans that map one; it is borrowed.
	Image *resident.Image
	// Own is what a plan that shares with nobody takes its pages from. The Prefetch owns
	// it.
	Own *resident.Own
	// Load is the same for plans that share; it is borrowed. First says that it began
	// for this restore.
	Load  *resident.Load
	First bool
}

// Pages are those of a loading set on their way into memory: a [resident.Own] or a
// [resident.Load].
type Pages interface {
	Set() *workingset.LoadingSet
	Pieces() iter.Seq[uffd.Piece]
	// Coming says whether to wait for a page, Await does and says whether the guest has
	// it then.
	Coming(offset int64) bool
	Await(offset int64) bool
	Wait(context.Context) error
	BytesRead() int64
}

// Pages returns what a plan that maps an image takes its pages from.
func (c Contents) Pages() Pages {
	if c.Own != nil {
		return c.Own
	}
	return c.Load
}

// Close ends what a Prefetch owns of it. It may be called again.
func (c Contents) Close() {
	if c.Own != nil {
		c.Own.Close()
	}
	if c.Loading != nil {
		_ = c.Loading.Close() // read only
	}
}

// Prefetch is the bringing in of a plan's pages. It begins before there is a VMM.
// Close ends it and releases everything.
type Prefetch struct {
	plan     plan.Plan
	contents Contents
	loading  *os.File // for mapping, nil when no region is backed by it
	// whole is what is to be installed before faults are served, nil when nothing is.
	whole iter.Seq2[int64, []byte]
	// data is what was read whole: not of the Go heap, which would grow by it for longer.
	data []byte

	cancel context.CancelFunc
	work   sync.WaitGroup
	done   chan struct{} // closed when the reading ahead has ended
	err    error         // of that
	read   atomic.Int64
	reads  threadReads // of what reads through the page cache
}

// Begin starts to read what p brings in ahead. A loading set that is read whole is
// verified before Begin returns: an error that wraps [workingset.ErrCorrupt] says
// that it cannot be used, and that another plan is needed. After an error c is closed.
func Begin(p plan.Plan, c Contents) (_ *Prefetch, err error) {
	if c.Loading != nil {
		defer c.Loading.Close() // is read by then, or open once more
	}
	f := &Prefetch{plan: p, contents: c, done: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	f.cancel = cancel
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	return f, f.begin(ctx)
}

func (f *Prefetch) begin(ctx context.Context) (err error) {
	ahead := func(context.Context) error { return nil } // what is still to do beside the VMM's start
	switch f.plan.Fetch {
	case plan.FetchDirect:
		err = f.readWhole(f.contents.Loading)
	case plan.FetchBuffered:
		err = f.readBuffered()
	case plan.FetchPages:
		ahead, err = f.readPages()
	case plan.FetchMemory:
		ahead, err = f.readMemory()
	case plan.FetchOwn, plan.FetchShared:
		ahead = f.contents.Pages().Wait
	case plan.FetchAheadMemory:
		ahead = f.counted(f.memoryAhead)
	case plan.FetchAheadLoading:
		ahead = f.counted(f.loadingAhead)
		f.loading, err = buffered(f.contents.Loading)
	}
	if err != nil {
		close(f.done)
		return fmt.Errorf("prefetch: %w", err) // nothing is under way
	}
	f.work.Go(func() {
		defer close(f.done)
		f.err = ahead(ctx)
	})
	return nil
}

// Wait waits until the reading ahead has ended and returns its error.
func (f *Prefetch) Wait(ctx context.Context) error {
	select {
	case <-f.done:
		return f.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// stop makes the reading end soon.
func (f *Prefetch) stop() {
	f.cancel()
	if f.contents.Own != nil {
		f.contents.Own.Stop()
	}
}

// Close ends the reading and waits for that. Whoever installs pieces must have
// ended.
func (f *Prefetch) Close() {
	f.stop()
	f.work.Wait()
	f.contents.Close()
	f.drop()
	if f.loading != nil {
		_ = f.loading.Close() // read only
	}
}

// BytesRead is what came from the disk so far; of FetchPages and FetchMemory, what
// was asked for. What an image shares is read for the second of its clones.
func (f *Prefetch) BytesRead() int64 {
	n := f.read.Load() + f.reads.bytes()
	if f.contents.Own != nil || f.contents.First {
		n += f.contents.Pages().BytesRead()
	}
	return n
}

// readWhole reads the data of the loading set with one request (REAP, section
// 5.2.2).
func (f *Prefetch) readWhole(file *os.File) (err error) {
	set := f.contents.Set
	if f.data, err = unix.Mmap(-1, 0, int(set.Pages()*thaw.PageSize), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS); err != nil {
		return fmt.Errorf("make room for the loading set: %w", err)
	}
	if n, err := file.ReadAt(f.data, set.DataOffset()); n < len(f.data) {
		return unread(err)
	}
	f.read.Add(int64(len(f.data)))
	f.whole = workingset.Pieces(set.Extents, f.data)
	return set.VerifyAll(f.data)
}

// readBuffered does the same through the page cache (REAP, figure 7).
func (f *Prefetch) readBuffered() error {
	file, err := buffered(f.contents.Loading)
	if err != nil {
		return err
	}
	defer file.Close()
	return f.readWhole(file)
}

// buffered opens the very file that f is once more, for reading through the page cache:
// another one may have its name by now.
func buffered(f *os.File) (*os.File, error) {
	return os.Open(fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
}

// drop gives back what was read whole. Nobody may install it any more.
func (f *Prefetch) drop() {
	if f.data != nil {
		_ = unix.Munmap(f.data)
		f.data = nil
	}
}

// unread says whether the loading set is at fault that it could not be read whole.
func unread(err error) error {
	if pagecache.Damaged(err) {
		return fmt.Errorf("loading set %w: %w", workingset.ErrCorrupt, err)
	}
	return fmt.Errorf("read the loading set: %w", err)
}

// piece is a part of guest memory on its way.
type piece struct {
	offset int64
	data   []byte
}

// pageReaders is how many pages FetchPages reads at once (REAP, figure 7).
const pageReaders = 16

// readPages reads the plan's pages out of the memory file one by one.
func (f *Prefetch) readPages() (ahead func(context.Context) error, err error) {
	var pages []workingset.Run
	for _, e := range f.plan.Extents {
		for p := e.Page; p < e.End(); p++ {
			pages = append(pages, workingset.Run{Page: p, Pages: 1})
		}
	}
	return f.readers(os.Open, pageReaders, pages)
}

// readMemory reads the plan's extents out of the memory file, in requests of up
// to 1 MiB of which several are in flight.
func (f *Prefetch) readMemory() (ahead func(context.Context) error, err error) {
	const most, inFlight = 1 << 20 / thaw.PageSize, 4
	var parts []workingset.Run
	for _, e := range f.plan.Extents {
		for r := e.Run; r.Pages > 0; {
			n := min(r.Pages, most)
			parts = append(parts, workingset.Run{Page: r.Page, Pages: n})
			r.Page, r.Pages = r.Page+n, r.Pages-n
		}
	}
	return f.readers(pagecache.OpenDirect, inFlight, parts)
}

// readers has n goroutines read runs of the memory file. What they bring, in any
// order, becomes the pieces, which end early after a failure.
func (f *Prefetch) readers(open func(string) (*os.File, error), n int, runs []workingset.Run) (ahead func(context.Context) error, err error) {
	file, err := open(f.contents.Memory)
	if err != nil {
		return nil, err
	}
	out := make(chan piece, n)
	f.whole = func(yield func(int64, []byte) bool) {
		for p := range out {
			if !yield(p.offset, p.data) {
				return
			}
		}
	}
	return func(ctx context.Context) error {
		defer file.Close()
		defer close(out)
		var next atomic.Int64
		readers, ctx := errgroup.WithContext(ctx)
		for range n {
			readers.Go(func() error { return f.readRuns(ctx, file, runs, &next, out) })
		}
		return readers.Wait()
	}, nil
}

func (f *Prefetch) readRuns(ctx context.Context, file *os.File, runs []workingset.Run, next *atomic.Int64, out chan<- piece) error {
	for {
		i := int(next.Add(1)) - 1
		if i >= len(runs) {
			return nil
		}
		offset := int64(runs[i].Page) * thaw.PageSize
		data := pagecache.Aligned(int64(runs[i].Pages) * thaw.PageSize)
		if n, err := file.ReadAt(data, offset); n < len(data) {
			return fmt.Errorf("read the memory file: %w", err)
		}
		f.read.Add(int64(len(data)))
		select {
		case out <- piece{offset, data}:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// counted keeps one thread for ahead, so that what it reads from the disk can be
// told from what others read.
func (f *Prefetch) counted(ahead func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if err := f.reads.begin(); err != nil {
			return err
		}
		defer f.reads.end()
		return ahead(ctx)
	}
}

// memoryAhead has the kernel read the plan's extents of the memory file (FaaSnap,
// section 4.2, without a loading set file).
func (f *Prefetch) memoryAhead(ctx context.Context) error {
	file, err := os.Open(f.contents.Memory)
	if err != nil {
		return err
	}
	defer file.Close()
	buf := make([]byte, workingset.ChunkBytes)
	for _, e := range f.plan.Extents {
		at, left := int64(e.Page)*thaw.PageSize, int64(e.Pages)*thaw.PageSize
		for ; left > 0 && ctx.Err() == nil; left, at = left-int64(len(buf)), at+int64(len(buf)) {
			if n, err := file.ReadAt(buf[:min(left, int64(len(buf)))], at); n == 0 {
				return fmt.Errorf("read the memory file: %w", err)
			}
		}
	}
	return nil
}

// loadingAhead has the kernel read the loading set file from its beginning to its
// end (FaaSnap, section 4.2) and verifies what it has read: guests map it.
func (f *Prefetch) loadingAhead(ctx context.Context) error {
	set, buf := f.contents.Set, make([]byte, workingset.ChunkBytes)
	left := set.Pages() * thaw.PageSize
	for i := 0; left > 0 && ctx.Err() == nil; i++ {
		buf = buf[:min(left, workingset.ChunkBytes)]
		if n, err := f.loading.ReadAt(buf, set.DataOffset()+int64(i)*workingset.ChunkBytes); n < len(buf) {
			return unread(err)
		}
		if err := set.Verify(i, buf); err != nil {
			return err
		}
		left -= int64(len(buf))
	}
	return ctx.Err()
}
