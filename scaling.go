package thaw

import (
	"slices"
	"strings"
	"time"
)

// KeepAlive names how it is decided for how long an instance without work is kept.
type KeepAlive string

const (
	// KeepAliveFixed keeps it for the idle timeout.
	KeepAliveFixed KeepAlive = "fixed"
	// KeepAliveHistogram learns when a function's next invocation is to be expected,
	// ends the instance until shortly before, and restores it then: the hybrid
	// histogram policy of "Serverless in the Wild" (ATC'20).
	KeepAliveHistogram KeepAlive = "histogram"
)

// KeepAlives returns every policy.
func KeepAlives() []KeepAlive { return []KeepAlive{KeepAliveFixed, KeepAliveHistogram} }

// The bounds of what [Settings] say of scaling.
const (
	MaxConcurrency = 1000
	MaxScale       = 10000
	MinIdleTimeout = time.Second
	MaxIdleTimeout = 24 * time.Hour
)

func (s Settings) validateScaling() error {
	switch {
	case s.Concurrency < 0 || s.Concurrency > MaxConcurrency:
		return Errorf(CodeInvalid, "concurrency of %d is out of range: choose 1 to %d", s.Concurrency, MaxConcurrency)
	case s.Concurrency > 1 && s.Runtime != RuntimeHTTP && s.Runtime != RuntimeProvided:
		return Errorf(CodeInvalid, "concurrency of %d: an instance of runtime %s takes one invocation at a time", s.Concurrency, s.Runtime)
	case s.MinScale < 0 || s.MinScale > MaxScale:
		return Errorf(CodeInvalid, "min scale of %d is out of range: choose 0 to %d", s.MinScale, MaxScale)
	case s.MaxScale < 0 || s.MaxScale > MaxScale:
		return Errorf(CodeInvalid, "max scale of %d is out of range: choose 1 to %d", s.MaxScale, MaxScale)
	case s.MaxScale > 0 && s.MinScale > s.MaxScale:
		return Errorf(CodeInvalid, "min scale of %d is above the max scale of %d", s.MinScale, s.MaxScale)
	case s.IdleTimeout != 0 && (s.IdleTimeout < MinIdleTimeout || s.IdleTimeout > MaxIdleTimeout):
		return Errorf(CodeInvalid, "idle timeout %s is out of range: choose %s to %s", s.IdleTimeout, MinIdleTimeout, MaxIdleTimeout)
	case s.KeepAlive != "" && !slices.Contains(KeepAlives(), s.KeepAlive):
		return Errorf(CodeInvalid, "unknown keep-alive policy %q: choose %s", s.KeepAlive, keepAliveNames())
	}
	return nil
}

func keepAliveNames() string {
	names := make([]string, 0, len(KeepAlives()))
	for _, k := range KeepAlives() {
		names = append(names, string(k))
	}
	return strings.Join(names, " or ")
}
