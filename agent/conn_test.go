package agent

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"thaw"
	"thaw/agent/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// script is a guest that does what the test says.
type script struct {
	t    *testing.T
	conn net.Conn
	r    *wire.Reader
}

// pair returns a Conn and the guest at its other end.
func pair(t *testing.T, onLog func(Log)) (*Conn, *script) {
	t.Helper()
	host, guest := net.Pipe()
	c := NewConn(host, onLog)
	t.Cleanup(func() {
		c.Close()
		guest.Close()
	})
	return c, &script{t, guest, wire.NewReader(guest)}
}

// read returns the next frame of the host.
func (s *script) read() wire.Frame {
	f, err := s.r.Next()
	if err != nil {
		s.t.Errorf("guest reads: %v", err)
	}
	return f
}

func (s *script) send(session uint64, m wire.Message, raw []byte) {
	f, err := wire.New(session, m, raw)
	if err != nil {
		s.t.Error(err)
		return
	}
	head, tail, err := wire.Encode(nil, f)
	if err != nil {
		s.t.Error(err)
		return
	}
	s.conn.Write(append(head, tail...)) // the host may have hung up
}

// answer reads one frame and answers it.
func (s *script) answer(m wire.Message, raw []byte) {
	s.send(s.read().Session, m, raw)
}

func short(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	t.Cleanup(cancel)
	return ctx
}

// calls are all that wait for an answer.
func calls(c *Conn) map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"sync":    c.Sync,
		"ping":    c.Ping,
		"quiesce": c.Quiesce,
		"init":    func(ctx context.Context) error { return c.Init(ctx, Function{Name: "f"}) },
		"resume": func(ctx context.Context) error {
			_, err := c.Resume(ctx, "a")
			return err
		},
		"invoke": func(ctx context.Context) error {
			_, err := c.Invoke(ctx, Invocation{RequestID: "a", Payload: []byte("{}")})
			return err
		},
	}
}

func TestGuestHangsUp(t *testing.T) {
	for name := range calls(nil) {
		t.Run(name, func(t *testing.T) {
			c, guest := pair(t, nil)
			go func() {
				guest.read()
				guest.conn.Close()
			}()
			if err := calls(c)[name](t.Context()); !errors.Is(err, ErrGone) {
				t.Errorf("got %v", err)
			}
			<-c.Done()
			if err := calls(c)[name](t.Context()); !errors.Is(err, ErrGone) {
				t.Errorf("call after that: %v", err)
			}
		})
	}
}

func TestGuestIsSilent(t *testing.T) {
	for name := range calls(nil) {
		t.Run(name, func(t *testing.T) {
			c, guest := pair(t, nil)
			go guest.read()
			began := time.Now()
			if err := calls(c)[name](short(t)); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v", err)
			}
			if took := time.Since(began); took > time.Second {
				t.Errorf("took %s", took)
			}
		})
	}
}

// A guest that reads nothing blocks the write; ctx must end that too.
func TestGuestDoesNotRead(t *testing.T) {
	for name := range calls(nil) {
		t.Run(name, func(t *testing.T) {
			c, _ := pair(t, nil)
			if err := calls(c)[name](short(t)); !errors.Is(err, ErrGone) || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestCloseEndsCalls(t *testing.T) {
	c, guest := pair(t, nil)
	errs := make(chan error)
	go func() { errs <- c.Sync(t.Context()) }()
	guest.read()
	c.Close()
	if err := <-errs; !errors.Is(err, ErrGone) {
		t.Errorf("got %v", err)
	}
	if err := c.Close(); err != nil {
		t.Errorf("second close: %v", err)
	}
}

func TestFatal(t *testing.T) {
	c, guest := pair(t, nil)
	go func() {
		session := guest.read().Session
		guest.send(session, &wire.SyncAck{}, nil)
		guest.send(session, &wire.Fatal{Message: "no disk"}, nil)
	}()
	if err := c.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	<-c.Done()
	if err := c.Ping(t.Context()); !errors.Is(err, ErrGone) || !strings.Contains(err.Error(), "no disk") {
		t.Errorf("got %v", err)
	}
}

// An answer that came before the guest hung up counts.
func TestAnswerBeforeEnd(t *testing.T) {
	for range 50 {
		c, guest := pair(t, nil)
		go func() {
			guest.answer(&wire.Result{RequestID: "a", Finished: true}, []byte("x"))
			guest.conn.Close()
		}()
		r, err := c.Invoke(t.Context(), Invocation{RequestID: "a"})
		if err != nil || string(r.Payload) != "x" || !r.Finished {
			t.Fatalf("%+v, %v", r, err)
		}
	}
}

// Frames of other sessions, answers nobody asked for, damaged messages and
// wrong ids are dropped.
func TestHostileGuest(t *testing.T) {
	var got []Log
	c, guest := pair(t, func(l Log) { got = append(got, l) })
	go func() {
		f := guest.read()
		s := f.Session
		guest.send(s+1, &wire.Result{RequestID: "a"}, []byte("of another session"))
		guest.send(s, &wire.Result{RequestID: "b"}, []byte("of another request"))
		guest.send(s, &wire.InitDone{}, nil)
		guest.send(s, &wire.Pong{Nonce: 3}, nil)
		guest.send(s, &wire.Invoke{}, nil)
		guest.conn.Write([]byte("noise" + wire.Magic))
		guest.send(s, &wire.Log{Stream: "elsewhere"}, []byte("wrong stream"))
		guest.send(s, &wire.Log{Stream: "stdout", RequestID: "a\nb"}, []byte("wrong id"))
		guest.send(s, &wire.Log{Stream: "stdout"}, make([]byte, wire.MaxLine+1))
		guest.send(s, &wire.Log{Stream: "stdout", RequestID: "a"}, []byte("go\xffod"))
		guest.send(s, &wire.Result{RequestID: "a", FunctionError: strings.Repeat("E", 10000)}, []byte("right"))
	}()
	r, err := c.Invoke(t.Context(), Invocation{RequestID: "a"})
	if err != nil || string(r.Payload) != "right" || len(r.FunctionError) != maxErrorType {
		t.Errorf("%+v, %v", r, err)
	}
	if len(got) != 1 || got[0].Text != "go\uFFFDod" {
		t.Errorf("logs: %+v", got)
	}
}

func TestOneInvokeOfAnID(t *testing.T) {
	c, guest := pair(t, nil)
	errs := make(chan error)
	go func() {
		_, err := c.Invoke(t.Context(), Invocation{RequestID: "a"})
		errs <- err
	}()
	session := guest.read().Session
	if _, err := c.Invoke(t.Context(), Invocation{RequestID: "a"}); err == nil {
		t.Error("two at once")
	}
	guest.send(session, &wire.Result{RequestID: "a"}, nil)
	if err := <-errs; err != nil {
		t.Error(err)
	}
}

func TestInvokeRefusals(t *testing.T) {
	c, _ := pair(t, nil)
	if _, err := c.Invoke(t.Context(), Invocation{RequestID: "a/b"}); err == nil {
		t.Error("bad id was taken")
	}
	_, err := c.Invoke(t.Context(), Invocation{RequestID: "a", Payload: make([]byte, thaw.MaxPayload+1)})
	if thaw.CodeOf(err) != thaw.CodeTooLarge {
		t.Errorf("got %v", err)
	}
}

func TestCheckResumed(t *testing.T) {
	sent := time.Now()
	received := sent.Add(time.Millisecond)
	good := wire.Resumed{InstanceID: "a", Reseeded: true, Sample: strings.Repeat("ab", 16), WallNS: sent.UnixNano()}
	tests := []struct {
		name   string
		change func(*wire.Resumed)
		want   string
	}{
		{"good", func(*wire.Resumed) {}, ""},
		{"identity", func(m *wire.Resumed) { m.InstanceID = "b" }, "identity"},
		{"entropy", func(m *wire.Resumed) { m.Reseeded = false }, "reseeded"},
		{"sample", func(m *wire.Resumed) { m.Sample = "abcd" }, "sample"},
		{"step", func(m *wire.Resumed) { m.ClockErrorNS = int64(-51 * time.Millisecond) }, "right after"},
		{"behind", func(m *wire.Resumed) { m.WallNS -= int64(60 * time.Millisecond) }, "off by 60ms"},
		{"ahead", func(m *wire.Resumed) { m.WallNS += int64(60 * time.Millisecond) }, "off by 59ms"},
		{"barely", func(m *wire.Resumed) { m.WallNS -= int64(49 * time.Millisecond) }, ""},
		{"error", func(m *wire.Resumed) { m.Error = "no clock" }, "no clock"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := good
			tt.change(&m)
			_, err := checkResumed(m, "a", sent, received)
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

// A slow first round trip is followed by a better one.
func TestResumeSetsClockAgain(t *testing.T) {
	c, guest := pair(t, nil)
	go func() {
		for _, delay := range []time.Duration{MaxClockError + 20*time.Millisecond, 0} {
			f := guest.read()
			time.Sleep(delay)
			guest.send(f.Session, &wire.Resumed{InstanceID: "a", Reseeded: true, Sample: strings.Repeat("0", 32), WallNS: time.Now().UnixNano()}, nil)
		}
	}()
	r, err := c.Resume(t.Context(), "a")
	if err != nil || r.ClockError > MaxClockError {
		t.Errorf("%+v, %v", r, err)
	}
}
