package boot

import (
	"runtime"
	"sync"
)

// SpareThreads has Go's scheduler make n threads now, which it keeps for later. It
// makes one when a system call takes long and none is idle, and then every clone
// of a snapshot would: some 130 pages of the kernel's clone(2) path.
func SpareThreads(n int) {
	var ready, over sync.WaitGroup
	release := make(chan struct{})
	ready.Add(n)
	for range n {
		over.Go(func() {
			runtime.LockOSThread() // one thread each, at the same time
			defer runtime.UnlockOSThread()
			ready.Done()
			<-release
		})
	}
	ready.Wait()
	close(release)
	over.Wait()
}
