package guest

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"thaw"
	"thaw/agent/wire"
)

// function is one function, from Init until its runtime has ended.
//
// Two goroutines are its own: the API server's and the one that waits for the
// runtime. Requests of the runtime come in on the server's.
type function struct {
	oomKills int64 // of the guest's kernel when it started
	init     wire.Init
	session  uint64 // of Init
	link     *link
	logs     *logs
	proc     *process
	api      *api
	done     sync.WaitGroup

	work     chan *invocation // has room for the one
	restored chan struct{}    // closed by release
	once     sync.Once        // guards restored

	mu      sync.Mutex
	ready   bool                // Init has been answered with InitDone
	current *invocation         // from Invoke to its result
	over    *thaw.FunctionError // why the runtime serves no more
}

// invocation is one request, from Invoke to its result.
type invocation struct {
	wire.Invoke
	session  uint64
	payload  []byte
	taken    bool // handed to the runtime
	timedOut bool
	timer    *time.Timer
}

// start begins the function's init. Its end is reported in the session.
func start(cfg Config, l *link, session uint64, m wire.Init) (*function, error) {
	f := &function{
		init: m, session: session, link: l, oomKills: oomKills(),
		work: make(chan *invocation, 1), restored: make(chan struct{}),
	}
	logs, output, err := newLogs(f.logLine)
	if err != nil {
		return nil, err
	}
	defer closeAll(output)
	f.logs = logs
	if f.api, err = newAPI(cfg, f); err != nil {
		logs.close()
		return nil, err
	}
	if f.proc, err = startProcess(cfg, m, environment(cfg, m, lambdaEnv(cfg, m, f.api.tcp.Addr().String())), output); err != nil {
		f.api.close()
		logs.close()
		return nil, err
	}
	f.done.Go(f.watch)
	f.done.Go(f.api.serve)
	return f, nil
}

// stop ends the runtime and everything that belongs to the function.
func (f *function) stop() {
	f.proc.kill()
	f.api.close()
	f.done.Wait()
	f.logs.close()
}

// release lets restore/next return.
func (f *function) release() {
	f.once.Do(func() { close(f.restored) })
}

// isReady answers Init, once; the runtime asks for work or for the snapshot.
func (f *function) isReady() {
	f.logs.drain()
	f.mu.Lock()
	first := !f.ready && f.over == nil
	f.ready = f.ready || first
	f.mu.Unlock()
	if first {
		f.link.send(f.session, &wire.InitDone{}, nil)
	}
}

// invoke hands inv to the runtime when that asks for it next.
func (f *function) invoke(inv *invocation) {
	f.mu.Lock()
	over, busy := f.over, f.current != nil
	if over == nil && !busy {
		f.current = inv
		inv.timer = time.AfterFunc(time.Duration(inv.RemainingMS)*time.Millisecond, func() { f.timeout(inv) })
		f.work <- inv // has room: the one before has been taken or is gone
	}
	f.mu.Unlock()
	switch {
	case over != nil:
		f.finish(inv, *over)
	case busy:
		f.link.send(inv.session, &wire.Result{RequestID: inv.RequestID, Refused: "another invocation is under way"}, nil)
	default:
		f.release() // at the latest: the host is content with the clock
	}
}

// take marks inv as handed to the runtime, unless it has ended meanwhile.
func (f *function) take(inv *invocation) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.current != inv || inv.timedOut {
		return false
	}
	inv.taken = true
	return true
}

// working reports whether the runtime has an invocation to answer.
func (f *function) working() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.current != nil && f.current.taken
}

// answering reports whether id is the invocation the runtime may answer now.
func (f *function) answering(id string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.current != nil && f.current.taken && !f.current.timedOut && f.current.RequestID == id
}

// complete ends the current invocation, whose id is id, with the runtime's
// answer. It reports false when that came too late.
func (f *function) complete(id, functionError string, body []byte) bool {
	f.logs.drain()
	f.mu.Lock()
	inv := f.current
	if inv == nil || !inv.taken || inv.timedOut || inv.RequestID != id {
		f.mu.Unlock()
		return false
	}
	inv.timer.Stop()
	f.current = nil
	f.mu.Unlock()
	f.link.send(inv.session, &wire.Result{RequestID: id, FunctionError: functionError}, body)
	return true
}

// timeout kills the runtime; watch answers the invocation when it is dead.
func (f *function) timeout(inv *invocation) {
	f.mu.Lock()
	late := f.current == inv
	inv.timedOut = late
	f.mu.Unlock()
	if late {
		f.proc.kill()
	}
}

// fail ends a function by what its runtime reports of itself.
func (f *function) fail(fe thaw.FunctionError) {
	f.logs.drain()
	f.end(func(*invocation) thaw.FunctionError { return fe })
}

// watch waits for the end of the runtime.
func (f *function) watch() {
	text := describeExit(f.proc.wait())
	if oomKills() > f.oomKills {
		text += fmt.Sprintf(": the guest ran out of its %d MiB of memory", f.init.MemoryMiB)
	}
	f.logs.drain()
	f.end(func(inv *invocation) thaw.FunctionError {
		switch {
		case inv == nil:
			return thaw.FunctionError{Type: thaw.ErrorTypeExit, Message: text}
		case inv.timedOut:
			limit := time.Duration(f.init.TimeoutMS) * time.Millisecond
			return thaw.FunctionError{Type: thaw.ErrorTypeTimeout, Message: withID(inv, fmt.Sprintf("Error: Task timed out after %.2f seconds", limit.Seconds()))}
		}
		return thaw.FunctionError{Type: thaw.ErrorTypeExit, Message: withID(inv, text)}
	})
}

// oomKills is how many processes the kernel has killed for want of memory
// (proc(5), /proc/vmstat).
func oomKills() (n int64) {
	b, _ := os.ReadFile("/proc/vmstat") // 0 where there is none
	for line := range strings.Lines(string(b)) {
		if value, ok := strings.CutPrefix(line, "oom_kill "); ok {
			n, _ = strconv.ParseInt(strings.TrimSpace(value), 10, 64) // the kernel's own
		}
	}
	return n
}

func withID(inv *invocation, text string) string {
	return "RequestId: " + inv.RequestID + " " + text
}

// end makes the function's end known to whom it concerns: the host that waits
// for Init or for an invocation now, or the next one that invokes. Only the
// first end counts.
func (f *function) end(why func(*invocation) thaw.FunctionError) {
	f.mu.Lock()
	inv := f.current
	if f.over != nil {
		f.mu.Unlock()
		return
	}
	fe := why(inv)
	f.over, f.current = &fe, nil
	ready := f.ready
	f.mu.Unlock()
	if !ready {
		f.link.send(f.session, &wire.InitFailed{FunctionError: fe}, nil)
	}
	if inv != nil {
		inv.timer.Stop()
		f.finish(inv, fe)
	}
}

// finish answers inv with an end, which the function's log shows as well.
func (f *function) finish(inv *invocation, fe thaw.FunctionError) {
	l := &wire.Log{RequestID: inv.RequestID, Stream: "platform", UnixNS: time.Now().UnixNano()}
	f.link.send(inv.session, l, clip(fe.Message, wire.MaxLine))
	f.link.send(inv.session, &wire.Result{RequestID: inv.RequestID, FunctionError: fe.Type, Finished: true}, fe.JSON())
}

func clip(s string, n int) []byte { return []byte(s[:min(n, len(s))]) }

// logLine sends one line the function wrote to whatever host listens now.
func (f *function) logLine(stream string, line []byte) {
	l := &wire.Log{Stream: stream, UnixNS: time.Now().UnixNano()}
	f.mu.Lock()
	if f.current != nil {
		l.RequestID = f.current.RequestID
	}
	f.mu.Unlock()
	f.link.send(f.link.current(), l, line)
}
