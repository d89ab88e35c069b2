// Package resident keeps the pages of a snapshot in memory, once for all of its
// clones: an [Image] is a file in memory (memfd_create(2)) with the layout of
// guest memory that clones map privately. What a clone only reads it shares with
// the others; what it writes the kernel copies for it.
//
// An image is filled ahead of the guest from a loading set ([Load]), with several
// large reads past the page cache, and at a miss from the guest memory file. A clone
// that is alone has nobody to share with: it gets copies of the loading set's pages
// as they come ([Own]), and only what it misses is in the image.
package resident

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/singleflight"
	"golang.org/x/sys/unix"

	"thaw"
	"thaw/pagecache"
	"thaw/workingset"
)

// Image holds pages of one snapshot. Its methods may be called concurrently.
// Close it when no clone needs a page of it any more; mappings stay.
type Image struct {
	pages  uint32
	file   *os.File // written by us alone
	share  *os.File // the same, read only
	memory source   // the guest memory file
	view   []byte   // file, mapped for reading

	mu       sync.Mutex
	present  workingset.Bits
	resident int64 // pages
	closed   bool
	err      error          // why nobody may have a page of it any more
	broken   chan struct{}  // closed then
	reading  sync.WaitGroup // of the memory file; begun only while not closed
	filling  singleflight.Group

	loading sync.Mutex // held while a load begins
	load    atomic.Pointer[Load]
}

// New returns an empty image of the guest memory file called memory, of size
// bytes.
func New(memory string, size int64) (_ *Image, err error) {
	pages := uint32(size / thaw.PageSize)
	i := &Image{pages: pages, present: workingset.NewBits(pages), broken: make(chan struct{})}
	defer func() {
		if err != nil {
			i.Close()
		}
	}()
	if i.memory, err = openSource(memory); err != nil {
		return nil, err
	}
	if err := i.create(size); err != nil {
		return nil, fmt.Errorf("make an image in memory: %w", err)
	}
	return i, nil
}

// create makes the file in memory. Its mode keeps a VMM that was broken out of
// from opening the read-only descriptor that it has again, for writing.
func (i *Image) create(size int64) error {
	fd, err := unix.MemfdCreate("thaw-image", unix.MFD_CLOEXEC)
	if err != nil {
		return err
	}
	i.file = os.NewFile(uintptr(fd), "image")
	if err := errors.Join(i.file.Chmod(0o400), i.file.Truncate(size)); err != nil {
		return err
	}
	if i.share, err = os.Open(fmt.Sprintf("/proc/self/fd/%d", fd)); err != nil {
		return err
	}
	if i.view, err = unix.Mmap(fd, 0, int(size), unix.PROT_READ, unix.MAP_SHARED); err != nil {
		return err
	}
	return i.smallPages()
}

// smallPages fails where a write of one page brings in its neighbours, too, as zeroes:
// no first touch of them would come to us.
func (i *Image) smallPages() error {
	if _, err := i.file.WriteAt(make([]byte, thaw.PageSize), 0); err != nil {
		return err
	}
	if err := i.occupies(1); err != nil {
		return err
	}
	return unix.Fallocate(int(i.file.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, thaw.PageSize)
}

// errHuge says that pages came into the image that nobody put there.
var errHuge = errors.New("this kernel has huge pages for files in memory: write never to /sys/kernel/mm/transparent_hugepage/shmem_enabled")

// occupies fails if the file has more than so many pages.
func (i *Image) occupies(pages int64) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(i.file.Fd()), &st); err != nil {
		return err
	}
	const block = 512 // st_blocks, stat(2)
	if st.Blocks*block > pages*thaw.PageSize {
		return errHuge
	}
	return nil
}

// File is the image, read only, for clones to map. It belongs to the image.
func (i *Image) File() *os.File { return i.share }

// Resident is how many bytes the image occupies.
func (i *Image) Resident() int64 {
	i.mu.Lock()
	defer i.mu.Unlock()
	n := i.resident * thaw.PageSize
	if l := i.load.Load(); l != nil {
		n += int64(len(l.copies))
	}
	return n
}

// Close ends a load and releases the image. It waits for calls under way.
func (i *Image) Close() {
	load := i.load.Load()
	if load != nil {
		load.stop()
	}
	i.mu.Lock()
	i.closed = true
	i.mu.Unlock()
	i.reading.Wait()
	i.mu.Lock()
	defer i.mu.Unlock()
	i.memory.close()
	for _, f := range []*os.File{i.share, i.file} {
		if f != nil {
			_ = f.Close() // nothing to lose
		}
	}
	if i.view != nil {
		_ = unix.Munmap(i.view)
		i.view = nil
	}
	if load != nil {
		load.discard()
	}
}

// around is how many pages are brought in at a miss, aligned: Linux's default
// readahead of 128 KiB. Reading more does not pay: the misses of an input that was
// not recorded are scattered, and whatever is read beside them delays the next.
// The page alone first and the others behind it would be slower: most of them are
// touched before they come.
const around = 32

// Fill brings the page at a memory offset in, if it is not there, and its
// neighbours with it. It returns how many bytes that reads from the disk.
func (i *Image) Fill(offset int64) (read int64, err error) {
	page := uint32(offset / thaw.PageSize)
	if page >= i.pages {
		return 0, fmt.Errorf("page %d is outside guest memory", page)
	}
	if needed, err := i.need(page); err != nil || !needed {
		return 0, err
	}
	defer i.reading.Done()
	if l := i.load.Load(); l != nil {
		if data := l.copyOf(page); data != nil {
			return 0, i.add(workingset.Run{Page: page, Pages: 1}, data)
		}
	}
	return i.miss(page)
}

// miss reads a page from the memory file. Clones that miss the same at once read
// it once.
func (i *Image) miss(page uint32) (read int64, err error) {
	block := i.aligned(page, around)
	_, err, _ = i.filling.Do(strconv.FormatUint(uint64(block.Page), 10), func() (any, error) {
		buf := pagecache.Aligned(int64(block.Pages) * thaw.PageSize)
		if read, err = i.memory.read(buf, block); err != nil {
			return nil, err
		}
		return nil, i.add(block, buf)
	})
	return read, err
}

// aligned is the run of n pages, less at the end of memory, that page is in.
func (i *Image) aligned(page, n uint32) workingset.Run {
	from := page / n * n
	return workingset.Run{Page: from, Pages: min(n, i.pages-from)}
}

// need says whether page is missing. If so, the caller reads it and is then done
// with reading.
func (i *Image) need(page uint32) (bool, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.closed {
		return false, os.ErrClosed
	}
	if i.err != nil {
		return false, i.err
	}
	if i.present.Has(page) {
		return false, nil
	}
	i.reading.Add(1)
	return true, nil
}

// add puts what is missing of a run in place.
func (i *Image) add(r workingset.Run, data []byte) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	for p := r.Page; p < r.End(); p++ {
		if i.present.Has(p) {
			continue
		}
		at := int(p-r.Page) * thaw.PageSize
		if err := i.put(p, data[at:at+thaw.PageSize]); err != nil {
			return err
		}
	}
	return i.check()
}

// put writes pages that are whole: write(2) makes each visible at once, with its
// contents. The caller holds mu, and calls check then.
func (i *Image) put(page uint32, data []byte) error {
	n, err := i.file.WriteAt(data, int64(page)*thaw.PageSize)
	for p := range uint32(n / thaw.PageSize) { // those before an error, too
		if !i.present.Has(page + p) {
			i.present.Add(page + p)
			i.resident++
		}
	}
	if err != nil {
		return fmt.Errorf("fill the image: %w", err)
	}
	return nil
}

// check fails if there are more pages than were put: the setting has changed. Clones may
// have such a page already. The caller holds mu.
func (i *Image) check() error {
	err := i.occupies(i.resident)
	if err != nil && i.err == nil {
		i.err = err
		close(i.broken)
	}
	return err
}

// Watch waits until no clone may have a page of the image any more, and returns why; nil
// when ctx ends before.
func (i *Image) Watch(ctx context.Context) error {
	select {
	case <-i.broken:
		return i.err
	case <-ctx.Done():
		return nil
	}
}
