package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"thaw"
	"thaw/gateway/api"
)

// figures are what a daemon occupies.
type figures struct{ descriptors, goroutines, resident, vmms int64 }

func (f figures) String() string {
	return fmt.Sprintf("%d descriptors, %d goroutines, %d MiB, %d VMMs", f.descriptors, f.goroutines, f.resident>>20, f.vmms)
}

// The bounds of what may stay: a log of each function is open, connections are kept.
const (
	soakDescriptors = 10 // besides the logs
	soakGoroutines  = 20
	soakMemory      = 64 << 20
)

// near says whether a daemon that is idle again is much what it was when it was fresh.
func (f figures) near(idle figures, logs int) bool {
	return idle.descriptors <= f.descriptors+int64(logs)+soakDescriptors && idle.goroutines <= f.goroutines+soakGoroutines &&
		idle.resident <= f.resident+soakMemory && idle.vmms <= f.vmms+1
}

func (f figures) judge(t *testing.T, idle figures, logs int) {
	t.Helper()
	if !f.near(idle, logs) {
		t.Errorf("the daemon leaks: %s, and %s when it was fresh", idle, f)
	}
}

func (s *soak) scrape() (f figures) {
	s.t.Helper()
	reply, err := http.Get(s.daemon.Load().Addr() + api.PathMetrics)
	if err != nil {
		s.t.Fatal(err)
	}
	defer reply.Body.Close()
	fields := map[string]*int64{"process_open_fds": &f.descriptors, "go_goroutines": &f.goroutines, "process_resident_memory_bytes": &f.resident}
	lines := bufio.NewScanner(reply.Body)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), " ")
		if to := fields[name]; to != nil {
			n, err := strconv.ParseFloat(value, 64)
			if err != nil {
				s.t.Fatal(err)
			}
			*to = int64(n)
		}
	}
	f.vmms = int64(len(vmms(s.t, s.daemon.Load().cmd.Process.Pid)))
	return f
}

// note prints how it stands.
func (s *soak) note(what string) {
	s.mu.Lock()
	requests, results := len(s.fates), len(s.called)
	s.mu.Unlock()
	s.t.Logf("%6s %s: %d requests, %d asynchronous results, %s", time.Since(s.began).Round(time.Second), what, requests, results, s.scrape())
}

// soakSettle is how long VMs may take to end.
const soakSettle = 30 * time.Second

// idle ends every VM that waits, and says what is left when all have gone.
func (s *soak) idle(fresh figures) (left figures) {
	s.t.Helper()
	p := s.daemon.Load()
	for _, name := range s.functions {
		if err := p.EndIdle(s.t.Context(), name); err != nil {
			s.t.Error(err)
		}
	}
	eventually(s.t, "no instance is left, and VMMs wait", func() bool {
		list, err := p.Instances(s.t.Context())
		info, ierr := p.Info(s.t.Context())
		return err == nil && ierr == nil && len(list) == 0 && info.PrestartedFull
	})
	p.Close()
	http.DefaultClient.CloseIdleConnections()
	for deadline := time.Now().Add(soakSettle); time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) {
		if left = s.scrape(); fresh.near(left, len(s.functions)) {
			break
		}
	}
	return left
}

// disk is what the state folder occupies, logs and the queue left out, which grow.
func (s *soak) disk() (bytes int64) {
	s.t.Helper()
	err := filepath.WalkDir(s.state, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if rel, _ := filepath.Rel(s.state, path); strings.HasPrefix(rel, "logs") || rel == "queue.db" {
			return nil
		}
		info, err := d.Info()
		if err == nil {
			bytes += info.Sys().(*syscall.Stat_t).Blocks * 512
		}
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return bytes
}

// judge accounts for every request, and for what is left on the disk.
func (s *soak) judge(before int64) {
	s.t.Helper()
	for _, w := range s.wrong[:min(len(s.wrong), 20)] {
		s.t.Error(w)
	}
	if len(s.wrong) > 20 {
		s.t.Errorf("and %d more", len(s.wrong)-20)
	}
	executed := s.executed()
	count := map[fate]int{}
	lost, doubled, undone, again := 0, 0, 0, 0
	for id, f := range s.fates {
		n := executed[id]
		count[f]++
		switch {
		case f == answered && n == 0:
			lost++
		case f == refused && n > 0, strings.HasPrefix(id, soakSync) && n > 1:
			doubled++
		case f == accepted && s.called[id] == 0:
			undone++
		case f == accepted && n > 1:
			again++ // at least once is what is promised
		}
	}
	s.t.Logf("%d answered, %d accepted (%d of them executed more than once), %d refused, %d cut off; %d lost, %d doubled, %d accepted without a result",
		count[answered], count[accepted], again, count[refused], count[cutOff], lost, doubled, undone)
	if lost+doubled+undone > 0 || count[answered] == 0 || count[accepted] == 0 || s.starts[thaw.StartCold] == 0 || s.starts[thaw.StartWarm] == 0 {
		s.t.Error("requests are lost, doubled or not done, or there were none")
	}
	s.sum(before)
}

// sum prints the times, and looks at the disk.
func (s *soak) sum(before int64) {
	s.t.Helper()
	slices.Sort(s.took)
	at := func(share float64) time.Duration {
		return s.took[int(share*float64(len(s.took)-1))].Round(100 * time.Microsecond)
	}
	s.t.Logf("starts %v; median %s, 99th percentile %s, longest %s", s.starts, at(.5), at(.99), at(1))
	after := s.disk()
	s.t.Logf("state folder without logs and queue: %d MiB before, %d MiB after", before>>20, after>>20)
	// Working sets and loading sets are learned meanwhile: at most what is in use of
	// each guest's memory, twice.
	if allowed := int64(len(s.functions)) * 100 << 20; after > before+allowed {
		s.t.Errorf("the state folder grew by %d MiB", (after-before)>>20)
	}
	for _, pattern := range []string{"snapshots/draft-*", "snapshots/*/.*", "quarantine/*", ".*"} {
		if left, _ := filepath.Glob(filepath.Join(s.state, pattern)); len(left) > 0 {
			s.t.Errorf("left behind: %v", left)
		}
	}
}

// executed counts how often the functions say to have seen each nonce.
func (s *soak) executed() map[string]int {
	s.t.Helper()
	seen := map[string]int{}
	names, err := filepath.Glob(filepath.Join(s.state, "logs", "*.jsonl"))
	if err != nil || len(names) < len(s.functions) {
		s.t.Fatalf("%d logs, %v", len(names), err)
	}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			s.t.Fatal(err)
		}
		for line := range strings.Lines(string(b)) {
			var l thaw.LogLine
			if json.Unmarshal([]byte(line), &l) != nil {
				continue // torn by a kill
			}
			if id, ok := strings.CutPrefix(strings.TrimSpace(l.Text), "soak "); ok {
				seen[id]++
			}
		}
	}
	return seen
}
