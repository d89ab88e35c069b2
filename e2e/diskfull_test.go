package e2e

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"thaw"
	"thaw/image"
)

// smallDisk mounts a file system of its own for a state folder.
func smallDisk(t *testing.T, size string) (state string) {
	t.Helper()
	requirements(t)
	state = t.TempDir()
	if err := unix.Mount("thaw-test", state, "tmpfs", 0, "size="+size); err != nil {
		t.Fatalf("mount: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(state, 0); err != nil {
			t.Error(err)
		}
	})
	return state
}

// fill takes all the room there is in folder, until free is called.
func fill(t *testing.T, folder string) (free func()) {
	name := filepath.Join(folder, "filler")
	f, err := os.Create(name)
	if err != nil {
		t.Error(err)
		return func() {}
	}
	defer f.Close()
	for block := make([]byte, 1<<20); err == nil; {
		if _, err = f.Write(block); errors.Is(err, unix.ENOSPC) && len(block) > thaw.PageSize {
			block, err = block[:thaw.PageSize], nil
		}
	}
	return func() {
		if err := os.Remove(name); err != nil {
			t.Error(err)
		}
	}
}

// TestDiskFullMeanwhile takes the room away at steps of a deploy: it says what to do,
// the version before serves, and nothing is left.
func TestDiskFullMeanwhile(t *testing.T) {
	s := open(t, smallDisk(t, "640m"), nil)
	deploy := func(text, step string) (free func(), err error) {
		free = func() {}
		r, w := io.Pipe()
		folder := bootstrap(t, text)
		go func() { w.CloseWithError(image.Pack(folder, w)) }()
		defer r.Close()
		_, err = s.Deploy(t.Context(), "go", primed(), r, func(e thaw.DeployEvent) {
			if e.Step == step && e.DurationMS == 0 && e.Message == "" {
				free = fill(t, s.state)
			}
		})
		return free, err
	}
	if _, err := deploy("first", ""); err != nil {
		t.Fatal(err)
	}
	serves, snapshots := 1, 1
	for _, step := range []string{thaw.StepBoot, thaw.StepInit, thaw.StepSnapshot, thaw.StepRecord} {
		free, err := deploy(step, step)
		switch {
		case err == nil && step == thaw.StepRecord: // a working set is no reason to fail
			serves, snapshots = s.describe(t, "go").Number, 2
		case thaw.CodeOf(err) != thaw.CodeUnavailable || !strings.Contains(err.Error(), "free some space"):
			t.Errorf("%s: %v, want what to do about the full disk", step, err)
		}
		r := s.cold(t, "go", thaw.PolicyVanilla, `{"name": "Bo"}`)
		if r.Start != thaw.StartCold || r.Version != serves || string(r.Payload) != `{"message":"Hello, Bo!"}` {
			t.Errorf("%s: version %d, %s start: %s %s", step, r.Version, r.Start, r.Payload, r.Reason)
		}
		free()
		if left, _ := filepath.Glob(filepath.Join(s.state, "snapshots", "draft-*")); len(left) > 0 {
			t.Errorf("%s: left behind: %v", step, left)
		}
		if got := statuses(t, s); len(got) != snapshots {
			t.Errorf("%s: %d snapshots", step, len(got))
		}
	}
	if _, err := deploy("last", ""); err != nil {
		t.Errorf("with room again: %v", err)
	}
}
