package resident

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"thaw"
	"thaw/pagecache"
	"thaw/workingset"
)

// source is the guest memory file, opened to be read out of the page cache and past
// it, which is faster than through it.
type source struct {
	buffered, direct *os.File
}

func openSource(name string) (s source, err error) {
	if s.buffered, err = os.Open(name); err != nil {
		return s, fmt.Errorf("open the memory file: %w", err)
	}
	if s.direct, err = pagecache.OpenDirect(name); err != nil {
		s.close()
		return s, fmt.Errorf("open the memory file: %w", err)
	}
	return s, nil
}

func (s *source) close() {
	for _, f := range []*os.File{s.buffered, s.direct} {
		if f != nil {
			_ = f.Close() // read only
		}
	}
}

// read fills buf, which is aligned, with a run. It returns how many bytes came from
// the disk.
func (s *source) read(buf []byte, r workingset.Run) (read int64, err error) {
	from, read := s.direct, int64(len(buf))
	at := int64(r.Page) * thaw.PageSize
	if s.cached(at, len(buf)) {
		from, read = s.buffered, 0
	}
	n, err := from.ReadAt(buf, at)
	if n == len(buf) {
		return read, nil
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return 0, fmt.Errorf("read the memory file: %w", err)
}

// cached says that n bytes are in the page cache (cachestat(2), Linux 6.5), false
// where the kernel does not tell. A read that must not wait (RWF_NOWAIT) would tell
// as well, but has the kernel read ahead.
func (s *source) cached(at int64, n int) bool {
	var have unix.Cachestat_t
	err := unix.Cachestat(uint(s.buffered.Fd()), &unix.CachestatRange{Off: uint64(at), Len: uint64(n)}, &have, 0)
	return err == nil && have.Cache == uint64(n/thaw.PageSize)
}
