// Package guest is the agent inside the guest: it answers the host over the
// channel of package wire, runs one function's runtime as a child process and
// serves it the AWS Lambda Runtime API, version 2018-06-01.
//
// The agent's memory is part of every snapshot, and the pages it touches after
// a restore are part of every function's working set. So it has no periodic
// work, few goroutines, and those sleep in the kernel's poller: no system call
// blocks while the function works, except the one wait for the function's end.
//
// Everything that only PID 1 of a virtual machine can do is behind [System] and
// in package boot, so that the rest runs, and is tested, on any machine.
package guest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"syscall"
	"time"

	"thaw"
	"thaw/agent/wire"
)

// System is what the agent changes of the machine it runs on.
type System interface {
	// Resume sets the clock, reseeds the kernel's generator and takes on the
	// identity. received is when m arrived, so that the time since then can be
	// added to m's. A failure is reported in the answer, never hidden.
	Resume(m wire.Resume, entropy []byte, received time.Time) wire.Resumed
	// Furnish makes the file system what a function of its kind finds: for one that
	// is an OCI image, the image, read-only but for /tmp; for others, the code disk
	// at /var/task.
	Furnish(container bool) error
	// Quiesce settles the machine for a snapshot.
	Quiesce() error
}

// Config says what an Agent runs on. The zero value of each path is the one
// in a guest.
type Config struct {
	// Port is the channel to the host. A Read of nothing, with or without
	// io.EOF, means that no host is attached now; it is tried again. Any other
	// error ends Serve.
	Port   io.ReadWriter
	System System
	// Broken, if not nil, is why this guest cannot run a function; the host
	// is told as soon as it asks.
	Broken error
	// APIAddr is the TCP address of the Runtime API, 127.0.0.1:9001.
	APIAddr string
	// APISocket is the unix socket of the same, /run/thaw-runtime; a leading @ is an
	// abstract address (unix(7)), which Node.js cannot reach.
	APISocket string
	// ServerPort is the TCP port on 127.0.0.1 of functions that are HTTP servers, 8080.
	ServerPort string
	// TaskRoot holds the function's code, /var/task.
	TaskRoot string
	// SecretsDir is the folder, of the agent's own, where secrets are put,
	// /run/thaw/secrets.
	SecretsDir string
	// RuntimeDir holds bootstrap.py or bootstrap.js, /var/runtime.
	RuntimeDir string
	// Python and Node are the interpreters, /usr/bin/python3 and /usr/bin/node.
	Python, Node string
	// Credential is whom the function runs as; nil is the agent's own user.
	Credential *syscall.Credential
	// PID1 says that this process is PID 1 of its own machine: it reaps every
	// orphan and may kill every other process.
	PID1 bool
}

func (c Config) withDefaults() Config {
	set := func(s *string, value string) {
		if *s == "" {
			*s = value
		}
	}
	set(&c.APIAddr, "127.0.0.1:9001")
	set(&c.APISocket, "/run/thaw-runtime")
	set(&c.ServerPort, "8080")
	set(&c.TaskRoot, "/var/task")
	set(&c.RuntimeDir, "/var/runtime")
	set(&c.SecretsDir, "/run/thaw/secrets")
	set(&c.Python, "/usr/bin/python3")
	set(&c.Node, "/usr/bin/node")
	return c
}

// Agent answers one host at a time.
type Agent struct {
	cfg  Config
	link *link

	// Touched by Serve only:
	fn       *function // nil before Init
	unfit    bool      // the last Resume did not do all that it should
	answered time.Time // when the last answer to Sync or Resume was sent
}

// New returns an Agent.
func New(cfg Config) *Agent {
	return &Agent{cfg: cfg.withDefaults(), link: &link{port: cfg.Port}}
}

// Serve answers the host until the port fails or ctx ends, which it notices
// only while no host is attached: close the port to end it at once. It stops
// the function before it returns.
func (a *Agent) Serve(ctx context.Context) error {
	defer func() {
		if a.fn != nil {
			a.fn.stop()
		}
	}()
	r := wire.NewReader(&patientReader{ctx: ctx, r: a.cfg.Port})
	for {
		f, err := r.Next()
		if err != nil {
			return fmt.Errorf("read from host: %w", err)
		}
		if f.Type == wire.TypeSync {
			a.sync(f.Session)
		} else if f.Session == a.link.current() && f.Session != 0 {
			a.handle(f, time.Now())
		}
	}
}

// sync makes session the only one.
func (a *Agent) sync(session uint64) {
	a.link.begin(session)
	if a.fn != nil {
		a.fn.speaker.forget()
	}
	a.link.send(session, &wire.SyncAck{Messages: wire.MessageVersion}, nil)
	a.answered = time.Now()
	if a.cfg.Broken != nil {
		a.link.send(session, &wire.Fatal{Message: a.cfg.Broken.Error()}, nil)
	}
}

// handle answers one frame. What takes long goes on elsewhere, so that the
// next Sync is always read.
func (a *Agent) handle(f wire.Frame, received time.Time) {
	var err error
	switch f.Type {
	case wire.TypeResume:
		err = a.resume(f, received)
	case wire.TypeSecrets:
		err = a.secrets(f)
	case wire.TypeInit:
		err = a.init(f)
	case wire.TypePrimed:
		err = a.primed(f.Session)
	case wire.TypeQuiesce:
		a.quiesce(f.Session)
	case wire.TypeInvoke:
		err = a.invoke(f)
	case wire.TypeOpen:
		err = a.open(f)
	case wire.TypeData, wire.TypeWindow, wire.TypeReset:
		err = a.continues(f)
	case wire.TypePing:
		var m wire.Ping
		err = f.Decode(&m)
		a.link.send(f.Session, &wire.Pong{Nonce: m.Nonce}, nil)
	}
	if err != nil { // only a host that does not speak our language
		a.link.send(f.Session, &wire.Fatal{Message: err.Error()}, nil)
	}
}

// resume answers Resume. The host sends one as soon as it has the answer before, so
// that what it says of the time is no older than that is ago. Where this is too
// long to tell whether the clock is right, the host tries again, and the function
// goes on at the first Invoke; else now, which saves the guest from falling idle.
func (a *Agent) resume(f wire.Frame, received time.Time) error {
	var m wire.Resume
	if err := f.Decode(&m); err != nil {
		return err
	}
	if err := wire.CheckID(m.InstanceID); err != nil {
		return fmt.Errorf("resume: instance %w", err)
	}
	if len(f.Raw) != wire.EntropyLen {
		return fmt.Errorf("resume: %d bytes of entropy, not %d", len(f.Raw), wire.EntropyLen)
	}
	answer := a.cfg.System.Resume(m, f.Raw, received)
	clear(f.Raw)
	a.link.send(f.Session, &answer, nil)
	a.unfit = answer.Error != "" || !answer.Reseeded
	if a.fn != nil && !a.unfit && received.Sub(a.answered) <= wire.MaxClockError {
		a.fn.release()
	}
	a.answered = time.Now()
	return nil
}

func (a *Agent) init(f wire.Frame) error {
	var m wire.Init
	if err := f.Decode(&m); err != nil {
		return err
	}
	if a.fn != nil {
		return errors.New("init: the function has been started before")
	}
	if err := a.cfg.System.Furnish(m.Container != nil); err != nil {
		return fmt.Errorf("init: %w", err)
	}
	fn, err := start(a.cfg, a.link, f.Session, m)
	if err != nil {
		fe := thaw.FunctionError{Type: errorTypeEntrypoint, Message: err.Error()}
		a.link.send(f.Session, &wire.InitFailed{FunctionError: fe}, nil)
		return nil //nolint:nilerr // the host has been told
	}
	a.fn = fn
	return nil
}

func (a *Agent) primed(session uint64) error {
	if a.fn == nil || !a.fn.init.Prime {
		return errors.New("primed: no function waits for that")
	}
	a.fn.primed(session)
	return nil
}

// quiesce flushes what the function wrote, gives free memory back, so that it
// is a hole in the snapshot, and falls silent.
func (a *Agent) quiesce(session uint64) {
	var answer wire.Quiesced
	if a.fn != nil {
		a.fn.logs.drain()
	}
	debug.FreeOSMemory()
	stock()
	if err := a.cfg.System.Quiesce(); err != nil {
		answer.Error = err.Error()
	}
	a.link.sendLast(session, &answer)
}

// stock has the allocator get memory for objects of every small size, with
// pointers and without, so that a clone need not ask the kernel for it.
func stock() {
	for n := 8; n <= 2048; n *= 2 {
		keep(make([]byte, n))
		keep(make([]*byte, n/8))
	}
}

//go:noinline
func keep(any) {}

func (a *Agent) invoke(f wire.Frame) error {
	var m wire.Invoke
	if err := f.Decode(&m); err != nil {
		return err
	}
	if err := wire.CheckID(m.RequestID); err != nil {
		return fmt.Errorf("invoke: request %w", err)
	}
	refused := a.refusal()
	if refused == "" {
		if api, ok := a.fn.speaker.(*api); ok {
			api.invoke(m, f.Session, f.Raw)
			return nil
		}
		refused = "the function is an HTTP server: it takes requests, not invocations"
	}
	a.link.send(f.Session, &wire.Result{RequestID: m.RequestID, Refused: refused}, nil)
	return nil
}

// open begins a request to an HTTP server.
func (a *Agent) open(f wire.Frame) error {
	var m wire.Open
	if err := f.Decode(&m); err != nil {
		return err
	}
	if err := wire.CheckID(m.RequestID); err != nil {
		return fmt.Errorf("open: request %w", err)
	}
	refused := a.refusal()
	if refused == "" {
		if web, ok := a.fn.speaker.(*web); ok {
			web.open(m, f.Session, f.Raw)
			return nil
		}
		refused = "the function is no HTTP server: it takes invocations, not requests"
	}
	a.link.send(f.Session, &wire.Reset{Stream: m.Stream, Refused: refused}, nil)
	return nil
}

// continues takes in a frame of a stream. One that is over is none of its business.
func (a *Agent) continues(f wire.Frame) error {
	if a.fn == nil {
		return nil
	}
	web, ok := a.fn.speaker.(*web)
	if !ok {
		return nil
	}
	return web.frame(f)
}

// refusal is why no function can run now, "" if one can.
func (a *Agent) refusal() string {
	switch {
	case a.fn == nil:
		return "no function has been started"
	case a.unfit:
		return "this guest has no clock, entropy and identity of its own"
	}
	return ""
}
