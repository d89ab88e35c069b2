package e2e

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"thaw"
	"thaw/daemon"
	"thaw/plan"
)

// TestEngine takes one snapshot through every policy, a drift of its working set,
// clones that start at once, and VMMs that are killed in every phase.
func TestEngine(t *testing.T) {
	s := open(t, t.TempDir(), func(c *daemon.Config) { c.MaxInstances, c.MaxPerFunction = 20, 20 })
	v := s.deploy(t, "probe", "testdata/probe", thaw.Settings{})
	if v.Snapshot == "" {
		t.Fatalf("no snapshot: %s\n%s", v.Problem, s.log)
	}
	t.Run("Policies", func(t *testing.T) { testPolicies(t, s) })
	t.Run("Corrupt", func(t *testing.T) { testCorruptSets(t, s) })
	t.Run("CorruptOnce", func(t *testing.T) { testCorruptOnce(t, s) })
	t.Run("Drift", func(t *testing.T) { testDrift(t, s) })
	t.Run("ClonesShare", func(t *testing.T) { testClonesShare(t, s) })
	t.Run("VMMsKilled", func(t *testing.T) { testVMMsKilled(t, s) })
}

const (
	sumEvent  = `{"do": "sum", "pages": 300}`
	wideEvent = `{"do": "sum", "pages": 2040}` // more than anything else of the probe touches
)

// discarded invokes function on a new instance that ends with it.
func (s *site) discarded(t *testing.T, policy thaw.Policy, event string) thaw.Reply {
	t.Helper()
	return s.invoke(t, thaw.InvokeRequest{Function: "probe", Payload: []byte(event), Policy: policy, Cold: true, Discard: true})
}

// testPolicies has every policy restore twice, the first of which may record: the
// function finds its memory as it left it, every time.
func testPolicies(t *testing.T, s *site) {
	want := string(s.discarded(t, thaw.PolicyVanilla, sumEvent).Payload)
	for _, policy := range thaw.Policies() {
		if policy == thaw.PolicyBoot {
			continue // another hoard
		}
		t.Run(string(policy), func(t *testing.T) {
			for range 2 {
				r := s.discarded(t, policy, sumEvent)
				if string(r.Payload) != want {
					t.Errorf("sum %s, want %s", r.Payload, want)
				}
				if r.Start != thaw.StartCold || r.Layout == nil || r.Quality == nil || r.Memory == nil || r.Layout.Mappings == 0 || r.Memory.Resident == 0 {
					t.Errorf("incomplete record: %+v", r.Invocation)
				}
				if r.PagesRecorded > 0 {
					s.published(t, policy)
				}
			}
			checkQuality(t, policy, s.discarded(t, policy, sumEvent))
		})
	}
}

// published waits until what policy brings pages in by is there.
func (s *site) published(t *testing.T, policy thaw.Policy) {
	t.Helper()
	need := plan.Needs(policy)
	eventually(t, "a set for "+string(policy), func() bool {
		_, err := os.Stat(filepath.Join(s.describe(t, "probe").SnapshotInfo.Folder, need.Loading+need.Working))
		return err == nil
	})
}

func checkQuality(t *testing.T, policy thaw.Policy, r thaw.Reply) {
	t.Helper()
	q := r.Quality
	switch policy {
	case thaw.PolicyVanilla:
		if q.Brought != 0 || q.Misses < 300 {
			t.Errorf("vanilla brings nothing in: %+v", *q)
		}
	case thaw.PolicyEager:
		if q.Brought < 5000 || q.Recall() < 0.99 || q.Precision() > 0.5 {
			t.Errorf("eager brings everything in, most of it for nothing: %+v", *q)
		}
	case thaw.PolicyReap, thaw.PolicyReapBuffered, thaw.PolicyReapParallel, thaw.PolicyThaw, thaw.PolicyAuto:
		if q.Brought < 300 || q.Recall() < 0.9 || q.Precision() < 0.9 {
			t.Errorf("the same input needs what was recorded: %+v", *q)
		}
	}
}

// testCorruptSets damages what was recorded: the reply is right or there is a clear
// error, and the set is recorded anew.
func testCorruptSets(t *testing.T, s *site) {
	want := string(s.discarded(t, thaw.PolicyVanilla, sumEvent).Payload)
	for name, c := range map[string]struct {
		policy thaw.Policy
		file   string
		how    func([]byte) []byte
	}{
		"ReapHead":         {thaw.PolicyReap, thaw.FileLoadingSetReap, flipAt(20)},
		"ReapData":         {thaw.PolicyReap, thaw.FileLoadingSetReap, flipAt(-5000)},
		"ThawHead":         {thaw.PolicyThaw, thaw.FileLoadingSetThaw, flipAt(5000)},
		"ThawData":         {thaw.PolicyThaw, thaw.FileLoadingSetThaw, flipAt(-5000)},
		"ThawCut":          {thaw.PolicyThaw, thaw.FileLoadingSetThaw, cut},
		"FaaSnapHead":      {thaw.PolicyFaaSnap, thaw.FileLoadingSetFaaSnap, flipAt(100)},
		"FaaSnapData":      {thaw.PolicyFaaSnap, thaw.FileLoadingSetFaaSnap, flipAt(-5000)},
		"FaaSnapCut":       {thaw.PolicyFaaSnap, thaw.FileLoadingSetFaaSnap, cut},
		"TraceOfTheGroups": {thaw.PolicyConPaging, thaw.FileWorkingSet, flipAt(200)},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(s.describe(t, "probe").SnapshotInfo.Folder, c.file)
			s.prepared(t, c.policy)
			damage(t, path, c.how)
			r, err := s.InvokeRecorded(t.Context(), thaw.InvokeRequest{Function: "probe", Payload: []byte(sumEvent), Policy: c.policy, Cold: true, Discard: true})
			if err == nil && (string(r.Payload) != want || r.Start != thaw.StartCold) {
				t.Errorf("WRONG MEMORY: sum %s, want %s; %s start, %s", r.Payload, want, r.Start, r.Reason)
			}
			if err != nil && thaw.CodeOf(err) != thaw.CodeInstance {
				t.Errorf("error %v, want a failed instance", err)
			}
			s.prepared(t, c.policy)
			if r := s.discarded(t, c.policy, sumEvent); string(r.Payload) != want || r.Layout.Recording != "" {
				t.Errorf("after the repair: sum %s, want %s; recording %q", r.Payload, want, r.Layout.Recording)
			}
		})
	}
}

// testCorruptOnce keeps an instance whose set was bad: its record says so, and the set
// that is recorded after it stays where it is, whatever that instance serves.
func testCorruptOnce(t *testing.T, s *site) {
	path := filepath.Join(s.describe(t, "probe").SnapshotInfo.Folder, thaw.FileLoadingSetThaw)
	s.prepared(t, thaw.PolicyThaw)
	damage(t, path, flipAt(-5000))
	if r := s.cold(t, "probe", thaw.PolicyThaw, sumEvent); !strings.Contains(r.Reason, "not all pages were brought in ahead: loading set file is corrupt") {
		t.Errorf("because %q", r.Reason)
	}
	s.prepared(t, thaw.PolicyThaw)
	for range 2 {
		if r := s.warm(t, "probe", sumEvent); r.Reason != "" {
			t.Errorf("a warm start because %q", r.Reason)
		}
	}
	if _, err := os.Stat(path); err != nil {
		t.Errorf("the new set is gone: %v", err)
	}
}

// prepared lets policy record until it has what it needs.
func (s *site) prepared(t *testing.T, policy thaw.Policy) {
	t.Helper()
	for range 3 {
		if r := s.discarded(t, policy, sumEvent); r.Layout.Recording == "" {
			return
		}
		s.published(t, policy)
	}
	t.Fatalf("%s records on and on\n%s", policy, s.log)
}

// flipAt returns a damage to the byte at an offset, from the end if that is
// negative.
func flipAt(at int) func([]byte) []byte {
	return func(b []byte) []byte {
		b = bytes.Clone(b)
		b[(at+len(b))%len(b)] ^= 0x10
		return b
	}
}

// testDrift changes to an input that needs twice the pages: the prefetch misses
// them once, then the set is recorded again, then it fits.
func testDrift(t *testing.T, s *site) {
	s.prepared(t, thaw.PolicyThaw)
	first := s.discarded(t, thaw.PolicyThaw, wideEvent)
	if recall := first.Quality.Recall(); recall > 0.8 {
		t.Errorf("recall %.2f of twice the pages: %+v", recall, *first.Quality)
	}
	second := s.discarded(t, thaw.PolicyThaw, wideEvent)
	if second.Layout.Recording == "" || second.Reason == "" {
		t.Errorf("not recorded again: %+v", second.Invocation)
	}
	s.published(t, thaw.PolicyThaw)
	eventually(t, "the larger set", func() bool { return s.describe(t, "probe").SnapshotInfo.WorkingSetPages > first.Quality.Brought+1000 })
	third := s.discarded(t, thaw.PolicyThaw, wideEvent)
	if recall := third.Quality.Recall(); recall < 0.95 {
		t.Errorf("recall %.2f after the recording, want 0.95: %+v", recall, *third.Quality)
	}
}

// testClonesShare starts clones at once: the loading set comes from the disk for the
// first, which is alone, and once for all others, who share its pages.
func testClonesShare(t *testing.T, s *site) {
	const clones = 16
	s.prepared(t, thaw.PolicyThaw)
	want := string(s.discarded(t, thaw.PolicyVanilla, sumEvent).Payload)
	set, err := os.Stat(filepath.Join(s.describe(t, "probe").SnapshotInfo.Folder, thaw.FileLoadingSetThaw))
	if err != nil {
		t.Fatal(err)
	}
	replies := make([]thaw.Reply, clones)
	var all sync.WaitGroup
	for i := range replies {
		all.Go(func() {
			replies[i], err = s.InvokeRecorded(t.Context(), thaw.InvokeRequest{Function: "probe", Payload: []byte(sumEvent), Policy: thaw.PolicyThaw, Cold: true})
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	var read, readers, least, most int64
	for _, r := range replies {
		if string(r.Payload) != want {
			t.Errorf("sum %s, want %s", r.Payload, want)
		}
		if n := r.BytesBySource.Prefetch; n > 0 {
			read, readers = read+n, readers+1
		}
		private := r.Memory.Private
		if least, most = min(least, private), max(most, private); least == 0 {
			least = private
		}
	}
	if readers != 2 || read > 2*set.Size() {
		t.Errorf("%d clones read %d bytes of a loading set of %d: want two, and no more than it twice", readers, read, set.Size())
	}
	if most < 2*least {
		t.Errorf("%d to %d bytes are the clones' own: want more of the first", least, most)
	}
	if err := s.daemon.EndIdle("probe"); err != nil {
		t.Fatal(err)
	}
}

// testVMMsKilled kills every VMM at some moment of a restore: the reply is right
// or an error, and the next start is well.
func testVMMsKilled(t *testing.T, s *site) {
	want := string(s.discarded(t, thaw.PolicyVanilla, sumEvent).Payload)
	for i, policy := range []thaw.Policy{thaw.PolicyThaw, thaw.PolicyReap, thaw.PolicyFaaSnap, thaw.PolicyThaw, thaw.PolicyReap, thaw.PolicyThaw} {
		t.Run(fmt.Sprintf("%s%d", policy, i), func(t *testing.T) {
			done := make(chan error, 1)
			go func() {
				r, err := s.Invoke(t.Context(), thaw.InvokeRequest{Function: "probe", Payload: []byte(sumEvent), Policy: policy, Cold: true, Discard: true})
				if err == nil && r.Start == thaw.StartCold && string(r.Payload) != want { // a boot has another hoard
					err = fmt.Errorf("WRONG MEMORY: sum %s, want %s", r.Payload, want)
				}
				done <- err
			}()
			time.Sleep(time.Duration(i*i) * 5 * time.Millisecond)
			for _, pid := range vmms(t, os.Getpid()) {
				_ = unix.Kill(pid, unix.SIGKILL) // a child that nobody has collected yet
			}
			if err := <-done; err != nil && thaw.CodeOf(err) != thaw.CodeInstance {
				t.Errorf("error %v, want a failed instance or a reply", err)
			}
			if r := s.discarded(t, policy, sumEvent); string(r.Payload) != want {
				t.Errorf("after the kill: sum %s, want %s", r.Payload, want)
			}
		})
	}
}
