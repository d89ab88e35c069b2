package e2e

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// TestMain fails when the tests leave a VMM, a descriptor or a goroutine behind.
func TestMain(m *testing.M) {
	before := descriptors()
	code := m.Run()
	if code == 0 {
		code = leaks(before)
	}
	os.Exit(code)
}

func leaks(before int) (code int) {
	if err := goleak.Find(); err != nil {
		fmt.Println("goroutines are left:", err)
		code = 1
	}
	if pids := children(os.Getpid()); len(pids) > 0 {
		fmt.Println("VMMs are left:", pids)
		code = 1
	}
	if after := descriptors(); after > before+slack {
		fmt.Printf("%d descriptors were open before and %d are after\n", before, after)
		code = 1
	}
	return code
}

// slack is for what the Go runtime opens once: its poller, and what it was
// handed by the test program.
const slack = 6

func descriptors() int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(entries)
}
