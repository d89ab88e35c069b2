package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"thaw"
	"thaw/image"
	"thaw/internal/testcache"
)

// bootstrap builds the example of the provided runtime, which boots quickly, with a
// file beside it, so that each text makes another code disk.
func bootstrap(t *testing.T, text string) (folder string) {
	t.Helper()
	folder = t.TempDir()
	cmd := exec.Command("go", "build", "-o", filepath.Join(folder, "bootstrap"), "../examples/provided-go")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	if err := os.WriteFile(filepath.Join(folder, "text"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return folder
}

// ownImages gives a state folder images of its own, so that its daemons remove those
// that nobody needs, and returns their flags. The kernel, which would be a download, is
// the cache's.
func ownImages(t *testing.T, state string) (flags []string) {
	t.Helper()
	folder, flags := filepath.Join(state, "images"), []string{"--images", ""}
	kept := filepath.Join(testcache.Dir(t), "images")
	link, err := os.Readlink(filepath.Join(kept, "kernel"))
	if err != nil {
		return flags // it is downloaded
	}
	if err := errors.Join(os.MkdirAll(folder, 0o755), os.Symlink(link, filepath.Join(folder, "kernel")),
		os.CopyFS(filepath.Join(folder, link), os.DirFS(filepath.Join(kept, link)))); err != nil {
		t.Fatal(err)
	}
	return flags
}

// primed are settings with sample events.
func primed() thaw.Settings {
	return thaw.Settings{Runtime: thaw.RuntimeProvided, MemoryBytes: thaw.MinMemory, Prime: []json.RawMessage{[]byte(`{"name": "Ada"}`), []byte(`{}`)}}
}

// deployUntil deploys folder and kills the daemon when it is told of step, or lets it
// go on for "".
func (p *program) deployUntil(t *testing.T, folder, step string) (v thaw.Version, err error) {
	t.Helper()
	r, w := io.Pipe()
	go func() { w.CloseWithError(image.Pack(folder, w)) }()
	defer r.Close()
	var steps []string
	v, err = p.Deploy(t.Context(), "go", primed(), r, func(e thaw.DeployEvent) {
		if e.DurationMS > 0 {
			steps = append(steps, e.Step)
		}
		if e.Step == step && e.DurationMS == 0 && e.Message == "" {
			p.kill(t)
		}
	})
	if want := thaw.PublishSteps(); step == "" && err == nil && !slices.Equal(steps, want) {
		t.Errorf("steps %v, want %v", steps, want)
	}
	return v, err
}

// kill kills the daemon and waits until its VMs are gone.
func (p *program) kill(t *testing.T) {
	pids := children(p.cmd.Process.Pid)
	if err := p.cmd.Process.Kill(); err != nil {
		t.Error(err)
	}
	_ = p.cmd.Wait()
	gone(t, pids)
}

// latest waits until the latest deploy of the function is over.
func (p *program) latest(t *testing.T, function string) (last thaw.Publish) {
	t.Helper()
	eventually(t, "the end of the deploy", func() bool {
		all, err := p.Publishes(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(all, func(p thaw.Publish) bool { return p.Function == function })
		if i < 0 {
			t.Fatalf("nothing is known of a deploy of %s: %+v", function, all)
		}
		last = all[i]
		return last.State != thaw.PublishRunning
	})
	return last
}

// greet invokes the function that serves and returns its version.
func (p *program) greet(t *testing.T, function string) int {
	t.Helper()
	r, err := p.InvokeRecorded(t.Context(), thaw.InvokeRequest{Function: function, Payload: []byte(`{"name": "Bo"}`), Cold: true, Discard: true})
	if err != nil || string(r.Payload) != `{"message":"Hello, Bo!"}` || r.Start != thaw.StartCold {
		t.Fatalf("%v: %s, %s start: %s\n%s", err, r.Payload, r.Start, r.Reason, p.err)
	}
	return r.Version
}

// TestPublishKilled kills the daemon at each step of a deploy. The next one serves the
// version before at once, and resumes the deploy from what the journal has: nothing but
// the build is undone. Nothing is left that belongs to nobody.
func TestPublishKilled(t *testing.T) {
	bin, state := build(t), t.TempDir()
	images := ownImages(t, state)
	p := serve(t, bin, state, images...)
	serving, err := p.deployUntil(t, bootstrap(t, "first"), "")
	if err != nil {
		t.Fatalf("%v\n%s", err, p.err)
	}
	wanted := "" // in the log of the daemon that runs
	for _, step := range thaw.PublishSteps() {
		_, err := p.deployUntil(t, bootstrap(t, step), step)
		if err == nil && step != thaw.StepActivate { // one transaction may be quicker than a kill
			t.Fatalf("%s: the deploy has ended before the kill", step)
		}
		if log := p.err.String(); !strings.Contains(log, wanted) { // whole, as it has ended
			t.Errorf("before %s: no %q in the log:\n%s", step, wanted, log)
		}
		p = serve(t, bin, state, images...)
		if n := p.greet(t, "go"); n < serving.Number || n > serving.Number+1 {
			t.Errorf("%s: version %d serves after the kill, want that before", step, n)
		}
		last := p.latest(t, "go")
		checkKilled(t, p, step, last)
		wanted = "the deploy is done, its version serves"
		if step == thaw.StepBuild {
			wanted = "a deploy that was under way is undone"
		}
		if last.State == thaw.PublishDone {
			serving.Number = last.Number
		}
		if n := p.greet(t, "go"); n != serving.Number {
			t.Errorf("%s: version %d serves, want %d", step, n, serving.Number)
		}
		p.checkTidy(t, state, step)
	}
	// One is resumed a few times, and not for ever.
	if _, err := p.deployUntil(t, bootstrap(t, "often"), thaw.StepBoot); err == nil {
		t.Fatal("the deploy has ended before the kill")
	}
	for range 3 {
		p = serve(t, bin, state, images...)
		eventually(t, "the boot", func() bool { return len(children(p.cmd.Process.Pid)) > 1 })
		p.kill(t)
	}
	p = serve(t, bin, state, images...)
	last := p.latest(t, "go")
	if last.State != thaw.PublishFailed || !strings.Contains(last.Error, "4 daemons have ended during it") || p.greet(t, "go") != serving.Number {
		t.Errorf("after four kills: %+v", last)
	}
	p.checkTidy(t, state, "four kills")
	out, code := execute(t, bin, []string{"THAW_ADDR=" + p.Addr()}, "describe", "go")
	if code != 0 || !strings.Contains(out, "4 daemons have ended during it") {
		t.Errorf("exit %d: %s", code, out)
	}
}

// checkKilled wants what the documentation promises of a kill during step.
func checkKilled(t *testing.T, p *program, step string, last thaw.Publish) {
	t.Helper()
	if step == thaw.StepBuild {
		if last.State != thaw.PublishFailed || !strings.Contains(last.Error, "while the code was on its way") {
			t.Errorf("%s: %+v", step, last)
		}
		return
	}
	if last.State != thaw.PublishDone || last.Resumed != 1 && step != thaw.StepActivate {
		t.Errorf("%s: %+v", step, last)
	}
	v, err := p.Describe(t.Context(), "go")
	if err != nil || v.Number != last.Number || v.Snapshot == "" || v.SnapshotInfo == nil || v.SnapshotInfo.WorkingSetPages == 0 || v.Deploy == nil || v.Deploy.Resumed != last.Resumed {
		t.Errorf("%s: %v, %+v", step, err, v)
	}
}

// checkTidy wants a snapshot and a code disk for each version, and nothing else.
func (p *program) checkTidy(t *testing.T, state, step string) {
	t.Helper()
	versions, err := p.Versions(t.Context(), "go")
	if err != nil {
		t.Fatal(err)
	}
	var snapshots, disks []string
	for _, v := range versions {
		snapshots = append(snapshots, filepath.Join(state, "snapshots", v.Snapshot))
		disks = append(disks, filepath.Join(state, "images", "code-"+v.Images.Code+".erofs"))
	}
	for pattern, want := range map[string][]string{"snapshots/*": snapshots, "images/code-*": disks, "snapshots/*/.*": nil, "quarantine/*": nil, "images/tmp-*": nil} {
		got, err := filepath.Glob(filepath.Join(state, pattern))
		slices.Sort(want)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %s is %v, want %v", step, pattern, got, want)
		}
	}
}

// TestPrime deploys with sample events, also those at which the function fails.
func TestPrime(t *testing.T) {
	s := open(t, t.TempDir(), nil)
	tried := func(events ...string) (thaw.Version, []thaw.DeployEvent, error) {
		settings := thaw.Settings{Timeout: thaw.MinTimeout * 20}
		for _, e := range events {
			settings.Prime = append(settings.Prime, []byte(e))
		}
		r, w := io.Pipe()
		go func() { w.CloseWithError(image.Pack("testdata/probe", w)) }()
		defer r.Close()
		var told []thaw.DeployEvent
		v, err := s.Deploy(t.Context(), "probe", settings, r, func(e thaw.DeployEvent) { told = append(told, e) })
		return v, told, err
	}
	v, told, err := tried(helloEvent, `{"do": "who"}`)
	if err != nil {
		t.Fatal(err)
	}
	message := func(step string) string {
		i := slices.IndexFunc(told, func(e thaw.DeployEvent) bool { return e.Step == step && e.DurationMS > 0 })
		if i < 0 {
			return "it was not taken"
		}
		return told[i].Message
	}
	for step, want := range map[string]string{thaw.StepPrime: "2 events", thaw.StepVerify: "replies to prime event 1", thaw.StepRecord: "by 2 prime events"} {
		if got := message(step); !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", step, got, want)
		}
	}
	// The first cold start has a working set, which fits.
	r := s.cold(t, "probe", thaw.PolicyThaw, helloEvent)
	hello(t, r, thaw.StartCold, thaw.PolicyThaw)
	if r.PagesPrefetched == 0 || r.PagesRecorded != 0 {
		t.Errorf("the first cold start had %d pages prefetched, and recorded %d", r.PagesPrefetched, r.PagesRecorded)
	}
	for events, want := range map[string]string{
		`{"do": "raise"}`:                "prime event 2 of 2 failed: ValueError: that is no number",
		`{"do": "sleep", "seconds": 60}`: "prime event 2 of 2 failed: " + thaw.ErrorTypeTimeout,
		`{"do": "exit"}`:                 "prime event 2 of 2 failed: " + thaw.ErrorTypeExit,
	} {
		_, _, err := tried(helloEvent, events)
		if thaw.CodeOf(err) != thaw.CodeFunction || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", events, err, want)
		}
		if strings.Contains(events, "raise") && !strings.Contains(err.Error(), "the last it wrote:\n[ERROR] ValueError") {
			t.Errorf("%s: %v, want what it wrote", events, err)
		}
	}
	if d := s.describe(t, "probe"); d.Number != v.Number || d.Deploy == nil || d.Deploy.State != thaw.PublishFailed || d.Deploy.Step != thaw.StepPrime {
		t.Errorf("after deploys that failed: version %d, %+v", d.Number, d.Deploy)
	}
}

// TestDetached leaves a deploy to the daemon, and to the next one when that ends.
func TestDetached(t *testing.T) {
	bin, state := build(t), t.TempDir()
	p := serve(t, bin, state)
	detach := func(ctx context.Context, text string) thaw.Publish {
		t.Helper()
		r, w := io.Pipe()
		go func(folder string) { w.CloseWithError(image.Pack(folder, w)) }(bootstrap(t, text))
		defer r.Close()
		how, err := p.DeployDetached(ctx, "go", primed(), r)
		if err != nil || how.State != thaw.PublishRunning || how.Number == 0 || !how.Detached {
			t.Fatalf("%v: %+v", err, how)
		}
		return how
	}
	ctx, cancel := context.WithCancel(t.Context())
	first := detach(ctx, "first")
	cancel() // nobody waits
	if last := p.latest(t, "go"); last.State != thaw.PublishDone || last.Number != first.Number || p.greet(t, "go") != first.Number {
		t.Errorf("%+v", last)
	}
	second := detach(t.Context(), "second")
	p.stop(t)
	p = serve(t, bin, state)
	if last := p.latest(t, "go"); last.State != thaw.PublishDone || last.Number != second.Number || last.Resumed != 1 || p.greet(t, "go") != second.Number {
		t.Errorf("%+v", last)
	}
}

// stop ends the daemon in an orderly way.
func (p *program) stop(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Wait(); err != nil {
		t.Errorf("the daemon ended with %v\n%s", err, p.err)
	}
}

// TestVerifyFails deploys a function that replies once in its life: its snapshot is of
// no use, which is said wherever somebody looks.
func TestVerifyFails(t *testing.T) {
	s := open(t, t.TempDir(), nil)
	folder := t.TempDir()
	code := "n = 0\ndef handler(event, context):\n    global n\n    n += 1\n    if n > 1:\n        raise ValueError('once only')\n    return n\n"
	if err := os.WriteFile(filepath.Join(folder, "app.py"), []byte(code), 0o644); err != nil {
		t.Fatal(err)
	}
	v := s.deploy(t, "once", folder, thaw.Settings{Prime: []json.RawMessage{[]byte(`{}`)}})
	if v.Snapshot != "" || !strings.Contains(v.Problem, "prime event 1 of 1 failed: ValueError: once only") {
		t.Errorf("snapshot %q, problem %q", v.Snapshot, v.Problem)
	}
	for id, d := range statuses(t, s) {
		if d.Status != thaw.SnapshotQuarantined || !strings.Contains(d.Problem, "once only") {
			t.Errorf("snapshot %s: %s, %s", id, d.Status, d.Problem)
		}
	}
	if log := s.log.String(); !strings.Contains(log, "level=ERROR msg=\"snapshot is put in quarantine, every start will be a boot\"") {
		t.Errorf("no error in the log:\n%s", log)
	}
	bin, env := build(t), []string{"THAW_ADDR=" + s.url}
	for _, command := range [][]string{{"ls"}, {"describe", "once"}} {
		if out, code := execute(t, bin, env, command...); code != 0 || !strings.Contains(out, "warning: no snapshot, every start of once is a boot") {
			t.Errorf("%v: exit %d: %s", command, code, out)
		}
	}
	if got := s.metrics(t); !strings.Contains(got, "\nthaw_versions_without_snapshot 1\n") {
		t.Errorf("metrics:\n%s", got)
	}
	if r := s.warm(t, "once", `{}`); r.Start != thaw.StartBoot || string(r.Payload) != "1" {
		t.Errorf("%s start: %s", r.Start, r.Payload)
	}
	if out, code := execute(t, bin, env, "ps"); code != 0 || !strings.Contains(out, "warning: no snapshot, every start of once is a boot") {
		t.Errorf("exit %d: %s", code, out)
	}
}

// metrics scrapes.
func (s *site) metrics(t *testing.T) string {
	t.Helper()
	reply, err := http.Get(s.url + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer reply.Body.Close()
	b, err := io.ReadAll(reply.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
