package workingset_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"thaw"
	"thaw/workingset"
)

func loading() workingset.LoadingSet {
	return workingset.LoadingSet{
		Memory: [32]byte{4, 5}, MemoryPages: 64, WorkingSet: 77, Order: workingset.OrderTouch, Swallowed: 1,
		Extents: []workingset.Extent{
			{Run: run(5, 2), Group: 1}, {Run: run(40, 3), Group: 1}, {Run: run(1, 1), Group: 1, Written: true}, {Run: run(0, 1), Group: 2},
		},
	}
}

func encodeLoading(t testing.TB, l workingset.LoadingSet) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := workingset.EncodeLoadingSet(&b, l, guest()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestLoadingSetRoundTrip(t *testing.T) {
	l := loading()
	b := encodeLoading(t, l)
	got, err := workingset.DecodeLoadingSet(b)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(l, *got, cmpopts.IgnoreUnexported(workingset.LoadingSet{})); d != "" {
		t.Error(d)
	}
	if head, err := workingset.HeadSize(b[:thaw.PageSize]); err != nil || head != got.DataOffset() || int64(len(b)) != got.Size() || head%thaw.PageSize != 0 {
		t.Errorf("head of %d bytes (%v), data at %d, file of %d of %d", head, err, got.DataOffset(), len(b), got.Size())
	}
	data := b[got.DataOffset():]
	if err := got.VerifyAll(data); err != nil {
		t.Error(err)
	}
	var order []int64
	for offset, piece := range workingset.Pieces(got.Extents, data) {
		for i, v := range piece {
			if page := offset/thaw.PageSize + int64(i/thaw.PageSize); int64(v) != page {
				t.Fatalf("page %d holds %d", page, v)
			}
		}
		order = append(order, offset/thaw.PageSize)
	}
	if d := cmp.Diff([]int64{5, 40, 1, 0}, order); d != "" {
		t.Error(d)
	}
	if string(b[:8]) != "thaw-ls\x00" || b[8] != 2 || b[16] != 4 || b[20] != 2 || b[68] != 7 || b[72] != 77 || b[76] != 1 || b[4096] != 5 || b[4096+2*12+10] != 1 {
		t.Errorf("not as documented: % x", b[:80])
	}
}

// big is a memory file of zeroes.
type big struct{}

func (big) ReadAt(b []byte, _ int64) (int, error) { clear(b); return len(b), nil }

func TestByChunk(t *testing.T) {
	l := workingset.LoadingSet{MemoryPages: 2000, Extents: []workingset.Extent{{Run: run(0, 100)}, {Run: run(150, 300)}, {Run: run(1000, 1)}}}
	var b bytes.Buffer
	if err := workingset.EncodeLoadingSet(&b, l, big{}); err != nil {
		t.Fatal(err)
	}
	got, err := workingset.DecodeLoadingSet(b.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	want := [][]workingset.Extent{
		{{Run: run(0, 100)}, {Run: run(150, 28)}},
		{{Run: run(178, 128)}},
		{{Run: run(306, 128)}},
		{{Run: run(434, 16)}, {Run: run(1000, 1)}},
	}
	if d := cmp.Diff(want, got.ByChunk()); d != "" || got.Chunks() != 4 {
		t.Errorf("%d chunks\n%s", got.Chunks(), d)
	}
	if err := got.Verify(3, make([]byte, 17*thaw.PageSize)); err != nil {
		t.Error(err)
	}
	if err := got.Verify(3, bytes.Repeat([]byte{1}, 17*thaw.PageSize)); !errors.Is(err, workingset.ErrCorrupt) {
		t.Errorf("Verify of other data = %v", err)
	}
	if err := got.VerifyAll(nil); !errors.Is(err, workingset.ErrCorrupt) {
		t.Errorf("VerifyAll of nothing = %v", err)
	}
}

func TestEncodeLoadingSetRefuses(t *testing.T) {
	with := func(order workingset.Order, extents ...workingset.Extent) workingset.LoadingSet {
		return workingset.LoadingSet{MemoryPages: 64, Order: order, Extents: extents}
	}
	for name, l := range map[string]workingset.LoadingSet{
		"Nothing":        with(workingset.OrderAddress),
		"EmptyExtent":    with(workingset.OrderAddress, workingset.Extent{Run: run(1, 0)}),
		"Outside":        with(workingset.OrderAddress, workingset.Extent{Run: run(60, 5)}),
		"FarOutside":     with(workingset.OrderAddress, workingset.Extent{Run: run(1<<32-1, 2)}),
		"Overlap":        with(workingset.OrderAddress, workingset.Extent{Run: run(1, 5)}, workingset.Extent{Run: run(5, 1)}),
		"AgainstAddress": with(workingset.OrderAddress, workingset.Extent{Run: run(5, 1)}, workingset.Extent{Run: run(1, 1)}),
		"AgainstGroup":   with(workingset.OrderGroup, workingset.Extent{Run: run(1, 1), Group: 2}, workingset.Extent{Run: run(5, 1), Group: 1}),
		"AgainstTouch":   with(workingset.OrderTouch, workingset.Extent{Run: run(1, 1), Group: 1, Written: true}, workingset.Extent{Run: run(5, 1), Group: 1}),
		"UnknownOrder":   with(9, workingset.Extent{Run: run(1, 1)}),
	} {
		t.Run(name, func(t *testing.T) {
			if err := workingset.EncodeLoadingSet(&bytes.Buffer{}, l, guest()); err == nil {
				t.Error("EncodeLoadingSet worked")
			}
		})
	}
	if err := workingset.EncodeLoadingSet(&bytes.Buffer{}, workingset.LoadingSet{MemoryPages: 70, Extents: []workingset.Extent{{Run: run(64, 1)}}}, guest()); err == nil {
		t.Error("pages past the end of the memory file were encoded")
	}
}

func TestDecodeLoadingSetRefusesDamage(t *testing.T) {
	good := encodeLoading(t, loading())
	refusesDamage(t, good, func(b []byte) error {
		l, err := workingset.DecodeLoadingSet(b)
		if err != nil {
			return err
		}
		return l.VerifyAll(b[l.DataOffset():])
	})
}

func FuzzDecodeLoadingSet(f *testing.F) {
	f.Add(encodeLoading(f, loading()))
	f.Add([]byte("thaw-ls\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		b = repair(b, thaw.PageSize)
		if size, err := workingset.HeadSize(b); err == nil && size <= int64(len(b)) {
			binary.LittleEndian.PutUint32(b[64:], crc32.Checksum(b[thaw.PageSize:size], crc32.MakeTable(crc32.Castagnoli)))
			b = repair(b, thaw.PageSize)
		}
		l, err := workingset.DecodeLoadingSet(b)
		if err != nil {
			if !errors.Is(err, workingset.ErrCorrupt) {
				t.Error(err)
			}
			return
		}
		var n int64
		for _, chunk := range l.ByChunk() {
			for _, e := range chunk {
				if e.End() > l.MemoryPages {
					t.Errorf("extent %+v is outside guest memory", e)
				}
				n += int64(e.Pages)
			}
		}
		if n != l.Pages() || l.Pages() > int64(l.MemoryPages) {
			t.Errorf("%d pages in chunks, %d in all, of %d", n, l.Pages(), l.MemoryPages)
		}
	})
}

func encodeRegions(t testing.TB, pages uint32, runs []workingset.Run) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := workingset.EncodeRegions(&b, pages, runs); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestRegionsRoundTrip(t *testing.T) {
	want := []workingset.Run{{0, 3}, {9, 1}, {60, 4}}
	b := encodeRegions(t, 64, want)
	pages, got, err := workingset.DecodeRegions(b)
	if d := cmp.Diff(want, got); d != "" || pages != 64 || err != nil {
		t.Errorf("%d pages, %v\n%s", pages, err, d)
	}
	if int64(len(b)) > workingset.MaxRegions(64*thaw.PageSize) {
		t.Errorf("%d bytes are longer than the longest", len(b))
	}
	for _, n := range []int{0, 7, 23, 24, len(b) - 1} {
		if _, _, err := workingset.DecodeRegions(b[:n]); !errors.Is(err, workingset.ErrCorrupt) {
			t.Errorf("of the first %d bytes: %v", n, err)
		}
	}
	for name, runs := range map[string][]workingset.Run{
		"Touching": {{0, 3}, {3, 1}}, "Descending": {{9, 1}, {0, 3}}, "Empty": {{1, 0}}, "Outside": {{60, 5}}, "FarOutside": {{1<<32 - 1, 2}},
	} {
		if err := workingset.EncodeRegions(&bytes.Buffer{}, 64, runs); err == nil {
			t.Errorf("%s was encoded", name)
		}
	}
}

func FuzzDecodeRegions(f *testing.F) {
	f.Add(encodeRegions(f, 64, []workingset.Run{{0, 3}, {9, 1}}))
	f.Add(encodeRegions(f, 64, nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		pages, runs, err := workingset.DecodeRegions(b)
		if err != nil {
			return
		}
		if !bytes.Equal(encodeRegions(t, pages, runs), b) {
			t.Error("encoded again, it is not the same")
		}
	})
}
