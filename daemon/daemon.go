// Package daemon joins the parts into the service that the edges stand before:
// it deploys functions, invokes them, and keeps their snapshots usable.
package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"time"

	"thaw"
	"thaw/agent/guest/runtime"
	"thaw/image"
	"thaw/instance"
	"thaw/registry"
	"thaw/resident"
	"thaw/secret"
	"thaw/snapshot"
	"thaw/vmm/qemu"
	"thaw/workingset"
)

// Config is how a daemon is set up. StateDir and Logger are required.
type Config struct {
	// StateDir belongs to one daemon at a time.
	StateDir string
	// ImageDir holds what guests boot from; "" is a folder of StateDir.
	ImageDir string
	// SecretsKey is the file with the key of the secrets; "" is one of StateDir.
	SecretsKey string
	// IdleTimeout is how long an unused instance is kept; 0 keeps none.
	IdleTimeout time.Duration
	// MaxInstances and MaxPerFunction bound the instances that exist at once.
	MaxInstances, MaxPerFunction int
	// MemoryBudget bounds what all instances occupy, in bytes; 0 is no bound.
	MemoryBudget int64
	// QueueDepth is how many requests of a function may wait for room or for an
	// instance to be free, QueueTimeout for how long; with 0 nobody waits.
	QueueDepth   int
	QueueTimeout time.Duration
	// KeepVersions is how many versions of a function are kept, the newest; 0 is
	// [DefaultKeepVersions]. Those that something points at stay besides.
	KeepVersions int
	// NamedBy returns what names a version by its number, or an alias, and could do
	// nothing without it, such as "schedule nightly", "" if nothing does: what is named
	// is not removed. It is called by deploys and removals, while the registry is
	// locked, and must not call the daemon. Nil names nothing.
	NamedBy func(thaw.Ref) string
	// Random draws evenly from 0 up to, and not including, 1, for aliases with
	// weights; nil is math/rand/v2. It is called concurrently.
	Random func() float64
	// Prestarted is how many VMMs are kept waiting for a restore, of each of the
	// memory sizes asked for last; 0 starts each when it is needed. PrestartedBytes
	// bounds the memory of all of them.
	Prestarted      int
	PrestartedBytes int64
	// Accelerator is auto, kvm or tcg.
	Accelerator string
	// Observer is told of each invocation of a function that exists, once, when its
	// record is complete: of a cold start after the reply, when its prefetch was
	// measured. It is called concurrently and must return soon; nil is nobody.
	Observer func(thaw.Invocation)
	Logger   *slog.Logger
}

// Defaults of [Config].
const (
	DefaultIdleTimeout    = time.Minute
	DefaultMaxInstances   = 64
	DefaultMaxPerFunction = 16
	DefaultQueueDepth     = 100
	DefaultQueueTimeout   = 10 * time.Second
	DefaultPrestarted     = 1
	DefaultKeepVersions   = 10
	// DefaultPrestartedBytes is for about five that are not emulated.
	DefaultPrestartedBytes = 256 << 20
)

// prestartedSizes is for how many memory sizes VMMs are kept waiting.
const prestartedSizes = 3

// bootsAtOnce bounds the boots for snapshots, which no other limit counts.
const bootsAtOnce = 2

const (
	bootTimeout    = 2 * time.Minute // under TCG on a loaded machine
	restoreTimeout = 30 * time.Second
)

// Daemon is the service. Its methods may be called concurrently. Close ends it
// and every VM of it.
type Daemon struct {
	state     string // its folder
	log       *slog.Logger
	registry  *registry.DB
	images    *image.Store
	snapshots *snapshot.Store
	secrets   *secret.Store
	starter   *instance.Starter
	pool      *instance.Pool
	vmms      *instance.Prestarted
	history   *history
	logs      *logs
	accel     Acceleration
	keep      int // versions of a function
	random    func() float64
	namedBy   func(thaw.Ref) string
	observe   func(thaw.Invocation)

	deploys  keyedMutex
	rebuilds keyedMutex // by version
	learning keyedMutex // by snapshot
	lessons  lessons
	retry    backoff       // of rebuilds, by version
	booting  chan struct{} // held by those who boot a guest for a snapshot
	// imageUse is held for reading while a version that is not in the registry
	// yet needs its images.
	imageUse  sync.RWMutex
	ownImages bool // no other state folder uses them

	// ctx is cancelled when requests and background work must end now.
	ctx        context.Context
	cancel     context.CancelCauseFunc
	requests   sync.WaitGroup // held shut by closing
	background sync.WaitGroup
	mu         sync.Mutex
	closing    bool
}

// New opens the state folder, finds an accelerator, and starts checking the
// snapshots in the background. The caller closes the daemon.
func New(ctx context.Context, cfg Config) (_ *Daemon, err error) {
	if os.Geteuid() != 0 {
		return nil, thaw.Errorf(thaw.CodeUnavailable, "thaw serve must run as root: it controls the memory of VMs that run as other users (try sudo)")
	}
	state, err := filepath.Abs(cfg.StateDir)
	if err != nil {
		return nil, err
	}
	// It holds what functions' memory held.
	if err := errors.Join(os.MkdirAll(state, 0o700), os.Chmod(state, 0o700)); err != nil {
		return nil, thaw.Errorf(thaw.CodeUnavailable, "make the state folder: %w", err)
	}
	d := &Daemon{
		state: state, log: cfg.Logger, history: newHistory(), ownImages: cfg.ImageDir == "", booting: make(chan struct{}, bootsAtOnce),
		keep: cmp.Or(cfg.KeepVersions, DefaultKeepVersions), random: cfg.Random, observe: cfg.Observer,
	}
	if d.random == nil {
		d.random = rand.Float64
	}
	if d.namedBy = cfg.NamedBy; d.namedBy == nil {
		d.namedBy = func(thaw.Ref) string { return "" }
	}
	if d.observe == nil {
		d.observe = func(thaw.Invocation) {}
	}
	d.ctx, d.cancel = context.WithCancelCause(context.Background())
	defer func() {
		if err != nil {
			d.cancel(err)
			err = errors.Join(err, d.release())
		}
	}()
	resume, err := d.open(cmp.Or(cfg.ImageDir, filepath.Join(state, "images")))
	if err != nil {
		return nil, err
	}
	if d.secrets, err = secret.Open(filepath.Join(state, "secrets"), cmp.Or(cfg.SecretsKey, filepath.Join(state, "secrets.key"))); err != nil {
		return nil, err
	}
	if err := d.prepare(ctx, state, cfg); err != nil {
		return nil, err
	}
	d.prune()
	if err := d.expect(); err != nil {
		return nil, err
	}
	for _, r := range resume {
		d.background.Go(func() { d.resume(r) })
	}
	d.background.Go(d.verifySnapshots)
	return d, nil
}

// open opens what is on disk, and returns the publishes to go on with. The registry
// goes first: its lock is that of the whole folder.
func (d *Daemon) open(imageDir string) (resume []resumption, err error) {
	if d.registry, err = registry.Open(filepath.Join(d.state, "registry.db")); err != nil {
		return nil, err
	}
	if d.images, err = image.Open(image.Config{Dir: imageDir, Runtimes: runtime.Files()}); err != nil {
		return nil, err
	}
	if d.snapshots, err = snapshot.NewStore(filepath.Join(d.state, "snapshots"), filepath.Join(d.state, "quarantine")); err != nil {
		return nil, err
	}
	d.logs = newLogs(filepath.Join(d.state, "logs"))
	if resume, err = d.recoverPublishes(); err != nil {
		return nil, err
	}
	return resume, d.sweep(resume)
}

// prepare finds the VMM and its accelerator and makes the pool.
func (d *Daemon) prepare(ctx context.Context, state string, cfg Config) (err error) {
	if d.accel, err = d.accelerate(ctx, filepath.Join(state, "accelerator.json"), cfg.Accelerator); err != nil {
		return err
	}
	driver, err := qemu.New(ctx, d.accel.Accelerator)
	if err != nil {
		return err
	}
	d.vmms = instance.NewPrestarted(driver, instance.PrestartLimits{Each: cfg.Prestarted, Sizes: prestartedSizes, Bytes: cfg.PrestartedBytes})
	d.starter = &instance.Starter{
		Driver: driver, VMMs: d.vmms, Snapshots: d.snapshots, Images: d.images,
		Resident: &resident.Cache{}, Limits: workingset.DefaultLimits(),
		BootTimeout: bootTimeout, RestoreTimeout: restoreTimeout, Secrets: d.secrets.Values, OnLog: d.logs.add,
	}
	d.pool = d.newPool(cfg)
	return nil
}

// Accelerator says in one line what executes the guests, and why.
func (d *Daemon) Accelerator() string { return d.accel.String() }

// Prestarted is how many VMMs wait for a restore, and whether none is missing.
func (d *Daemon) Prestarted() (n int, full bool) { return d.vmms.Count() }

var errStopping = thaw.Errorf(thaw.CodeUnavailable, "the daemon is stopping")

// begin admits a request. Its context ends with the caller's, or when Close
// runs out of patience; the caller calls end when the request is done.
func (d *Daemon) begin(ctx context.Context) (_ context.Context, end func(), err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closing {
		return nil, nil, errStopping
	}
	d.requests.Add(1)
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(d.ctx, func() { cancel(context.Cause(d.ctx)) })
	return ctx, func() {
		stop()
		cancel(nil)
		d.requests.Done()
	}, nil
}

// Close refuses new requests, lets those under way finish until ctx ends, then
// ends all VMs and background work and releases everything.
func (d *Daemon) Close(ctx context.Context) error {
	d.mu.Lock()
	d.closing = true
	d.mu.Unlock()
	idle := make(chan struct{})
	go func() { d.requests.Wait(); close(idle) }()
	select {
	case <-idle:
	case <-ctx.Done():
	}
	d.cancel(errStopping)
	<-idle
	return d.release()
}

// release gives back whatever New had got hold of.
func (d *Daemon) release() error {
	if d.pool != nil {
		d.pool.Close() // its starts may begin background work
	}
	d.background.Wait()
	if d.vmms != nil {
		d.vmms.Close()
	}
	if d.starter != nil {
		d.starter.Resident.Close()
	}
	var errs []error
	if d.logs != nil {
		errs = append(errs, d.logs.Close())
	}
	if d.images != nil {
		errs = append(errs, d.images.Close())
	}
	if d.registry != nil {
		errs = append(errs, d.registry.Close())
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close the daemon: %w", err)
	}
	return nil
}

// keyedMutex is one mutex per key. The zero value is ready.
type keyedMutex struct {
	mu   sync.Mutex
	held map[string]bool
}

// tryLock takes key's lock unless it is held.
func (k *keyedMutex) tryLock(key string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.held[key] {
		return false
	}
	if k.held == nil {
		k.held = map[string]bool{}
	}
	k.held[key] = true
	return true
}

// lock waits for its turn.
func (k *keyedMutex) lock(key string) {
	for !k.tryLock(key) {
		time.Sleep(time.Millisecond) // rare, and whoever holds it is writing files
	}
}

func (k *keyedMutex) unlock(key string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.held, key)
}
