package resident_test

import (
	"bytes"
	"errors"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"thaw"
	"thaw/pagecache"
	"thaw/resident"
	"thaw/workingset"
)

func open(t *testing.T, name string) *os.File {
	t.Helper()
	f, err := pagecache.OpenDirect(name)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func own(t *testing.T, set *workingset.LoadingSet, name string) *resident.Own {
	t.Helper()
	c := &resident.Cache{}
	t.Cleanup(c.Close)
	o, err := resident.NewOwn(c, set, open(t, name))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(o.Close)
	return o
}

// whole is a set of all pages of memory, more chunks than are kept room for.
func whole(t *testing.T) (set *workingset.LoadingSet, name string, data []byte) {
	t.Helper()
	data = make([]byte, 6<<20)
	for p := range len(data) / thaw.PageSize {
		data[p*thaw.PageSize], data[p*thaw.PageSize+1] = byte(p), byte(p>>8)
	}
	set, name = encoded(t, workingset.LoadingSet{
		MemoryPages: uint32(len(data) / thaw.PageSize), Order: workingset.OrderTouch,
		Extents: []workingset.Extent{{Run: workingset.Run{Page: 500, Pages: 1036}}, {Run: workingset.Run{Pages: 500}, Group: 1, Written: true}},
	}, data)
	return set, name, data
}

// take takes pieces by two goroutines and returns what memory is then.
func take(o *resident.Own, size int) []byte {
	got, pieces := make([]byte, size), o.Pieces()
	var lanes sync.WaitGroup
	for range 2 {
		lanes.Go(func() {
			for p := range pieces {
				copy(got[p.Offset:], p.Data) // no two of them overlap
			}
		})
	}
	lanes.Wait()
	return got
}

func TestOwn(t *testing.T) {
	t.Parallel()
	set, name, data := whole(t)
	for what, wait := range map[string]func(o *resident.Own){
		"at once": func(*resident.Own) {},
		"when all has come": func(o *resident.Own) {
			for o.BytesRead() < int64(len(data)) {
				time.Sleep(time.Millisecond)
			}
		},
	} {
		o := own(t, set, name)
		if !o.Coming(0) || o.Coming(int64(len(data))) {
			t.Errorf("%s: coming is %v and, of a page outside the set, %v", what, o.Coming(0), o.Coming(int64(len(data))))
		}
		wait(o)
		if !bytes.Equal(take(o, len(data)), data) {
			t.Errorf("%s: the pieces are not what the set holds", what)
		}
		if err := o.Wait(t.Context()); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if !o.Coming(0) || !o.Await(0) || o.Await(int64(len(data))) || o.BytesRead() != int64(len(data)) {
			t.Errorf("%s: page 0 is not in place, or not %d bytes were read but %d", what, len(data), o.BytesRead())
		}
	}
}

// TestOwnManyAtOnce: of the memory that all of them read into little is kept.
func TestOwnManyAtOnce(t *testing.T) {
	t.Parallel()
	set, name, data := whole(t)
	var c resident.Cache
	defer c.Close()
	for range 2 {
		var all sync.WaitGroup
		for range 4 {
			o, err := resident.NewOwn(&c, set, open(t, name))
			if err != nil {
				t.Fatal(err)
			}
			all.Go(func() {
				if !bytes.Equal(take(o, len(data)), data) {
					t.Error("the pieces are not what the set holds")
				}
				o.Close()
			})
		}
		all.Wait()
	}
}

// TestOwnAwait: who waits for a page is told when it is in place.
func TestOwnAwait(t *testing.T) {
	t.Parallel()
	set, name, data := whole(t)
	o := own(t, set, name)
	var waiting sync.WaitGroup
	for _, page := range []int64{0, 499, 500, 1535} {
		waiting.Go(func() {
			if !o.Await(page * thaw.PageSize) {
				t.Errorf("page %d was not put in place", page)
			}
		})
	}
	take(o, len(data))
	waiting.Wait()
}

// TestOwnEndsEarly: a loop that breaks off, or a Stop, ends everybody who waits.
func TestOwnEndsEarly(t *testing.T) {
	t.Parallel()
	set, name, _ := whole(t)
	for what, end := range map[string]func(o *resident.Own){
		"break": func(o *resident.Own) {
			for range o.Pieces() {
				break
			}
		},
		"stop": (*resident.Own).Stop,
	} {
		o := own(t, set, name)
		var waiting sync.WaitGroup
		waiting.Go(func() {
			if o.Await(0) {
				t.Errorf("%s: a page was put in place that nobody took", what)
			}
		})
		end(o)
		waiting.Wait()
		for range o.Pieces() {
			t.Errorf("%s: a piece came afterwards", what)
		}
		if err := o.Wait(t.Context()); !errors.Is(err, os.ErrClosed) {
			t.Errorf("%s: Wait = %v, want %v", what, err, os.ErrClosed)
		}
		o.Close()
	}
}

// TestOwnRefusesDamage: nothing of a chunk that is not right is a piece.
func TestOwnRefusesDamage(t *testing.T) {
	t.Parallel()
	set, name, data := whole(t)
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	const bad = 3
	if _, err := f.WriteAt([]byte("damage"), set.DataOffset()+bad*workingset.ChunkBytes+100); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	o := own(t, set, name)
	got := take(o, len(data))
	if err := o.Wait(t.Context()); !errors.Is(err, workingset.ErrCorrupt) {
		t.Errorf("Wait = %v, want one that says corrupt", err)
	}
	page := int64(set.ByChunk()[bad][0].Page) * thaw.PageSize
	if o.Await(page) || o.Coming(page) {
		t.Error("a page of the bad chunk is in place, or on its way")
	}
	if slices.Max(got[page:][:workingset.ChunkBytes]) != 0 {
		t.Error("something of the bad chunk was a piece")
	}
}

// TestCacheKeepsAnImageForItsUsers: the first of them is told that it is alone.
func TestCacheKeepsAnImageForItsUsers(t *testing.T) {
	t.Parallel()
	name, _ := memory(t)
	var c resident.Cache
	defer c.Close()
	made := 0
	get := func() (*resident.Image, bool, func()) {
		i, alone, release, err := c.Get("key", func() (*resident.Image, error) {
			made++
			return resident.New(name, pages*thaw.PageSize)
		})
		if err != nil {
			t.Fatal(err)
		}
		return i, alone, release
	}
	one, alone, release := get()
	other, second, releaseOther := get()
	if one != other || !alone || second || made != 1 {
		t.Errorf("%d images for two users; alone: %v and %v", made, alone, second)
	}
	release()
	if _, err := other.Fill(0); err != nil {
		t.Errorf("the image of a user that is left: %v", err)
	}
	releaseOther()
	if _, err := other.Fill(thaw.PageSize * 100); !errors.Is(err, os.ErrClosed) {
		t.Errorf("the image after its last user: %v, want %v", err, os.ErrClosed)
	}
	if _, alone, release := get(); !alone || made != 2 {
		t.Errorf("after the last user: alone is %v, %d images made", alone, made)
	} else {
		release()
	}
}
