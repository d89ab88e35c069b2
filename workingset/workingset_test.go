package workingset_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"thaw"
	"thaw/workingset"
)

func touches(pages ...uint32) []workingset.Touch {
	var ts []workingset.Touch
	for i, p := range pages {
		ts = append(ts, workingset.Touch{Page: p, After: time.Duration(i) * 7 * time.Microsecond})
	}
	return ts
}

func TestRuns(t *testing.T) {
	for name, c := range map[string]struct {
		pages []uint32
		want  []workingset.Run
	}{
		"None":            {nil, nil},
		"One":             {[]uint32{9}, []workingset.Run{{9, 1}}},
		"OutOfOrder":      {[]uint32{7, 5, 6, 1}, []workingset.Run{{1, 1}, {5, 3}}},
		"BeginsAtZero":    {[]uint32{1, 0}, []workingset.Run{{0, 2}}},
		"FirstPageIsOne":  {[]uint32{1}, []workingset.Run{{1, 1}}},
		"GapIsNotCrossed": {[]uint32{1, 3}, []workingset.Run{{1, 1}, {3, 1}}},
	} {
		t.Run(name, func(t *testing.T) {
			got := workingset.Set{Touches: touches(c.pages...)}.Runs()
			if d := cmp.Diff(c.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestRecorder(t *testing.T) {
	t.Run("KeepsFirstTouches", func(t *testing.T) {
		r := workingset.NewRecorder(workingset.DefaultLimits())
		for _, p := range []uint32{3, 1, 3, 2, 1} {
			r.Touch(p)
		}
		got, bound := r.Stop()
		if len(got) != 3 || got[0].Page != 3 || got[1].Page != 1 || got[2].Page != 2 || bound != workingset.BoundNone {
			t.Errorf("recorded %v, %v", got, bound)
		}
		r.Touch(99)
		if got, _ := r.Stop(); len(got) != 3 {
			t.Errorf("a touch after Stop was recorded: %v", got)
		}
	})
	t.Run("StopsAtItsSize", func(t *testing.T) {
		r := workingset.NewRecorder(workingset.Limits{Pages: 2, Time: time.Hour})
		for p := range uint32(5) {
			r.Touch(p)
		}
		if got, bound := r.Stop(); len(got) != 2 || bound != workingset.BoundPages {
			t.Errorf("recorded %d pages, %v", len(got), bound)
		}
	})
	t.Run("StopsAtItsTime", func(t *testing.T) {
		r := workingset.NewRecorder(workingset.Limits{Pages: 10, Time: -1})
		r.Touch(1)
		if got, bound := r.Stop(); len(got) != 0 || bound != workingset.BoundTime {
			t.Errorf("recorded %d pages, %v", len(got), bound)
		}
	})
}

// guest is a memory file of 64 pages; page n is full of the byte n.
func guest() *bytes.Reader {
	var b []byte
	for n := range 64 {
		b = append(b, bytes.Repeat([]byte{byte(n)}, thaw.PageSize)...)
	}
	return bytes.NewReader(b)
}

func set(pages ...uint32) workingset.Set {
	return workingset.Set{Memory: [32]byte{1, 2, 3}, MemoryPages: 64, Touches: touches(pages...)}
}

func encode(t testing.TB, s workingset.Set) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := workingset.Encode(&b, s, guest()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestFileRoundTrip(t *testing.T) {
	s := set(9, 3, 4, 63)
	s.Bound = workingset.BoundTime
	b := encode(t, s)
	if int64(len(b)) != workingset.Size(4) || workingset.PagesOf(int64(len(b))) != 4 {
		t.Errorf("file is %d bytes long, want %d, which hold %d pages", len(b), workingset.Size(4), workingset.PagesOf(int64(len(b))))
	}
	f, err := workingset.Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(s, f.Set); d != "" {
		t.Error(d)
	}
	got := map[int64]int{}
	for offset, data := range f.Pieces() {
		got[offset/thaw.PageSize] = len(data) / thaw.PageSize
		for i, b := range data {
			if want := byte(offset/thaw.PageSize) + byte(i/thaw.PageSize); b != want {
				t.Fatalf("byte %d of the run at page %d is %d, want %d", i, offset/thaw.PageSize, b, want)
			}
		}
	}
	if d := cmp.Diff(map[int64]int{3: 2, 9: 1, 63: 1}, got); d != "" {
		t.Error(d)
	}
}

func TestPagesOfManySizes(t *testing.T) {
	for _, n := range []int{0, 1, 511, 512, 513, 5000, workingset.MaxPages} {
		if got := workingset.PagesOf(workingset.Size(n)); got != int64(n) {
			t.Errorf("PagesOf(Size(%d)) = %d", n, got)
		}
	}
}

func TestEncodeRefuses(t *testing.T) {
	for name, s := range map[string]workingset.Set{
		"Empty":   set(),
		"Twice":   set(1, 2, 1),
		"Outside": set(64),
	} {
		t.Run(name, func(t *testing.T) {
			if err := workingset.Encode(&bytes.Buffer{}, s, guest()); err == nil {
				t.Error("Encode worked")
			}
		})
	}
}

func TestDecodeRefusesDamage(t *testing.T) {
	good := encode(t, set(9, 3, 4))
	for _, at := range []int{0, 8, 12, 16, 20, 24, 40, 64, 68, 4092, 4096, 5000, 8192, len(good) - 1} {
		bad := bytes.Clone(good)
		bad[at] ^= 0x10
		if _, err := workingset.Decode(bad); !errors.Is(err, workingset.ErrCorrupt) {
			t.Errorf("Decode with a flipped bit at %d = %v, want ErrCorrupt", at, err)
		}
	}
	for _, n := range []int{0, 7, 4095, 4096, 8191, len(good) - 1} {
		if _, err := workingset.Decode(good[:n]); !errors.Is(err, workingset.ErrCorrupt) {
			t.Errorf("Decode of the first %d bytes = %v, want ErrCorrupt", n, err)
		}
	}
}

// FuzzDecode repairs the header's checksum, so that the checks behind it are
// reached.
func FuzzDecode(f *testing.F) {
	f.Add(encode(f, set(9, 3, 4)))
	f.Add(encode(f, set(0)))
	f.Add([]byte("thaw-ws\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= thaw.PageSize {
			b = bytes.Clone(b)
			binary.LittleEndian.PutUint32(b[4092:], crc32.Checksum(b[:4092], crc32.MakeTable(crc32.Castagnoli)))
		}
		file, err := workingset.Decode(b)
		if err != nil {
			return
		}
		var n int
		for offset, data := range file.Pieces() {
			if offset < 0 || offset+int64(len(data)) > int64(file.MemoryPages)*thaw.PageSize {
				t.Errorf("piece at %d of %d bytes is outside guest memory", offset, len(data))
			}
			n += len(data)
		}
		if n != len(file.Touches)*thaw.PageSize {
			t.Errorf("pieces hold %d bytes, want %d pages", n, len(file.Touches))
		}
	})
}
