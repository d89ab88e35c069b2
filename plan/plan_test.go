package plan_test

import (
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"

	"thaw"
	"thaw/plan"
	"thaw/workingset"
)

const memory = 64 << 20

func run(page, pages uint32) workingset.Run { return workingset.Run{Page: page, Pages: pages} }

// known is everything that can be known of a small guest.
func known() plan.Known {
	set := workingset.Set{MemoryPages: memory / thaw.PageSize, Recordings: 1, Touches: []workingset.Touch{
		{Page: 9, Uses: 1, Group: 2}, {Page: 3, Uses: 1, Group: 1}, {Page: 4, Uses: 1, Group: 1, Written: true},
	}}
	return plan.Known{
		MemoryBytes: memory,
		NonZero:     []workingset.Run{run(0, 12), run(20, 4), run(1000, 1)},
		Working:     &set,
		Loading:     &workingset.LoadingSet{MemoryPages: memory / thaw.PageSize, Extents: set.ByAddress(), Swallowed: 1},
	}
}

func TestNew(t *testing.T) {
	nothing, alone := known(), known()
	nothing.Loading, nothing.Working, alone.Alone = nil, nil, true
	const records = ": 1 mappings, 0 pages merged\n  map     0x000000000000 + 65536 KiB  "
	const trace = records + "trapped\n  record  trace\n"
	const hostPages = records + "memory file\n  record  host pages\n"
	const reap = ": 1 mappings, 0 pages merged\n  map     0x000000000000 + 65536 KiB  trapped\n  fetch   3 pages in 2 extents: "
	for name, c := range map[string]struct {
		policy thaw.Policy
		known  plan.Known
		want   string
	}{
		"Vanilla":             {thaw.PolicyVanilla, nothing, ": 1 mappings, 0 pages merged\n  map     0x000000000000 + 65536 KiB  memory file\n"},
		"ReapRecords":         {thaw.PolicyReap, nothing, trace},
		"ReapBufferedRecords": {thaw.PolicyReapBuffered, nothing, trace},
		"ReapParallelRecords": {thaw.PolicyReapParallel, nothing, trace},
		"ConPagingRecords":    {thaw.PolicyConPaging, nothing, trace},
		"ThawRecords":         {thaw.PolicyThaw, nothing, trace},
		"PerRegionRecords":    {thaw.PolicyPerRegion, nothing, hostPages},
		"FaaSnapRecords":      {thaw.PolicyFaaSnap, nothing, hostPages},
		"Reap":                {thaw.PolicyReap, known(), reap + "loading set, one read, direct\n"},
		"ReapBuffered":        {thaw.PolicyReapBuffered, known(), reap + "loading set, one read, buffered\n"},
		"ReapParallel":        {thaw.PolicyReapParallel, known(), reap + "memory file, page by page, 16 readers\n"},
		"Eager": {thaw.PolicyEager, known(), `: 6 mappings, 0 pages merged
  map     0x000000000000 + 65536 KiB  anonymous
  map     0x000000000000 + 48 KiB  trapped
  map     0x000000014000 + 16 KiB  trapped
  map     0x0000003e8000 + 4 KiB  trapped
  fetch   17 pages in 3 extents: memory file, large reads, direct
`},
		"ConPaging": {thaw.PolicyConPaging, known(), `: 1 mappings, 0 pages merged
  map     0x000000000000 + 65536 KiB  memory file
  fetch   3 pages in 2 extents: memory file, ahead of the guest, page cache
`},
		"PerRegion": {thaw.PolicyPerRegion, known(), `: 4 mappings, 8 pages merged
  map     0x000000000000 + 65536 KiB  anonymous
  map     0x000000000000 + 96 KiB  memory file
  map     0x0000003e8000 + 4 KiB  memory file
  fetch   3 pages in 2 extents: memory file, ahead of the guest, page cache
`},
		"FaaSnap": {thaw.PolicyFaaSnap, known(), `: 8 mappings, 9 pages merged
  map     0x000000000000 + 65536 KiB  anonymous
  map     0x000000000000 + 96 KiB  memory file
  map     0x0000003e8000 + 4 KiB  memory file
  map     0x000000003000 + 8 KiB  loading set at 0x2000
  map     0x000000009000 + 4 KiB  loading set at 0x4000
  fetch   3 pages in 2 extents: loading set, ahead of the guest, page cache
`},
		"Thaw": {thaw.PolicyThaw, known(), `: 4 mappings, 8 pages merged
  map     0x000000000000 + 65536 KiB  anonymous
  map     0x000000000000 + 96 KiB  image
  map     0x0000003e8000 + 4 KiB  image
  fetch   3 pages in 2 extents: loading set, chunks in flight, direct, once for all clones
`},
		"ThawAlone": {thaw.PolicyThaw, alone, `: 4 mappings, 8 pages merged
  map     0x000000000000 + 65536 KiB  anonymous
  map     0x000000000000 + 96 KiB  image
  map     0x0000003e8000 + 4 KiB  image
  fetch   3 pages in 2 extents: loading set, chunks in flight, direct, copied
`},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := plan.New(c.policy, c.known, plan.DefaultLimits())
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff("policy "+string(c.policy)+c.want, p.String()); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestNewWithoutASnapshot(t *testing.T) {
	for _, policy := range []thaw.Policy{thaw.PolicyBoot, thaw.PolicyAuto, "magic"} {
		if _, err := plan.New(policy, known(), plan.DefaultLimits()); thaw.CodeOf(err) != thaw.CodeInvalid {
			t.Errorf("New(%s) = %v, want an invalid request", policy, err)
		}
	}
}

// TestNeedsAndLearns: what a policy is missing, its recording makes.
func TestNeedsAndLearns(t *testing.T) {
	for _, policy := range thaw.Policies() {
		need, learns := plan.Needs(policy), plan.Learns(policy)
		if (need.Loading+need.Working == "") != (learns == plan.RecordNothing) {
			t.Errorf("%s needs %+v and learns %q", policy, need, learns)
		}
		if learns == plan.RecordNothing {
			continue
		}
		source := workingset.Trace
		if learns == plan.RecordHostPages {
			source = workingset.HostPages
		}
		made := map[string]bool{plan.SetName(source): true}
		set := *known().Working
		set.Source = source
		for _, a := range plan.Arrange(set, known().NonZero) {
			made[a.Name] = true
		}
		if !made[need.Loading+need.Working] {
			t.Errorf("%s needs %+v; its recording makes %v", policy, need, made)
		}
	}
}

// TestMappings compares the regions as mapped with memory painted page by page.
func TestMappings(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	backings := []plan.Backing{plan.Anonymous, plan.MemoryFile, plan.LoadingSet, plan.Image}
	const pages = 200
	for range 300 {
		p := plan.Plan{Regions: []plan.Region{{Len: pages * thaw.PageSize, Backing: plan.Anonymous}}}
		for range random.IntN(30) {
			first := random.Int64N(pages)
			r := plan.Region{Offset: first * thaw.PageSize, Len: (1 + random.Int64N(pages-first)) * thaw.PageSize, Backing: backings[random.IntN(len(backings))]}
			if r.Backing == plan.LoadingSet {
				r.At = 1 << 30
			}
			p.Regions = append(p.Regions, r)
		}
		if d := cmp.Diff(paint(p.Regions, pages), paint(p.Mappings(), pages)); d != "" {
			t.Fatalf("%v\n%s", p.Regions, d)
		}
		end := int64(0)
		for _, r := range p.Mappings() {
			if r.Offset != end || r.Len <= 0 {
				t.Fatalf("%+v does not follow %#x", r, end)
			}
			end += r.Len
		}
		if end != pages*thaw.PageSize {
			t.Fatalf("mappings end at %#x", end)
		}
	}
}

type page struct {
	Backing plan.Backing
	At      int64
}

func paint(regions []plan.Region, pages int) []page {
	painted := make([]page, pages)
	for _, r := range regions {
		for at := int64(0); at < r.Len; at += thaw.PageSize {
			p := page{Backing: r.Backing}
			if r.Backing == plan.LoadingSet {
				p.At = r.At + at
			}
			painted[(r.Offset+at)/thaw.PageSize] = p
		}
	}
	return painted
}

// TestLimits: memory that is a comb of zero and other pages does not become a
// mapping for each tooth.
func TestLimits(t *testing.T) {
	k := plan.Known{MemoryBytes: 4 << 30}
	set := workingset.Set{MemoryPages: 4 << 30 / thaw.PageSize, Recordings: 1, Source: workingset.HostPages}
	for p := uint32(0); p < 4<<30/thaw.PageSize; p += 40 {
		k.NonZero = append(k.NonZero, run(p, 1))
		set.Touches = append(set.Touches, workingset.Touch{Page: p, Uses: 1, Group: 1})
	}
	k.Loading = &plan.Arrange(set, k.NonZero)[0].LoadingSet
	for _, policy := range []thaw.Policy{thaw.PolicyFaaSnap, thaw.PolicyThaw} {
		p, err := plan.New(policy, k, plan.DefaultLimits())
		if err != nil {
			t.Fatal(err)
		}
		if n, limit := len(p.Mappings()), 2*plan.DefaultLimits().Mappings+1; n > limit || p.Merged == 0 {
			t.Errorf("%s: %d mappings of at most %d, %d pages merged", policy, n, limit, p.Merged)
		}
	}
}

func TestArrange(t *testing.T) {
	set := *known().Working
	names := func(sets []plan.Arranged) (names []string) {
		for _, s := range sets {
			names = append(names, s.Name)
		}
		return names
	}
	if d := cmp.Diff([]string{thaw.FileLoadingSetReap, thaw.FileLoadingSetThaw}, names(plan.Arrange(set, known().NonZero))); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{thaw.FileLoadingSetReap}, names(plan.Arrange(set, nil))); d != "" {
		t.Errorf("of a set whose pages are all zero:\n%s", d)
	}
}
