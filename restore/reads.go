package restore

import (
	"fmt"
	"os"
	"sync"

	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"
)

// threadReads counts what one of our threads reads from the disk, between begin
// and end, both called on that thread; bytes may be called from anywhere.
type threadReads struct {
	mu          sync.Mutex
	tid         int // 0 before begin and after end
	from, total int64
}

func (t *threadReads) begin() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.tid = unix.Gettid()
	t.from = readBytes(t.tid)
}

func (t *threadReads) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.total, t.tid = readBytes(t.tid)-t.from, 0
}

func (t *threadReads) bytes() int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.tid == 0 {
		return t.total
	}
	return readBytes(t.tid) - t.from
}

// readBytes is read_bytes of proc(5), /proc/pid/task/tid/io; 0 on a kernel
// without I/O accounting.
func readBytes(tid int) int64 {
	tasks, err := procfs.NewFS(fmt.Sprintf("/proc/%d/task", os.Getpid()))
	if err != nil {
		return 0
	}
	task, err := tasks.Proc(tid)
	if err != nil {
		return 0
	}
	io, err := task.IO()
	if err != nil {
		return 0
	}
	return int64(io.ReadBytes)
}
