package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"

	"thaw"
	"thaw/client"
)

// TestSoak invokes many functions in every way at once, kills the daemon twice
// meanwhile, and then accounts for every request and for what is left. SOAK is for how
// long: make soak takes ten minutes.
func TestSoak(t *testing.T) {
	s := newSoak(t)
	s.deployAll()
	s.note("begin")
	before := s.disk()
	for range 2 {
		s.load(s.duration / 3)
		s.kill()
	}
	fresh := s.scrape()
	s.load(s.duration / 3)
	s.drain()
	left := s.idle(fresh)
	s.note("end")
	t.Logf("the daemon's last life: %s when fresh, %s when idle again", fresh, left)
	fresh.judge(t, left, len(s.functions))
	s.stop()
	s.judge(before)
}

// The figures of a soak. Of a function there are few instances, so that they are evicted
// for others all the time.
const (
	soakFunctions = 20
	soakShort     = 5 // functions of a soak of less than soakLong
	soakLong      = 5 * time.Minute
	soakCallers   = 6
	soakAsync     = 2
	soakWaiting   = 40 // asynchronous invocations that are not done
	soakInstances = 6
)

// soak is a run under way.
type soak struct {
	t         *testing.T
	bin       string
	state     string
	duration  time.Duration
	functions []string
	server    *httptest.Server // takes callbacks
	began     time.Time

	daemon atomic.Pointer[program]
	lives  atomic.Int64 // odd while the daemon is down

	mu     sync.Mutex
	fates  map[string]fate
	called map[string]int    // asynchronous results that came, by nonce
	ids    map[string]string // request ids of those that were accepted
	wrong  []string
	took   []time.Duration
	starts map[thaw.Start]int
}

// fate is what became of a request, as far as its caller knows.
type fate int

const (
	answered fate = iota + 1
	refused       // at a limit: it was not executed
	cutOff        // by a kill: nobody knows
	accepted      // asynchronous: it must be done
)

func newSoak(t *testing.T) *soak {
	s := &soak{
		t: t, bin: build(t), state: t.TempDir(), duration: 15 * time.Second, began: time.Now(),
		fates: map[string]fate{}, called: map[string]int{}, ids: map[string]string{}, starts: map[thaw.Start]int{},
	}
	if text := os.Getenv("SOAK"); text != "" {
		var err error
		if s.duration, err = time.ParseDuration(text); err != nil {
			t.Fatalf("SOAK is a duration: %v", err)
		}
	}
	n := soakShort
	if s.duration >= soakLong {
		n = soakFunctions
	}
	for i := range n {
		s.functions = append(s.functions, fmt.Sprintf("%s-%d", soakKinds[i%len(soakKinds)], i))
	}
	s.server = httptest.NewServer(http.HandlerFunc(s.callback))
	t.Cleanup(s.server.Close)
	s.start()
	return s
}

func (s *soak) start() {
	s.daemon.Store(serve(s.t, s.bin, s.state, "--max-instances", fmt.Sprint(soakInstances), "--max-per-function", "3",
		"--async-workers", "3", "--async-delay", "1s", "--idle-timeout", "20s"))
}

// soakKinds are what the functions are: the first part of their names.
var soakKinds = []string{"python3", "provided", "node", "http", "image"}

// deployAll deploys the functions, two at a time, as the daemon boots.
func (s *soak) deployAll() {
	program := goBuild(s.t, "bootstrap", "./testdata/soak/provided")
	folders := map[string]string{
		"python3": "testdata/soak/python3", "node": "testdata/soak/node",
		"provided": filepath.Dir(program), "http": filepath.Dir(goBuild(s.t, "bootstrap", "./testdata/soak/http")),
	}
	container := writeImage(s.t, buildImage(s.t, v1.Config{Entrypoint: []string{"/function"}}, "amd64", functionLayer(s.t, program)))
	var work errgroup.Group
	work.SetLimit(2)
	for _, name := range s.functions {
		kind, _, _ := strings.Cut(name, "-")
		work.Go(func() (err error) {
			var v thaw.Version
			settings := thaw.Settings{MemoryBytes: thaw.MinMemory}
			if kind == "image" {
				settings.Image = &thaw.ContainerImage{Reference: container}
				v, err = deployImage(s.t.Context(), s.daemon.Load(), name, settings)
			} else {
				settings.Runtime = thaw.Runtime(kind)
				v, err = deployFolder(s.t.Context(), s.daemon.Load(), name, folders[kind], settings, nil)
			}
			if err == nil && v.Snapshot == "" {
				err = errors.New(v.Problem)
			}
			return err
		})
	}
	if err := work.Wait(); err != nil {
		s.t.Fatalf("deploy: %v\n%s", err, s.daemon.Load().err)
	}
}

// load has everyone call for a while. What is under way then is waited for, unless it
// is the daemon that goes next: kill does that in the middle.
func (s *soak) load(d time.Duration) {
	ctx, cancel := context.WithTimeout(s.t.Context(), d)
	defer cancel()
	var work sync.WaitGroup
	for range soakCallers {
		work.Go(func() { s.call(ctx) })
	}
	for range soakAsync {
		work.Go(func() { s.callAsync(ctx) })
	}
	<-ctx.Done()
	work.Wait()
}

// kill ends the daemon in the middle of all, and starts it again.
func (s *soak) kill() {
	s.t.Helper()
	ctx, stop := context.WithCancel(s.t.Context())
	var work sync.WaitGroup
	for range soakCallers {
		work.Go(func() { s.call(ctx) })
	}
	for range soakAsync {
		work.Go(func() { s.callAsync(ctx) })
	}
	time.Sleep(2*time.Second + rand.N(time.Second)) // they are at it
	p := s.daemon.Load()
	pids := vmms(s.t, p.cmd.Process.Pid)
	s.lives.Add(1)
	if err := p.cmd.Process.Kill(); err != nil {
		s.t.Fatal(err)
	}
	_ = p.cmd.Wait()
	stop()
	work.Wait()
	gone(s.t, pids)
	p.Close()
	s.start()
	s.lives.Add(1)
	s.note(fmt.Sprintf("killed with %d VMs", len(pids)))
}

// pick chooses a function, few of them much oftener.
func (s *soak) pick() string {
	n := len(s.functions)
	return s.functions[min(rand.N(n), rand.N(n))]
}

// nonce begins with a kind.
func nonce(kind string) string { return fmt.Sprintf("%s%016x", kind, rand.Uint64()) }

// The kinds of nonces.
const (
	soakSync = "s"
	soakLate = "a"
)

func eventOf(nonce string) []byte { return fmt.Appendf(nil, `{"nonce": "%s"}`, nonce) }

// call invokes and waits, one after the other: warm mostly, and cold by any policy.
func (s *soak) call(ctx context.Context) {
	policies := []thaw.Policy{thaw.PolicyAuto, thaw.PolicyThaw, thaw.PolicyReap, thaw.PolicyFaaSnap, thaw.PolicyVanilla, thaw.PolicyEager}
	for ctx.Err() == nil {
		id, life := nonce(soakSync), s.lives.Load()
		r := thaw.InvokeRequest{Function: s.pick(), Payload: eventOf(id)}
		if rand.N(8) == 0 {
			r.Cold, r.Discard, r.Policy = true, rand.N(2) == 0, policies[rand.N(len(policies))]
		}
		began := time.Now()
		reply, err := s.daemon.Load().Invoke(context.WithoutCancel(ctx), r)
		if err != nil {
			s.settle(id, s.failed(life, "invoke "+r.Function, err))
			continue
		}
		if err := checkReply(reply.Payload, id, r.Function); err != nil || reply.FunctionError != "" {
			s.complain("%s: %s %v", r.Function, reply.FunctionError, err)
		}
		s.settle(id, answered)
		s.mu.Lock()
		s.took = append(s.took, time.Since(began))
		s.starts[reply.Start]++
		s.mu.Unlock()
	}
}

func checkReply(payload []byte, nonce, function string) error {
	var got struct{ Nonce, Function string }
	if err := json.Unmarshal(payload, &got); err != nil {
		return fmt.Errorf("%.200q: %w", payload, err)
	}
	if got.Nonce != nonce || got.Function != function {
		return fmt.Errorf("the reply %.200q is another's: want %s of %s", payload, nonce, function)
	}
	return nil
}

// failed tells a request that a kill has cut off or that a limit kept out from one
// that should have worked.
func (s *soak) failed(life int64, what string, err error) fate {
	now := s.lives.Load()
	switch {
	case thaw.CodeOf(err) == thaw.CodeThrottled:
		time.Sleep(50 * time.Millisecond)
		return refused
	case now != life || now%2 == 1:
		time.Sleep(50 * time.Millisecond)
		return cutOff
	case errors.Is(err, client.ErrUnreachable):
		time.Sleep(50 * time.Millisecond)
	}
	s.complain("%s: %v", what, err)
	return cutOff
}

// callAsync has invocations accepted, as long as not too many wait.
func (s *soak) callAsync(ctx context.Context) {
	for ctx.Err() == nil {
		if s.waiting() >= soakWaiting {
			time.Sleep(20 * time.Millisecond)
			continue
		}
		id, life, function := nonce(soakLate), s.lives.Load(), s.pick()
		request, err := s.post(ctx, function, id)
		if err != nil {
			s.settle(id, s.failed(life, "accept for "+function, err))
			continue
		}
		s.settle(id, accepted)
		s.mu.Lock()
		s.ids[id] = request
		s.mu.Unlock()
	}
}

// post has one accepted, with a callback, and returns its request id.
func (s *soak) post(ctx context.Context, function, id string) (string, error) {
	r, err := http.NewRequestWithContext(context.WithoutCancel(ctx), http.MethodPost, s.daemon.Load().Addr()+"/async-function/"+function, strings.NewReader(string(eventOf(id))))
	if err != nil {
		return "", err
	}
	r.Header.Set("X-Callback-Url", s.server.URL)
	r.Header.Set("Content-Type", "application/json")
	reply, err := http.DefaultClient.Do(r)
	if err != nil {
		return "", err
	}
	defer reply.Body.Close()
	text, err := io.ReadAll(reply.Body)
	switch {
	case err != nil:
		return "", err
	case reply.StatusCode == http.StatusTooManyRequests:
		return "", thaw.Errorf(thaw.CodeThrottled, "%s", text)
	case reply.StatusCode != http.StatusAccepted:
		return "", fmt.Errorf("%s: %s", reply.Status, text)
	}
	return reply.Header.Get("X-Call-Id"), nil
}

// callback takes the result of an asynchronous invocation.
func (s *soak) callback(_ http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	var got struct{ Nonce, Function string }
	if err := json.Unmarshal(body, &got); err != nil || got.Nonce == "" || r.Header.Get("X-Function-Status") != "200" {
		s.complain("callback with status %s: %.200q", r.Header.Get("X-Function-Status"), body)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.called[got.Nonce]++
}

func (s *soak) settle(id string, f fate) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fates[id] = f
}

func (s *soak) complain(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wrong = append(s.wrong, time.Since(s.began).Round(time.Second).String()+" "+fmt.Sprintf(format, args...))
}

// waiting is how many accepted invocations have no result yet.
func (s *soak) waiting() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id := range s.ids {
		if s.called[id] == 0 {
			n++
		}
	}
	return n
}

// drain waits until everything accepted is done or dead.
func (s *soak) drain() {
	s.t.Helper()
	for deadline := time.Now().Add(3 * time.Minute); ; time.Sleep(200 * time.Millisecond) {
		items, err := s.daemon.Load().Queue(s.t.Context(), thaw.ItemFilter{})
		if err != nil {
			s.t.Fatal(err)
		}
		alive := 0
		for _, it := range items {
			if it.State != thaw.ItemDead {
				alive++
			}
		}
		if alive == 0 {
			s.bury(items)
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("%d items are in the queue still, such as %+v", alive, items[0])
		}
	}
}

// bury counts dead letters as done, and complains: nothing here should die.
func (s *soak) bury(dead []thaw.QueueItem) {
	for _, it := range dead {
		s.complain("dead letter %s of %s: %+v", it.ID, it.Function, it.Attempts)
		s.mu.Lock()
		for id, request := range s.ids {
			if request == it.ID {
				s.called[id]++
			}
		}
		s.mu.Unlock()
	}
}

// stop ends the daemon as a signal does.
func (s *soak) stop() {
	s.t.Helper()
	p := s.daemon.Load()
	pids := vmms(s.t, p.cmd.Process.Pid)
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		s.t.Fatal(err)
	}
	if err := p.cmd.Wait(); err != nil {
		s.t.Errorf("the daemon's end: %v\n%s", err, p.err)
	}
	gone(s.t, pids)
}
