package wire

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"thaw"
)

func encode(t testing.TB, f Frame) []byte {
	t.Helper()
	head, tail, err := Encode(nil, f)
	if err != nil {
		t.Fatal(err)
	}
	return append(bytes.Clone(head), tail...)
}

// readAll returns every frame of a stream that ends.
func readAll(t testing.TB, r io.Reader) []Frame {
	t.Helper()
	var list []Frame
	for reader := NewReader(r); ; {
		f, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return list
		}
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, f)
	}
}

func frame(n int) Frame {
	raw := make([]byte, n)
	for i := range raw {
		raw[i] = byte(i * 7)
	}
	return Frame{Type: TypeInvoke, Session: 0x1122334455667788, JSON: []byte(`{"request_id":"r"}`), Raw: raw}
}

func equal(a, b Frame) bool {
	return a.Type == b.Type && a.Session == b.Session && bytes.Equal(a.JSON, b.JSON) && bytes.Equal(a.Raw, b.Raw)
}

// diff says how got differs from want, without printing megabytes.
func diff(want, got []Frame) string {
	if len(want) != len(got) {
		return fmt.Sprintf("%d frames, not %d", len(got), len(want))
	}
	for i := range want {
		if !equal(want[i], got[i]) {
			return fmt.Sprintf("frame %d: got %.200q, want %.200q", i, fmt.Sprint(got[i]), fmt.Sprint(want[i]))
		}
	}
	return ""
}

func TestGolden(t *testing.T) {
	f := Frame{Type: TypePing, Session: 0x0102030405060708, JSON: []byte(`{}`), Raw: []byte{0xff}}
	want := "\xf5thaw\r\n\x1a" + "\x01\x0d\x00\x00" + "\x00\x00\x00\x00" + "\x08\x07\x06\x05\x04\x03\x02\x01" +
		"\x02\x00\x00\x00" + "\x01\x00\x00\x00"
	got := encode(t, f)
	if len(got) != HeaderLen+3 || string(got[:32]) != want || string(got[HeaderLen:]) != "{}\xff" {
		t.Errorf("got %q", got)
	}
}

func TestMagicCannotOverlapItself(t *testing.T) {
	for i := range Magic {
		if strings.IndexByte(Magic[i+1:], Magic[i]) >= 0 {
			t.Errorf("byte %x is twice in the magic", Magic[i])
		}
	}
}

func TestRoundTrip(t *testing.T) {
	sizes := []int{0, 1, inline, inline + 1, bufferLen - HeaderLen, growLen, growLen + 1, thaw.MaxPayload, MaxRaw}
	var stream bytes.Buffer
	var want []Frame
	for _, n := range sizes {
		want = append(want, frame(n))
		stream.Write(encode(t, frame(n)))
	}
	if d := diff(want, readAll(t, &stream)); d != "" {
		t.Error(d)
	}
}

func TestRoundTripByteByByte(t *testing.T) {
	want := []Frame{frame(0), frame(300), frame(9000)}
	var stream []byte
	for _, f := range want {
		stream = append(stream, encode(t, f)...)
	}
	if d := diff(want, readAll(t, iotest.OneByteReader(bytes.NewReader(stream)))); d != "" {
		t.Error(d)
	}
}

func TestTooLarge(t *testing.T) {
	for _, f := range []Frame{{JSON: []byte("{}"), Raw: make([]byte, MaxRaw+1)}, {JSON: bytes.Repeat([]byte{'{'}, MaxJSON+1)}} {
		if _, _, err := Encode(nil, f); !errors.Is(err, ErrTooLarge) {
			t.Errorf("got %v", err)
		}
	}
}

// A payload that holds frames, and every near-miss of the magic, must not be
// taken for frames, and must arrive as it is.
func TestPayloadHoldsFrames(t *testing.T) {
	f := frame(0)
	forged := encode(t, Frame{Type: TypeSync, Session: 1, JSON: []byte("{}")})
	f.Raw = bytes.Repeat(append([]byte(Magic[:5]), forged...), 1000)
	before := bytes.Clone(f.Raw)
	stream := encode(t, f)
	if !bytes.Equal(before, f.Raw) {
		t.Error("the encoder changed the caller's payload")
	}
	if n := bytes.Count(stream, []byte(Magic)); n != 1 {
		t.Errorf("magic occurs %d times", n)
	}
	if d := diff([]Frame{f}, readAll(t, bytes.NewReader(stream))); d != "" {
		t.Error(d)
	}
}

// TestCutOff puts a frame behind every possible beginning of another.
func TestCutOff(t *testing.T) {
	masked := frame(0)
	masked.Raw = []byte(Magic + "tail" + Magic)
	next := frame(5)
	for _, first := range []Frame{frame(0), frame(40), masked} {
		whole := encode(t, first)
		for n := range whole {
			stream := append(bytes.Clone(whole[:n]), encode(t, next)...)
			for name, r := range map[string]io.Reader{"at once": bytes.NewReader(stream), "by bytes": iotest.OneByteReader(bytes.NewReader(stream))} {
				if d := diff([]Frame{next}, readAll(t, r)); d != "" {
					t.Fatalf("%s, %d bytes of the first: %s", name, n, d)
				}
			}
		}
	}
}

// TestCutOffHeaderCompleted cuts the last byte off a header whose last byte is
// the first one of the magic, so that the next frame completes it.
func TestCutOffHeaderCompleted(t *testing.T) {
	first := frame(20)
	whole := encode(t, first)
	for whole[HeaderLen-1] != Magic[0] {
		first.Session++
		whole = encode(t, first)
	}
	next := frame(5)
	got := readAll(t, bytes.NewReader(append(whole[:HeaderLen-1], encode(t, next)...)))
	if d := diff([]Frame{next}, got); d != "" {
		t.Error(d)
	}
	if d := diff([]Frame{first}, readAll(t, bytes.NewReader(encode(t, first)))); d != "" {
		t.Error(d)
	}
}

// TestCutOffInLargeFrame also shows that the reader needs nothing after the
// next frame to notice.
func TestCutOffInLargeFrame(t *testing.T) {
	whole, next := encode(t, frame(thaw.MaxPayload)), encode(t, frame(5))
	for _, n := range []int{41, 4095, 4096, 4097, 65536 + 40, 1 << 20, thaw.MaxPayload} {
		pr, pw := io.Pipe()
		go func() {
			pw.Write(whole[:n])
			pw.Write(next)
		}()
		f, err := NewReader(pr).Next()
		if err != nil {
			t.Fatal(err)
		}
		if !equal(frame(5), f) {
			t.Errorf("%d bytes: got a frame of %d", n, len(f.Raw))
		}
		pr.Close()
	}
}

// TestGarbage puts noise, tails of frames and beginnings of the magic between
// frames.
func TestGarbage(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	whole := encode(t, frame(100))
	for range 2000 {
		var stream []byte
		var want []Frame
		for range 4 {
			switch rnd.IntN(4) {
			case 0:
				stream = append(stream, whole[rnd.IntN(len(whole)-1)+1:]...)
			case 1:
				stream = append(stream, Magic[:rnd.IntN(len(Magic))]...)
			case 2:
				for range rnd.IntN(100) {
					stream = append(stream, byte(rnd.Uint32()))
				}
			}
			f := frame(rnd.IntN(300))
			stream, want = append(stream, encode(t, f)...), append(want, f)
		}
		if d := diff(want, readAll(t, bytes.NewReader(stream))); d != "" {
			t.Fatal(d)
		}
	}
}

func TestDamage(t *testing.T) {
	next := frame(3)
	whole := encode(t, frame(100))
	for i := range whole {
		damaged := bytes.Clone(whole)
		damaged[i] ^= 0x40
		got := readAll(t, bytes.NewReader(append(damaged, encode(t, next)...)))
		if d := diff([]Frame{next}, got); d != "" {
			t.Fatalf("byte %d: %s", i, d)
		}
	}
}

// A header that promises much must not make the reader allocate much.
func TestPromiseAllocatesLittle(t *testing.T) {
	head := encode(t, frame(MaxRaw))[:HeaderLen+100]
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 20 {
		readAll(t, bytes.NewReader(head))
	}
	runtime.ReadMemStats(&after)
	if per := (after.TotalAlloc - before.TotalAlloc) / 20; per > 2*growLen {
		t.Errorf("%d bytes allocated", per)
	}
}

func TestMessages(t *testing.T) {
	f, err := New(9, &InitFailed{thaw.FunctionError{Type: "T", Message: "m", Trace: []string{"a"}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"errorType":"T","errorMessage":"m","stackTrace":["a"]}`; string(f.JSON) != want || f.Type != TypeInitFailed {
		t.Errorf("got %s %s", f.Type, f.JSON)
	}
	var m InitFailed
	if err := f.Decode(&m); err != nil || m.FunctionError.Type != "T" {
		t.Errorf("got %+v, %v", m, err)
	}
	if _, err := New(9, &Fatal{Message: strings.Repeat("x", MaxJSON)}, nil); !errors.Is(err, ErrTooLarge) {
		t.Errorf("got %v", err)
	}
}

func TestCheckID(t *testing.T) {
	for id, ok := range map[string]bool{
		"a": true, "c0ffee-12": true, strings.Repeat("a", 64): true,
		"": false, strings.Repeat("a", 65): false, "a/b": false, "a\n": false, "é": false,
	} {
		if err := CheckID(id); (err == nil) != ok {
			t.Errorf("%q: %v", id, err)
		}
	}
}

// FuzzReader feeds anything. The reader must end, return only frames within
// their bounds, and find a good frame that follows.
func FuzzReader(f *testing.F) {
	good := encode(f, frame(20))
	masked := frame(0)
	masked.Raw = []byte(Magic)
	f.Add([]byte{})
	f.Add(good)
	f.Add(good[:50])
	f.Add(good[7:])
	f.Add(encode(f, masked))
	f.Add([]byte(Magic + Magic[:3]))
	f.Add(appendHeader(nil, header{kind: TypeSync, json: MaxJSON, raw: MaxRaw}))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, got := range readAll(t, bytes.NewReader(b)) {
			if len(got.JSON) > MaxJSON || len(got.Raw) > MaxRaw {
				t.Errorf("frame of %d and %d bytes", len(got.JSON), len(got.Raw))
			}
		}
		got := readAll(t, bytes.NewReader(append(bytes.Clone(b), good...)))
		if len(got) == 0 || !equal(frame(20), got[len(got)-1]) {
			t.Errorf("the frame behind was lost: %d frames", len(got))
		}
	})
}

// FuzzRoundTrip encodes anything and cuts it anywhere.
func FuzzRoundTrip(f *testing.F) {
	f.Add(byte(1), uint64(1), []byte("{}"), []byte("raw"), uint16(0))
	f.Add(byte(200), uint64(0), []byte{'{'}, []byte(Magic+Magic), uint16(45))
	f.Fuzz(func(t *testing.T, kind byte, session uint64, json, raw []byte, cut uint16) {
		if !bytes.HasPrefix(json, []byte{'{'}) || bytes.Contains(json, []byte{Magic[0]}) || len(json) > MaxJSON || len(raw) > MaxRaw {
			t.Skip() // no JSON, or too large
		}
		want := Frame{Type: Type(kind), Session: session, JSON: json, Raw: raw}
		whole := encode(t, want)
		stream := append(bytes.Clone(whole[:int(cut)%len(whole)]), whole...)
		if d := diff([]Frame{want}, readAll(t, bytes.NewReader(stream))); d != "" {
			t.Error(d)
		}
	})
}

func messages() []Message {
	return []Message{
		&Sync{}, &SyncAck{}, &Resume{}, &Resumed{}, &Init{}, &InitDone{}, &InitFailed{}, &Quiesce{}, &Quiesced{},
		&Invoke{}, &Result{}, &Log{}, &Ping{}, &Pong{}, &Fatal{},
		&Open{}, &Head{}, &Data{}, &Trailer{}, &Window{}, &Reset{},
	}
}

func TestTypes(t *testing.T) {
	for i, m := range messages() {
		if m.Type() != Type(i+1) {
			t.Errorf("%T has type %d", m, m.Type())
		}
	}
	if s := TypeFatal.String() + Type(99).String(); s != "fataltype 99" {
		t.Error(s)
	}
}

// FuzzMessages decodes anything as every message.
func FuzzMessages(f *testing.F) {
	f.Add([]byte(`{"request_id":"a","env":{"a":"b"},"stackTrace":["x"]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, m := range messages() {
			_ = Frame{JSON: b}.Decode(m)
		}
	})
}

func BenchmarkSixMiB(b *testing.B) {
	f := frame(thaw.MaxPayload)
	b.SetBytes(thaw.MaxPayload)
	for b.Loop() {
		head, tail, err := Encode(nil, f)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := NewReader(io.MultiReader(bytes.NewReader(head), bytes.NewReader(tail))).Next(); err != nil {
			b.Fatal(err)
		}
	}
}
