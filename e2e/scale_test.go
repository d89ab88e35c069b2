package e2e

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"thaw"
	"thaw/daemon"
	"thaw/gateway/api"
	"thaw/internal/testcache"
	"thaw/registry"
	"thaw/snapshot"
)

// many is how many functions a daemon must bear: most of them never started.
const many = 10_000

// crowd is how many of them have a snapshot, and a log.
const crowd = 200

// populate puts n functions into the registry of state, and a small snapshot of
// each of the first ones beside it.
func populate(t testing.TB, state string, n int) {
	t.Helper()
	store, err := snapshot.NewStore(filepath.Join(state, "snapshots"), filepath.Join(state, "quarantine"))
	if err != nil {
		t.Fatal(err)
	}
	// A file in memory: each version is a transaction, and each of these a sync.
	aside, err := os.MkdirTemp("/dev/shm", "thaw-e2e-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(aside)
	path := filepath.Join(state, "registry.db")
	copyFile(t, path, filepath.Join(aside, "registry.db"))
	db, err := registry.Open(filepath.Join(aside, "registry.db"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		v := thaw.Version{Function: fmt.Sprintf("crowd-%05d", i), Number: 1, Created: time.Now(), Settings: thaw.Settings{
			Env: map[string]string{"STAGE": "production", "TABLE": "orders"}}.WithDefaults()}
		v.Images = thaw.Images{Kernel: "0123456789abcdef0123", Initramfs: "0123456789abcdef0123", Root: "0123456789abcdef0123", Code: fmt.Sprintf("%020x", i)}
		if i < crowd {
			v.Snapshot = plant(t, store, v)
		}
		if _, err := db.Put(v); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	copyFile(t, filepath.Join(aside, "registry.db"), path)
}

// plant publishes a snapshot of one page.
func plant(t testing.TB, store *snapshot.Store, v thaw.Version) string {
	t.Helper()
	d, err := store.Draft(1 << 20)
	if err != nil {
		t.Fatal(err)
	}
	d.Function, d.Version = v.Function, v.Number
	if _, err := d.Memory.WriteAt([]byte(v.Function), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := d.State.WriteString("state of " + v.Function); err != nil {
		t.Fatal(err)
	}
	m, err := d.Publish(t.Context(), thaw.Machine{}, v.Images)
	if err != nil {
		t.Fatal(err)
	}
	return m.ID
}

// copyFile copies from to to; one that is not there is left out.
func copyFile(t testing.TB, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if os.IsNotExist(err) {
		return
	}
	if err == nil {
		err = os.WriteFile(to, b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestManyFunctions: what an invocation costs does not depend on how many functions
// there are: it opens as many files, and a warm one opens none.
func TestManyFunctions(t *testing.T) {
	state := t.TempDir()
	s := open(t, state, nil)
	s.deploy(t, "probe", "testdata/probe", thaw.Settings{})
	s.recorded(t, "probe", helloEvent)
	s.cold(t, "probe", thaw.PolicyReap, helloEvent) // what is opened once is open
	few := s.opens(t)
	s.close(t)
	populate(t, state, many)
	checked := &sighting{text: "the snapshots are checked", seen: make(chan struct{})}
	s = open(t, state, func(c *daemon.Config) { c.Logger = slog.New(slog.NewTextHandler(checked, nil)) })
	<-checked.seen
	s.cold(t, "probe", thaw.PolicyReap, helloEvent)
	// A cold start may open one more: what the ones before it had learned.
	if got := s.opens(t); got.cold > few.cold+1 || got.warm != few.warm || got.event != few.event || got.describe != few.describe {
		t.Errorf("with %d functions files are opened %+v, and %+v with one", many, got, few)
	}
	if few.warm != 0 || few.cold == 0 {
		t.Errorf("a warm invocation opens %d files, a cold one %d", few.warm, few.cold)
	}
	checkListing(t, s)
	checkScrape(t, s)
}

// sighting closes seen when text is first written.
type sighting struct {
	text string
	seen chan struct{}
	once sync.Once
}

func (s *sighting) Write(b []byte) (int, error) {
	if bytes.Contains(b, []byte(s.text)) {
		s.once.Do(func() { close(s.seen) })
	}
	return len(b), nil
}

// opened counts the files of a state folder that were opened.
type opened struct{ warm, event, describe, cold int }

func (s *site) opens(t *testing.T) (o opened) {
	t.Helper()
	w := watchOpens(t, s.state)
	defer w.Close()
	s.warm(t, "probe", helloEvent)
	o.warm = w.count(t)
	id, err := s.InvokeAsync(t.Context(), "probe", []byte(helloEvent))
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the queue is empty", func() bool { _, _, err := s.queue.Item(id); return err != nil })
	o.event = w.count(t)
	s.describe(t, "probe")
	o.describe = w.count(t)
	r := s.cold(t, "probe", thaw.PolicyReap, helloEvent)
	if _, err := s.Invocation(t.Context(), r.ID); err != nil { // it is complete
		t.Fatal(err)
	}
	o.cold = w.count(t)
	return o
}

// opens watches every folder below one for files that are opened (inotify(7)).
type opens struct{ *os.File }

func watchOpens(t *testing.T, root string) opens {
	t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			_, err = unix.InotifyAddWatch(fd, path, unix.IN_OPEN)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return opens{os.NewFile(uintptr(fd), "inotify")}
}

// count returns how many files were opened since it was asked last. Folders do not
// count.
func (o opens) count(t *testing.T) (n int) {
	t.Helper()
	buf := make([]byte, 64<<10)
	for {
		got, err := unix.Read(int(o.Fd()), buf)
		if err != nil {
			return n // no more
		}
		for at := 0; at < got; {
			e := (*unix.InotifyEvent)(unsafe.Pointer(&buf[at]))
			if e.Mask&unix.IN_ISDIR == 0 && e.Len > 0 {
				n++
			}
			at += unix.SizeofInotifyEvent + int(e.Len)
		}
	}
}

// checkListing goes through all functions page by page.
func checkListing(t *testing.T, s *site) {
	t.Helper()
	all, err := s.Functions(t.Context())
	if err != nil || len(all) != many+1 {
		t.Errorf("%d functions are listed, %v", len(all), err)
	}
}

// checkScrape: the series do not grow with the functions, and those that are used
// have their own.
func checkScrape(t *testing.T, s *site) {
	t.Helper()
	reply, err := http.Get(s.url + api.PathMetrics)
	if err != nil {
		t.Fatal(err)
	}
	defer reply.Body.Close()
	text, err := io.ReadAll(reply.Body)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(text), "\n"); n > 3000 {
		t.Errorf("a scrape has %d lines", n)
	}
	for _, want := range []string{fmt.Sprintf("thaw_functions %d\n", many+1), `gateway_service_count{function_name="probe"}`, `thaw_working_set_bytes{function="probe"}`} {
		if !strings.Contains(string(text), want) {
			t.Errorf("a scrape lacks %s", want)
		}
	}
}

// shareImages gives a second daemon the images of the first, whose folder is locked.
func shareImages(t testing.TB) string {
	t.Helper()
	from := filepath.Join(testcache.Dir(t), "images")
	to, err := os.MkdirTemp(testcache.Dir(t), "shared-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(to) })
	err = filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		name := filepath.Join(to, strings.TrimPrefix(path, from))
		switch {
		case err != nil || path == from || d.Name() == "lock":
			return err
		case d.IsDir():
			return os.Mkdir(name, 0o755)
		}
		return os.Link(path, name)
	})
	if err != nil {
		t.Fatal(err)
	}
	return to
}

// BenchmarkFunctions measures a daemon with ten functions and one with ten thousand,
// in turns, and prints every sample in Go's format:
//
//	go test ./e2e -run '^$' -bench Functions -benchtime 200x
func BenchmarkFunctions(b *testing.B) {
	images := map[int]string{10: filepath.Join(testcache.Dir(b), "images"), many: shareImages(b)}
	sites := map[int]*site{}
	for _, n := range []int{10, many} {
		state := b.TempDir()
		populate(b, state, n-1)
		began := time.Now()
		sites[n] = open(b, state, func(c *daemon.Config) { c.ImageDir = images[n] })
		sample("start", n, time.Since(began))
		sites[n].deploy(b, "probe", "testdata/probe", thaw.Settings{})
		sites[n].warm(b, "probe", helloEvent)
	}
	for i := 0; b.Loop(); i++ {
		for _, n := range []int{10, many} {
			measureSite(b, sites[n], n, i%20 == 0)
		}
	}
}

func sample(op string, n int, took time.Duration) {
	fmt.Printf("BenchmarkFunctions/op=%s/functions=%d 1 %d ns/op\n", op, n, took.Nanoseconds())
}

func measureSite(b *testing.B, s *site, n int, whole bool) {
	b.Helper()
	took := func(op, method, path, body string) {
		began := time.Now()
		r, err := http.NewRequestWithContext(b.Context(), method, s.url+path, strings.NewReader(body))
		if err != nil {
			b.Fatal(err)
		}
		reply, err := http.DefaultClient.Do(r)
		if err != nil {
			b.Fatal(err)
		}
		_, err = io.Copy(io.Discard, reply.Body)
		if reply.Body.Close(); err != nil || reply.StatusCode != 200 {
			b.Fatal(reply.Status, err)
		}
		sample(op, n, time.Since(began))
		if op == "warm" {
			phases, _ := api.ParseTiming(reply.Header.Get(api.HeaderServerTiming))
			sample("overhead", n, time.Since(began)-time.Duration(phases[thaw.PhaseInvoke]*1e6))
		}

	}
	took("warm", "POST", api.PathInvokePrefix+"probe"+api.PathInvokeSuffix, helloEvent)
	took("describe", "GET", api.PathFunctions+"/probe", "")
	if whole {
		took("list", "GET", api.PathFunctions, "")
		took("openfaas", "GET", api.PathOpenFaaSList, "")
		took("scrape", "GET", api.PathMetrics, "")
	}
}
