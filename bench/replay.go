package bench

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync/atomic"

	"thaw"
	"thaw/bench/standin"
	"thaw/client"
	"thaw/instance"
	"thaw/resident"
	"thaw/restore"
	"thaw/snapshot"
	"thaw/workingset"
)

// ReplayOptions choose what is replayed.
type ReplayOptions struct {
	Subjects []Subject
	N        int
	Kinds    []Kind // without warm and boot, which restore nothing
	// Factor divides the time between touches as it was recorded: how much faster
	// the processor is when it does not emulate another.
	Factor       float64
	ReadaheadKiB int
	// KeepGoing has a function that fails end with a problem in the report instead of
	// ending the run.
	KeepGoing bool
	// Command makes the command of a stand-in ([standin.Serve]).
	Command func() *exec.Cmd
}

// ReplaySample is one replay of a recording.
type ReplaySample struct {
	Kind  Kind `json:"kind"`
	Round int  `json:"round"`
	// TotalMS is from the beginning of the restore to the last touch, SetupMS the
	// part before the first, ComputeMS what the recording waited between touches.
	TotalMS   float64 `json:"total_ms"`
	SetupMS   float64 `json:"setup_ms"`
	ComputeMS float64 `json:"compute_ms"`
	// StallMS is the time that touches took, Stalls how many took longer than
	// stallNS.
	StallMS float64 `json:"stall_ms"`
	Stalls  int     `json:"stalls"`
	// InstalledMS is from the beginning until everything that the plan installs was
	// in place; 0 where nothing is.
	InstalledMS float64     `json:"installed_ms"`
	Faults      thaw.Faults `json:"faults"`
	// BytesRead came from the disk for the prefetch and the page-fault server.
	BytesRead int64 `json:"bytes_read"`
}

// stallNS is a touch that had to wait: a page in place takes a tenth of that.
const stallNS = 10_000

// Replayed is what was replayed of one function.
type Replayed struct {
	Name string `json:"function"`
	// Touches is the length of the recording, SetBytes what thaw's loading set holds.
	Touches  int            `json:"touches"`
	SetBytes int64          `json:"set_bytes"`
	Samples  []ReplaySample `json:"samples"`
	// Disks are what the disk was seen to give in each round, between the replays: it
	// is not the same all the time.
	Disks []Disk `json:"disks,omitempty"`
	// Problem is why it was not replayed to the end, "" if it was.
	Problem string `json:"problem,omitempty"`
}

// ReplayReport is a run.
type ReplayReport struct {
	// Replay says what this is, wherever it is read.
	Replay      string      `json:"replay"`
	Environment Environment `json:"environment"`
	// Factor is what the recorded time between touches was divided by.
	Factor    float64    `json:"factor"`
	Functions []Replayed `json:"functions"`
	// Partial is why the run ended before its time, "" if it did not.
	Partial string `json:"partial,omitempty"`
}

// Problems are what went wrong, by function.
func (r ReplayReport) Problems() (list []string) {
	for _, f := range r.Functions {
		if f.Problem != "" {
			list = append(list, f.Name+": "+f.Problem)
		}
	}
	return list
}

// Measured says that there is a sample.
func (r ReplayReport) Measured() bool {
	return slices.ContainsFunc(r.Functions, func(f Replayed) bool { return len(f.Samples) > 0 })
}

const replayNotice = "replay of recorded page touches by a stand-in process, no VM: compare policies by it, not with VMs"

// Replay records each function, with the first input that is measured and then with
// that of the sets, and replays the former under every policy. Pages are touched, and
// their contents verified, by a process of its own that is laid out as a VMM is. What
// was replayed until an error is returned with it.
func Replay(ctx context.Context, c *client.Client, o ReplayOptions, progress Progress) (ReplayReport, error) {
	subjects, err := pin(ctx, c, o.Subjects)
	if err != nil {
		return ReplayReport{}, err
	}
	o.Subjects = subjects
	b := newBench(c, Options{Subjects: o.Subjects, KeepGoing: o.KeepGoing, ReadaheadKiB: o.ReadaheadKiB}, progress)
	b.total = o.N * len(o.Kinds) * len(o.Subjects)
	r := ReplayReport{Replay: replayNotice, Factor: o.Factor, Functions: make([]Replayed, len(o.Subjects))}
	err = b.replay(ctx, o, &r)
	if err != nil {
		r.Partial = err.Error()
	}
	for i, s := range b.subjects {
		r.Functions[i].Name, r.Functions[i].Problem = s.report.Name, s.report.Problem
	}
	return r, err
}

func (b *bench) replay(ctx context.Context, o ReplayOptions, r *ReplayReport) (err error) {
	putBack, env, err := b.environment(ctx)
	if err != nil {
		return err
	}
	r.Environment = env
	noise := listen()
	defer func() {
		r.Environment.LoadAfter, r.Environment.Noise = Load(), noise.heard()
		err = errors.Join(err, putBack())
	}()
	all := make([]*replay, len(b.subjects))
	cache := &resident.Cache{}
	defer cache.Close()
	for i, s := range b.subjects {
		err := b.attempt(ctx, s, func() (err error) {
			all[i], err = b.recording(ctx, s, o, cache)
			return err
		})
		if err != nil {
			return err
		}
		if one := all[i]; one != nil {
			r.Functions[i].Touches, r.Functions[i].SetBytes = len(one.touches), one.setBytes()
		}
	}
	for round := range o.N {
		if err := b.replayRound(ctx, all, r, round+1); err != nil {
			return err
		}
	}
	return nil
}

// replayRound replays each function by each kind once.
func (b *bench) replayRound(ctx context.Context, all []*replay, r *ReplayReport, round int) error {
	for i, s := range b.subjects {
		if all[i] == nil {
			continue
		}
		if err := b.attempt(ctx, s, func() error { return all[i].measureDisk(&r.Functions[i]) }); err != nil {
			return err
		}
		for _, k := range all[i].options.Kinds {
			b.tell(s.Subject, "replaying "+string(k))
			err := b.attempt(ctx, s, func() error {
				sample, err := all[i].sample(ctx, k)
				if err != nil {
					return fmt.Errorf("%s: %w", k, err)
				}
				sample.Round = round
				r.Functions[i].Samples = append(r.Functions[i].Samples, sample)
				return nil
			})
			if err != nil {
				return err
			}
			b.done++
		}
	}
	return nil
}

// replay is one recording of one snapshot.
type replay struct {
	options     ReplayOptions
	description thaw.Description
	store       *snapshot.Store
	cache       *resident.Cache // borrowed
	touches     []standin.Touch
}

// recording records s and reads what the replay of it needs.
func (b *bench) recording(ctx context.Context, s *subject, o ReplayOptions, cache *resident.Cache) (*replay, error) {
	if err := b.endIdle(ctx, s); err != nil {
		return nil, err
	}
	d, err := Describe(ctx, b.client, s.Function)
	if err != nil {
		return nil, err
	}
	r := &replay{options: o, store: storeOf(d), cache: cache}
	trace, err := b.trace(ctx, s, d, s.Inputs[0])
	if err != nil {
		return nil, err
	}
	if r.touches, err = touches(*trace, filepath.Join(d.SnapshotInfo.Folder, thaw.FileMemory), o.Factor); err != nil {
		return nil, err
	}
	for _, p := range []thaw.Policy{thaw.PolicyThaw, thaw.PolicyFaaSnap} {
		if err := b.record(ctx, s, d, s.Recorded, p); err != nil {
			return nil, err
		}
	}
	r.description, err = Describe(ctx, b.client, s.Function) // with the sets that are there now
	return r, err
}

// touches makes a stand-in's orders of a recording.
func touches(trace workingset.Set, memory string, factor float64) ([]standin.Touch, error) {
	f, err := os.Open(memory)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var list []standin.Touch
	page, before := make([]byte, thaw.PageSize), int64(0)
	for _, t := range trace.Touches {
		if _, err := f.ReadAt(page, int64(t.Page)*thaw.PageSize); err != nil {
			return nil, err
		}
		after := t.After.Nanoseconds()
		list = append(list, standin.Touch{
			Page: t.Page, Write: t.Written, First: page[0], Sum: crc32.Checksum(page, crc32.MakeTable(crc32.Castagnoli)),
			WaitNS: int64(float64(max(after-before, 0)) / factor),
		})
		before = max(before, after)
	}
	return list, nil
}

// measureDisk adds to f what the disk gives now.
func (r *replay) measureDisk(f *Replayed) error {
	d, err := diskOf(r.description)
	if err == nil && d.SequentialMBps > 0 {
		f.Disks = append(f.Disks, d)
	}
	return err
}

// setBytes is how much thaw's loading set brings in.
func (r *replay) setBytes() int64 {
	l, err := r.store.LoadingSet(r.description.SnapshotInfo.Manifest, thaw.FileLoadingSetThaw)
	if err != nil {
		return 0 // found out by the replay
	}
	defer l.Close()
	return l.Pages() * thaw.PageSize
}

// sample replays once. The stand-in is there before, as a VMM of the pool is.
func (r *replay) sample(ctx context.Context, k Kind) (s ReplaySample, err error) {
	m := r.description.SnapshotInfo.Manifest
	memory, err := os.Open(r.store.Path(m, thaw.FileMemory))
	if err != nil {
		return s, err
	}
	defer memory.Close()
	p, err := standin.Start(r.options.Command(), m.MemoryBytes)
	if err != nil {
		return s, err
	}
	defer p.Close()
	if err := p.Prepare(r.touches); err != nil {
		return s, err
	}
	if err := arrange(r.description, k); err != nil {
		return s, err
	}
	return r.run(ctx, k, p, memory)
}

// run restores into p and has it touch everything.
func (r *replay) run(ctx context.Context, k Kind, p *standin.Process, file *os.File) (s ReplaySample, err error) {
	m := r.description.SnapshotInfo.Manifest
	begin := standin.Now()
	prefetch, release, err := instance.Sources{Snapshots: r.store, Resident: r.cache}.Begin(m, k.Policy(), false)
	if err != nil {
		return s, err
	}
	defer release()
	memory, err := restore.Map(ctx, p, p.Base(), m.MemoryBytes, prefetch, file)
	if err != nil {
		prefetch.Close()
		return s, err
	}
	defer func() {
		p.Close() // first: what it waits for is not to turn into zeroes
		_ = memory.Close()
	}()
	failed := make(chan error, 1)
	fail := func(err error) {
		select {
		case failed <- err:
		default: // only the first is told
		}
		p.Kill()
	}
	var installed atomic.Int64
	if err := memory.Serve(workingset.DefaultLimits(), func() { installed.Store(standin.Now()) }, fail); err != nil {
		return s, err
	}
	setup := standin.Now()
	result, err := p.Run()
	select {
	case err = <-failed:
	default:
	}
	if err != nil {
		return s, err
	}
	s, err = sampleOf(k, result, memory.Counters(), begin, setup, r.touches)
	if at := installed.Load(); at > 0 {
		s.InstalledMS = ms(at - begin)
	}
	return s, err
}

// sampleOf sums a result up. Wrong memory is an error, whatever the time.
func sampleOf(k Kind, result standin.Result, counted restore.Counters, begin, setup int64, touches []standin.Touch) (ReplaySample, error) {
	if len(result.Wrong) > 0 {
		return ReplaySample{}, fmt.Errorf("pages %v hold something else than in the snapshot", result.Wrong)
	}
	s := ReplaySample{
		Kind: k, TotalMS: ms(result.LastNS - begin), SetupMS: ms(setup - begin),
		Faults:    thaw.Faults{Trapped: counted.Trapped, Major: result.Major, Minor: result.Minor},
		BytesRead: counted.PrefetchRead + counted.ServerRead,
	}
	for _, t := range touches {
		s.ComputeMS += ms(t.WaitNS)
	}
	for _, ns := range result.StallNS {
		s.StallMS += ms(ns)
		if ns > stallNS {
			s.Stalls++
		}
	}
	return s, nil
}

func ms(ns int64) float64 { return float64(ns) / 1e6 }

// Restoring are those kinds of which the memory can be replayed: the stand-in is
// always there before, so a pool makes no difference.
func Restoring(kinds []Kind) (list []Kind) {
	for _, k := range kinds {
		if k.Start() == thaw.StartCold && !k.Pool() && !slices.Contains(list, k) {
			list = append(list, k)
		}
	}
	return list
}
