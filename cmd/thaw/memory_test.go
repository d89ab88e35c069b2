package main

import (
	"archive/tar"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"thaw"
)

// memoryEngine keeps functions in memory and answers invocations with their
// event, so that what is under test is all that is in front of an engine.
type memoryEngine struct {
	mu        sync.Mutex
	functions map[string]thaw.Version   // those that serve
	versions  map[string][]thaw.Version // oldest first, none is ever missing
	pointers  map[string]thaw.Function
	secrets   map[string]thaw.Secret
	files     map[string][]string // of each function's code
	records   map[string]thaw.Invocation
	closed    bool
	observe   observer
	hold      chan struct{} // when set, invocations wait for it
	damaged   []string      // the files of snapshots that are
}

func newMemoryEngine() *memoryEngine {
	return &memoryEngine{functions: map[string]thaw.Version{}, versions: map[string][]thaw.Version{}, pointers: map[string]thaw.Function{}, files: map[string][]string{}, records: map[string]thaw.Invocation{}, secrets: map[string]thaw.Secret{}}
}

func (e *memoryEngine) Deploy(_ context.Context, name string, s thaw.Settings, code io.Reader, events func(thaw.DeployEvent)) (thaw.Version, error) {
	events(thaw.DeployEvent{Step: "build", Message: "building the code disk"})
	var files []string
	for r := tar.NewReader(code); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return thaw.Version{}, thaw.Errorf(thaw.CodeInvalid, "read code: %w", err)
		}
		files = append(files, h.Name)
	}
	events(thaw.DeployEvent{Step: "build", Message: "code disk built", DurationMS: 12.3})
	events(thaw.DeployEvent{Step: "init", Message: "starting the runtime"})
	if s.Env["FAIL"] != "" {
		return thaw.Version{}, thaw.Errorf(thaw.CodeFunction, "init failed: %s", s.Env["FAIL"])
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	v := thaw.Version{Function: name, Number: len(e.versions[name]) + 1, Settings: s, CodeBytes: 8192, Images: thaw.Images{Code: "c0de"}, Snapshot: goodID, Created: time.Now(), Problem: s.Env["PROBLEM"]}
	e.functions[name], e.files[name] = v, files
	e.versions[name], e.pointers[name] = append(e.versions[name], v), e.pointers[name].Move(v.Number)
	events(thaw.DeployEvent{Step: "activate", Message: "serving", DurationMS: 0.5, Version: &v})
	return v, nil
}

func (e *memoryEngine) Publishes(context.Context) ([]thaw.Publish, error) {
	began := time.Now().Add(-5 * time.Second)
	return []thaw.Publish{
		{Function: "bad", State: thaw.PublishFailed, Step: thaw.StepBuild, Began: began, Ended: began.Add(time.Second), Error: "undone: the daemon ended\nmore", Code: thaw.CodeUnavailable},
		{Function: "hello", Number: 3, State: thaw.PublishRunning, Step: thaw.StepPrime, Began: began, Detached: true, Resumed: 1,
			Steps: []thaw.PublishStep{{Step: thaw.StepBoot, DurationMS: 4100}, {Step: thaw.StepInit, DurationMS: 855}}},
	}, nil
}

func (e *memoryEngine) Invoke(ctx context.Context, r thaw.InvokeRequest) (thaw.Reply, error) {
	if e.hold != nil {
		<-e.hold
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	v, err := e.get(r.Function)
	if err != nil {
		return thaw.Reply{}, err
	}
	reply := thaw.Reply{Payload: r.Payload, Invocation: thaw.Invocation{
		ID: fmt.Sprintf("inv-%d", len(e.records)+1), Function: v.Function, Version: v.Number, Instance: "i-1", Start: thaw.StartCold,
		Policy: cmp.Or(r.Policy, thaw.DefaultPolicy), DurationMS: 150, PhasesMS: map[string]float64{"vmm": 50, "invoke": 20},
		Faults: thaw.Faults{Trapped: 3, Major: 2, Minor: 1}, PagesPrefetched: 600, BytesRead: 4096,
	}}
	switch string(r.Payload) {
	case `"raise"`:
		reply.FunctionError = "ValueError"
		reply.Payload = thaw.FunctionError{Type: "ValueError", Message: "bad\nvalue"}.JSON()
	case `"text"`:
		reply.Payload = []byte("not JSON")
	case `"busy"`:
		return thaw.Reply{}, thaw.Errorf(thaw.CodeThrottled, "all VMs are busy: try again")
	case `"die"`:
		return thaw.Reply{}, thaw.Errorf(thaw.CodeInstance, "the VM ended: last words:\nKernel panic\nEnd")
	case `"bug"`:
		return thaw.Reply{}, errors.New("index out of range")
	}
	e.records[reply.ID] = reply.Invocation
	e.observe(reply.Invocation)
	return reply, ctx.Err()
}

func (e *memoryEngine) Invocation(id string) (thaw.Invocation, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if i, ok := e.records[id]; ok {
		return i, nil
	}
	return thaw.Invocation{}, thaw.Errorf(thaw.CodeNotFound, "no invocation %s", id)
}

func (e *memoryEngine) Functions(context.Context) ([]thaw.Version, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.SortedFunc(maps.Values(e.functions), func(a, b thaw.Version) int { return cmp.Compare(a.Function, b.Function) }), nil
}

func (e *memoryEngine) Secrets(context.Context) ([]thaw.Secret, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.SortedFunc(maps.Values(e.secrets), func(a, b thaw.Secret) int { return cmp.Compare(a.Name, b.Name) }), nil
}

func (e *memoryEngine) SetSecret(_ context.Context, v thaw.SecretValue) (thaw.Secret, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := thaw.Secret{Name: v.Name, Bytes: int64(len(v.Value)), Updated: time.Now()}
	e.secrets[v.Name] = s
	return s, nil
}

func (e *memoryEngine) RemoveSecret(_ context.Context, name string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, ok := e.secrets[name]; !ok {
		return thaw.Errorf(thaw.CodeNotFound, "there is no secret %s", name)
	}
	delete(e.secrets, name)
	return nil
}

func (e *memoryEngine) Page(ctx context.Context, q thaw.FunctionQuery) (some []thaw.Version, more bool, err error) {
	all, err := e.Functions(ctx)
	some = slices.DeleteFunc(all, func(v thaw.Version) bool {
		return !strings.HasPrefix(v.Function, q.Prefix) || v.Function <= q.After
	})
	if more = q.Limit > 0 && len(some) > q.Limit; more {
		some = some[:q.Limit]
	}
	return some, more, err
}

func (e *memoryEngine) Find(_ context.Context, name string) (thaw.Version, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.get(name)
}

func (e *memoryEngine) Describe(_ context.Context, name string) (thaw.Description, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	v, err := e.get(name)
	if err != nil {
		return thaw.Description{}, err
	}
	info := &thaw.SnapshotInfo{Manifest: thaw.Manifest{ID: "s1", MemoryBytes: v.MemoryBytes, NonZeroPages: 20000}, Folder: "/state/s1", DiskBytes: 80 << 20, WorkingSetPages: 615}
	f := e.pointers[v.Function]
	aliases := slices.DeleteFunc(slices.Clone(f.Aliases), func(a thaw.Alias) bool { return !slices.Contains(a.Versions(), v.Number) })
	return thaw.Description{Version: v, Serving: f.Serves, Aliases: aliases, SnapshotInfo: info, Disks: e.files[name], Instances: e.Instances(), Invocations: slices.Collect(maps.Values(e.records))}, nil
}

func (e *memoryEngine) Memory(_ context.Context, name string, policy thaw.Policy) (thaw.MemoryMap, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	v, err := e.get(name)
	runs := []thaw.MemoryRun{{Page: 0, Pages: 40000, Class: thaw.PageZero}, {Page: 40000, Pages: 25536, Class: thaw.PageRead, Prefetched: true}}
	return thaw.MemoryMap{Function: name, Version: v.Number, Policy: policy, Pages: 65536, Runs: runs}, err
}

func (e *memoryEngine) Remove(_ context.Context, name string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, err := e.get(name); err != nil {
		return err
	}
	delete(e.functions, name)
	delete(e.versions, name)
	delete(e.pointers, name)
	return nil
}

func (e *memoryEngine) Instances() []thaw.Instance {
	return []thaw.Instance{{ID: "i-1", Function: "hello", Version: 1, State: thaw.InstanceIdle, Start: thaw.StartCold, Policy: thaw.PolicyReap, PID: 42, RSSBytes: 20 << 20, Invocations: 1, Created: time.Now()}}
}

func (e *memoryEngine) EndIdle(name string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	_, err := e.get(name)
	return err
}

func (e *memoryEngine) Logs(name string, q thaw.LogQuery) ([]thaw.LogLine, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, err := e.get(name); err != nil {
		return nil, err
	}
	line := thaw.LogLine{Time: time.Now(), Function: name, Instance: "i-1", RequestID: "inv-1", Stream: "stdout", Text: "hi \x1b[31mred"}
	if !q.Wants(line) {
		return nil, nil
	}
	return []thaw.LogLine{line}, nil
}

// FollowLogs goes on with lines until ctx ends.
func (e *memoryEngine) FollowLogs(ctx context.Context, name string, q thaw.LogQuery, emit func(thaw.LogLine) error) error {
	lines, err := e.Logs(name, q)
	for n := 0; err == nil && n < len(lines); n++ {
		err = emit(lines[n])
	}
	if err == nil {
		err = emit(thaw.LogLine{Time: time.Now(), Function: name, Instance: "i-1", Stream: "platform", Text: "live"})
	}
	if err == nil {
		<-ctx.Done()
	}
	return err
}

// get returns what NAME[:QUALIFIER] names; the caller holds the lock.
func (e *memoryEngine) get(name string) (thaw.Version, error) {
	ref, err := thaw.ParseRef(name)
	if err != nil {
		return thaw.Version{}, err
	}
	v, ok := e.functions[ref.Function]
	if !ok {
		return thaw.Version{}, thaw.Errorf(thaw.CodeNotFound, "function %s does not exist", ref.Function)
	}
	all := e.versions[ref.Function]
	switch a, isAlias := e.pointers[ref.Function].Alias(ref.Qualifier); {
	case ref.Qualifier == "":
		return v, nil
	case ref.Qualifier == thaw.Latest:
		return all[len(all)-1], nil
	case isAlias:
		return all[a.Pick(0)-1], nil
	case ref.Number() > 0 && ref.Number() <= len(all):
		return all[ref.Number()-1], nil
	}
	return thaw.Version{}, thaw.Errorf(thaw.CodeNotFound, "there is no %s", ref)
}

func (e *memoryEngine) close(context.Context) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.closed = true
	return nil
}

// output is where a command writes; it may be read while it does.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// Publish is a deploy that has ended when it returns.
func (e *memoryEngine) Publish(ctx context.Context, r thaw.PublishRequest) (thaw.Deployment, error) {
	v, err := e.Deploy(ctx, r.Function, r.Settings, r.Code, func(thaw.DeployEvent) {})
	return thaw.Deployment{Version: v, Step: thaw.StepBuild, Began: time.Now()}, err
}

func (e *memoryEngine) Deployment(string) (thaw.Deployment, bool) { return thaw.Deployment{}, false }

func (e *memoryEngine) Deployments() []thaw.Deployment { return nil }

func (e *memoryEngine) Annotate(context.Context, string, int, string) error { return nil }

func (e *memoryEngine) Choose(_ context.Context, ref string) (thaw.Version, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.get(ref)
}

// Exchange says what was asked for.
func (e *memoryEngine) Exchange(_ context.Context, r thaw.InvokeRequest, q thaw.HTTPRequest, w thaw.HTTPReplier) (thaw.Reply, error) {
	var body []byte
	if q.Body != nil {
		body, _ = io.ReadAll(q.Body)
	}
	status := 200
	if strings.HasPrefix(q.Target, "/missing") {
		status = 404
	}
	if err := w.Begin(thaw.HTTPReply{Status: status, Header: []thaw.HTTPField{{Name: "X-Kind", Value: "memory"}}}, thaw.Invocation{ID: "web-1"}); err != nil {
		return thaw.Reply{}, err
	}
	header := ""
	for _, f := range q.Header {
		if f.Name == "X-A" {
			header = f.Value
		}
	}
	_, err := fmt.Fprintf(w, "%s %s [%s] %s", q.Method, q.Target, header, body)
	return thaw.Reply{}, err
}
