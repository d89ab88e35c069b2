package workingset

import (
	"sync"
	"time"

	"thaw"
)

// Limits bound a recording: without a bound, a working set that grows with
// every invocation of a warm instance grows for ever.
type Limits struct {
	Pages int
	Time  time.Duration
}

// DefaultLimits allow 256 MiB in 30 s, over twice the largest working set of
// the REAP paper (99 MB, lr_training, figure 4).
func DefaultLimits() Limits {
	return Limits{Pages: 256 << 20 / thaw.PageSize, Time: 30 * time.Second}
}

// Recorder collects first touches. Its methods may be called concurrently.
type Recorder struct {
	limits Limits
	start  time.Time

	mu      sync.Mutex
	seen    map[uint32]int // page to its position in touches
	touches []Touch
	bound   Bound
	stopped bool
}

// NewRecorder starts the clock.
func NewRecorder(limits Limits) *Recorder {
	return &Recorder{limits: limits, start: time.Now(), seen: map[uint32]int{}}
}

// Touch notes page, seen by scan group, if it is new and the recording is not
// over.
func (r *Recorder) Touch(page uint32, group uint16) {
	after := time.Since(r.start)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over(after) {
		return
	}
	if _, ok := r.seen[page]; ok {
		return
	}
	r.seen[page] = len(r.touches)
	r.touches = append(r.touches, Touch{Page: page, Group: group, After: after.Truncate(time.Microsecond), Uses: 1})
}

// Write notes that a page that was touched is written to. A recording that is
// full goes on with that; one that is over does not.
func (r *Recorder) Write(page uint32) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if i, ok := r.seen[page]; ok && !r.stopped {
		r.touches[i].Written = true
	}
}

// over applies the bounds. The caller holds mu.
func (r *Recorder) over(after time.Duration) bool {
	if r.stopped || r.bound != BoundNone {
		return true
	}
	if len(r.touches) >= r.limits.Pages {
		r.bound = BoundPages
	}
	if after > r.limits.Time {
		r.bound = BoundTime
	}
	return r.bound != BoundNone
}

// Full says that a bound has ended the recording.
func (r *Recorder) Full() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.over(time.Since(r.start))
}

// Stop ends the recording and returns it. Later touches are not noted.
func (r *Recorder) Stop() (touches []Touch, bound Bound) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stopped = true
	return r.touches, r.bound
}
