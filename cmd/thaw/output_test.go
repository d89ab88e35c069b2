package main

import (
	"errors"
	"fmt"
	"os"
	"testing"

	"thaw"
	"thaw/client"
)

func TestDurations(t *testing.T) {
	for ms, want := range map[float64]string{0: "0.00 ms", 1.234: "1.23 ms", 12.34: "12.3 ms", 123.4: "123 ms", 1234: "1.2 s", 61_000: "61.0 s", 754_000: "12m34s", -1: "-"} {
		if got := duration(ms); got != want {
			t.Errorf("%v: %s, want %s", ms, got, want)
		}
	}
}

func TestSizes(t *testing.T) {
	for text, want := range map[string]int64{"256MiB": 256 << 20, "256 MiB": 256 << 20, "1GiB": 1 << 30, "268435456": 256 << 20, "0": 0, "256": -1, "x": -1, "-1": -1, "": -1, "9EiB": -1} {
		var b bytesFlag
		err := b.Set(text)
		if want < 0 {
			if err == nil {
				t.Errorf("%q is %d", text, b)
			}
		} else if err != nil || int64(b) != want {
			t.Errorf("%q: %d, %v; want %d", text, b, err, want)
		}
	}
	if b := bytesFlag(thaw.DefaultMemory); b.String() != "256MiB" {
		t.Error(b.String())
	}
}

func TestExitCodes(t *testing.T) {
	for want, err := range map[int]error{
		exitFunction:    thaw.Errorf(thaw.CodeFunction, "x"),
		exitInvalid:     thaw.Errorf(thaw.CodeTooLarge, "x"),
		exitNotFound:    fmt.Errorf("get: %w", thaw.Errorf(thaw.CodeNotFound, "x")),
		exitPlatform:    errors.New("x"),
		exitUnreachable: thaw.Errorf(thaw.CodeUnavailable, "x: %w", client.ErrUnreachable),
		exitThrottled:   thaw.Errorf(thaw.CodeThrottled, "x"),
	} {
		if got := exitCode(err); got != want {
			t.Errorf("%v: %d, want %d", err, got, want)
		}
	}
}

func TestDefaultState(t *testing.T) {
	t.Setenv("HOME", "/home/ada")
	user := map[string]string{"": "/home/ada/.local/state/thaw", "/x": "/x/thaw", "relative": "/home/ada/.local/state/thaw"}
	for xdg, want := range user {
		t.Setenv("XDG_STATE_HOME", xdg)
		if os.Geteuid() == 0 {
			want = "/var/lib/thaw"
		}
		if got := defaultState(); got != want {
			t.Errorf("%q: %s, want %s", xdg, got, want)
		}
	}
}
