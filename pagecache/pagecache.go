// Package pagecache looks at and changes what the kernel keeps of a file in
// memory, and reads files past it.
package pagecache

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// Evict drops f from the page cache. Dirty pages cannot be dropped
// (posix_fadvise(2)), so it is synced first. Pages that someone has mapped
// stay: ask [Resident] what is left.
func Evict(f *os.File) error {
	if err := f.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", f.Name(), err)
	}
	if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
		return fmt.Errorf("drop %s from the page cache: %w", f.Name(), err)
	}
	return nil
}

// Resident returns how many pages of f are in the page cache (mincore(2)).
func Resident(f *os.File) (pages int, err error) {
	m, err := NewMap(f)
	if err != nil {
		return 0, err
	}
	defer m.Close()
	vec, err := m.Resident()
	for _, v := range vec {
		pages += int(v & 1)
	}
	return pages, err
}

// Map looks at which pages of a file are in the page cache, again and again.
// Close ends it.
type Map struct {
	name string
	mem  []byte
	vec  []byte
}

// NewMap maps f, which may be closed then, without access to its contents.
func NewMap(f *os.File) (*Map, error) {
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, fmt.Errorf("size of %s: %w", f.Name(), err)
	}
	m := &Map{name: f.Name(), vec: make([]byte, (size+pageSize-1)/pageSize)}
	if size == 0 {
		return m, nil
	}
	if m.mem, err = unix.Mmap(int(f.Fd()), 0, int(size), unix.PROT_NONE, unix.MAP_SHARED); err != nil {
		return nil, fmt.Errorf("map %s: %w", f.Name(), err)
	}
	return m, nil
}

// Resident returns a byte for each page, the lowest bit of which is set when the
// page is in the page cache (mincore(2)). The next call reuses it.
func (m *Map) Resident() ([]byte, error) {
	if len(m.mem) == 0 {
		return m.vec, nil
	}
	if err := mincore(m.mem, m.vec); err != nil {
		return nil, fmt.Errorf("mincore %s: %w", m.name, err)
	}
	return m.vec, nil
}

// Close unmaps the file.
func (m *Map) Close() {
	if len(m.mem) > 0 {
		_ = unix.Munmap(m.mem) // a mapping of ours
	}
	m.mem = nil
}

const pageSize = 4096

// directAlign is what O_DIRECT needs of address, offset and length on any
// common disk (open(2)).
const directAlign = 4096

// ErrTooLong says that a file is over a limit.
var ErrTooLong = errors.New("file is too long")

// ReadDirect reads the whole file name past the page cache with one request,
// where its file system allows O_DIRECT, otherwise through the page cache. The
// file must be at most limit bytes long. direct says which way it was.
func ReadDirect(name string, limit int64) (b []byte, direct bool, err error) {
	b, err = read(name, os.O_RDONLY|unix.O_DIRECT, limit)
	if errors.Is(err, unix.EINVAL) { // at open or at read, as file systems like
		b, err = read(name, os.O_RDONLY, limit)
		return b, false, err
	}
	return b, err == nil, err
}

// Damaged says that err, met in reading a file, is about the file and not about this
// process: it is cut off, or the disk cannot read it. That is EIO, and from a direct
// read what the block layer says: ENODATA for a bad sector, EILSEQ for a checksum of
// the disk's own that is wrong (blk_status_to_errno in block/blk-core.c).
func Damaged(err error) bool {
	for _, damage := range []error{unix.EIO, unix.ENODATA, unix.EILSEQ, io.EOF, io.ErrUnexpectedEOF, ErrTooLong} {
		if errors.Is(err, damage) {
			return true
		}
	}
	return false
}

// OpenDirect opens the file name for reading past the page cache where its file
// system allows O_DIRECT, otherwise through it: buffers, offsets and lengths must
// be fit for it, see [Aligned].
func OpenDirect(name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_DIRECT, 0)
	if errors.Is(err, unix.EINVAL) {
		return os.Open(name)
	}
	return f, err
}

// ReadBuffered reads the whole file name through the page cache. The file must be
// at most limit bytes long.
func ReadBuffered(name string, limit int64) ([]byte, error) { return read(name, os.O_RDONLY, limit) }

func read(name string, flags int, limit int64) ([]byte, error) {
	f, err := os.OpenFile(name, flags, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() > limit {
		return nil, fmt.Errorf("read %s: %w: %d bytes of %d", name, ErrTooLong, info.Size(), limit)
	}
	buf := Aligned(info.Size())
	n, err := io.ReadFull(f, buf) // past the end of the file buf stays empty
	if int64(n) < info.Size() {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return buf[:info.Size()], nil
}
