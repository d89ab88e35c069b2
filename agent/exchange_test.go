package agent

import (
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"thaw"
	"thaw/agent/flow"
	"thaw/agent/wire"
)

// sunk takes a reply and forgets it.
type sunk struct{ bytes int }

func (s *sunk) Head(thaw.HTTPReply) error        { return nil }
func (s *sunk) Write(p []byte) (int, error)      { s.bytes += len(p); return len(p), nil }
func (s *sunk) Trailer(t []thaw.HTTPField) error { return nil }

// streaming returns a Conn whose guest knows streams.
func streaming(t *testing.T) (*Conn, *script) {
	t.Helper()
	c, guest := pair(t, nil)
	synced := make(chan error)
	go func() { synced <- c.Sync(t.Context()) }()
	guest.answer(&wire.SyncAck{Messages: wire.MessageVersion}, nil)
	if err := <-synced; err != nil {
		t.Fatal(err)
	}
	return c, guest
}

func (s *script) head(session, stream uint64, head string) {
	s.send(session, &wire.Head{Stream: stream}, []byte(head))
}

// drain reads what the host still sends, until that ends.
func (s *script) drain() { _, _ = io.Copy(io.Discard, s.conn) }

func get() Request {
	return Request{RequestID: "r", Deadline: time.Now().Add(time.Minute), HTTPRequest: thaw.HTTPRequest{Method: "GET", Target: "/"}}
}

func TestGuestOfAnEarlierRelease(t *testing.T) {
	c, _ := pair(t, nil)
	if _, err := c.Exchange(t.Context(), get(), &sunk{}); err == nil || !strings.Contains(err.Error(), "deploy the function again") {
		t.Errorf("got %v", err)
	}
}

// A guest that does not keep to the rules of streams ends the connection; what only
// crossed the end of a stream does not.
func TestHostileStreams(t *testing.T) {
	const head = "HTTP/1.1 200 OK\r\n\r\n"
	full := make([]byte, wire.MaxData)
	for name, tt := range map[string]struct {
		send func(guest *script, session, stream uint64)
		fine bool
	}{
		"TwoHeads":  {func(g *script, s, id uint64) { g.head(s, id, head); g.head(s, id, head) }, false},
		"DataFirst": {func(g *script, s, id uint64) { g.send(s, &wire.Data{Stream: id}, full) }, false},
		"EmptyData": {func(g *script, s, id uint64) { g.head(s, id, head); g.send(s, &wire.Data{Stream: id}, nil) }, false},
		"LargeData": {func(g *script, s, id uint64) { g.head(s, id, head); g.send(s, &wire.Data{Stream: id}, append(full, 1)) }, false},
		"NoCredit": {func(g *script, s, id uint64) {
			g.head(s, id, head)
			g.send(s, &wire.Window{Stream: id, Bytes: -1}, nil)
		}, false},
		"MuchCredit": {func(g *script, s, id uint64) {
			g.head(s, id, head)
			g.send(s, &wire.Window{Stream: id, Bytes: 1 << 50}, nil)
		}, false},
		"BadMessage": {func(g *script, s, id uint64) {
			head, tail, _ := wire.Encode(nil, wire.Frame{Type: wire.TypeData, Session: s, JSON: []byte(`{"stream":[]}`)})
			g.conn.Write(append(head, tail...))
		}, false},
		"OtherStream": {func(g *script, s, id uint64) {
			g.send(s, &wire.Data{Stream: id + 7}, nil)
			g.send(s, &wire.Reset{Stream: id + 7}, nil)
			g.head(s, id, head)
			g.send(s, &wire.Data{Stream: id, End: true}, nil)
			g.send(s, &wire.Data{Stream: id}, full)
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			c, guest := streaming(t)
			go func() {
				f := guest.read()
				id, _ := streamOf(f)
				tt.send(guest, f.Session, id)
				guest.drain()
			}()
			_, err := c.Exchange(t.Context(), get(), &sunk{})
			if tt.fine != (err == nil) || !tt.fine && !errors.Is(err, ErrGone) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// A guest that sends on though nobody reads is cut off at the window.
func TestOverrunEndsTheConnection(t *testing.T) {
	c, guest := streaming(t)
	go func() {
		f := guest.read()
		id, _ := streamOf(f)
		guest.head(f.Session, id, "HTTP/1.1 200 OK\r\n\r\n")
		for range 3 * wire.StreamWindow / wire.MaxData {
			guest.send(f.Session, &wire.Data{Stream: id}, make([]byte, wire.MaxData))
		}
		guest.drain()
	}()
	stuck := &stuckWriter{until: c.Done()}
	if _, err := c.Exchange(t.Context(), get(), stuck); !errors.Is(err, ErrGone) {
		t.Errorf("got %v", err)
	}
}

// stuckWriter is a client that does not read.
type stuckWriter struct {
	sunk
	until <-chan struct{}
}

func (s *stuckWriter) Write(p []byte) (int, error) { <-s.until; return len(p), nil }

func TestBadHeads(t *testing.T) {
	for _, head := range []string{"", "SSH\r\n", "HTTP/1.1 99 x\r\n\r\n", "HTTP/1.1 200 OK\r\nno colon\r\n", "HTTP/1.1 200 OK\r\n folded: x\r\n", "HTTP/1.1 200 OK\r\na: b\nc: d\r\n", strings.Repeat("x", wire.MaxHead+1)} {
		c, guest := streaming(t)
		reset := make(chan wire.Type, 1)
		go func() {
			f := guest.read()
			id, _ := streamOf(f)
			guest.head(f.Session, id, head)
			reset <- guest.read().Type
		}()
		done, err := c.Exchange(t.Context(), get(), &sunk{})
		if err != nil || done.Failure == nil || done.Failure.Type != thaw.ErrorTypeBadReply {
			t.Errorf("%.30q: %+v, %v", head, done, err)
		}
		if kind := <-reset; kind != wire.TypeReset {
			t.Errorf("%.30q: the guest was told %s", head, kind)
		}
	}
}

func TestEncodeHead(t *testing.T) {
	got, err := encodeHead(thaw.HTTPRequest{Method: "POST", Target: "/a?b", Header: []thaw.HTTPField{{Name: "Host", Value: "h"}}, Body: io.NopCloser(strings.NewReader("x")), Length: 1})
	if want := "POST /a?b HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nConnection: close\r\n\r\n"; err != nil || string(got) != want {
		t.Errorf("%q, %v", got, err)
	}
	for _, f := range []thaw.HTTPField{{Name: "a b"}, {Name: ""}, {Name: "a", Value: "b\r\nc: d"}, {Name: "a", Value: "\x00"}, {Name: "a", Value: strings.Repeat("x", wire.MaxHead)}} {
		if _, err := encodeHead(thaw.HTTPRequest{Method: "GET", Target: "/", Header: []thaw.HTTPField{f}}); err == nil {
			t.Errorf("%.30q: %.30q was taken", f.Name, f.Value)
		}
	}
}

// FuzzStreams has a guest send anything in any order for one stream: the exchange
// ends, and nothing is kept beyond the window.
func FuzzStreams(f *testing.F) {
	f.Add(uint64(1), []byte{17, 18, 18, 19, 18}, []byte("HTTP/1.1 200 OK\r\n\r\n"))
	f.Add(uint64(2), []byte{20, 17, 21}, []byte("x"))
	f.Fuzz(func(t *testing.T, seed uint64, kinds, raw []byte) {
		x := &exchange{conn: &Conn{streams: map[uint64]*exchange{}}, head: make(chan []byte, 1), over: make(chan struct{})}
		x.in, x.credit = flow.NewInbox(wire.StreamWindow), flow.NewCredit(wire.StreamWindow)
		rnd := rand.New(rand.NewPCG(seed, 1))
		for _, k := range kinds {
			m := []wire.Message{&wire.Head{}, &wire.Data{End: rnd.IntN(4) == 0}, &wire.Trailer{}, &wire.Window{Bytes: int64(rnd.Uint64())}, &wire.Reset{ErrorType: "x"}}[k%5]
			fr, err := wire.New(1, m, raw)
			if err != nil {
				return // more than a frame holds
			}
			if x.receive(fr) != nil {
				break
			}
		}
		x.end(nil, false)
		w := &sunk{}
		if _, err := outcome(x.download(nil, w)); err == nil && w.bytes > wire.StreamWindow {
			t.Errorf("%d bytes were kept", w.bytes)
		}
	})
}
