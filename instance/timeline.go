// Package instance makes, uses and keeps instances: the cold-start pipeline
// from a version to a VM that serves, and the pool of warm ones.
package instance

import (
	"maps"
	"sync"
	"time"
)

// Timeline collects how long the phases of one start took. Its methods may be
// called concurrently.
type Timeline struct {
	mu     sync.Mutex
	phases map[string]float64
}

// NewTimeline returns an empty timeline.
func NewTimeline() *Timeline { return &Timeline{phases: map[string]float64{}} }

// Phase does work and notes its time under name.
func (t *Timeline) Phase(name string, work func() error) error {
	start := time.Now()
	err := work()
	t.Add(name, time.Since(start))
	return err
}

// Add notes a phase that was measured elsewhere.
func (t *Timeline) Add(name string, took time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.phases[name] += float64(took.Microseconds()) / 1e3
}

// Milliseconds returns a copy of the phases.
func (t *Timeline) Milliseconds() map[string]float64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return maps.Clone(t.phases)
}
