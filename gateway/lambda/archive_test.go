package lambda

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"thaw"
)

type member struct {
	name    string
	mode    fs.FileMode
	content string
}

func archiveOf(t testing.TB, members ...member) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, m := range members {
		h := &zip.FileHeader{Name: m.name, Method: zip.Deflate}
		h.SetMode(m.mode)
		f, err := w.CreateHeader(h)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(f, m.content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func limits() Limits { return Limits{Bytes: 1 << 20, Entries: 100} }

// unpacked lists a tar stream: name, kind, mode and content.
func unpacked(r io.Reader) (list []string, err error) {
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return list, nil
		}
		if err != nil {
			return list, err
		}
		content, err := io.ReadAll(tr)
		if err != nil {
			return list, err
		}
		list = append(list, fmt.Sprintf("%c %o %s %s%s", h.Typeflag, h.Mode, h.Name, h.Linkname, content))
	}
}

func TestUnpack(t *testing.T) {
	archive := archiveOf(t,
		member{"lib/", fs.ModeDir | 0o700, ""},
		member{"lib/a.py", 0o600, "a = 1"},
		member{"bootstrap", 0o755, "#!/bin/sh"},
		member{"link", fs.ModeSymlink | 0o777, "lib/a.py"},
		member{"empty", 0o644, ""},
	)
	var b bytes.Buffer
	if err := Unpack(context.Background(), archive, limits(), &b); err != nil {
		t.Fatal(err)
	}
	got, err := unpacked(&b)
	want := []string{"5 755 lib/ ", "0 644 lib/a.py a = 1", "0 755 bootstrap #!/bin/sh", "2 777 link lib/a.py", "0 644 empty "}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Error(err, diff)
	}
}

func TestUnpackRefuses(t *testing.T) {
	file := func(name, content string) []byte { return archiveOf(t, member{name, 0o644, content}) }
	good := file("app.py", strings.Repeat("x", 1000))
	many := make([]member, 101)
	for i := range many {
		many[i] = member{fmt.Sprint(i), 0o644, ""}
	}
	lie := bytes.Clone(good) // of its length, in the directory
	at := bytes.Index(lie, []byte("PK\x01\x02")) + 24
	binary.LittleEndian.PutUint32(lie[at:], 10)
	broken := bytes.Clone(good)
	broken[len("app.py")+32] ^= 0xff
	locked := bytes.Clone(good)
	locked[bytes.Index(locked, []byte("PK\x01\x02"))+8] |= 1
	for _, test := range []struct {
		name    string
		archive []byte
		code    thaw.Code
		want    string
	}{
		{"empty", nil, thaw.CodeInvalid, "not a zip archive"},
		{"no archive", []byte("hello"), thaw.CodeInvalid, "not a zip archive"},
		{"cut", good[:len(good)-1], thaw.CodeInvalid, "not a zip archive"},
		{"too large", file("x", strings.Repeat("x", 1<<20+1)), thaw.CodeTooLarge, `"x"`},
		{"too many", archiveOf(t, many...), thaw.CodeTooLarge, "100 files"},
		{"signatures", bytes.Repeat([]byte("PK\x01\x02"), 801), thaw.CodeTooLarge, "100 files"},
		{"longer than it says", lie, thaw.CodeInvalid, `"app.py"`},
		{"broken", broken, thaw.CodeInvalid, `"app.py" cannot be read`},
		{"encrypted", locked, thaw.CodeInvalid, "password"},
		{"device", archiveOf(t, member{"null", fs.ModeDevice | fs.ModeCharDevice | 0o666, ""}), thaw.CodeInvalid, "neither a file"},
		{"long link", archiveOf(t, member{"l", fs.ModeSymlink | 0o777, strings.Repeat("x", 5000)}), thaw.CodeInvalid, "4095"},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := Check(context.Background(), test.archive, limits())
			if thaw.CodeOf(err) != test.code || !strings.Contains(fmt.Sprint(err), test.want) {
				t.Errorf("%s: %v", thaw.CodeOf(err), err)
			}
		})
	}
}

// FuzzUnpack wants of any bytes an error with a code, or a stream within the limits.
func FuzzUnpack(f *testing.F) {
	f.Add([]byte{})
	f.Add(archiveOf(f, member{"app.py", 0o644, "x"}, member{"lib/", fs.ModeDir | 0o755, ""}, member{"l", fs.ModeSymlink | 0o777, "app.py"}))
	f.Add(archiveOf(f, member{"../x", 0o755, strings.Repeat("y", 300)}))
	f.Fuzz(func(t *testing.T, archive []byte) {
		var b bytes.Buffer
		bounds := Limits{Bytes: 4096, Entries: 10}
		if err := Unpack(context.Background(), archive, bounds, &b); err != nil {
			if c := thaw.CodeOf(err); c != thaw.CodeInvalid && c != thaw.CodeTooLarge {
				t.Fatalf("%s: %v", c, err)
			}
			return
		}
		list, err := unpacked(&b)
		if err != nil || len(list) > bounds.Entries {
			t.Fatal(list, err)
		}
	})
}
