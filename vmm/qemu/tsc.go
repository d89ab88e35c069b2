package qemu

import "time"

// readTSC returns the processor's time stamp counter.
func readTSC() uint64

// measureTSC returns the counter's frequency in kHz: under TCG the guest's
// counter is the host's. 50 ms against the monotonic clock are good for 10 ppm.
func measureTSC() uint64 {
	start, from := time.Now(), readTSC()
	time.Sleep(50 * time.Millisecond)
	ticks, took := readTSC()-from, time.Since(start)
	return uint64(float64(ticks) / float64(took.Nanoseconds()) * 1e6)
}
