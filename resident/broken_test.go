package resident_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"thaw"
	"thaw/resident"
)

// intrude puts a page into an image that nobody asked for, as huge pages would.
func intrude(t *testing.T, i *resident.Image, page int64) {
	t.Helper()
	f, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", i.File().Fd()), os.O_WRONLY, 0)
	if err != nil {
		t.Skipf("%v: run as root", err)
	}
	defer f.Close()
	if _, err := f.WriteAt(make([]byte, thaw.PageSize), page*thaw.PageSize); err != nil {
		t.Fatal(err)
	}
}

// TestBroken: an image that holds more than was put there gives nobody a page any more,
// and whoever shares it is told.
func TestBroken(t *testing.T) {
	t.Parallel()
	name, _ := memory(t)
	i, err := resident.New(name, pages*thaw.PageSize)
	if err != nil {
		t.Fatal(err)
	}
	defer i.Close()
	if _, err := i.Fill(0); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := i.Watch(ctx); err != nil {
		t.Errorf("a sound image: %v", err)
	}
	told := make(chan error, 1)
	go func() { told <- i.Watch(t.Context()) }()
	intrude(t, i, 900)
	for _, page := range []int64{500, 0} { // the second was there before
		if _, err := i.Fill(page * thaw.PageSize); err == nil {
			t.Errorf("page %d is given out", page)
		}
	}
	select {
	case err := <-told:
		if err == nil {
			t.Error("no reason was told")
		}
	case <-time.After(time.Minute):
		t.Error("nobody was told")
	}
}

// TestLoadFailed: a load that ended early says so, a good one does not.
func TestLoadFailed(t *testing.T) {
	t.Parallel()
	name, data := memory(t)
	set, loading := loadingSet(t, data)
	good, l := load(t, name, set, loading)
	if err := l.Wait(t.Context()); err != nil || good.LoadFailed() {
		t.Errorf("a good load: %v, failed is %v", err, good.LoadFailed())
	}
	if err := os.Truncate(loading, set.DataOffset()+1); err != nil {
		t.Fatal(err)
	}
	bad, l := load(t, name, set, loading)
	if err := l.Wait(t.Context()); err == nil || !bad.LoadFailed() {
		t.Errorf("a load of a file that is cut off: %v, failed is %v", err, bad.LoadFailed())
	}
}

// TestWaitEnds: who waits for a set that nobody takes goes when its context ends.
func TestWaitEnds(t *testing.T) {
	t.Parallel()
	set, name, _ := whole(t)
	why := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(10*time.Millisecond, func() { cancel(why) })
	if err := own(t, set, name).Wait(ctx); !errors.Is(err, why) {
		t.Errorf("Wait = %v", err)
	}
}
