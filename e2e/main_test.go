package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"thaw"
	"thaw/client"
	"thaw/daemon"
	"thaw/gateway"
	"thaw/gateway/api"
	"thaw/image"
	"thaw/internal/testcache"
	"thaw/metrics"
	"thaw/queue"
	"thaw/schedule"
)

// site is a daemon with its HTTP interface.
type site struct {
	*client.Client
	daemon *daemon.Daemon
	queue  *queue.Queue

	schedules *schedule.Scheduler

	state string
	url   string
	log   *bytes.Buffer
}

// requirements skips on a machine that cannot run VMs, and says what to do.
func requirements(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("VMs are controlled as root: run the tests with sudo")
	}
	for _, tool := range []string{"qemu-system-x86_64", "mmdebstrap", "mkfs.erofs"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is missing: run scripts/deps.sh", tool)
		}
	}
}

// open starts a daemon on state. The test closes it.
func open(t testing.TB, state string, change func(*daemon.Config)) *site {
	t.Helper()
	requirements(t)
	s := &site{state: state, log: &bytes.Buffer{}}
	shareAcceleration(t, state)
	cfg := daemon.Config{
		StateDir: state, ImageDir: filepath.Join(testcache.Dir(t), "images"), IdleTimeout: time.Minute,
		MaxInstances: 6, MaxPerFunction: 4, Prestarted: 1, PrestartedBytes: daemon.DefaultPrestartedBytes, Accelerator: "auto",
		NamedBy: func(ref thaw.Ref) string { return schedule.NamedBy(s.schedules.Schedules(), ref) },
		Logger:  slog.New(slog.NewTextHandler(&lockedWriter{w: s.log}, nil)),
	}
	shown := metrics.New("e2e")
	cfg.Observer = shown.Observe
	if change != nil {
		change(&cfg)
	}
	var err error
	if s.daemon, err = daemon.New(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	shareAcceleration(t, state)
	s.openQueue(t)
	shown.Watch(s.daemon)
	server := httptest.NewServer(gateway.New(gateway.Config{
		Invoker: s.daemon, Exchanger: s.daemon, Deployer: s.daemon, Publisher: s.daemon, Journal: s.daemon, Catalog: s.daemon, Finder: s.daemon, Versions: s.daemon, Snapshots: s.daemon, Verifier: s.daemon, Monitor: s.daemon,
		Acceptor: s.queue, Queue: s.queue, Schedules: s.schedules, Secrets: s.daemon, Metrics: shown.Handler(),
		Logger: slog.New(slog.DiscardHandler), // what matters is in the replies
		Info: func() api.Info {
			waiting, full := s.daemon.Prestarted()
			return api.Info{Version: "under test", Accelerator: s.daemon.Accelerator(), Prestarted: waiting, PrestartedFull: full}
		},
	}))
	s.url = server.URL
	if s.Client, err = client.New(strings.TrimPrefix(server.URL, "http://")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.Client.Close()
		server.Close()
		s.close(t)
		if t.Failed() {
			t.Logf("the daemon's log:\n%s", s.log)
		}
	})
	return s
}

// openQueue puts a queue before the daemon; failures are retried at once.
func (s *site) openQueue(t testing.TB) {
	t.Helper()
	retry := queue.DefaultRetry()
	retry.Function, retry.Platform = queue.Backoff{}, queue.Backoff{}
	callbacks := gateway.NewCallbacks()
	t.Cleanup(callbacks.Close)
	logger := slog.New(slog.DiscardHandler)
	var err error
	if s.queue, err = queue.Open(queue.Config{
		Path: filepath.Join(s.state, "queue.db"), Invoker: s.daemon, Deliver: callbacks, Limits: queue.DefaultLimits(), Retry: retry, Logger: logger,
	}); err != nil {
		t.Fatal(err)
	}
	s.schedules = schedule.Start(s.queue, nil, logger)
}

// shareAcceleration keeps what a daemon found out about this machine, in either
// direction: finding out that KVM does not work takes a while.
func shareAcceleration(t testing.TB, state string) {
	t.Helper()
	const name = "accelerator.json"
	kept, own := filepath.Join(testcache.Dir(t), name), filepath.Join(state, name)
	from, to := kept, own
	if _, err := os.Stat(own); err == nil {
		from, to = own, kept
	}
	b, err := os.ReadFile(from)
	if err != nil {
		return // nobody knows yet
	}
	if err := os.WriteFile(to, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// close ends the daemon; it may be called again.
func (s *site) close(t testing.TB) {
	t.Helper()
	if s.daemon == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	s.schedules.Close()
	if err := errors.Join(s.queue.Close(ctx), s.daemon.Close(ctx)); err != nil {
		t.Errorf("close the daemon: %v", err)
	}
	s.daemon = nil
}

// deployer is a daemon, or a client of one.
type deployer interface {
	Deploy(ctx context.Context, name string, settings thaw.Settings, code io.Reader, tell func(thaw.DeployEvent)) (thaw.Version, error)
}

// deployFolder deploys a folder as thaw deploy does.
func deployFolder(ctx context.Context, d deployer, name, folder string, settings thaw.Settings, tell func(thaw.DeployEvent)) (thaw.Version, error) {
	r, w := io.Pipe()
	go func() { w.CloseWithError(image.Pack(folder, w)) }()
	defer r.Close()
	return d.Deploy(ctx, name, settings, r, tell)
}

// deploy deploys folder as name. What its starts record is the tests' own business.
func (s *site) deploy(t testing.TB, name, folder string, settings thaw.Settings) thaw.Version {
	t.Helper()
	settings.SkipRecord = true
	v, err := s.tryDeploy(t.Context(), name, folder, settings)
	if err != nil {
		t.Fatalf("deploy %s: %v", name, err)
	}
	return v
}

func (s *site) tryDeploy(ctx context.Context, name, folder string, settings thaw.Settings) (thaw.Version, error) {
	return deployFolder(ctx, s, name, folder, settings, func(thaw.DeployEvent) {})
}

// deployTelling deploys and returns what was said meanwhile.
func (s *site) deployTelling(t testing.TB, name, folder string, settings thaw.Settings) string {
	t.Helper()
	var said strings.Builder
	tell := func(e thaw.DeployEvent) { fmt.Fprintln(&said, e.Step, e.Message) }
	if _, err := deployFolder(t.Context(), s, name, folder, settings, tell); err != nil {
		t.Fatalf("deploy %s: %v", name, err)
	}
	return said.String()
}

// cold invokes function on a new instance.
func (s *site) cold(t testing.TB, function string, policy thaw.Policy, event string) thaw.Reply {
	t.Helper()
	return s.invoke(t, thaw.InvokeRequest{Function: function, Payload: []byte(event), Policy: policy, Cold: true})
}

func (s *site) warm(t testing.TB, function, event string) thaw.Reply {
	t.Helper()
	return s.invoke(t, thaw.InvokeRequest{Function: function, Payload: []byte(event)})
}

func (s *site) invoke(t testing.TB, r thaw.InvokeRequest) thaw.Reply {
	t.Helper()
	reply, err := s.InvokeRecorded(t.Context(), r)
	if err != nil {
		t.Fatalf("invoke %s: %v", r.Function, err)
	}
	return reply
}

// eventually waits for something that happens behind a reply.
func eventually(t testing.TB, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not after 2 min", what)
		}
	}
}

// recorded invokes function by reap until it has a working set.
func (s *site) recorded(t testing.TB, function, event string) (pages int64) {
	t.Helper()
	s.cold(t, function, thaw.PolicyReap, event)
	eventually(t, "a working set", func() bool {
		pages = s.describe(t, function).SnapshotInfo.WorkingSetPages
		return pages > 0
	})
	return pages
}

func (s *site) describe(t testing.TB, function string) thaw.Description {
	t.Helper()
	d, err := s.Describe(t.Context(), function)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func decode[T any](t testing.TB, payload []byte) (v T) {
	t.Helper()
	if err := json.Unmarshal(payload, &v); err != nil {
		t.Fatalf("reply %s: %v", payload, err)
	}
	return v
}

// vmms returns the QEMU processes that are children of pid.
func vmms(t testing.TB, pid int) []int {
	t.Helper()
	return children(pid)
}

func children(pid int) (pids []int) {
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid)) // the pattern is good
	for _, name := range tasks {
		b, err := os.ReadFile(name)
		if err != nil {
			continue // a thread that has just ended
		}
		for field := range strings.FieldsSeq(string(b)) {
			comm, _ := os.ReadFile("/proc/" + field + "/comm")
			if child, err := strconv.Atoi(field); err == nil && strings.HasPrefix(string(comm), "qemu") {
				pids = append(pids, child)
			}
		}
	}
	return pids
}
