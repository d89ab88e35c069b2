package restore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"thaw"
	"thaw/plan"
	"thaw/restore"
	"thaw/workingset"
)

// TestMemoryIsTheSnapshots compares all of guest memory, byte for byte, after
// each policy.
func TestMemoryIsTheSnapshots(t *testing.T) {
	f, content := memoryFile(t)
	for _, policy := range thaw.Policies() {
		if policy == thaw.PolicyBoot || policy == thaw.PolicyAuto {
			continue // they restore nothing, or by another one
		}
		sets := map[string]*workingset.Set{"Nothing": nil}
		switch plan.Learns(policy) {
		case plan.RecordTrace:
			sets["Set"], sets["Everything"] = set(3000, workingset.Trace), set(memoryBytes/thaw.PageSize, workingset.Trace)
		case plan.RecordHostPages:
			sets["Set"] = set(3000, workingset.HostPages)
		}
		if policy == thaw.PolicyThaw {
			sets["SharedSet"], sets["SharedEverything"] = sets["Set"], sets["Everything"]
		}
		for name, s := range sets {
			t.Run(string(policy)+name, func(t *testing.T) {
				k, c := contents(t, policy, s, f)
				if strings.HasPrefix(name, "Shared") {
					share(t, &k, &c)
				}
				g := layOut(t, policy, k, c, f)
				if got := read(t, g.vm.PID(), g.base); !bytes.Equal(got, content) {
					t.Errorf("guest memory differs from the snapshot's at byte %d", firstDifference(got, content))
				}
				if err := g.Settle(t.Context()); err != nil {
					t.Error(err)
				}
				check(t, g)
				g.end(t)
			})
		}
	}
}

// check compares the counters with the plan.
func check(t *testing.T, g *guest) {
	t.Helper()
	const pages = memoryBytes / thaw.PageSize
	c, planned := g.Counters(), g.plan.InstallPages()
	switch g.plan.Fetch {
	case plan.FetchDirect, plan.FetchBuffered, plan.FetchPages, plan.FetchMemory:
		if c.Installed != planned || c.PrefetchRead != planned*thaw.PageSize {
			t.Errorf("%d pages installed and %d bytes read, of %d pages planned", c.Installed, c.PrefetchRead, planned)
		}
	case plan.FetchOwn, plan.FetchShared:
		if <-g.finished; c.Installed > planned || c.PrefetchRead != planned*thaw.PageSize {
			t.Errorf("%d pages installed and %d bytes read, of %d pages planned", c.Installed, c.PrefetchRead, planned)
		}
	}
	if len(g.plan.Regions) == 1 && g.plan.Traps() && c.Trapped != pages-c.Installed {
		t.Errorf("%d pages trapped of %d, %d installed", c.Trapped, pages, c.Installed)
	}
	recorded, ok := g.StopRecording()
	if ok != (g.plan.Record != plan.RecordNothing) || g.plan.Record == plan.RecordTrace && len(recorded.Touches) != pages {
		t.Errorf("recorded %d pages (%v) by %q", len(recorded.Touches), ok, g.plan.Record)
	}
	measured, err := g.Measure(nonZero())
	if err != nil {
		t.Fatal(err)
	}
	if q := measured.Quality; q.Brought != planned || q.Hits > q.Brought || measured.Layout.Mappings < 1 || measured.Use.Resident == 0 {
		t.Errorf("measured %+v, %d pages planned", measured, planned)
	}
	if q := measured.Quality; q.Unwatched != min(c.Installed, q.Hits) {
		t.Errorf("nobody has watched, and of %d pages installed %d were not: %+v", c.Installed, q.Unwatched, q)
	}
	if err := g.Watch(); err != nil {
		t.Fatal(err)
	}
	if measured, err = g.Measure(nonZero()); err != nil || g.watches() && measured.Quality.Unwatched != 0 {
		t.Errorf("after Watch: %+v, %v", measured.Quality, err)
	}
}

// watches says whether Watch has something to do.
func (g *guest) watches() bool { return g.plan.MapsImage() || g.plan.InstallPages() > 0 }

// TestCorruptLoadingSet: thaw goes on without the bad pages and says so; a guest
// that maps the file itself must not go on.
func TestCorruptLoadingSet(t *testing.T) {
	f, content := memoryFile(t)
	corrupt := func(t *testing.T, c restore.Contents) {
		t.Helper()
		file, err := os.OpenFile(c.Loading.Name(), os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		if _, err := file.WriteAt([]byte("damage"), c.Set.Size()-100); err != nil {
			t.Fatal(err)
		}
	}
	for name, alone := range map[string]bool{"ThawAlone": true, "ThawShared": false} {
		t.Run(name, func(t *testing.T) {
			k, c := contents(t, thaw.PolicyThaw, set(3000, workingset.Trace), f)
			c.Close()
			corrupt(t, c)
			if c.Own = own(t, k.Loading, c.Loading.Name()); !alone {
				share(t, &k, &c)
			}
			g := layOut(t, thaw.PolicyThaw, k, c, f)
			if got := read(t, g.vm.PID(), g.base); !bytes.Equal(got, content) {
				t.Errorf("guest memory differs from the snapshot's at byte %d", firstDifference(got, content))
			}
			if err := c.Pages().Wait(t.Context()); !errors.Is(err, workingset.ErrCorrupt) {
				t.Errorf("Wait = %v", err)
			}
			for !errors.Is(g.PrefetchErr(), workingset.ErrCorrupt) {
				time.Sleep(time.Millisecond) // it is told a moment later
			}
			g.end(t)
		})
	}
	t.Run("FaaSnap", func(t *testing.T) {
		k, c := contents(t, thaw.PolicyFaaSnap, set(3000, workingset.HostPages), f)
		corrupt(t, c)
		g := layOut(t, thaw.PolicyFaaSnap, k, c, f)
		if err := g.Settle(t.Context()); !errors.Is(err, workingset.ErrCorrupt) {
			t.Errorf("Settle = %v", err)
		}
		if err := <-g.failed; !errors.Is(err, workingset.ErrCorrupt) {
			t.Errorf("failed = %v", err)
		}
		g.end(t)
	})
	t.Run("Reap", func(t *testing.T) {
		k, c := contents(t, thaw.PolicyReap, set(3000, workingset.Trace), f)
		corrupt(t, c)
		p, err := plan.New(thaw.PolicyReap, k, plan.DefaultLimits())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := restore.Begin(p, c); !errors.Is(err, workingset.ErrCorrupt) {
			t.Errorf("Begin = %v", err)
		}
	})
}

// TestClonesDoNotSeeEachOther writes into one of three clones of an image, of which the
// first was alone.
func TestClonesDoNotSeeEachOther(t *testing.T) {
	f, content := memoryFile(t)
	k, c := contents(t, thaw.PolicyThaw, set(3000, workingset.Trace), f)
	first := layOut(t, thaw.PolicyThaw, k, c, f)
	c.Own = nil // is first's
	share(t, &k, &c)
	one, other := layOut(t, thaw.PolicyThaw, k, c, f), layOut(t, thaw.PolicyThaw, k, c, f)
	for _, g := range []*guest{first, one, other} {
		<-g.finished
	}
	write(t, one.vm.PID(), one.base, []byte("mine"))
	write(t, one.vm.PID(), one.base+7*thaw.PageSize, []byte("mine")) // one of them is shared, one a copy
	for _, g := range []*guest{first, other} {
		if got := read(t, g.vm.PID(), g.base); !bytes.Equal(got, content) {
			t.Errorf("another clone's memory differs from the snapshot's at byte %d", firstDifference(got, content))
		}
	}
	if got := read(t, one.vm.PID(), one.base); !bytes.HasPrefix(got, []byte("mine")) || !bytes.HasPrefix(got[7*thaw.PageSize:], []byte("mine")) {
		t.Error("the clone does not see its own write")
	}
	for _, g := range []*guest{first, one, other} {
		g.end(t)
	}
}

// TestSetIsReplaced: a set that takes the place of one that was opened changes nothing
// for who opened it.
func TestSetIsReplaced(t *testing.T) {
	f, content := memoryFile(t)
	for policy, source := range map[thaw.Policy]workingset.Source{
		thaw.PolicyReap: workingset.Trace, thaw.PolicyReapBuffered: workingset.Trace, thaw.PolicyFaaSnap: workingset.HostPages,
	} {
		t.Run(string(policy), func(t *testing.T) {
			k, c := contents(t, policy, set(3000, source), f)
			other := filepath.Join(t.TempDir(), "other")
			if err := errors.Join(os.WriteFile(other, make([]byte, c.Set.Size()), 0o600), os.Rename(other, c.Loading.Name())); err != nil {
				t.Fatal(err)
			}
			g := layOut(t, policy, k, c, f)
			if got := read(t, g.vm.PID(), g.base); !bytes.Equal(got, content) {
				t.Errorf("guest memory differs from the snapshot's at byte %d", firstDifference(got, content))
			}
			if err := g.Settle(t.Context()); err != nil {
				t.Error(err)
			}
			g.end(t)
		})
	}
}

// TestBrokenImage: none of the clones of an image goes on that holds pages which nobody
// put there, also one that misses nothing.
func TestBrokenImage(t *testing.T) {
	f, _ := memoryFile(t)
	k, c := contents(t, thaw.PolicyThaw, set(3000, workingset.Trace), f)
	first := layOut(t, thaw.PolicyThaw, k, c, f)
	c.Own = nil // is first's
	share(t, &k, &c)
	second := layOut(t, thaw.PolicyThaw, k, c, f)
	for _, g := range []*guest{first, second} {
		<-g.finished
	}
	image, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", c.Image.File().Fd()), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer image.Close()
	if _, err := image.WriteAt(make([]byte, thaw.PageSize), memoryBytes-thaw.PageSize); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Image.Fill(memoryBytes - 2<<20); err == nil {
		t.Error("a page was filled")
	}
	for _, g := range []*guest{first, second} {
		if err := <-g.failed; err == nil {
			t.Error("no error")
		}
		<-g.vm.Done()
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestAFaultThatCannotBeServed cuts the memory file: whoever waits for the page
// must not wait for ever.
func TestAFaultThatCannotBeServed(t *testing.T) {
	f, _ := memoryFile(t)
	k, c := contents(t, thaw.PolicyReap, nil, f)
	g := layOut(t, thaw.PolicyReap, k, c, f)
	if err := f.Truncate(1 << 20); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	ended := make(chan struct{})
	cmd := readCommand(ctx, g.vm.PID(), g.base+2<<20, thaw.PageSize)
	cmd.Stderr = nil
	go func() {
		defer close(ended)
		_ = cmd.Run() // it cannot get the page; that it ends is what matters
	}()
	if err := <-g.failed; err == nil {
		t.Error("no error")
	}
	<-g.vm.Done() // its own threads are gone with it
	if err := g.Close(); err != nil {
		t.Error(err)
	}
	<-ended
	if ctx.Err() != nil {
		t.Error("somebody waited for the page for 10 s")
	}
}
