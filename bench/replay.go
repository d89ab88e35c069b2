package bench

import (
	"context"
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
}

// ReplayReport is a run.
type ReplayReport struct {
	// Replay says what this is, wherever it is read.
	Replay      string      `json:"replay"`
	Environment Environment `json:"environment"`
	Factor      float64     `json:"factor"`
	Functions   []Replayed  `json:"functions"`
}

const replayNotice = "replay of recorded page touches by a stand-in process, no VM: compare policies by it, not with VMs"

// Replay records each function, with the event that is measured and then with that
// of the sets, and replays the former under every policy. Pages are touched, and
// their contents verified, by a process of its own that is laid out as a VMM is.
func Replay(ctx context.Context, c *client.Client, o ReplayOptions, progress Progress) (r ReplayReport, err error) {
	r.Replay, r.Factor = replayNotice, o.Factor
	first, err := describe(ctx, c, o.Subjects[0].Function)
	if err != nil {
		return r, err
	}
	putBack, env, err := environment(ctx, c, first, o.ReadaheadKiB)
	if err != nil {
		return r, err
	}
	defer putBack()
	r.Environment = env
	b := bench{client: c, options: Options{Subjects: o.Subjects, N: o.N, Kinds: o.Kinds}, progress: progress}
	var all []*replay
	for _, s := range o.Subjects {
		one, err := b.recording(ctx, s, o)
		if err != nil {
			return r, fmt.Errorf("%s: %w", s.Function, err)
		}
		all = append(all, one)
		r.Functions = append(r.Functions, Replayed{Name: s.Function, Touches: len(one.touches), SetBytes: one.setBytes()})
	}
	for round := range o.N {
		for i, one := range all {
			for _, k := range o.Kinds {
				b.tell(o.Subjects[i], "replaying "+string(k))
				s, err := one.sample(ctx, k)
				if err != nil {
					return r, fmt.Errorf("%s, %s: %w", o.Subjects[i].Function, k, err)
				}
				s.Round = round + 1
				r.Functions[i].Samples = append(r.Functions[i].Samples, s)
				b.done++
			}
		}
	}
	return r, nil
}

// replay is one recording of one snapshot.
type replay struct {
	options     ReplayOptions
	description thaw.Description
	store       *snapshot.Store
	touches     []standin.Touch
}

// recording records s and reads what the replay of it needs.
func (b *bench) recording(ctx context.Context, s Subject, o ReplayOptions) (*replay, error) {
	b.tell(s, "recording what is replayed")
	if err := b.client.EndIdle(ctx, s.Function); err != nil {
		return nil, err
	}
	if err := b.record(ctx, Subject{Function: s.Function, Recorded: s.Measured}, thaw.PolicyThaw); err != nil {
		return nil, err
	}
	d, err := describe(ctx, b.client, s.Function)
	if err != nil {
		return nil, err
	}
	r := &replay{options: o, store: snapshot.View(filepath.Dir(d.SnapshotInfo.Folder))}
	trace, err := r.store.WorkingSet(d.SnapshotInfo.Manifest, thaw.FileWorkingSet)
	if err != nil {
		return nil, err
	}
	if r.touches, err = touches(trace, filepath.Join(d.SnapshotInfo.Folder, thaw.FileMemory), o.Factor); err != nil {
		return nil, err
	}
	for _, p := range []thaw.Policy{thaw.PolicyThaw, thaw.PolicyFaaSnap} {
		b.tell(s, "recording for "+string(p))
		if err := b.record(ctx, s, p); err != nil {
			return nil, err
		}
	}
	r.description, err = describe(ctx, b.client, s.Function) // with the sets that are there now
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
	if k.cached() {
		err = fill(r.description)
	} else {
		err = chill(r.description)
	}
	if err != nil {
		return s, err
	}
	return r.run(ctx, k, p, memory)
}

// run restores into p and has it touch everything.
func (r *replay) run(ctx context.Context, k Kind, p *standin.Process, file *os.File) (s ReplaySample, err error) {
	m := r.description.SnapshotInfo.Manifest
	begin := standin.Now()
	prefetch, release, err := instance.Sources{Snapshots: r.store, Resident: &resident.Cache{}}.Begin(m, k.Policy(), false)
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
	failed := make(chan error, 4)
	fail := func(err error) {
		failed <- err
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
