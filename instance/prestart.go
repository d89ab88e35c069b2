package instance

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"thaw/vmm/qemu"
)

// disksPerGuest are the root disk and the code disk.
const disksPerGuest = 2

// refillDelay keeps the starting of replacements away from the restore that
// took a VMM: both want the processor.
const refillDelay = 300 * time.Millisecond

// Prestarted keeps VMMs that wait for a snapshot, so that a restore need not wait
// for one to start. A VMM fits guests of one memory size; those of the sizes
// asked for last are kept. None is used for more than one instance.
//
// Its methods may be called concurrently. Close ends it and every VMM it holds.
type Prestarted struct {
	start  func(ctx context.Context, memory int64) (*qemu.VM, error)
	size   int // how many to keep of each memory size
	sizes  int // of how many memory sizes
	cancel context.CancelFunc
	work   sync.WaitGroup
	wake   chan struct{}

	mu     sync.Mutex
	idle   map[int64][]*qemu.VM
	recent []int64 // memory sizes, most recently asked for first
}

// NewPrestarted keeps size VMMs for each of the sizes memory sizes asked for
// last. With a size of 0 it keeps none.
func NewPrestarted(driver *qemu.Driver, size, sizes int) *Prestarted {
	ctx, cancel := context.WithCancel(context.Background())
	p := &Prestarted{
		start: func(ctx context.Context, memory int64) (*qemu.VM, error) {
			return driver.Prestart(ctx, memory, disksPerGuest)
		},
		size: size, sizes: sizes, cancel: cancel, wake: make(chan struct{}, 1), idle: map[int64][]*qemu.VM{},
	}
	p.work.Go(func() { p.refill(ctx) })
	return p
}

// Take returns a VMM that was waiting for a guest with memory bytes of memory,
// which the caller owns from now on, or nil.
func (p *Prestarted) Take(memory int64) *qemu.VM {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.note(memory)
	for len(p.idle[memory]) > 0 {
		vm := p.idle[memory][0]
		p.idle[memory] = p.idle[memory][1:]
		select {
		case <-vm.Done():
			vm.Close() // it has ended by itself
		default:
			return vm
		}
	}
	return nil
}

// Expect has VMMs for guests with memory bytes of memory started.
func (p *Prestarted) Expect(memory int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.note(memory)
}

// note puts memory first among the sizes and wakes the refilling. The caller
// holds mu.
func (p *Prestarted) note(memory int64) {
	if p.size == 0 {
		return
	}
	recent := []int64{memory}
	for _, m := range p.recent {
		if m != memory && len(recent) < p.sizes {
			recent = append(recent, m)
		}
	}
	p.recent = recent
	select {
	case p.wake <- struct{}{}:
	default: // it is awake
	}
}

// refill starts what is missing and ends what is not wanted any more, one VMM at
// a time.
func (p *Prestarted) refill(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.wake:
		}
		for p.pause(ctx) {
			p.trim()
			memory, missing := p.missing()
			if !missing || !p.add(ctx, memory) {
				break
			}
		}
	}
}

func (p *Prestarted) pause(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(refillDelay):
		return true
	}
}

// trim ends the VMMs of sizes that are not among the recent ones.
func (p *Prestarted) trim() {
	p.mu.Lock()
	var old []*qemu.VM
	for memory, vms := range p.idle {
		if !slices.Contains(p.recent, memory) {
			old = append(old, vms...)
			delete(p.idle, memory)
		}
	}
	p.mu.Unlock()
	for _, vm := range old {
		vm.Close()
	}
}

// missing returns a memory size of which there are too few.
func (p *Prestarted) missing() (int64, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, memory := range p.recent {
		if len(p.idle[memory]) < p.size {
			return memory, true
		}
	}
	return 0, false
}

// add starts one more. A failure is for the next restore to report, which starts
// its own.
func (p *Prestarted) add(ctx context.Context, memory int64) bool {
	ctx, cancel := context.WithTimeoutCause(ctx, prestartTimeout, errPrestartTimeout)
	defer cancel()
	vm, err := p.start(ctx, memory)
	if err != nil {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.idle[memory] = append(p.idle[memory], vm)
	return true
}

const prestartTimeout = 30 * time.Second

var errPrestartTimeout = errors.New("the VMM did not start in time")

// Count is how many VMMs wait, and whether none is missing.
func (p *Prestarted) Count() (n int, full bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	full = true
	for _, memory := range p.recent {
		n += len(p.idle[memory])
		full = full && len(p.idle[memory]) >= p.size
	}
	return n, full
}

// Close ends everything. No Take may be under way.
func (p *Prestarted) Close() {
	p.cancel()
	p.work.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, vms := range p.idle {
		for _, vm := range vms {
			vm.Close()
		}
	}
	p.idle = nil
}
