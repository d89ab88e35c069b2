package peers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"time"

	"thaw"
	"thaw/bench"
	"thaw/client"
	"thaw/pagecache"
)

// Run measures, as root and on the daemon's machine. Whatever it starts has ended and
// whatever it makes is removed when it returns, also when ctx ends it. What was
// measured until an error is returned with it.
func Run(ctx context.Context, c *client.Client, o Options, progress bench.Progress) (r Report, err error) {
	if o.Function == "" {
		o.Say("deploying a function to measure")
		name, remove, err := deploySample(ctx, c)
		if err != nil {
			return r, err
		}
		defer func() { err = errors.Join(err, remove()) }()
		o.Function = name
	}
	m := &measurement{client: c, options: o, progress: progress, report: &r}
	defer func() { err = errors.Join(err, m.close()) }()
	if err := m.prepare(ctx); err != nil {
		return r, err
	}
	return r, m.rounds(ctx)
}

// measurement is a run under way.
type measurement struct {
	client   *client.Client
	options  Options
	progress bench.Progress
	report   *Report
	work     *work
	putBack  func() error
	entries  []*entry
	expected any // what the event is answered with
	event    []byte
}

func (m *measurement) close() (err error) {
	if m.putBack != nil {
		err = m.putBack()
	}
	if m.work != nil {
		err = errors.Join(err, m.work.Close())
	}
	for _, e := range m.entries {
		m.report.Peers = append(m.report.Peers, e.Peer)
	}
	return err
}

// prepare makes a snapshot for each of those that take turns.
func (m *measurement) prepare(ctx context.Context) (err error) {
	o := m.options
	d, err := m.describe(ctx)
	if err != nil {
		return err
	}
	if m.work, err = newWork(o.Dir, d.SnapshotInfo.Folder); err != nil {
		return err
	}
	// First, so that the sets are recorded with the readahead that is measured.
	if m.putBack, m.report.Environment, err = bench.Environ(ctx, m.client, d, o.ReadaheadKiB); err != nil {
		return err
	}
	o.Say("recording what thaw brings in")
	reply, d, err := prepareOurs(ctx, m.client, o.Function, m.event)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(reply, &m.expected); err != nil {
		return fmt.Errorf("read the function's reply: %w", err)
	}
	m.addOurs(d)
	return m.addPeers(ctx, d)
}

// describe checks the function and the event.
func (m *measurement) describe(ctx context.Context) (thaw.Description, error) {
	d, err := bench.Describe(ctx, m.client, m.options.Function)
	if err != nil {
		return d, err
	}
	if d.Runtime != thaw.RuntimePython {
		return d, thaw.Errorf(thaw.CodeInvalid, "function %s has runtime %s: the peers run functions of %s", d.Function, d.Runtime, thaw.RuntimePython)
	}
	if len(d.Disks) != 2 {
		return d, thaw.Errorf(thaw.CodeConflict, "the disks of function %s are gone: deploy it again", d.Function)
	}
	if m.event, err = oneLine(m.options.Event); err != nil {
		return d, err
	}
	m.report.Function, m.report.MemoryMiB, m.report.Event = d.Function, d.MemoryBytes>>20, m.event
	return d, nil
}

func (m *measurement) addOurs(d thaw.Description) {
	for _, name := range []string{Thaw, OnDemand} {
		m.entries = append(m.entries, &entry{
			Peer{Name: name, Version: m.report.Environment.Version, SnapshotBytes: d.SnapshotInfo.DiskBytes},
			&ours{client: m.client, function: d.Function, names: bench.Artifacts(d), onDemand: name == OnDemand},
		})
	}
}

// addPeers prepares those that were chosen. What the machine cannot do is skipped,
// unless it was asked for by name.
func (m *measurement) addPeers(ctx context.Context, d thaw.Description) error {
	prepare := makers(m.options, m.work, d)
	for _, name := range Names() {
		if m.options.Peers != nil && !slices.Contains(m.options.Peers, name) {
			continue
		}
		m.options.Say("preparing " + name)
		limited, cancel := context.WithTimeoutCause(ctx, prepareTimeout, errPrepare)
		e, err := prepare[name](limited)
		cancel()
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case thaw.CodeOf(err) == thaw.CodeUnavailable && m.options.Peers == nil:
			m.report.Skipped = append(m.report.Skipped, Skip{name, strings.Join(strings.Fields(err.Error()), " ")})
		case err != nil:
			return fmt.Errorf("prepare %s: %w", name, err)
		default:
			e.Name = name
			m.entries = append(m.entries, e)
		}
	}
	return nil
}

// Bounds of what has no other: a build of runsc and an emulated boot take two minutes.
const (
	prepareTimeout = 10 * time.Minute
	restoreTimeout = time.Minute
)

var (
	errPrepare = errors.New("it was not ready after 10 minutes")
	errRestore = errors.New("there was no reply after a minute")
)

// rounds takes one sample of each in turns.
func (m *measurement) rounds(ctx context.Context) error {
	total := m.options.N * len(m.entries)
	for round := range m.options.N {
		for i, e := range m.entries {
			m.progress(round*len(m.entries)+i, total, e.Name)
			s, err := m.sample(ctx, e)
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if err != nil {
				return fmt.Errorf("round %d, %s: %w", round+1, e.Name, err)
			}
			s.Round = round + 1
			e.Samples = append(e.Samples, s)
		}
	}
	return nil
}

// sample restores once, from nothing but the disk.
func (m *measurement) sample(ctx context.Context, e *entry) (s Sample, err error) {
	if err := bench.Settle(ctx, m.client, e.Name == Thaw); err != nil {
		return s, err
	}
	if err := bench.Chill(e.files()); err != nil {
		return s, err
	}
	limited, cancel := context.WithTimeoutCause(ctx, restoreTimeout, errRestore)
	defer cancel()
	start := time.Now()
	a, err := e.restore(limited, m.event)
	wall := time.Since(start)
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, a.end()) }()
	if err := m.check(a.reply); err != nil {
		return s, err
	}
	if a.read == nil {
		a.read = func(context.Context) (int64, error) { return resident(e.files()) }
	}
	s = Sample{WallMS: float64(wall.Microseconds()) / 1e3, Policy: a.policy}
	s.BytesRead, err = a.read(ctx)
	if err == nil && s.BytesRead == 0 {
		err = thaw.Errorf(thaw.CodeConflict, "nothing was read from the disk: the start was not cold")
	}
	return s, err
}

// check compares a reply with the one that thaw gave first.
func (m *measurement) check(reply []byte) error {
	var got any
	if err := json.Unmarshal(reply, &got); err != nil {
		return fmt.Errorf("read the reply %.200q: %w", reply, err)
	}
	if !reflect.DeepEqual(got, m.expected) {
		return thaw.Errorf(thaw.CodeConflict, "the reply %.200s is not the one expected, %.200v: only a function that always gives the same can be compared", reply, m.expected)
	}
	return nil
}

// resident is how much of files is in the page cache.
func resident(names []string) (bytes int64, err error) {
	for _, name := range names {
		f, err := os.Open(name)
		if err != nil {
			return 0, err
		}
		pages, err := pagecache.Resident(f)
		_ = f.Close() // only looked at
		if err != nil {
			return 0, err
		}
		bytes += int64(pages) * thaw.PageSize
	}
	return bytes, nil
}
