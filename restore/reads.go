package restore

import (
	"sync"

	"golang.org/x/sys/unix"

	"thaw/procstat"
)

// threadReads counts what one of our threads reads from the disk, between begin
// and end, both called on that thread; bytes may be called from anywhere.
type threadReads struct {
	mu          sync.Mutex
	thread      *procstat.Thread // nil before begin and after end
	from, total int64
}

// begin fails on a kernel that does not count.
func (t *threadReads) begin() error {
	thread, err := procstat.OpenThread(unix.Gettid())
	if err != nil {
		return err
	}
	from, err := thread.ReadBytes()
	if err != nil {
		_ = thread.Close() // read only
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.thread, t.from = thread, from
	return nil
}

func (t *threadReads) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.total = t.now()
	_ = t.thread.Close() // read only
	t.thread = nil
}

func (t *threadReads) bytes() int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.thread == nil {
		return t.total
	}
	return t.now()
}

// now is what was read since begin. The caller holds mu.
func (t *threadReads) now() int64 {
	n, err := t.thread.ReadBytes()
	if err != nil {
		return t.total // the thread has just ended
	}
	return n - t.from
}
