package boot_test

import (
	"os"
	"testing"

	"thaw/agent/guest/boot"
)

// TestSpareThreads: the threads are there afterwards, and a second call finds
// them instead of making more.
func TestSpareThreads(t *testing.T) {
	const n = 12
	boot.SpareThreads(n)
	first := threads(t)
	if first <= n {
		t.Errorf("%d threads, want more than %d", first, n)
	}
	boot.SpareThreads(n)
	if again := threads(t); again > first+2 { // the scheduler may want one for itself
		t.Errorf("%d threads after a second call, %d before", again, first)
	}
}

func threads(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}
