// Package standin is a process that takes the place of a VMM: it maps memory as
// large as a guest's, has it laid out from outside, and touches pages in the order
// and at the pace of a recording, at the speed of the host's processor. It checks
// the content of each page. It also touches pages of one kind, and brings them in by
// one way, with each touch or call timed ([Area], [Order], [Bulk]).
//
// [Serve] is the process, [Start] the handle of whoever commands it. They speak
// gob over a socket, one request at a time.
package standin

import (
	"encoding/gob"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"os"
	"runtime"
	"runtime/debug"

	"golang.org/x/sys/unix"

	"thaw"
)

// Socket is the descriptor of the process's end of the socket.
const Socket = 3

// Touch is one page to be touched.
type Touch struct {
	Page uint32
	// Write stores First in its first byte, which is what it holds.
	Write bool
	First byte
	// Sum is the CRC-32C of its content.
	Sum uint32
	// WaitNS is how long to compute before, in nanoseconds.
	WaitNS int64
}

// Result is what touching came to. Times are of CLOCK_MONOTONIC, in nanoseconds.
type Result struct {
	// LastNS is when the last page had been touched.
	LastNS int64
	// StallNS is how long each touch took.
	StallNS []int64
	// Wrong are the pages whose content was another, at most wrongPages of them.
	Wrong []uint32
	// Major and Minor are the page faults that the kernel counted (getrusage(2)).
	Major, Minor int64
}

const wrongPages = 16

// request asks for one thing.
type request struct {
	Map   int64   // bytes of memory to map
	Open  string  // path to open
	Touch []Touch // to be kept
	Run   bool    // touch what was kept

	Area  *Area // to map
	Trap  bool  // create a userfaultfd, to be closed with the area
	Order *Order
	Bulk  *Bulk
	Unmap bool // the area
}

type reply struct {
	Address uint64
	FD      int
	Result  Result
	Raised  Raised
	Err     string
	// Unsupported says that the kernel does not know what was asked of it.
	Unsupported bool
}

// process is the stand-in's own state.
type process struct {
	memory  []byte
	touches []Touch
	area    *area // nil for none
}

// Serve obeys until the socket closes.
func Serve() error {
	runtime.LockOSThread()
	debug.SetGCPercent(-1) // nothing may stop the world while a page is waited for
	file := os.NewFile(Socket, "socket")
	defer file.Close()
	conn, err := net.FileConn(file)
	if err != nil {
		return fmt.Errorf("use the socket: %w", err)
	}
	defer conn.Close()
	in, out, p := gob.NewDecoder(conn), gob.NewEncoder(conn), process{}
	for {
		var r request
		if err := in.Decode(&r); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("read a request: %w", err)
		}
		answer, err := p.obey(r)
		if err != nil {
			answer.Err = err.Error()
			answer.Unsupported = errors.Is(err, errors.ErrUnsupported) || errors.Is(err, unix.EINVAL)
		}
		if err := out.Encode(answer); err != nil {
			return fmt.Errorf("answer: %w", err)
		}
	}
}

func (p *process) obey(r request) (a reply, err error) {
	switch {
	case r.Map > 0:
		p.memory, err = unix.Mmap(-1, 0, int(r.Map), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
		if err == nil {
			a.Address = address(p.memory)
		}
	case r.Open != "":
		a.FD, err = unix.Open(r.Open, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	case r.Touch != nil:
		p.touches = r.Touch
	case r.Run:
		a.Result, err = p.run()
	default:
		return p.obeyArea(r)
	}
	return a, err
}

// obeyArea does what concerns the area.
func (p *process) obeyArea(r request) (a reply, err error) {
	switch {
	case r.Unmap:
		err = p.area.unmap()
		p.area = nil
	case r.Area != nil && p.area != nil:
		err = errors.New("an area is mapped already")
	case r.Area != nil:
		if p.area, err = mapArea(*r.Area); err == nil {
			a.Address = address(p.area.memory)
		}
	case p.area == nil:
		err = errors.New("no area is mapped")
	case r.Trap:
		a.FD, err = p.area.trap()
	case r.Order != nil:
		a.Raised, err = p.area.touch(*r.Order)
	case r.Bulk != nil:
		a.Raised, err = p.area.bulk(*r.Bulk)
	}
	return a, err
}

// run touches the pages, one after the other.
func (p *process) run() (r Result, err error) {
	r.StallNS = make([]int64, len(p.touches))
	before, err := faults()
	if err != nil {
		return r, err
	}
	table := crc32.MakeTable(crc32.Castagnoli)
	now := clock()
	free := now()
	for i, t := range p.touches {
		for free += t.WaitNS; now() < free; {
		}
		start := now()
		page := p.memory[int64(t.Page)*thaw.PageSize:][:thaw.PageSize]
		touch(page, t)
		free = now()
		r.StallNS[i] = free - start
		// Reading the page is what a guest would do with it: part of its time to
		// compute.
		if crc32.Checksum(page, table) != t.Sum && len(r.Wrong) < wrongPages {
			r.Wrong = append(r.Wrong, t.Page)
		}
	}
	r.LastNS = now()
	after, err := faults()
	r.Major, r.Minor = after.Majflt-before.Majflt, after.Minflt-before.Minflt
	return r, err
}

// touch raises the page fault: one that writes is not preceded by one that reads.
//
//go:noinline
func touch(page []byte, t Touch) byte {
	if t.Write {
		page[0] = t.First
		return 0
	}
	return page[0]
}

func faults() (u unix.Rusage, err error) {
	err = unix.Getrusage(unix.RUSAGE_SELF, &u)
	return u, err
}

// clock returns CLOCK_MONOTONIC in nanoseconds, which costs no system call as [Now]
// does.
func clock() func() int64 {
	base, watch := Now(), stopwatch()
	return func() int64 { return base + watch() }
}

// Now is CLOCK_MONOTONIC in nanoseconds, the clock of results.
func Now() int64 {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts) // cannot fail
	return ts.Nano()
}
