package flow

import (
	"bytes"
	"errors"
	"io"
	"sync"
	"testing"
)

// TestTransfer sends more than a window through, the reader slower than the sender,
// and wants all of it in order and never more than the window kept.
func TestTransfer(t *testing.T) {
	const window, total = 1000, 100_000
	in, credit, done := NewInbox(window), NewCredit(window), make(chan struct{})
	var sender sync.WaitGroup
	sender.Go(func() {
		for sent := 0; sent < total; {
			n := credit.Take(min(300, total-sent), done)
			p := make([]byte, n)
			for i := range p {
				p[i] = byte(sent + i)
			}
			if err := in.Put(p); err != nil {
				t.Error(err)
				return
			}
			sent += n
		}
		in.End(nil)
	})
	var got []byte
	for {
		p, err := in.Take(done)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil || len(p) > window {
			t.Fatalf("%d bytes at once, %v", len(p), err)
		}
		got = append(got, p...)
		if n := in.Grant(len(p)); n > 0 {
			if err := credit.Add(int64(n)); err != nil {
				t.Fatal(err)
			}
		}
	}
	sender.Wait()
	for i, b := range got {
		if b != byte(i) {
			t.Fatalf("byte %d is %d", i, b)
		}
	}
	if len(got) != total {
		t.Errorf("%d bytes", len(got))
	}
}

func TestInboxEnds(t *testing.T) {
	cause := errors.New("cause")
	for _, end := range []error{nil, cause} {
		b := NewInbox(10)
		if err := errors.Join(b.Put([]byte("a")), b.Put([]byte("b"))); err != nil {
			t.Fatal(err)
		}
		b.End(end)
		b.End(errors.New("later"))
		if err := b.Put([]byte("too late")); err != nil {
			t.Error(err)
		}
		p, err := b.Take(nil)
		if string(p) != "ab" || err != nil {
			t.Errorf("%q, %v", p, err)
		}
		want := end
		if want == nil {
			want = io.EOF
		}
		if _, err = b.Take(nil); !errors.Is(err, want) {
			t.Errorf("got %v, want %v", err, want)
		}
		if n := b.Grant(10); n != 0 {
			t.Errorf("granted %d after the end", n)
		}
	}
}

func TestOverrun(t *testing.T) {
	b := NewInbox(10)
	if err := b.Put(make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	if err := b.Put([]byte{1}); !errors.Is(err, ErrOverrun) {
		t.Errorf("got %v", err)
	}
	if n := b.Grant(4); n != 0 {
		t.Errorf("a message for %d bytes", n)
	}
	if n := b.Grant(1); n != 5 {
		t.Errorf("granted %d", n)
	}
	if err := errors.Join(b.Put(make([]byte, 5)), b.Put([]byte{1})); !errors.Is(err, ErrOverrun) {
		t.Errorf("got %v", err)
	}
}

func TestDone(t *testing.T) {
	done := make(chan struct{})
	close(done)
	if _, err := NewInbox(1).Take(done); !errors.Is(err, io.ErrClosedPipe) {
		t.Error(err)
	}
	if n := NewCredit(0).Take(1, done); n != 0 {
		t.Error(n)
	}
	c := NewCredit(0)
	for _, n := range []int64{0, -1, 1 << 40} {
		if c.Add(n) == nil {
			t.Errorf("credit of %d", n)
		}
	}
	for range 10 {
		_ = c.Add(1 << 30)
	}
	if c.Add(1<<30) == nil {
		t.Error("credit without bounds")
	}
}

// FuzzInbox has a sender do anything: it never gets more kept than the window.
func FuzzInbox(f *testing.F) {
	f.Add([]byte{1, 2, 3, 200, 4, 5})
	f.Fuzz(func(t *testing.T, ops []byte) {
		const window = 64
		b := NewInbox(window)
		var in, out bytes.Buffer
		for i, op := range ops {
			if op%4 == 0 {
				if p, _ := b.take(); p != nil {
					out.Write(p)
					b.Grant(len(p))
				}
				continue
			}
			p := bytes.Repeat([]byte{byte(i)}, int(op/4))
			if b.Put(bytes.Clone(p)) == nil {
				in.Write(p)
			}
			if len(b.buf) > window {
				t.Fatalf("%d bytes are kept", len(b.buf))
			}
		}
		p, _ := b.take()
		if out.Write(p); !bytes.Equal(in.Bytes(), out.Bytes()) {
			t.Error("other bytes came out")
		}
	})
}
