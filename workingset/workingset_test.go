package workingset_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"thaw"
	"thaw/workingset"
)

func touches(pages ...uint32) []workingset.Touch {
	var ts []workingset.Touch
	for i, p := range pages {
		ts = append(ts, workingset.Touch{Page: p, After: time.Duration(i) * 7 * time.Microsecond, Uses: 1})
	}
	return ts
}

func set(pages ...uint32) workingset.Set {
	return workingset.Set{Memory: [32]byte{1, 2, 3}, MemoryPages: 64, Recordings: 1, Touches: touches(pages...)}
}

func run(page, pages uint32) workingset.Run { return workingset.Run{Page: page, Pages: pages} }

func TestRuns(t *testing.T) {
	for name, c := range map[string]struct {
		pages []uint32
		want  []workingset.Run
	}{
		"None":            {nil, nil},
		"One":             {[]uint32{9}, []workingset.Run{{9, 1}}},
		"OutOfOrder":      {[]uint32{7, 5, 6, 1}, []workingset.Run{{1, 1}, {5, 3}}},
		"BeginsAtZero":    {[]uint32{1, 0}, []workingset.Run{{0, 2}}},
		"FirstPageIsOne":  {[]uint32{1}, []workingset.Run{{1, 1}}},
		"GapIsNotCrossed": {[]uint32{1, 3}, []workingset.Run{{1, 1}, {3, 1}}},
	} {
		t.Run(name, func(t *testing.T) {
			if d := cmp.Diff(c.want, set(c.pages...).Runs()); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestMergeGaps(t *testing.T) {
	runs := []workingset.Run{{0, 1}, {3, 2}, {9, 1}, {50, 5}}
	for name, c := range map[string]struct {
		gap       uint32
		want      []workingset.Run
		swallowed int64
	}{
		"None":     {0, runs, 0},
		"Strictly": {2, runs, 0}, // a gap of 2 is not under 2
		"One":      {3, []workingset.Run{{0, 5}, {9, 1}, {50, 5}}, 2},
		"All":      {100, []workingset.Run{{0, 55}}, 2 + 4 + 40},
	} {
		t.Run(name, func(t *testing.T) {
			got, swallowed := workingset.MergeGaps(runs, c.gap)
			if d := cmp.Diff(c.want, got); d != "" || swallowed != c.swallowed {
				t.Errorf("%d swallowed, want %d\n%s", swallowed, c.swallowed, d)
			}
		})
	}
}

func TestMergeDownTo(t *testing.T) {
	runs := []workingset.Run{{0, 1}, {3, 2}, {9, 1}, {50, 5}}
	for limit, want := range map[int]int{0: 1, 1: 1, 2: 2, 3: 3, 4: 4, 9: 4} {
		if got, _ := workingset.MergeDownTo(runs, limit); len(got) != want {
			t.Errorf("down to %d: %v, want %d runs", limit, got, want)
		}
	}
	if got, swallowed := workingset.MergeDownTo(runs, 3); swallowed != 2 || got[0] != run(0, 5) {
		t.Errorf("the smallest gap goes first: %v, %d swallowed", got, swallowed)
	}
}

func TestByAddress(t *testing.T) {
	want := []workingset.Extent{{Run: run(0, 2)}, {Run: run(9, 1)}}
	if d := cmp.Diff(want, set(9, 1, 0).ByAddress()); d != "" {
		t.Error(d)
	}
}

// TestByGroup covers what the originals got wrong, or said otherwise than they
// did: the first run, gaps of exactly the threshold, the group of a join.
func TestByGroup(t *testing.T) {
	grouped := func(groups map[uint32]uint16) workingset.Set {
		s := workingset.Set{MemoryPages: 400, Recordings: 1}
		for p, g := range groups {
			s.Touches = append(s.Touches, workingset.Touch{Page: p, Group: g, Uses: 1})
		}
		return s
	}
	all := workingset.BitsOf(400, []workingset.Run{{0, 400}})
	for name, c := range map[string]struct {
		groups    map[uint32]uint16
		nonZero   workingset.Bits
		want      []workingset.Extent
		swallowed int64
	}{
		"FirstRunBeginsAtZero": {map[uint32]uint16{0: 1}, all, []workingset.Extent{{Run: run(0, 1), Group: 1}}, 0},
		"ARunsGroupIsItsFirst": {map[uint32]uint16{5: 3, 6: 2}, all, []workingset.Extent{{Run: run(5, 2), Group: 2}}, 0},
		"AJoinsGroupIsItsLast": {map[uint32]uint16{5: 1, 10: 4}, all, []workingset.Extent{{Run: run(5, 6), Group: 4}}, 4},
		"GapOf31":              {map[uint32]uint16{0: 1, 32: 1}, all, []workingset.Extent{{Run: run(0, 33), Group: 1}}, 31},
		"GapOf32":              {map[uint32]uint16{0: 1, 33: 1}, all, []workingset.Extent{{Run: run(0, 1), Group: 1}, {Run: run(33, 1), Group: 1}}, 0},
		"ByGroupThenAddress":   {map[uint32]uint16{0: 2, 100: 1, 200: 2}, all, []workingset.Extent{{Run: run(100, 1), Group: 1}, {Run: run(0, 1), Group: 2}, {Run: run(200, 1), Group: 2}}, 0},
		"ZeroPagesAreLeftOut":  {map[uint32]uint16{1: 1, 300: 1}, workingset.BitsOf(400, []workingset.Run{{300, 1}}), []workingset.Extent{{Run: run(300, 1), Group: 1}}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			got, swallowed := grouped(c.groups).ByGroup(c.nonZero, workingset.GapFaaSnap)
			if d := cmp.Diff(c.want, got); d != "" || swallowed != c.swallowed {
				t.Errorf("%d swallowed, want %d\n%s", swallowed, c.swallowed, d)
			}
		})
	}
}

func TestByTouch(t *testing.T) {
	s := workingset.Set{MemoryPages: 2000, Recordings: 1}
	for i := range uint32(workingset.WindowThaw) { // from the top down, every second written
		s.Touches = append(s.Touches, workingset.Touch{Page: 1000 - i, Written: i%2 == 0, Uses: 1})
	}
	s.Touches = append(s.Touches, workingset.Touch{Page: 1, Uses: 1}, workingset.Touch{Page: 2, Uses: 1}, workingset.Touch{Page: 1500, Uses: 1})
	got := s.ByTouch(workingset.BitsOf(2000, []workingset.Run{{0, 1200}})) // 1500 is zero
	if n := len(got); n != workingset.WindowThaw+1 || got[n-1] != (workingset.Extent{Run: run(1, 2), Group: 2}) {
		t.Fatalf("%d extents, the last %+v", n, got[n-1])
	}
	for i, e := range got[:workingset.WindowThaw] {
		if e.Group != 1 || e.Written != (i >= workingset.WindowThaw/2) {
			t.Fatalf("extent %d is %+v: want what is read first, in one window", i, e)
		}
	}
}

func TestInGroupsOf(t *testing.T) {
	s := set(5, 4, 3)
	got := s.InGroupsOf(2)
	if got.Touches[0].Group != 1 || got.Touches[1].Group != 1 || got.Touches[2].Group != 2 {
		t.Errorf("groups %v", got.Touches)
	}
	if s.Touches[0].Group != 0 {
		t.Error("the set itself was changed")
	}
}

func TestRecorder(t *testing.T) {
	t.Run("KeepsFirstTouches", func(t *testing.T) {
		r := workingset.NewRecorder(workingset.DefaultLimits())
		for _, p := range []uint32{3, 1, 3, 2, 1} {
			r.Touch(p, 0)
		}
		r.Write(1)
		r.Write(77) // never touched
		got, bound := r.Stop()
		if len(got) != 3 || got[0].Page != 3 || got[1].Page != 1 || got[2].Page != 2 || bound != workingset.BoundNone {
			t.Errorf("recorded %v, %v", got, bound)
		}
		if got[0].Written || !got[1].Written || got[2].Written {
			t.Errorf("written: %v", got)
		}
		r.Touch(99, 0)
		r.Write(3)
		if got, _ := r.Stop(); len(got) != 3 || got[0].Written {
			t.Errorf("a touch after Stop was recorded: %v", got)
		}
	})
	t.Run("StopsAtItsSize", func(t *testing.T) {
		r := workingset.NewRecorder(workingset.Limits{Pages: 2, Time: time.Hour})
		for p := range uint32(5) {
			r.Touch(p, 1)
		}
		if got, bound := r.Stop(); len(got) != 2 || bound != workingset.BoundPages || !r.Full() {
			t.Errorf("recorded %d pages, %v", len(got), bound)
		}
	})
	t.Run("StopsAtItsTime", func(t *testing.T) {
		r := workingset.NewRecorder(workingset.Limits{Pages: 10, Time: -1})
		r.Touch(1, 0)
		if got, bound := r.Stop(); len(got) != 0 || bound != workingset.BoundTime {
			t.Errorf("recorded %d pages, %v", len(got), bound)
		}
	})
}

func TestMerge(t *testing.T) {
	older, newer := set(1, 2, 3), set(3, 4)
	older.Touches[2].Written = true
	got := workingset.Merge(older, newer)
	want := []workingset.Touch{
		{Page: 3, After: 0, Uses: 2, Written: true},
		{Page: 4, After: 7 * time.Microsecond, Uses: 1},
		{Page: 1, Uses: 1},
		{Page: 2, After: 7 * time.Microsecond, Uses: 1},
	}
	if d := cmp.Diff(want, got.Touches); d != "" || got.Recordings != 2 {
		t.Errorf("%d recordings\n%s", got.Recordings, d)
	}
}

// TestMergeForgets merges recordings without end: what is always used stays, what
// was used once goes, and the set does not grow for ever.
func TestMergeForgets(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	recording := func() workingset.Set {
		s := workingset.Set{MemoryPages: 1 << 20, Recordings: 1, Touches: touches(10, 11, 12)}
		for range 97 {
			s.Touches = append(s.Touches, workingset.Touch{Page: 100 + random.Uint32N(1<<19), Uses: 1})
		}
		return s
	}
	s := recording()
	for range 200 {
		s = workingset.Merge(s, recording())
		if len(s.Touches) > 300 || s.Recordings > 8 {
			t.Fatalf("%d pages of %d recordings", len(s.Touches), s.Recordings)
		}
		for _, touch := range s.Touches {
			if touch.Uses == 0 || touch.Uses > s.Recordings {
				t.Fatalf("page %d was used in %d of %d recordings", touch.Page, touch.Uses, s.Recordings)
			}
		}
	}
	if uses := s.Touches[0].Uses; s.Touches[0].Page != 10 || uses < s.Recordings/2 {
		t.Errorf("page %d, which is always used, has %d of %d uses", s.Touches[0].Page, uses, s.Recordings)
	}
}

// guest is a memory file of 64 pages; page n is full of the byte n.
func guest() *bytes.Reader {
	var b []byte
	for n := range 64 {
		b = append(b, bytes.Repeat([]byte{byte(n)}, thaw.PageSize)...)
	}
	return bytes.NewReader(b)
}

func encode(t testing.TB, s workingset.Set) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := workingset.Encode(&b, s); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func rich() workingset.Set {
	s := set(9, 3, 4, 63)
	s.Bound, s.Source, s.Recordings = workingset.BoundTime, workingset.HostPages, 3
	s.Touches[1] = workingset.Touch{Page: 3, After: 5 * time.Second, Group: 7, Uses: 2, Written: true}
	return s
}

func TestFileRoundTrip(t *testing.T) {
	b := encode(t, rich())
	if int64(len(b)) != workingset.Size(4) || workingset.PagesOf(int64(len(b))) != 4 {
		t.Errorf("file is %d bytes long, want %d, which hold %d pages", len(b), workingset.Size(4), workingset.PagesOf(int64(len(b))))
	}
	got, err := workingset.Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(rich(), got); d != "" {
		t.Error(d)
	}
	// As documented.
	if string(b[:8]) != "thaw-ws\x00" || b[8] != 2 || binary.LittleEndian.Uint32(b[12:]) != 4096 || b[16] != 4 || b[24] != 64 || b[72] != 3 {
		t.Errorf("header % x", b[:80])
	}
	if e := b[128+16:]; e[0] != 3 || binary.LittleEndian.Uint32(e[4:]) != 5_000_000 || e[8] != 7 || e[10] != 2 || e[12] != 1 {
		t.Errorf("entry % x", e[:16])
	}
}

func TestPagesOfManySizes(t *testing.T) {
	for _, n := range []int{0, 1, 511, 512, 513, 5000, workingset.MaxPages} {
		if got := workingset.PagesOf(workingset.Size(n)); got != int64(n) {
			t.Errorf("PagesOf(Size(%d)) = %d", n, got)
		}
	}
}

func TestEncodeRefuses(t *testing.T) {
	unused := set(1)
	unused.Touches[0].Uses = 2
	for name, s := range map[string]workingset.Set{
		"Empty":       set(),
		"Twice":       set(1, 2, 1),
		"Outside":     set(64),
		"MoreUses":    unused,
		"NoRecording": {MemoryPages: 4, Touches: touches(1)},
	} {
		t.Run(name, func(t *testing.T) {
			if err := workingset.Encode(&bytes.Buffer{}, s); err == nil {
				t.Error("Encode worked")
			}
		})
	}
}

// refusesDamage flips bits and cuts off ends.
func refusesDamage(t *testing.T, good []byte, decode func([]byte) error) {
	t.Helper()
	for at := 0; at < len(good); at += 1 + len(good)/997 {
		bad := bytes.Clone(good)
		bad[at] ^= 0x10
		if err := decode(bad); !errors.Is(err, workingset.ErrCorrupt) {
			t.Errorf("with a flipped bit at %d: %v, want ErrCorrupt", at, err)
		}
		if err := decode(good[:at]); !errors.Is(err, workingset.ErrCorrupt) {
			t.Errorf("of the first %d bytes: %v, want ErrCorrupt", at, err)
		}
	}
}

func TestDecodeRefusesDamage(t *testing.T) {
	refusesDamage(t, encode(t, rich()), func(b []byte) error { _, err := workingset.Decode(b); return err })
}

// repair makes the checksum of a header right, so that the checks behind it are
// reached.
func repair(b []byte, size int) []byte {
	if len(b) < size {
		return b
	}
	b = bytes.Clone(b)
	binary.LittleEndian.PutUint32(b[size-4:], crc32.Checksum(b[:size-4], crc32.MakeTable(crc32.Castagnoli)))
	return b
}

func FuzzDecode(f *testing.F) {
	f.Add(encode(f, rich()))
	f.Add(encode(f, set(0)))
	f.Add([]byte("thaw-ws\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		b = repair(b, 128)
		if len(b) > 128 { // the index's checksum, too
			binary.LittleEndian.PutUint32(b[64:], crc32.Checksum(b[128:], crc32.MakeTable(crc32.Castagnoli)))
			b = repair(b, 128)
		}
		s, err := workingset.Decode(b)
		if err != nil {
			return
		}
		again, err := workingset.Decode(encode(t, s))
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(s, again); d != "" {
			t.Error(d)
		}
	})
}
