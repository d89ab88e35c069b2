package thaw_test

import (
	"strings"
	"testing"
	"time"

	"thaw"
)

func TestScalingSettings(t *testing.T) {
	for want, s := range map[string]thaw.Settings{
		"":                                    {MinScale: 2, MaxScale: 2, IdleTimeout: time.Second, KeepAlive: thaw.KeepAliveHistogram},
		"concurrency of -1 is out of range":   {Concurrency: -1},
		"takes one invocation at a time":      {Concurrency: 2},
		"min scale of -1 is out of range":     {MinScale: -1},
		"max scale of -1 is out of range":     {MaxScale: -1},
		"above the max scale of 2":            {MinScale: 3, MaxScale: 2},
		"idle timeout 1ms is out of range":    {IdleTimeout: time.Millisecond},
		"idle timeout -1s is out of range":    {IdleTimeout: -time.Second},
		`unknown keep-alive policy "forever"`: {KeepAlive: "forever"},
	} {
		err := s.WithDefaults().Validate()
		if (err == nil) != (want == "") || err != nil && (!strings.Contains(err.Error(), want) || thaw.CodeOf(err) != thaw.CodeInvalid) {
			t.Errorf("%+v: %v, want %q", s, err, want)
		}
	}
}
