package faults

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"thaw"
	"thaw/bench/standin"
	"thaw/procstat"
	"thaw/uffd"
)

// sample touches the pages of one class once, and returns the time of each touch.
func (r *run) sample(ctx context.Context, k Kind, round int) (us []float64, c Counts, err error) {
	pages := r.pages(k, round)
	if err := r.prepare(k, pages); err != nil {
		return nil, c, err
	}
	base, err := r.process.Map(r.area(k))
	if err != nil {
		return nil, c, err
	}
	server := &trap{}
	defer func() { err = errors.Join(err, server.stop(), r.process.Unmap(), server.close()) }()
	if k.traps() {
		if server, err = r.trap(ctx, k, base); err != nil {
			return nil, c, err
		}
	}
	raised, c, err := r.touch(k, base, pages, server)
	if err != nil {
		return nil, c, err
	}
	if k.Backing == Disk && !k.Huge() {
		err = r.scratch.readAlone(pages)
	}
	return micros(raised.NS, 1), c, errors.Join(err, k.check(c))
}

// pages are those to be touched, in an order of each round's own: no readahead sees
// a pattern.
func (r *run) pages(k Kind, round int) []uint32 {
	n, apart := r.options.Pages, uint32(Stride)
	if k.Huge() || k.Backing == PageCacheReadahead {
		n, apart = r.scratch.hugePages(), standin.HugeSize/thaw.PageSize
	}
	pages := make([]uint32, n)
	for i, at := range rand.New(rand.NewPCG(7, uint64(round))).Perm(n) {
		pages[i] = uint32(at) * apart
	}
	return pages
}

// prepare makes the page cache what k wants it to be, and verifies it.
func (r *run) prepare(k Kind, pages []uint32) error {
	switch {
	case k.Backing == PageCache && k.Huge():
		if err := r.scratch.chill(); err != nil {
			return err
		}
		return r.inPassing(r.area(k), pages)
	case k.Backing == MemoryFile && k.Huge():
		a := r.area(k)
		a.Advice = append(a.Advice, unix.MADV_COLLAPSE)
		return r.inPassing(a, pages)
	case k.Backing == PageCache:
		return r.scratch.fillOnly(pages)
	case k.Backing == PageCacheAround:
		return r.scratch.fill(r.scratch.disk)
	case k.Backing == PageCacheReadahead:
		return r.scratch.fill(r.scratch.sequential)
	case k.Backing == Disk:
		return r.scratch.chill()
	}
	return nil
}

// inPassing maps an area and reads it, for what that does to the file.
func (r *run) inPassing(a standin.Area, pages []uint32) error {
	if _, err := r.process.Map(a); err != nil {
		return err
	}
	_, err := r.process.Touch(standin.Order{Pages: pages, Numbered: true})
	return errors.Join(err, r.process.Unmap())
}

func (r *run) area(k Kind) standin.Area {
	a := standin.Area{Bytes: r.scratch.size(), Advice: k.advice()}
	switch k.Backing {
	case PageCache, PageCacheAround, PageCacheReadahead, Disk:
		a.Path = pathOf(r.scratch.disk)
	case MemoryFile:
		a.Path = pathOf(r.scratch.memory)
		if k.Huge() {
			a.Path = pathOf(r.scratch.hugeMemory)
		}
	}
	return a
}

// touch has the pages touched, before that in the way that k wants it, and counts.
func (r *run) touch(k Kind, base uint64, pages []uint32, server *trap) (raised standin.Raised, c Counts, err error) {
	order := standin.Order{Pages: pages, Write: k.Touch != Read, Numbered: k.numbered()}
	if k.Touch == CopyOnWrite || k.Backing == InPlace {
		first := order
		first.Write = k.Backing == InPlace
		if _, err := r.process.Touch(first); err != nil {
			return raised, c, err
		}
	}
	before, err := r.count(base, r.scratch.size())
	if err != nil {
		return raised, c, err
	}
	trapped := server.events()
	if raised, err = r.process.Touch(order); err != nil {
		return raised, c, err
	}
	if raised.Wrong > 0 {
		return raised, c, fmt.Errorf("%d pages hold something else than they should", raised.Wrong)
	}
	trapped = server.events() - trapped
	c, err = r.count(base, r.scratch.size())
	c.Mapped, c.Own = c.Mapped-before.Mapped, c.Own-before.Own
	c.Touches, c.Minor, c.Major, c.Trapped = int64(len(pages)), raised.Minor, raised.Major, trapped
	return raised, c, err
}

// count reads the page map.
func (r *run) count(base uint64, length int64) (c Counts, err error) {
	err = procstat.Pages(r.process.PID(), base, base+uint64(length), func(_ int, p procstat.Page) {
		if p.Present() {
			c.Mapped++
		}
		if p.Own() {
			c.Own++
		}
	})
	return c, err
}

// trap is a page-fault server of this process for the stand-in's memory.
type trap struct {
	fd     *uffd.FD
	server *uffd.Server
	cancel context.CancelFunc
	done   chan error
	// protected counts first writes to pages that were there.
	protected atomic.Int64
}

// trap begins to serve the area at base.
func (r *run) trap(ctx context.Context, k Kind, base uint64) (*trap, error) {
	t := &trap{}
	if err := t.register(r.process, k, base, uint64(r.scratch.size())); err != nil {
		return t, err
	}
	t.server = &uffd.Server{
		FD: t.fd, Memory: bytes.NewReader(r.scratch.bytes),
		Regions: []uffd.Region{{Addr: base, Len: uint64(r.scratch.size())}},
	}
	if k.Backing == UserfaultfdWrites {
		t.server.OnWrite = func(int64) {
			if k.Touch == CopyOnWrite { // else it is a fault besides, counted already
				t.protected.Add(1)
			}
		}
	}
	ctx, t.cancel = context.WithCancel(ctx)
	t.done = make(chan error, 1)
	go func() {
		err := t.server.Serve(ctx)
		if err != nil {
			r.process.Kill() // it would wait for ever
		}
		t.done <- err
	}()
	return t, nil
}

func (t *trap) register(p *standin.Process, k Kind, base, length uint64) error {
	fd, err := p.Trap()
	if err != nil {
		return err
	}
	features := uint64(0)
	if k.Backing == UserfaultfdWrites {
		features = uffd.FeatureWriteProtect
	}
	if t.fd, err = uffd.New(fd, features); err != nil {
		return err
	}
	if k.Backing == UserfaultfdWrites {
		return t.fd.RegisterWrites(base, length)
	}
	return t.fd.Register(base, length)
}

// events is how many faults were served so far.
func (t *trap) events() int64 {
	if t.server == nil {
		return 0
	}
	return t.server.Trapped() + t.protected.Load()
}

// stop ends the server.
func (t *trap) stop() error {
	if t.server == nil {
		return nil
	}
	t.cancel()
	return <-t.done
}

// close gives the descriptor up, once the memory is gone.
func (t *trap) close() error {
	if t.fd == nil {
		return nil
	}
	return t.fd.Close()
}

// micros are times in microseconds, each divided by n.
func micros(ns []int64, n int) []float64 {
	us := make([]float64, len(ns))
	for i, t := range ns {
		us[i] = float64(t) / 1e3 / float64(n)
	}
	return us
}
