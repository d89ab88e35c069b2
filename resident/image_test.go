package resident_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"thaw"
	"thaw/pagecache"
	"thaw/resident"
	"thaw/workingset"
)

const pages = 1024

// memory is a guest memory file of which each page holds its number.
func memory(t *testing.T) (name string, data []byte) {
	t.Helper()
	data = make([]byte, pages*thaw.PageSize)
	for p := range pages {
		binary.LittleEndian.PutUint32(data[p*thaw.PageSize:], uint32(p)+1)
	}
	name = filepath.Join(t.TempDir(), "memory")
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return name, data
}

// loadingSet writes a set of four chunks and a bit: what clones write to and what
// they share in turns, the first half in runs that end where no chunk does.
func loadingSet(t *testing.T, data []byte) (*workingset.LoadingSet, string) {
	t.Helper()
	l := workingset.LoadingSet{MemoryPages: pages, Order: workingset.OrderTouch}
	for p := uint32(0); p < 600; p += 3 {
		group := uint16(p / 3)
		l.Extents = append(l.Extents,
			workingset.Extent{Run: workingset.Run{Page: p, Pages: 1}, Group: group},
			workingset.Extent{Run: workingset.Run{Page: p + 1, Pages: 2}, Group: group, Written: true})
	}
	return encoded(t, l, data)
}

// encoded writes a set of memory that holds data.
func encoded(t *testing.T, l workingset.LoadingSet, data []byte) (*workingset.LoadingSet, string) {
	t.Helper()
	var b bytes.Buffer
	if err := workingset.EncodeLoadingSet(&b, l, bytes.NewReader(data)); err != nil {
		t.Fatal(err)
	}
	set, err := workingset.DecodeLoadingSet(b.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "loading-set")
	if err := os.WriteFile(name, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return set, name
}

func load(t *testing.T, memory string, set *workingset.LoadingSet, name string) (*resident.Image, *resident.Load) {
	t.Helper()
	i, err := resident.New(memory, pages*thaw.PageSize)
	if err != nil {
		t.Fatal(err)
	}
	c := &resident.Cache{}
	t.Cleanup(c.Close)
	t.Cleanup(i.Close)
	open := func() (*workingset.LoadingSet, *os.File, error) {
		f, err := pagecache.OpenDirect(name)
		return set, f, err
	}
	l, began, err := i.Load(c, open)
	if err != nil || !began {
		t.Fatalf("the load began: %v (%v)", began, err)
	}
	if again, began, err := i.Load(c, open); err != nil || began || again != l {
		t.Errorf("a second load began: %v (%v)", began, err)
	}
	return i, l
}

func TestPieces(t *testing.T) {
	t.Parallel()
	name, data := memory(t)
	set, loading := loadingSet(t, data)
	i, l := load(t, name, set, loading)
	if err := l.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	seen := workingset.NewBits(pages)
	for p := range l.Pieces() {
		if want := data[p.Offset:][:len(p.Data)]; !bytes.Equal(p.Data, want) {
			t.Errorf("piece at %#x holds something else than memory", p.Offset)
		}
		for at := p.Offset; at < p.Offset+int64(len(p.Data)); at += thaw.PageSize {
			page := uint32(at / thaw.PageSize)
			if shared := page%3 == 0; p.Shared != shared {
				t.Errorf("page %d: shared is %v, want %v", page, p.Shared, shared)
			}
			seen.Add(page)
		}
	}
	for p := range uint32(pages) {
		if seen.Has(p) != (p < 600) {
			t.Errorf("page %d: came is %v", p, seen.Has(p))
		}
	}
	if got, want := i.Resident(), int64(600*thaw.PageSize); got != want {
		t.Errorf("%d bytes are resident, want %d", got, want)
	}
	if got, want := l.BytesRead(), int64(600*thaw.PageSize); got != want {
		t.Errorf("%d bytes were read, want %d", got, want)
	}
}

// TestLoadAwait: who waits for a page finds it in the image then, without a read.
func TestLoadAwait(t *testing.T) {
	t.Parallel()
	name, data := memory(t)
	set, loading := loadingSet(t, data)
	i, l := load(t, name, set, loading)
	for _, page := range []int64{599, 0, 4} {
		if l.Await(page * thaw.PageSize) {
			t.Errorf("page %d is said to be in place", page)
		}
		if read, err := i.Fill(page * thaw.PageSize); err != nil || read > 0 {
			t.Errorf("page %d: %d bytes were read (%v)", page, read, err)
		}
		if l.Coming(page * thaw.PageSize) {
			t.Errorf("page %d is coming still", page)
		}
	}
	if l.Coming(700*thaw.PageSize) || l.Await(700*thaw.PageSize) {
		t.Error("a page that is not of the set is coming")
	}
}

// A page is in the file that clones map after Fill, whether its copy came with the
// set or it must be read.
func TestFill(t *testing.T) {
	t.Parallel()
	name, data := memory(t)
	set, loading := loadingSet(t, data)
	i, l := load(t, name, set, loading)
	if err := l.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		page int64
		read bool
	}{
		{"shared", 3, false},
		{"written", 4, false},
		{"written, at the end", 599, false},
		{"missed", 700, true},
		{"brought in with it", 701, false},
	} {
		read, err := i.Fill(c.page * thaw.PageSize)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if !c.read && read > 0 {
			t.Errorf("%s: %d bytes were read", c.name, read)
		}
		got := make([]byte, thaw.PageSize)
		if _, err := i.File().ReadAt(got, c.page*thaw.PageSize); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, data[c.page*thaw.PageSize:][:thaw.PageSize]) {
			t.Errorf("%s: page %d holds something else than memory", c.name, c.page)
		}
	}
	if _, err := i.Fill(pages * thaw.PageSize); err == nil {
		t.Error("a page outside memory was filled")
	}
}

// Fill reads past the page cache, and says how much.
func TestFillFromDisk(t *testing.T) {
	t.Parallel()
	name, _ := memory(t)
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := pagecache.Evict(f); err != nil {
		t.Fatal(err)
	}
	i, err := resident.New(name, pages*thaw.PageSize)
	if err != nil {
		t.Fatal(err)
	}
	defer i.Close()
	read, err := i.Fill(40 * thaw.PageSize)
	if err != nil || read != 128<<10 {
		t.Errorf("%d bytes were read (%v), want 128 KiB", read, err)
	}
	if n, err := pagecache.Resident(f); err != nil || n > 0 {
		t.Errorf("%d pages are in the page cache (%v), want none", n, err)
	}
}

func TestLoadRefusesDamage(t *testing.T) {
	t.Parallel()
	name, data := memory(t)
	for what, damage := range map[string]func(f *os.File, set *workingset.LoadingSet) error{
		"a shared page differs": func(f *os.File, set *workingset.LoadingSet) error {
			_, err := f.WriteAt([]byte("?"), set.DataOffset())
			return err
		},
		"a written page differs": func(f *os.File, set *workingset.LoadingSet) error {
			_, err := f.WriteAt([]byte("?"), set.DataOffset()+thaw.PageSize)
			return err
		},
		"cut off": func(f *os.File, set *workingset.LoadingSet) error { return f.Truncate(set.Size() - thaw.PageSize) },
	} {
		set, loading := loadingSet(t, data)
		f, err := os.OpenFile(loading, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(damage(f, set), f.Close()); err != nil {
			t.Fatal(err)
		}
		_, l := load(t, name, set, loading)
		if err := l.Wait(t.Context()); !errors.Is(err, workingset.ErrCorrupt) {
			t.Errorf("%s: %v, want one that says corrupt", what, err)
		}
	}
}
