package qemu

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const greeting = `{"QMP": {"version": {"qemu": {"micro": 0, "minor": 2, "major": 7}}, "capabilities": ["oob"]}}`

// peer is QEMU's end of a control socket, in the hands of a test.
type peer struct {
	t    *testing.T
	conn *net.UnixConn
	in   *json.Decoder
	id   int // of the command that was read last
}

// say sends lines. An answer is one to the command that was read last.
func (p *peer) say(lines ...string) {
	for _, l := range lines {
		if rest, ok := strings.CutPrefix(l, "{"); ok && (strings.HasPrefix(rest, `"return"`) || strings.HasPrefix(rest, `"error"`)) {
			l = fmt.Sprintf(`{"id": %d, %s`, p.id, rest)
		}
		if _, err := io.WriteString(p.conn, l+"\r\n"); err != nil {
			p.t.Errorf("peer: %v", err)
		}
	}
}

// expect reads a command and checks what is to be executed.
func (p *peer) expect(execute string) (arguments json.RawMessage) {
	var c struct {
		ID        int             `json:"id"`
		Execute   string          `json:"execute"`
		Arguments json.RawMessage `json:"arguments"`
	}
	defer func() { p.id = c.ID }()
	if err := p.in.Decode(&c); err != nil || c.Execute != execute {
		p.t.Errorf("peer got %q, %v, want %q", c.Execute, err, execute)
	}
	return c.Arguments
}

// connect is the beginning that all conversations have.
func (p *peer) connect() {
	p.say(greeting)
	p.expect("qmp_capabilities")
	p.say(`{"return": {}}`)
}

// ended checks that the client closes the connection.
func (p *peer) ended() {
	_ = p.conn.SetReadDeadline(time.Now().Add(time.Minute))
	if n, err := io.Copy(io.Discard, io.MultiReader(p.in.Buffered(), p.conn)); err != nil || n != 0 {
		p.t.Errorf("client sends %d bytes more, then %v; want the end of the connection", n, err)
	}
}

func pair(t *testing.T) (ours, theirs *net.UnixConn) {
	t.Helper()
	ours, file, err := socketPair("qmp")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	conn, err := net.FileConn(file)
	if err != nil {
		t.Fatal(err)
	}
	return ours, conn.(*net.UnixConn)
}

// talkTo runs script as QEMU. The script's end does not close the connection:
// the test's does, once the client has gone too.
func talkTo(t *testing.T, script func(p *peer)) *net.UnixConn {
	t.Helper()
	ours, theirs := pair(t)
	var work sync.WaitGroup
	work.Go(func() { script(&peer{t: t, conn: theirs, in: json.NewDecoder(theirs)}) })
	t.Cleanup(func() {
		work.Wait()
		_ = theirs.Close()
	})
	return ours
}

// client is connected to a peer that runs script after the greeting.
func client(t *testing.T, script func(p *peer)) *qmp {
	t.Helper()
	conn := talkTo(t, func(p *peer) {
		p.connect()
		script(p)
	})
	q, err := newQMP(soon(t), conn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(q.close)
	return q
}

// soon ends before a test hangs.
func soon(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func TestQMPExecute(t *testing.T) {
	q := client(t, func(p *peer) {
		if got := string(p.expect("query-thing")); got != `{"depth":2}` {
			t.Errorf("arguments are %s", got)
		}
		p.say(`{"event": "STOP", "timestamp": {"seconds": 1}}`, `{"event": "NIC_RX_FILTER_CHANGED", "data": {}}`, `{"return": {"answer": 42}}`)
		if got := p.expect("cont"); got != nil {
			t.Errorf("arguments are %s, want none", got)
		}
		p.say(`{"return": {}}`)
	})
	var result struct{ Answer int }
	if err := q.execute(soon(t), command{Execute: "query-thing", Arguments: object{"depth": 2}}, &result); err != nil || result.Answer != 42 {
		t.Errorf("execute = %+v, %v", result, err)
	}
	if err := q.execute(soon(t), command{Execute: "cont"}, nil); err != nil {
		t.Error(err)
	}
}

func TestQMPErrorReply(t *testing.T) {
	q := client(t, func(p *peer) {
		p.expect("getfd")
		p.say(`{"error": {"class": "GenericError", "desc": "No file descriptor supplied"}}`)
		p.expect("cont")
		p.say(`{"return": {}}`)
	})
	err := q.execute(soon(t), command{Execute: "getfd"}, nil)
	if err == nil || err.Error() != "getfd: No file descriptor supplied" {
		t.Errorf("execute = %v", err)
	}
	if err := q.execute(soon(t), command{Execute: "cont"}, nil); err != nil {
		t.Errorf("an error reply ends the connection: %v", err)
	}
}

func TestQMPReplyOfAnotherShape(t *testing.T) {
	q := client(t, func(p *peer) {
		p.expect("add-fd")
		p.say(`{"return": {"fd": "seven"}}`)
		p.expect("add-fd")
		p.say(fmt.Sprintf(`{"id": %d}`, p.id)) // neither returns nor fails
	})
	for range 2 {
		var reply struct{ FD int }
		if err := q.execute(soon(t), command{Execute: "add-fd"}, &reply); err == nil || !strings.HasPrefix(err.Error(), "add-fd: ") {
			t.Errorf("execute = %v, want an error of add-fd", err)
		}
	}
}

func TestQMPPassesADescriptor(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	q := client(t, func(p *peer) {
		b, oob := make([]byte, 1000), make([]byte, unix.CmsgSpace(4))
		size, n, _, _, err := p.conn.ReadMsgUnix(b, oob)
		if err != nil {
			t.Error(err)
		}
		p.in = json.NewDecoder(bytes.NewReader(b[:size]))
		p.expect("getfd")
		messages, err := unix.ParseSocketControlMessage(oob[:n])
		if err != nil || len(messages) != 1 {
			t.Errorf("%d control messages, %v", len(messages), err)
			return
		}
		fds, err := unix.ParseUnixRights(&messages[0])
		if err != nil || len(fds) != 1 {
			t.Errorf("descriptors %v, %v", fds, err)
			return
		}
		f := os.NewFile(uintptr(fds[0]), "passed")
		if _, err := io.WriteString(f, "through"); err != nil {
			t.Error(err)
		}
		_ = f.Close()
		p.say(`{"return": {}}`)
	})
	if err := q.execute(soon(t), command{Execute: "getfd", file: w}, nil); err != nil {
		t.Error(err)
	}
	if _, err := w.Stat(); err != nil {
		t.Errorf("the descriptor was borrowed, and is gone: %v", err)
	}
	_ = w.Close()
	if got, err := io.ReadAll(r); err != nil || string(got) != "through" {
		t.Errorf("%q came through the descriptor, %v", got, err)
	}
}

// TestQMPGivenUp: what was given up may be answered later, which must not pass
// for the answer to another command.
func TestQMPGivenUp(t *testing.T) {
	q := client(t, func(p *peer) {
		p.expect("migrate")
		p.ended()
	})
	reason := errors.New("lost patience")
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(20*time.Millisecond, func() { cancel(reason) })
	if err := q.execute(ctx, command{Execute: "migrate"}, nil); !errors.Is(err, reason) {
		t.Errorf("execute = %v, want the reason", err)
	}
	if err := q.execute(soon(t), command{Execute: "cont"}, nil); !errors.Is(err, net.ErrClosed) {
		t.Errorf("execute after that = %v, want a closed connection", err)
	}
}

func TestQMPPeerCloses(t *testing.T) {
	q := client(t, func(p *peer) {
		p.expect("cont")
		_ = p.conn.Close()
	})
	if err := q.execute(soon(t), command{Execute: "cont"}, nil); !errors.Is(err, errClosed) {
		t.Errorf("execute = %v, want errClosed", err)
	}
	err := q.execute(soon(t), command{Execute: "cont"}, nil)
	if !errors.Is(err, errClosed) && !errors.Is(err, unix.EPIPE) && !errors.Is(err, net.ErrClosed) {
		t.Errorf("execute after that = %v", err)
	}
}

func TestQMPGreeting(t *testing.T) {
	for name, c := range map[string]struct {
		script func(p *peer)
		want   string
	}{
		"Closed":        {func(p *peer) { _ = p.conn.Close() }, errClosed.Error()},
		"ClosedHalfway": {func(p *peer) { _, _ = io.WriteString(p.conn, greeting[:20]); _ = p.conn.Close() }, errClosed.Error()},
		"Garbage":       {func(p *peer) { p.say("SSH-2.0-OpenSSH_9.2"); p.ended() }, errClosed.Error()},
		"GarbageAfter":  {func(p *peer) { p.say(greeting, "\x00\x01"); p.expect("qmp_capabilities") }, errClosed.Error()},
		"NumberAfter":   {func(p *peer) { p.say(greeting, "7"); p.expect("qmp_capabilities") }, errClosed.Error()},
		"CapabilitiesFail": {func(p *peer) {
			p.say(greeting)
			p.expect("qmp_capabilities")
			p.say(`{"error": {"desc": "no"}}`)
			p.ended()
		}, "no"},
		"NotAGreeting": {func(p *peer) { p.say(`{"return": {}}`); p.ended() }, "greeting"},
		"Null":         {func(p *peer) { p.say(`null`); p.ended() }, "greeting"},
		"ErrorInstead": {func(p *peer) { p.say(`{"error": {"class": "GenericError", "desc": "no"}}`); p.ended() }, "greeting"},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			q, err := newQMP(ctx, talkTo(t, c.script))
			if err == nil {
				q.close()
			}
			if err == nil || !strings.Contains(err.Error(), c.want) || ctx.Err() != nil {
				t.Errorf("newQMP = %v, want an error with %q at once", err, c.want)
			}
		})
	}
}

func TestQMPGreetingThatDoesNotCome(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := newQMP(ctx, talkTo(t, (*peer).ended)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("newQMP = %v, want the deadline", err)
	}
}

func TestQMPMessageTooLong(t *testing.T) {
	q := client(t, func(p *peer) {
		p.expect("cont")
		// The client stops reading in the middle.
		_, _ = fmt.Fprintf(p.conn, `{"id": %d, "return": %q}`+"\n", p.id, strings.Repeat("x", maxMessage))
	})
	err := q.execute(soon(t), command{Execute: "cont"}, nil)
	if !errors.Is(err, errClosed) {
		t.Errorf("execute = %v, want errClosed", err)
	}
}

// migration is an event of one.
func migration(status string) string {
	return fmt.Sprintf(`{"event": "MIGRATION", "data": {"status": %q}}`, status)
}

func TestQMPMigrate(t *testing.T) {
	for name, c := range map[string]struct {
		script func(p *peer)
		want   string // "" is success
	}{
		"Completes": {func(p *peer) {
			p.expect("migrate")
			p.say(migration("setup"), `{"return": {}}`, migration("active"), `{"event": "STOP"}`, migration("completed"))
		}, ""},
		"CompletesBeforeTheReply": {func(p *peer) {
			p.expect("migrate")
			p.say(migration("setup"), migration("completed"), `{"return": {}}`)
		}, ""},
		"Fails": {func(p *peer) {
			p.expect("migrate")
			p.say(`{"return": {}}`, migration("setup"), migration("failed"))
			p.expect("query-migrate")
			p.say(`{"return": {"status": "failed", "error-desc": "Length mismatch"}}`)
		}, "migrate: Length mismatch"},
		"FailsWithoutAReason": {func(p *peer) {
			p.expect("migrate")
			p.say(`{"return": {}}`, migration("failed"))
			p.expect("query-migrate")
			p.say(`{"return": {"status": "failed"}}`)
		}, "migrate: QEMU failed"},
		"FailsAndEnds": {func(p *peer) {
			p.expect("migrate")
			p.say(`{"return": {}}`, migration("failed"))
			p.expect("query-migrate")
			_ = p.conn.Close()
		}, "migrate: "},
		"Cancelled": {func(p *peer) {
			p.expect("migrate")
			p.say(`{"return": {}}`, migration("cancelled"))
			p.expect("query-migrate")
			p.say(`{"return": {}}`)
		}, "migrate: "},
		"Refused": {func(p *peer) {
			p.expect("migrate")
			p.say(`{"error": {"desc": "State blocked"}}`)
		}, "migrate: State blocked"},
		"PeerCloses": {func(p *peer) {
			p.expect("migrate")
			p.say(`{"return": {}}`, migration("active"))
			_ = p.conn.Close()
		}, errClosed.Error()},
		"EventOfAnotherShape": {func(p *peer) {
			p.expect("migrate")
			p.say(`{"return": {}}`, `{"event": "MIGRATION", "data": ["completed"]}`, `{"event": "MIGRATION"}`, migration("failed"))
			p.expect("query-migrate")
			p.say(`{"error": {"desc": "no"}}`)
		}, "migrate: "},
		// Events that came when nobody waited for any.
		"EventsBefore": {func(p *peer) {
			for range 200 {
				p.say(`{"event": "VSERPORT_CHANGE", "data": {"open": true, "id": "channel"}}`)
			}
			p.expect("migrate")
			p.say(migration("completed"), `{"return": {}}`)
		}, ""},
		"EndOfAnEarlierOne": {func(p *peer) {
			p.say(migration("completed"))
			p.expect("migrate")
			p.say(`{"return": {}}`, migration("failed"))
			p.expect("query-migrate")
			p.say(`{"return": {}}`)
		}, "migrate: "},
	} {
		t.Run(name, func(t *testing.T) {
			q := client(t, c.script)
			time.Sleep(10 * time.Millisecond) // for what is said before the command
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			err := q.migrate(ctx, command{Execute: "migrate"})
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) || ctx.Err() != nil {
				t.Errorf("migrate = %v, want %q", err, c.want)
			}
		})
	}
}

func TestQMPMigrateGivenUp(t *testing.T) {
	q := client(t, func(p *peer) {
		p.expect("migrate")
		p.say(`{"return": {}}`)
	})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := q.migrate(ctx, command{Execute: "migrate"}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("migrate = %v, want the deadline", err)
	}
}

// TestQMPCommandsAtOnce: callers that come together get each its own answer.
func TestQMPCommandsAtOnce(t *testing.T) {
	const n = 50
	q := client(t, func(p *peer) {
		for range n {
			p.say(`{"event": "STOP"}`, `{"return": `+string(p.expect("echo"))+`}`)
		}
	})
	var work sync.WaitGroup
	for i := range n {
		work.Go(func() {
			var got struct{ N int }
			if err := q.execute(t.Context(), command{Execute: "echo", Arguments: object{"n": i}}, &got); err != nil || got.N != i {
				t.Errorf("caller %d got %d, %v", i, got.N, err)
			}
		})
	}
	work.Wait()
}

// TestQMPAnswersThatNobodyAskedFor: they must not pass for the answer to a later
// command.
func TestQMPAnswersThatNobodyAskedFor(t *testing.T) {
	q := client(t, func(p *peer) {
		p.expect("one")
		p.say(`{"return": 1}`, `{"return": 666}`)
		var two json.RawMessage
		if p.in.Decode(&two) == nil {
			_, _ = fmt.Fprintf(p.conn, `{"return": 2, "id": %d}`+"\n", p.id+1)
		}
	})
	var got [2]int
	for i, name := range []string{"one", "two"} {
		if err := q.execute(soon(t), command{Execute: name}, &got[i]); err != nil {
			return // ending the connection is as good
		}
		time.Sleep(10 * time.Millisecond)
	}
	if d := cmp.Diff([2]int{1, 2}, got); d != "" {
		t.Error(d)
	}
}

// TestQMPFloodOfAnswers: they must not keep the reader from what is waited for.
func TestQMPFloodOfAnswers(t *testing.T) {
	q := client(t, func(p *peer) {
		p.expect("migrate")
		for _, l := range []string{`{"return": {}}`, `{"return": {}}`, `{"return": {}}`, `{"return": {}}`, migration("completed")} {
			_, _ = io.WriteString(p.conn, strings.Replace(l, "{", fmt.Sprintf(`{"id": %d, `, p.id), 1)+"\n")
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	// Whether that is an error does not matter.
	if err := q.migrate(ctx, command{Execute: "migrate"}); ctx.Err() != nil {
		t.Errorf("migrate = %v, and hung", err)
	}
}

// FuzzQMP lets QEMU say anything: the client answers or fails, in time, and its
// reader ends with the connection.
func FuzzQMP(f *testing.F) {
	f.Add([]byte(greeting + "\n" + `{"return": {}, "id": 1}` + "\n" + `{"return": {}, "id": 2}` + "\n" + migration("completed") + "\n"))
	f.Add([]byte(greeting + "\n" + `{"error": {"desc": "no"}, "id": 1}` + "\n"))
	f.Add([]byte(strings.Repeat(migration("active")+"\n", 100) + greeting))
	f.Add([]byte("null\nnull\nnull\n{}\n[]\n\x00"))
	f.Fuzz(func(t *testing.T, script []byte) {
		ours, theirs := pair(t)
		var work sync.WaitGroup
		defer work.Wait()
		work.Go(func() {
			_, _ = theirs.Write(script)
			_ = theirs.CloseWrite()
			_, _ = io.Copy(io.Discard, bufio.NewReader(theirs))
			_ = theirs.Close()
		})
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		q, err := newQMP(ctx, ours)
		if err == nil {
			_ = q.migrate(ctx, command{Execute: "migrate"})
			q.close()
		}
		if ctx.Err() != nil {
			t.Error("client hangs")
		}
	})
}
