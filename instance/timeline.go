// Package instance makes, uses and keeps instances: the cold-start pipeline
// from a version to a VM that serves, and the pool of warm ones.
package instance

import (
	"slices"
	"sync"
	"time"

	"thaw"
)

// Timeline collects when the phases of one start were. Its methods may be called
// concurrently.
type Timeline struct {
	start time.Time

	mu    sync.Mutex
	spans []thaw.Span
}

// NewTimeline returns a timeline that begins now.
func NewTimeline() *Timeline { return &Timeline{start: time.Now()} }

// Phase does work and notes its time under name.
func (t *Timeline) Phase(name string, work func() error) error {
	start := time.Now()
	err := work()
	t.Add(name, time.Since(start))
	return err
}

// Add notes a phase that took until now.
func (t *Timeline) Add(name string, took time.Duration) {
	span := thaw.Span{Phase: name, StartUS: (time.Since(t.start) - took).Microseconds(), DurationUS: took.Microseconds()}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.spans = append(t.spans, span)
}

// Began is when the timeline begins.
func (t *Timeline) Began() time.Time { return t.start }

// Past notes a phase that took from then on.
func (t *Timeline) Past(name string, from time.Time, took time.Duration) {
	span := thaw.Span{Phase: name, StartUS: max(0, from.Sub(t.start).Microseconds()), DurationUS: took.Microseconds()}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.spans = append(t.spans, span)
}

// Join takes in the spans of another timeline, as far as they are not before this
// one began.
func (t *Timeline) Join(o *Timeline) {
	later := o.start.Sub(t.start).Microseconds()
	for _, s := range o.Spans() {
		end := s.StartUS + later + s.DurationUS
		s.StartUS = max(0, s.StartUS+later)
		s.DurationUS = max(0, end-s.StartUS)
		t.mu.Lock()
		t.spans = append(t.spans, s)
		t.mu.Unlock()
	}
}

// Spans returns what was noted, in the order of its beginning.
func (t *Timeline) Spans() []thaw.Span {
	t.mu.Lock()
	defer t.mu.Unlock()
	spans := slices.Clone(t.spans)
	slices.SortStableFunc(spans, func(a, b thaw.Span) int { return int(a.StartUS - b.StartUS) })
	return spans
}

// Milliseconds returns how long each phase took, all its spans together.
func (t *Timeline) Milliseconds() map[string]float64 {
	phases := map[string]float64{}
	for _, s := range t.Spans() {
		phases[s.Phase] += float64(s.DurationUS) / 1e3
	}
	return phases
}
