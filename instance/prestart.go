package instance

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"thaw/procstat"
	"thaw/vmm/qemu"
)

// disksPerGuest are the root disk and the code disk.
const disksPerGuest = 2

// refillDelay keeps the starting of replacements away from the restore that
// took a VMM: both want the processor.
const refillDelay = 300 * time.Millisecond

// PrestartLimits bound a [Prestarted].
type PrestartLimits struct {
	// Each is how many VMMs wait for each memory size; 0 keeps none.
	Each int
	// Sizes is for how many memory sizes VMMs wait: those asked for last.
	Sizes int
	// Bytes bounds what all that wait occupy together.
	Bytes int64
}

// Prestarted keeps VMMs that wait for a snapshot, so that a restore need not wait
// for one to start. A VMM fits guests of one memory size; those of the sizes
// asked for last are kept. None is used for more than one instance.
//
// Its methods may be called concurrently. Close ends it and every VMM it holds.
type Prestarted struct {
	driver *qemu.Driver
	limits PrestartLimits
	cancel context.CancelFunc
	work   sync.WaitGroup
	wake   chan struct{}

	mu      sync.Mutex
	idle    map[int64][]waiting
	recent  []int64 // memory sizes, most recently asked for first
	largest int64   // that any of them occupied
}

// waiting is a VMM that waits, and what it occupies in bytes.
type waiting struct {
	vm    *qemu.VM
	bytes int64
}

// firstGuess is what a VMM is taken to occupy until one was measured.
const firstGuess = 48 << 20

// NewPrestarted keeps VMMs within limits.
func NewPrestarted(driver *qemu.Driver, limits PrestartLimits) *Prestarted {
	ctx, cancel := context.WithCancel(context.Background())
	p := &Prestarted{
		driver: driver, limits: limits, cancel: cancel, wake: make(chan struct{}, 1),
		idle: map[int64][]waiting{}, largest: firstGuess,
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
		vm := p.pop(memory)
		select {
		case <-vm.Done():
			vm.Close() // it has ended by itself
		default:
			return vm
		}
	}
	return nil
}

// pop takes out the one that waits longest. The caller holds mu.
func (p *Prestarted) pop(memory int64) *qemu.VM {
	first := p.idle[memory][0]
	p.idle[memory] = p.idle[memory][1:]
	return first.vm
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
	if p.limits.Each == 0 {
		return
	}
	recent := []int64{memory}
	for _, m := range p.recent {
		if m != memory && len(recent) < p.limits.Sizes {
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

// trim ends the VMMs of sizes that are not among the recent ones, and those in
// whose place one of a size asked for later is to wait.
func (p *Prestarted) trim() {
	p.mu.Lock()
	var old []*qemu.VM
	for memory, list := range p.idle {
		for range list {
			if !slices.Contains(p.recent, memory) {
				old = append(old, p.pop(memory))
			}
		}
	}
	for memory, ok := p.crowded(); ok; memory, ok = p.crowded() {
		old = append(old, p.pop(memory))
	}
	p.mu.Unlock()
	for _, vm := range old {
		vm.Close()
	}
}

// crowded returns a memory size of which one is to make room. The caller holds mu.
func (p *Prestarted) crowded() (memory int64, ok bool) {
	short := slices.IndexFunc(p.recent, p.short)
	if short < 0 || p.room() {
		return 0, false
	}
	for _, memory := range slices.Backward(p.recent[short+1:]) {
		if len(p.idle[memory]) > 0 {
			return memory, true
		}
	}
	return 0, false
}

// short says whether too few wait of a memory size. The caller holds mu.
func (p *Prestarted) short(memory int64) bool { return len(p.idle[memory]) < p.limits.Each }

// room says whether there is memory for another one. The caller holds mu.
func (p *Prestarted) room() bool {
	held := p.largest
	for _, list := range p.idle {
		for _, w := range list {
			held += w.bytes
		}
	}
	return held <= p.limits.Bytes
}

// missing returns a memory size of which another one is to be started.
func (p *Prestarted) missing() (int64, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := slices.IndexFunc(p.recent, p.short); i >= 0 && p.room() {
		return p.recent[i], true
	}
	return 0, false
}

// add starts one more. A failure is for the next restore to report, which starts
// its own.
func (p *Prestarted) add(ctx context.Context, memory int64) bool {
	ctx, cancel := context.WithTimeoutCause(ctx, prestartTimeout, errPrestartTimeout)
	defer cancel()
	vm, err := p.driver.Prestart(ctx, memory, disksPerGuest, true)
	if err != nil {
		return false
	}
	w := waiting{vm: vm, bytes: occupied(vm)}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.idle[memory] = append(p.idle[memory], w)
	p.largest = max(p.largest, w.bytes)
	return true
}

// occupied is what a VMM occupies, a guess if that cannot be read.
func occupied(vm *qemu.VM) int64 {
	counters, err := procstat.Open(vm.PID())
	if err != nil {
		return firstGuess
	}
	defer counters.Close()
	m, err := counters.Memory()
	if err != nil {
		return firstGuess
	}
	return m.RSSBytes
}

const prestartTimeout = 30 * time.Second

var errPrestartTimeout = errors.New("the VMM did not start in time")

// Count is how many VMMs wait, and whether no other one is to be started.
func (p *Prestarted) Count() (n int, full bool) {
	_, missing := p.missing()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, list := range p.idle {
		n += len(list)
	}
	return n, !missing
}

// Close ends everything. No Take may be under way.
func (p *Prestarted) Close() {
	p.cancel()
	p.work.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, list := range p.idle {
		for _, w := range list {
			w.vm.Close()
		}
	}
	p.idle = nil
}
