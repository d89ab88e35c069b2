package agent

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"strings"
	"time"

	"thaw"
	"thaw/agent/wire"
)

// MaxClockError is how far a guest's clock may be off after [Conn.Resume].
const MaxClockError = wire.MaxClockError

// clockTries is how often Resume sets the clock when the round trip took so
// long that it cannot tell whether the clock is right. The first one after a
// restore is slow where guests are emulated, and all may be where many VMs start
// at once; a second one usually is not.
const clockTries = 10

// maxErrorType bounds the type of a function's error in bytes.
const maxErrorType = 256

// InitError is a function that cannot start by its own fault: a missing
// module, an exception at import or in a hook before the snapshot, an exit. Its code
// is [thaw.CodeFunction].
type InitError struct{ thaw.FunctionError }

// maxTrace bounds the lines of a trace in an error's text.
const maxTrace = 40

// Error returns the error's type and message, and the trace on lines of its own.
func (e *InitError) Error() string { return "function failed to start: " + Describe(e.FunctionError) }

// Describe returns the type and the message of a function's error, and the trace on
// lines of its own.
func Describe(e thaw.FunctionError) string {
	text := e.Type + ": " + e.Message
	for _, part := range e.Trace[max(0, len(e.Trace)-maxTrace):] {
		text += "\n" + strings.TrimRight(part, "\n")
	}
	return text
}

// Function is what [Conn.Init] starts. All of it ends up in the environment of
// the function's runtime.
type Function struct {
	Name    string
	Version int
	thaw.Settings
	// Container is what there is of an OCI image, nil for other functions.
	Container *thaw.Container
	// SnapStart announces a snapshot after Init, Prime that invocations come before
	// it, which end with [Conn.Primed].
	SnapStart, Prime bool
}

// Resumed is what Resume found.
type Resumed struct {
	// Sample is 16 bytes from the guest's generator in hex. Instances of one
	// snapshot must never show the same.
	Sample string
	// ClockError is the bound on how far the guest's clock is off: the
	// round trip in which it was read back, and how far it was outside of it.
	ClockError time.Duration
}

// Invocation is one request to the function.
type Invocation struct {
	// RequestID is 1 to 64 letters, digits and -.
	RequestID string
	// Deadline is when the agent ends the function.
	Deadline time.Time
	// Payload is the event, at most [thaw.MaxPayload] bytes.
	Payload []byte
	// TraceID and ClientContext go to the function as they are, if set.
	TraceID       string
	ClientContext string
}

// Result is how an invocation ended.
type Result struct {
	// FunctionError is "" or the type of the error that Payload describes.
	FunctionError string
	// Payload is the reply or, in Lambda's shape, the error.
	Payload []byte
	// Finished says that the function's runtime is to be given no more (timeout,
	// exit) and that the guest must be thrown away when nothing is under way.
	Finished bool
	// Unserved says that the runtime had ended before it was given the invocation, so
	// that it may be made again elsewhere.
	Unserved bool
}

// Failure returns the failure of the function that r tells of.
func (r Result) Failure() thaw.FunctionError {
	var e thaw.FunctionError
	if json.Unmarshal(r.Payload, &e) != nil || e.Type == "" {
		const most = 1 << 10
		e = thaw.FunctionError{Type: r.FunctionError, Message: string(r.Payload[:min(most, len(r.Payload))])}
	}
	return e
}

// Sync opens the session. It is the first call on every Conn and returns once
// the guest's agent listens, however long the guest takes to boot.
func (c *Conn) Sync(ctx context.Context) error {
	f, err := c.call(ctx, "", &wire.Sync{}, nil)
	if err != nil {
		return err
	}
	var m wire.SyncAck
	if err := f.Decode(&m); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.messages = max(1, m.Messages)
	return nil
}

// Ping returns when the agent has answered.
func (c *Conn) Ping(ctx context.Context) error {
	nonce := mathrand.Uint64()
	_, err := c.call(ctx, nonceID(nonce), &wire.Ping{Nonce: nonce}, nil)
	return err
}

// Resume gives the guest the time, fresh entropy and its identity, and returns
// an error unless the guest proves that it took all three; such a guest must
// not serve. id becomes its hostname: 1 to 64 letters, digits and -. Resume sets
// the clock again when a slow round trip left its error uncertain; the bound
// reached is in the result. No line of the function runs on a clock that may be off
// by more than [MaxClockError] before the next call.
func (c *Conn) Resume(ctx context.Context, id string) (r Resumed, err error) {
	if err := wire.CheckID(id); err != nil {
		return r, fmt.Errorf("resume: instance %w", err)
	}
	for range clockTries {
		if r, err = c.resume(ctx, id); err != nil || r.ClockError <= MaxClockError {
			return r, err
		}
	}
	return r, nil // the last one set the clock
}

func (c *Conn) resume(ctx context.Context, id string) (Resumed, error) {
	entropy := make([]byte, wire.EntropyLen)
	rand.Read(entropy) // never fails (crypto/rand)
	sent := time.Now()
	f, err := c.call(ctx, "", &wire.Resume{WallNS: sent.UnixNano(), InstanceID: id}, entropy)
	if err != nil {
		return Resumed{}, err
	}
	received := time.Now()
	var m wire.Resumed
	if err := f.Decode(&m); err != nil {
		return Resumed{}, err
	}
	outside, err := checkResumed(m, id, sent, received)
	if err != nil {
		return Resumed{}, fmt.Errorf("resume: guest is not fit to serve: %w", err)
	}
	return Resumed{Sample: m.Sample, ClockError: outside + received.Sub(sent)}, nil
}

// checkResumed verifies the guest's echo and returns how far the guest's clock
// was outside of the time between sent and received.
func checkResumed(m wire.Resumed, id string, sent, received time.Time) (time.Duration, error) {
	if m.Error != "" {
		return 0, fmt.Errorf("it reports: %.1024q", m.Error)
	}
	if m.InstanceID != id {
		return 0, fmt.Errorf("it took the identity %.64q, not %q", m.InstanceID, id)
	}
	if !m.Reseeded {
		return 0, errors.New("its random numbers were not reseeded")
	}
	if b, err := hex.DecodeString(m.Sample); err != nil || len(b) != 16 {
		return 0, fmt.Errorf("its sample %.64q is not 16 bytes in hex", m.Sample)
	}
	if step := time.Duration(m.ClockErrorNS).Abs(); step > MaxClockError {
		return 0, fmt.Errorf("its clock was off by %s right after it was set", step)
	}
	wall := time.Unix(0, m.WallNS)
	outside := max(0, sent.Sub(wall), wall.Sub(received))
	if outside > MaxClockError {
		return 0, fmt.Errorf("its clock is off by %s", outside)
	}
	return outside, nil
}

// Init starts the function and returns when it waits for work, or for the
// snapshot. A function that cannot start is an [*InitError] inside a
// [thaw.Error]; its guest must be thrown away, as it must when ctx ends first.
func (c *Conn) Init(ctx context.Context, fn Function) error {
	s := fn.Settings.WithDefaults()
	init := &wire.Init{
		Function: fn.Name, Version: fn.Version, Runtime: s.Runtime, Handler: s.Handler, Command: s.Command(), Protocol: s.Protocol(), Env: s.Env,
		MemoryMiB: int(s.MemoryBytes >> 20), TimeoutMS: s.Timeout.Milliseconds(), SnapStart: fn.SnapStart, Prime: fn.Prime,
		Concurrency: s.Concurrency,
	}
	if k := fn.Container; k != nil && s.Image != nil {
		init.Command = k.Argv(*s.Image)
		init.Container = &wire.Container{Env: k.Env, WorkingDirectory: k.Directory(*s.Image), User: k.User}
	}
	f, err := c.call(ctx, "", init, nil)
	if err != nil {
		return err
	}
	if f.Type == wire.TypeInitDone {
		return nil
	}
	var m wire.InitFailed
	if err := f.Decode(&m); err != nil {
		return err
	}
	return thaw.Errorf(thaw.CodeFunction, "%w", &InitError{m.FunctionError})
}

// Primed ends the invocations that come before a snapshot, and returns when the
// function has run its hooks and waits where the snapshot can be taken. Errors are
// those of Init.
func (c *Conn) Primed(ctx context.Context) error {
	f, err := c.call(ctx, "", &wire.Primed{}, nil)
	if err != nil {
		return err
	}
	var m wire.Settled
	if err := f.Decode(&m); err != nil {
		return err
	}
	if m.FunctionError.Type != "" {
		return thaw.Errorf(thaw.CodeFunction, "%w", &InitError{m.FunctionError})
	}
	return nil
}

// Quiesce makes the guest settle for a snapshot. When it returns nil the guest
// is silent: stop the VM, and open a new Conn to whatever runs on from there.
func (c *Conn) Quiesce(ctx context.Context) error {
	f, err := c.call(ctx, "", &wire.Quiesce{}, nil)
	if err != nil {
		return err
	}
	var m wire.Quiesced
	if err := f.Decode(&m); err != nil {
		return err
	}
	if m.Error != "" {
		return fmt.Errorf("quiesce: guest reports: %.1024q", m.Error)
	}
	return nil
}

// Invoke runs the function once. A function that fails, times out or exits is a
// Result, not an error. An error means that the guest must be thrown away,
// except for a payload over its limit, which is not sent. The agent enforces
// the deadline; ctx should outlive it by a little.
func (c *Conn) Invoke(ctx context.Context, inv Invocation) (Result, error) {
	if err := wire.CheckID(inv.RequestID); err != nil {
		return Result{}, fmt.Errorf("invoke: request %w", err)
	}
	if len(inv.Payload) > thaw.MaxPayload {
		return Result{}, thaw.Errorf(thaw.CodeTooLarge, "payload is %d bytes: at most %d are allowed", len(inv.Payload), thaw.MaxPayload)
	}
	f, err := c.call(ctx, inv.RequestID, &wire.Invoke{
		RequestID: inv.RequestID, DeadlineMS: inv.Deadline.UnixMilli(), RemainingMS: time.Until(inv.Deadline).Milliseconds(),
		TraceID: inv.TraceID, ClientContext: inv.ClientContext,
	}, inv.Payload)
	if err != nil {
		return Result{}, err
	}
	var m wire.Result
	if err := f.Decode(&m); err != nil {
		return Result{}, err
	}
	if m.Refused != "" {
		return Result{}, fmt.Errorf("invoke: guest refused: %.1024q", m.Refused)
	}
	if len(m.FunctionError) > maxErrorType {
		m.FunctionError = m.FunctionError[:maxErrorType]
	}
	return Result{FunctionError: m.FunctionError, Payload: f.Raw, Finished: m.Finished, Unserved: m.Unserved}, nil
}

// log hands one line to onLog, and drops what no honest agent sends.
func (c *Conn) log(f wire.Frame) {
	var m wire.Log
	if c.onLog == nil || f.Decode(&m) != nil || len(f.Raw) > wire.MaxLine {
		return
	}
	if m.RequestID != "" && wire.CheckID(m.RequestID) != nil {
		return
	}
	switch m.Stream {
	case "stdout", "stderr", "platform":
		c.onLog(Log{
			RequestID: m.RequestID, Stream: m.Stream, Time: time.Unix(0, m.UnixNS),
			Text: strings.ToValidUTF8(string(f.Raw), "\uFFFD"),
		})
	}
}
