package guest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"thaw"
	"thaw/agent/guest/http1"
	"thaw/agent/wire"
)

const (
	// readyTimeout is how long a server may take until it listens. Emulated, Python
	// with a large framework takes 20 s.
	readyTimeout = 90 * time.Second
	// readyPoll is the pause between looks, which are cheap: nobody listens.
	readyPoll = 10 * time.Millisecond
	// hookTimeout is how long a hook may take, as in Lambda's restore phase.
	hookTimeout = 10 * time.Second
)

// The environment variables of a function that name paths of its server to POST to,
// before its snapshot and after a restore, as the Lambda Web Adapter does.
const (
	hookBefore = "AWS_LWA_SNAPSTART_BEFORE_CHECKPOINT_PATH"
	hookAfter  = "AWS_LWA_SNAPSTART_AFTER_RESTORE_PATH"
)

// The types of errors of an HTTP server before it serves.
const (
	errorTypeNotReady = "Runtime.NotListening"
	errorTypeHook     = "Runtime.HookFailed"
)

// web speaks to a function that is an HTTP server: once it listens it is ready, and
// each exchange is a connection of its own, so that nothing of one is left to the
// next.
type web struct {
	fn     *function
	port   string
	hooks  hookPaths
	ctx    context.Context // ends with close
	cancel context.CancelFunc
	done   sync.WaitGroup // of exchanges

	mu        sync.Mutex
	exchanges map[uint64]*exchange // by stream
	closed    bool
	warm      chan struct{} // closed while requests may go to the server
}

func newWeb(cfg Config, fn *function) *web {
	w := &web{
		fn: fn, port: cfg.ServerPort, hooks: newHookPaths(fn.init.Env),
		warm: make(chan struct{}), exchanges: make(map[uint64]*exchange),
	}
	w.ctx, w.cancel = context.WithCancel(context.Background())
	return w
}

func (w *web) environment() map[string]string { return httpEnv(w.fn.init, w.port) }

// serve gets the server ready, and ready again after a restore.
func (w *web) serve() {
	if err := w.listens(); err != nil {
		w.giveUp(errorTypeNotReady, err)
		return
	}
	if w.fn.init.Prime && !w.prime() {
		return
	}
	if w.fn.init.SnapStart {
		if err := w.hook(hookBefore); err != nil {
			w.giveUp(errorTypeHook, err)
			return
		}
	}
	w.fn.rest()
	if w.fn.init.SnapStart {
		select {
		case <-w.fn.restored:
		case <-w.ctx.Done():
			return
		}
		if err := w.hook(hookAfter); err != nil {
			w.giveUp(errorTypeHook, err)
			return
		}
	}
	close(w.warm)
}

// prime lets requests through that come before the snapshot. It reports false when the
// guest ends before they do.
func (w *web) prime() bool {
	close(w.warm)
	w.fn.isReady()
	select {
	case <-w.fn.prepare:
	case <-w.ctx.Done():
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.warm = make(chan struct{})
	return true
}

// isWarm is closed when requests may go to the server.
func (w *web) isWarm() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.warm
}

// giveUp ends a function whose server is of no use. One that has exited is told of by
// who waits for it.
func (w *web) giveUp(kind string, err error) {
	if w.ctx.Err() == nil && w.fn.alive() {
		w.fn.fail(thaw.FunctionError{Type: kind, Message: err.Error()})
		w.fn.proc.kill()
	}
}

// listens waits until the server takes connections.
func (w *web) listens() error {
	for deadline := time.Now().Add(readyTimeout); ; time.Sleep(readyPoll) {
		conn, err := w.dial()
		if err == nil {
			return conn.Close()
		}
		if w.ctx.Err() != nil || !w.fn.alive() {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the server did not listen on 127.0.0.1:%s ($PORT) within %s", w.port, readyTimeout)
		}
	}
}

func (w *web) dial() (net.Conn, error) {
	d := net.Dialer{KeepAlive: -1} // probes would be timers that fire for nothing
	d.SetMultipathTCP(false)
	return d.DialContext(w.ctx, "tcp4", "127.0.0.1:"+w.port)
}

// hook posts to the path that a variable of the function's names, if it does.
func (w *web) hook(variable string) error {
	path := w.fn.init.Env[variable]
	if path == "" {
		return nil
	}
	status, err := w.post(path)
	if err == nil && status/100 != 2 {
		err = fmt.Errorf("the server replied %d", status)
	}
	if err != nil {
		return fmt.Errorf("POST to %.200q, the path of %s: %w", path, variable, err)
	}
	return nil
}

func (w *web) post(path string) (int, error) {
	if path[0] != '/' || strings.ContainsFunc(path, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return 0, errors.New("it is not a path: begin it with /")
	}
	conn, err := w.dial()
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(hookTimeout)); err != nil {
		return 0, err
	}
	if _, err := conn.Write([]byte("POST " + path + " HTTP/1.1\r\nHost: 127.0.0.1:" + w.port + "\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")); err != nil {
		return 0, err
	}
	c := http1.NewConn(conn)
	r, err := c.Reply("POST")
	if err != nil {
		return 0, err
	}
	return r.Status, nil
}

// close ends every exchange and waits for its goroutines.
func (w *web) close() {
	w.cancel()
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.forget()
	w.done.Wait()
}

// forget ends what an earlier session has begun: nobody reads it.
func (w *web) forget() {
	w.mu.Lock()
	all := w.exchanges
	w.exchanges = make(map[uint64]*exchange)
	w.mu.Unlock()
	for _, e := range all {
		w.fn.finish(&e.call)
		e.end()
	}
}

// open begins an exchange.
func (w *web) open(m wire.Open, session uint64, head []byte) {
	e := newExchange(w, m, session, head)
	over, refused := w.fn.begin(&e.call, time.Duration(m.RemainingMS)*time.Millisecond)
	switch {
	case over != nil:
		e.fail(*over, true)
		return
	case refused != "":
		w.fn.link.send(session, &wire.Reset{Stream: m.Stream, Refused: refused}, nil)
		return
	}
	w.fn.release() // at the latest: the host is content with the clock
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return
	}
	w.exchanges[m.Stream] = e
	w.done.Go(e.run)
}

// frame takes in what belongs to an exchange. What comes for one that is over crossed
// its end on the way.
func (w *web) frame(f wire.Frame) error {
	switch f.Type {
	case wire.TypeData:
		var m wire.Data
		if err := f.Decode(&m); err != nil {
			return err
		}
		if e := w.find(m.Stream); e != nil {
			return e.data(m, f.Raw)
		}
	case wire.TypeWindow:
		var m wire.Window
		if err := f.Decode(&m); err != nil {
			return err
		}
		if e := w.find(m.Stream); e != nil {
			return e.credit.Add(m.Bytes)
		}
	case wire.TypeReset:
		var m wire.Reset
		if err := f.Decode(&m); err != nil {
			return err
		}
		if e := w.find(m.Stream); e != nil {
			w.fn.finish(&e.call)
			e.end()
		}
	}
	return nil
}

func (w *web) find(stream uint64) *exchange {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.exchanges[stream]
}

func (w *web) remove(e *exchange) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.exchanges[e.open.Stream] == e {
		delete(w.exchanges, e.open.Stream)
	}
}
