// Package bench measures how invocations start. Samples are raw and complete:
// what is compared is interleaved in one run, and a cold start counts as cold
// only when the page cache was seen to be empty.
package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"thaw"
	"thaw/client"
	"thaw/pagecache"
)

// Options choose what is measured.
type Options struct {
	Function string
	Payload  []byte
	// N is how many samples of each kind are taken.
	N int
	// Kinds are what takes turns, in this order.
	Kinds []Kind
	// ReadaheadKiB is the disk's readahead while measuring; 0 leaves it.
	// Linux's default is 128; a large one reads a snapshot whole at the first
	// fault and hides what a policy does.
	ReadaheadKiB int
}

// Kind is one of the things that are compared.
type Kind string

// Kinds, in the order they take turns. A cold start is measured in its published
// form, with the VMM started for it, and with +pool as it is shipped, with one
// that was waiting.
const (
	KindBoot        Kind = "boot"
	KindVanilla     Kind = "vanilla"
	KindReap        Kind = "reap"
	KindVanillaPool Kind = "vanilla+pool"
	KindReapPool    Kind = "reap+pool"
	KindWarm        Kind = "warm"
)

const poolSuffix = "+pool"

// policy is that of a new instance, and whether its VMM was waiting.
func (k Kind) policy() (policy thaw.Policy, pool bool) {
	name, pool := strings.CutSuffix(string(k), poolSuffix)
	return thaw.Policy(name), pool
}

// Start is how an invocation of kind k comes by its instance.
func (k Kind) Start() thaw.Start {
	switch k {
	case KindBoot:
		return thaw.StartBoot
	case KindWarm:
		return thaw.StartWarm
	}
	return thaw.StartCold
}

// Sample is one invocation.
type Sample struct {
	Kind  Kind `json:"kind"`
	Round int  `json:"round"`
	// WallMS is the time that the client saw.
	WallMS float64 `json:"wall_ms"`
	thaw.Invocation
}

// Environment is what a figure depends on besides the program.
type Environment struct {
	Time            time.Time `json:"time"`
	Kernel          string    `json:"kernel"`
	CPU             string    `json:"cpu"`
	Cores           int       `json:"cores"`
	Accelerator     string    `json:"accelerator"`
	VMM             string    `json:"vmm"`
	Version         string    `json:"thaw"`
	MemoryMiB       int64     `json:"guest_memory_mib"`
	ReadaheadBefore int       `json:"readahead_kib_before"`
	ReadaheadDuring int       `json:"readahead_kib_during"`
	LoadBefore      string    `json:"load_before"`
}

// Report is a run.
type Report struct {
	Function    string      `json:"function"`
	Environment Environment `json:"environment"`
	// WorkingSetPages is how many pages the recording for reap held.
	WorkingSetPages int64    `json:"working_set_pages"`
	Samples         []Sample `json:"samples"`
}

// Run measures, as root and on the daemon's machine. progress is told of each
// sample before it is taken. The disk's readahead is put back before Run
// returns, also when ctx ends it.
func Run(ctx context.Context, c *client.Client, o Options, progress func(done, total int, what string)) (r Report, err error) {
	d, err := prepare(ctx, c, o, progress)
	if err != nil {
		return r, err
	}
	restore, env, err := environment(ctx, c, d, o)
	if err != nil {
		return r, err
	}
	defer restore()
	r = Report{Function: o.Function, Environment: env, WorkingSetPages: d.SnapshotInfo.WorkingSetPages}
	total := o.N * len(o.Kinds)
	for round := range o.N {
		for _, k := range o.Kinds {
			progress(len(r.Samples), total, string(k))
			s, err := sample(ctx, c, o, d, k)
			if err != nil {
				return r, fmt.Errorf("round %d, %s: %w", round+1, k, err)
			}
			s.Round = round + 1
			r.Samples = append(r.Samples, s)
		}
	}
	return r, nil
}

// prepare makes sure that the working set is recorded and that an instance is
// warm, and describes the function. The warm instance was restored by reap: it
// maps no file whose pages are to be dropped.
func prepare(ctx context.Context, c *client.Client, o Options, progress func(int, int, string)) (thaw.Description, error) {
	// An instance that was restored by vanilla maps the memory file: as long as it
	// lives, its pages cannot be dropped.
	if err := c.EndIdle(ctx, o.Function); err != nil {
		return thaw.Description{}, err
	}
	progress(0, o.N*len(o.Kinds), "preparing: recording the working set, warming an instance")
	for range 20 {
		d, err := c.Describe(ctx, o.Function)
		if err != nil {
			return d, err
		}
		if d.SnapshotInfo == nil {
			return d, thaw.Errorf(thaw.CodeConflict, "function %s has no snapshot to restore: %s", o.Function, d.Problem)
		}
		if d.SnapshotInfo.WorkingSetPages > 0 {
			return d, warmUp(ctx, c, o)
		}
		if err := once(ctx, c, o, KindReap); err != nil {
			return d, err
		}
		select {
		case <-time.After(100 * time.Millisecond): // it is published after the reply
		case <-ctx.Done():
			return d, context.Cause(ctx)
		}
	}
	return thaw.Description{}, thaw.Errorf(thaw.CodeConflict, "no working set of function %s gets recorded: see the daemon's log", o.Function)
}

func once(ctx context.Context, c *client.Client, o Options, k Kind) error {
	_, err := invoke(ctx, c, o, k)
	return err
}

// warmUp leaves one instance that has served.
func warmUp(ctx context.Context, c *client.Client, o Options) error {
	r := thaw.InvokeRequest{Function: o.Function, Payload: o.Payload, Policy: thaw.PolicyReap, Cold: true}
	if _, err := c.Invoke(ctx, r); err != nil {
		return err
	}
	return once(ctx, c, o, KindWarm)
}

// sample takes one. For a cold one, nothing of the function is in the page
// cache, which is checked.
func sample(ctx context.Context, c *client.Client, o Options, d thaw.Description, k Kind) (Sample, error) {
	if k != KindWarm {
		if err := settle(ctx, c, k); err != nil {
			return Sample{}, err
		}
		if err := chill(d); err != nil { // last: nothing happens after the check
			return Sample{}, err
		}
	}
	s, err := invoke(ctx, c, o, k)
	if err != nil {
		return s, err
	}
	if _, pool := k.policy(); pool && !s.Prestarted {
		return s, thaw.Errorf(thaw.CodeConflict, "somebody else took the VMM that was waiting: is something else using the daemon?")
	}
	if s.Start != k.Start() {
		return s, thaw.Errorf(thaw.CodeConflict, "the start was %s, not %s: is something else using the function? %s", s.Start, k.Start(), s.Reason)
	}
	return s, nil
}

func invoke(ctx context.Context, c *client.Client, o Options, k Kind) (Sample, error) {
	r := thaw.InvokeRequest{Function: o.Function, Payload: o.Payload}
	if k != KindWarm {
		policy, pool := k.policy()
		r.Policy, r.Cold, r.Discard, r.OnDemand = policy, true, true, !pool
	}
	start := time.Now()
	reply, err := c.Invoke(ctx, r)
	wall := time.Since(start)
	if err != nil {
		return Sample{}, err
	}
	if reply.FunctionError != "" {
		return Sample{}, thaw.Errorf(thaw.CodeFunction, "function %s failed: %s: %s", o.Function, reply.FunctionError, reply.Payload)
	}
	record, err := c.Invocation(ctx, reply.ID)
	return Sample{Kind: k, WallMS: float64(wall.Microseconds()) / 1e3, Invocation: record}, err
}

// settle waits until no VMM is being started to wait for a restore, which would
// be measured along, and for those kinds that need one, that one waits.
func settle(ctx context.Context, c *client.Client, k Kind) error {
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		info, err := c.Info(ctx)
		if err != nil {
			return err
		}
		_, pool := k.policy()
		if info.PrestartedFull && (info.Prestarted > 0 || !pool) {
			return nil
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return thaw.Errorf(thaw.CodeConflict, "the daemon keeps no VMM waiting: start it with --prestarted 1")
}

// chill drops every file of the function from the page cache and verifies that
// nothing is left of any.
func chill(d thaw.Description) error {
	for _, name := range artifacts(d) {
		if err := chillFile(name); err != nil {
			return err
		}
	}
	return nil
}

func artifacts(d thaw.Description) []string {
	names := append([]string(nil), d.Disks...)
	for _, n := range []string{thaw.FileManifest, thaw.FileState, thaw.FileMemory, thaw.FileWorkingSet} {
		names = append(names, filepath.Join(d.SnapshotInfo.Folder, n))
	}
	return names
}

func chillFile(name string) error {
	f, err := os.Open(name)
	if os.IsNotExist(err) && filepath.Base(name) == thaw.FileWorkingSet {
		return nil
	}
	if os.IsNotExist(err) || os.IsPermission(err) {
		return thaw.Errorf(thaw.CodeInvalid, "the benchmark must run as root on the daemon's machine, to empty the page cache: %w", err)
	}
	if err != nil {
		return err
	}
	defer f.Close()
	// A VM that has just ended may hold its mappings for a moment.
	for wait := time.Millisecond; ; wait *= 2 {
		if err := pagecache.Evict(f); err != nil {
			return err
		}
		left, err := pagecache.Resident(f)
		if err != nil || left == 0 {
			return err
		}
		if wait > time.Second {
			return thaw.Errorf(thaw.CodeConflict, "%d pages of %s stay in the page cache: is another instance of the function running?", left, filepath.Base(name))
		}
		time.Sleep(wait)
	}
}

// environment describes the machine and sets the readahead; restore puts it
// back.
func environment(ctx context.Context, c *client.Client, d thaw.Description, o Options) (restore func(), e Environment, err error) {
	info, err := c.Info(ctx)
	if err != nil {
		return nil, e, err
	}
	m := d.SnapshotInfo.Machine
	e = Environment{
		Time: time.Now().UTC(), Kernel: kernel(), CPU: m.HostCPU, Cores: runtime.NumCPU(), Accelerator: info.Accelerator,
		VMM: m.VMM + " " + m.VMMVersion, Version: info.Version, MemoryMiB: d.MemoryBytes >> 20, LoadBefore: load(),
	}
	disk, err := pagecache.ReadaheadOf(d.SnapshotInfo.Folder)
	if os.IsNotExist(err) || os.IsPermission(err) {
		return nil, e, thaw.Errorf(thaw.CodeInvalid, "the benchmark must run as root on the daemon's machine: %w", err)
	}
	if err != nil {
		return nil, e, err
	}
	if e.ReadaheadBefore, err = disk.Get(); err != nil {
		return nil, e, err
	}
	e.ReadaheadDuring = e.ReadaheadBefore
	if o.ReadaheadKiB == 0 {
		return func() {}, e, nil
	}
	held, err := disk.Hold(o.ReadaheadKiB, lockFolder)
	if errors.Is(err, pagecache.ErrHeld) {
		return nil, e, thaw.Errorf(thaw.CodeConflict, "another benchmark runs on this disk: wait for its end")
	}
	if err != nil {
		return nil, e, err
	}
	e.ReadaheadBefore, e.ReadaheadDuring = held.Before(), o.ReadaheadKiB
	return func() { _ = held.Release() }, e, nil
}

// lockFolder is where benchmarks of one machine find each other (FHS 3.0, 3.15.2).
const lockFolder = "/run/lock"

// Recover puts back the readahead of the disk under folder if a benchmark was
// killed before it could.
func Recover(folder string) error {
	disk, err := pagecache.ReadaheadOf(folder)
	if err != nil {
		return nil //nolint:nilerr // such a disk cannot have been changed either
	}
	return disk.Recover(lockFolder)
}

func kernel() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Release[:])
}

func load() string {
	b, _ := os.ReadFile("/proc/loadavg") // unknown is ""
	return strings.TrimSpace(string(b))
}
