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

// function is one function, from Init until its runtime has ended. How the runtime
// gets its work is its speaker's business.
//
// Two goroutines are its own: the speaker's and the one that waits for the
// runtime.
type function struct {
	oomKills int64 // of the guest's kernel when it started
	init     wire.Init
	session  uint64 // of Init
	link     *link
	logs     *logs
	proc     *process
	speaker  speaker
	done     sync.WaitGroup

	prepare  chan struct{} // closed by primed
	restored chan struct{} // closed by release
	once     sync.Once     // guards restored

	mu      sync.Mutex
	ready   bool                // Init has been answered with InitDone
	resting bool                // the runtime waits where a snapshot can be taken
	settle  uint64              // session of the Primed to be answered, 0 for none
	calls   map[*call]struct{}  // under way
	over    *thaw.FunctionError // why the runtime serves no more
	lines   []string            // the last ones before it was ready
}

// speaker gives the runtime its work by one protocol.
type speaker interface {
	// environment is what the runtime finds set.
	environment() map[string]string
	// serve works until close.
	serve()
	close()
	// forget drops what an earlier session has begun.
	forget()
}

// call is one request under way, of either protocol.
type call struct {
	requestID string
	timer     *time.Timer
	timedOut  bool
	// fail answers it, after which it is over. finished says that the runtime is to
	// be given no more.
	fail func(fe thaw.FunctionError, finished bool)
}

// start begins the function's init. Its end is reported in the session.
func start(cfg Config, l *link, session uint64, m wire.Init) (*function, error) {
	f := &function{
		init: m, session: session, link: l, oomKills: oomKills(),
		prepare: make(chan struct{}), restored: make(chan struct{}), calls: make(map[*call]struct{}),
	}
	logs, output, err := newLogs(f.logLine)
	if err != nil {
		return nil, err
	}
	defer closeAll(output)
	f.logs = logs
	if f.speaker, err = newSpeaker(cfg, f); err != nil {
		logs.close()
		return nil, err
	}
	if f.proc, err = startProcess(cfg, m, environment(cfg, m, f.speaker.environment()), output); err != nil {
		f.speaker.close()
		logs.close()
		return nil, err
	}
	f.done.Go(f.watch)
	f.done.Go(f.speaker.serve)
	return f, nil
}

func newSpeaker(cfg Config, f *function) (speaker, error) {
	switch f.init.Protocol {
	case thaw.ProtocolHTTP:
		return newWeb(cfg, f), nil
	case thaw.ProtocolLambda, "":
		return newAPI(cfg, f)
	}
	return nil, fmt.Errorf("protocol %q is not known to this guest", f.init.Protocol)
}

// concurrency is how many calls may be under way.
func (f *function) concurrency() int { return max(1, f.init.Concurrency) }

// alive reports whether the runtime may serve.
func (f *function) alive() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.over == nil
}

// stop ends the runtime and everything that belongs to the function.
func (f *function) stop() {
	f.proc.kill()
	f.speaker.close()
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
	if first {
		f.ready, f.lines = true, nil
	}
	f.mu.Unlock()
	if first {
		f.link.send(f.session, &wire.InitDone{}, nil)
	}
}

// begin puts c under way, for remaining at most. It returns why not: the end of the
// runtime, or that the host wants too much.
func (f *function) begin(c *call, remaining time.Duration) (over *thaw.FunctionError, refused string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.over != nil:
		return f.over, ""
	case len(f.calls) >= f.concurrency():
		return nil, busy(len(f.calls))
	}
	f.calls[c] = struct{}{}
	c.timer = time.AfterFunc(remaining, func() { f.timeout(c) })
	return nil, ""
}

func busy(n int) string {
	if n == 1 {
		return "another invocation is under way"
	}
	return fmt.Sprintf("%d other invocations are under way", n)
}

// waits reports whether c is under way and in time.
func (f *function) waits(c *call) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, ok := f.calls[c]
	return ok && !c.timedOut
}

// finish ends c, which is about to be answered. It reports false when it is over
// already: then nobody waits for the answer.
func (f *function) finish(c *call) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, ok := f.calls[c]; !ok || c.timedOut {
		return false
	}
	c.timer.Stop()
	delete(f.calls, c)
	return true
}

// timeout ends c late. Where it is alone, the runtime is killed, and watch answers it
// when that is dead. The others that are under way may go on, but the runtime, which
// may work at it for ever, is to get no more.
func (f *function) timeout(c *call) {
	f.mu.Lock()
	_, late := f.calls[c]
	others := len(f.calls) > 1
	if late {
		c.timedOut = true
	}
	if late && others {
		delete(f.calls, c)
	}
	f.mu.Unlock()
	switch {
	case late && others:
		c.fail(f.timeoutError(c), true)
	case late:
		f.proc.kill()
	}
}

func (f *function) timeoutError(c *call) thaw.FunctionError {
	limit := time.Duration(f.init.TimeoutMS) * time.Millisecond
	return thaw.FunctionError{Type: thaw.ErrorTypeTimeout, Message: withID(c, fmt.Sprintf("Error: Task timed out after %.2f seconds", limit.Seconds()))}
}

// fail ends a function by what its runtime reports of itself.
func (f *function) fail(fe thaw.FunctionError) {
	f.logs.drain()
	f.end(func(*call) thaw.FunctionError { return fe })
}

// watch waits for the end of the runtime.
func (f *function) watch() {
	text := describeExit(f.proc.wait())
	if oomKills() > f.oomKills {
		text += fmt.Sprintf(": the guest ran out of its %d MiB of memory", f.init.MemoryMiB)
	}
	f.logs.drain()
	f.end(func(c *call) thaw.FunctionError {
		switch {
		case c == nil:
			return thaw.FunctionError{Type: thaw.ErrorTypeExit, Message: text}
		case c.timedOut:
			return f.timeoutError(c)
		}
		return thaw.FunctionError{Type: thaw.ErrorTypeExit, Message: withID(c, text)}
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

func withID(c *call, text string) string {
	return "RequestId: " + c.requestID + " " + text
}

// end makes the function's end known to whom it concerns: the host that waits
// for Init or for calls now, or the next one that calls. Only the first end counts.
func (f *function) end(why func(*call) thaw.FunctionError) {
	f.mu.Lock()
	if f.over != nil {
		f.mu.Unlock()
		return
	}
	calls := f.calls
	over := why(f.only())
	f.over, f.calls = &over, map[*call]struct{}{}
	ready, settle := f.ready, f.settle
	f.settle = 0
	f.mu.Unlock()
	if !ready {
		f.link.send(f.session, &wire.InitFailed{FunctionError: f.withLines(over)}, nil)
	}
	if settle != 0 {
		f.link.send(settle, &wire.Settled{FunctionError: over}, nil)
	}
	for c := range calls {
		c.timer.Stop()
		c.fail(why(c), true)
	}
}

// only is the one call under way, nil when there is none or more. The caller holds
// mu.
func (f *function) only() *call {
	if len(f.calls) != 1 {
		return nil
	}
	for c := range f.calls {
		return c
	}
	return nil
}

// tell puts the reason why a call failed into the function's log.
func (f *function) tell(session uint64, c *call, message string) {
	l := &wire.Log{RequestID: c.requestID, Stream: "platform", UnixNS: time.Now().UnixNano()}
	f.link.send(session, l, clip(message, wire.MaxLine))
}

func clip(s string, n int) []byte { return []byte(s[:min(n, len(s))]) }

// keptLines bounds the lines that an init that failed shows, and their bytes.
const (
	keptLines     = 20
	keptLineBytes = 1 << 10
)

// logLine sends one line the function wrote to whatever host listens now. Which
// request made it write is known while there is only one.
func (f *function) logLine(stream string, line []byte) {
	l := &wire.Log{Stream: stream, UnixNS: time.Now().UnixNano()}
	f.mu.Lock()
	if c := f.only(); c != nil {
		l.RequestID = c.requestID
	}
	if !f.ready && f.init.Protocol == thaw.ProtocolHTTP {
		f.lines = append(f.lines, string(line[:min(len(line), keptLineBytes)]))
		f.lines = f.lines[max(0, len(f.lines)-keptLines):]
	}
	f.mu.Unlock()
	f.link.send(f.link.current(), l, line)
}

// withLines adds what the function wrote last to an error that does not say by itself
// what went wrong.
func (f *function) withLines(fe thaw.FunctionError) thaw.FunctionError {
	f.mu.Lock()
	defer f.mu.Unlock()
	fe.Trace = append(fe.Trace, f.lines...)
	return fe
}
