package conformance

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"thaw"
	"thaw/client"
	"thaw/conformance/probe"
	"thaw/image"
	"thaw/plan"
)

const (
	// napMS is the sleep that is measured, in milliseconds.
	napMS = 100
	// Clones that start at the same time wait for firstHold between writing and
	// reading. Where that was too short for all to have written, twice as long, and
	// so on, holds times in all.
	firstHold = time.Second
	holds     = 4
	// warmPart is what part of that is enough for those that are there already.
	warmPart = 4
	// cleanTime is how long removing the functions may take after an interrupt.
	cleanTime = 30 * time.Second
)

// Progress is told what is done next.
type Progress func(what string)

// runner is a run under way.
type runner struct {
	client   *client.Client
	options  Options
	progress Progress
	seen     observed
}

// Run deploys the probes, observes and judges. The probes are removed before it
// returns, also when ctx ends it. A test that fails is a result, not an error.
func Run(ctx context.Context, c *client.Client, o Options, progress Progress) (r Report, err error) {
	if err := o.Validate(); err != nil {
		return r, err
	}
	info, err := c.Info(ctx)
	if err != nil {
		return r, err
	}
	run := &runner{client: c, options: o, progress: progress, seen: observed{secrets: map[version]string{}, given: map[version]string{}}}
	defer func() { err = errors.Join(err, run.remove(context.WithoutCancel(ctx))) }()
	if err := run.remove(ctx); err != nil { // what a run that was killed left
		return r, err
	}
	if err := run.observe(ctx); err != nil {
		return r, err
	}
	return Report{
		Accelerator: info.Accelerator, Runtimes: o.runtimes(), Policies: o.Policies, Clones: o.Clones,
		Restores: len(run.seen.clones()) + 1, Results: judge(run.seen, o.tests()),
	}, nil
}

// remove removes every probe that there is.
func (r *runner) remove(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, cleanTime)
	defer cancel()
	for _, runtime := range r.options.Runtimes {
		if e := r.client.Remove(ctx, FunctionName(runtime)); thaw.CodeOf(e) != thaw.CodeNotFound {
			err = errors.Join(err, e)
		}
	}
	if e := r.client.RemoveSecret(ctx, probe.SecretName); thaw.CodeOf(e) != thaw.CodeNotFound {
		err = errors.Join(err, e)
	}
	return err
}

// observe makes every clone. The first runtime gets two versions with secrets of
// their own; whatever is observed but one clone is of the second.
func (r *runner) observe(ctx context.Context) error {
	for i, runtime := range r.options.runtimes() {
		if i == 0 {
			if err := r.observeFirst(ctx, runtime); err != nil {
				return err
			}
		}
		if err := r.deploy(ctx, runtime); err != nil {
			return err
		}
		for _, policy := range r.options.Policies {
			if err := r.observePolicy(ctx, runtime, policy); err != nil {
				return fmt.Errorf("%s by %s: %w", runtime, policy, err)
			}
		}
		if err := r.search(ctx, runtime); err != nil {
			return err
		}
	}
	return nil
}

// observeFirst deploys the version whose secret must not outlive it.
func (r *runner) observeFirst(ctx context.Context, runtime thaw.Runtime) (err error) {
	if err := r.deploy(ctx, runtime); err != nil {
		return err
	}
	policy := r.options.Policies[0]
	r.seen.first, err = r.cold(ctx, runtime, policy, thaw.InvokeRequest{}, 0)
	return err
}

// deploy makes the next version of a probe, with a secret of its own.
func (r *runner) deploy(ctx context.Context, runtime thaw.Runtime) error {
	r.progress("deploying " + FunctionName(runtime))
	code, err := r.code(runtime)
	if err != nil {
		return err
	}
	defer code.Close()
	s := thaw.Settings{Runtime: runtime, Env: map[string]string{probe.SecretEnv: rand.Text()}, Secrets: []string{probe.SecretName}}.WithDefaults()
	given := token()
	if _, err := r.client.SetSecret(ctx, thaw.SecretValue{Name: probe.SecretName, Value: thaw.Sensitive(given)}); err != nil {
		return err
	}
	v, err := r.client.Deploy(ctx, FunctionName(runtime), s, code, nil)
	if err != nil {
		return err
	}
	if v.Snapshot == "" {
		return thaw.Errorf(thaw.CodeUnavailable, "version %d of %s has no snapshot to restore: %s", v.Number, v.Function, v.Problem)
	}
	r.seen.secrets[version{runtime, v.Number}] = s.Env[probe.SecretEnv]
	r.seen.given[version{runtime, v.Number}] = given
	return nil
}

// observePolicy makes one clone alone, if policy has something to learn first, then
// several at the same time.
func (r *runner) observePolicy(ctx context.Context, runtime thaw.Runtime, policy thaw.Policy) error {
	if plan.Learns(policy) != plan.RecordNothing {
		r.progress(fmt.Sprintf("%s by %s, recorded", runtime, policy))
		g, err := r.group(ctx, runtime, policy, 1, thaw.InvokeRequest{Record: true}, 0)
		if err != nil {
			return err
		}
		r.seen.groups = append(r.seen.groups, g)
	}
	r.progress(fmt.Sprintf("%s by %s, %d at the same time", runtime, policy, r.options.Clones))
	var g group
	for try := range holds {
		var err error
		if g, err = r.group(ctx, runtime, policy, r.options.Clones, thaw.InvokeRequest{}, firstHold<<try); err != nil {
			return err
		}
		if together(g.clones) && together(g.again) {
			break
		}
	}
	r.seen.groups = append(r.seen.groups, g)
	return nil
}

// group starts n clones at the same time, has each serve again, and ends them.
func (r *runner) group(ctx context.Context, runtime thaw.Runtime, policy thaw.Policy, n int, request thaw.InvokeRequest, hold time.Duration) (g group, err error) {
	g.clones, err = several(ctx, n, func(ctx context.Context) (clone, error) {
		return r.cold(ctx, runtime, policy, request, hold)
	})
	if err != nil {
		return g, err
	}
	g.again, err = several(ctx, n, func(ctx context.Context) (clone, error) {
		return r.invoke(ctx, runtime, policy, thaw.InvokeRequest{}, hold/warmPart)
	})
	if err != nil {
		return g, err
	}
	return g, r.client.EndIdle(ctx, FunctionName(runtime))
}

// several does the same n times at once.
func several(ctx context.Context, n int, do func(context.Context) (clone, error)) ([]clone, error) {
	all := make([]clone, n)
	work, ctx := errgroup.WithContext(ctx)
	for i := range all {
		work.Go(func() (err error) {
			all[i], err = do(ctx)
			return err
		})
	}
	return all, work.Wait()
}

// cold invokes a probe on a clone of its own.
func (r *runner) cold(ctx context.Context, runtime thaw.Runtime, policy thaw.Policy, request thaw.InvokeRequest, hold time.Duration) (clone, error) {
	request.Cold, request.Policy = true, policy
	return r.invoke(ctx, runtime, policy, request, hold)
}

func (r *runner) invoke(ctx context.Context, runtime thaw.Runtime, policy thaw.Policy, request thaw.InvokeRequest, hold time.Duration) (c clone, err error) {
	c = clone{runtime: runtime, policy: policy, event: probe.Event{Token: token(), NapMS: napMS, HoldMS: hold.Milliseconds()}}
	request.Function = FunctionName(runtime)
	if request.Payload, err = json.Marshal(c.event); err != nil {
		return c, err
	}
	reply, err := r.client.InvokeRecorded(ctx, request)
	if err != nil {
		return c, err
	}
	if reply.FunctionError != "" {
		return c, thaw.Errorf(thaw.CodeUnavailable, "probe %s failed: %s: %.1000s", request.Function, reply.FunctionError, reply.Payload)
	}
	c.record, c.payload = reply.Invocation, string(reply.Payload)
	if err := json.Unmarshal(reply.Payload, &c.report); err != nil {
		return c, thaw.Errorf(thaw.CodeInternal, "read what probe %s replied: %w", request.Function, err)
	}
	return c, nil
}

// token is what one invocation writes.
func token() string { return (rand.Text() + rand.Text())[:probe.TokenLen] }

// code is a probe's code as a tar stream, which the caller closes.
func (r *runner) code(runtime thaw.Runtime) (io.ReadCloser, error) {
	switch runtime {
	case thaw.RuntimePython:
		return source(probe.Python())
	case thaw.RuntimeNode:
		return source(probe.Node())
	}
	return r.bootstrap(runtime)
}

// source is a folder of files that are code as they are, packed.
func source(files fs.FS, err error) (io.ReadCloser, error) {
	if err != nil {
		return nil, err
	}
	return packed(func(w io.Writer) error { return image.PackFS(files, w) }), nil
}

// bootstrap is a folder that holds the program as bootstrap, packed.
func (r *runner) bootstrap(runtime thaw.Runtime) (code io.ReadCloser, err error) {
	dir, err := os.MkdirTemp("", "thaw-conformance-")
	if err != nil {
		return nil, thaw.Errorf(thaw.CodeUnavailable, "make a folder for the probe: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(dir))
		}
	}()
	program, err := os.ReadFile(r.options.Bootstrap)
	if err != nil {
		return nil, thaw.Errorf(thaw.CodeUnavailable, "read the probe's program: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "bootstrap"), program, 0o755); err != nil {
		return nil, thaw.Errorf(thaw.CodeUnavailable, "write the probe's program: %w", err)
	}
	if err := image.CheckHandler(os.DirFS(dir), thaw.Settings{Runtime: runtime}); err != nil {
		return nil, thaw.Errorf(thaw.CodeUnavailable, "this build of thaw cannot be the probe for %s (build it with CGO_ENABLED=0, or leave out that runtime): %w", runtime, err)
	}
	return packed(func(w io.Writer) error { return errors.Join(image.Pack(dir, w), os.RemoveAll(dir)) }), nil
}

// packed streams what pack writes; closing the stream ends the goroutine.
func packed(pack func(io.Writer) error) io.ReadCloser {
	r, w := io.Pipe()
	go func() { w.CloseWithError(pack(w)) }() // always returns nil
	return r
}
