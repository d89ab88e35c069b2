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
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, fmt.Errorf("size of %s: %w", f.Name(), err)
	}
	if size == 0 {
		return 0, nil
	}
	m, err := unix.Mmap(int(f.Fd()), 0, int(size), unix.PROT_NONE, unix.MAP_SHARED)
	if err != nil {
		return 0, fmt.Errorf("map %s: %w", f.Name(), err)
	}
	defer func() { _ = unix.Munmap(m) }()
	vec := make([]byte, (size+pageSize-1)/pageSize)
	if err := mincore(m, vec); err != nil {
		return 0, fmt.Errorf("mincore %s: %w", f.Name(), err)
	}
	for _, v := range vec {
		pages += int(v & 1)
	}
	return pages, nil
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
	buf := aligned(info.Size())
	n, err := io.ReadFull(f, buf) // past the end of the file buf stays empty
	if int64(n) < info.Size() {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return buf[:info.Size()], nil
}
