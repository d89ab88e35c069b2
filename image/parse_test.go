package image

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/ulikunitz/xz"
)

// bzImage makes the smallest image that has the given payload.
func bzImage(payload []byte) []byte {
	b := make([]byte, 2*sectorSize, 2*sectorSize+len(payload))
	b[setupSectsOffset] = 1
	copy(b[magicOffset:], "HdrS")
	binary.LittleEndian.PutUint16(b[protocolOffset:], 0x20f)
	binary.LittleEndian.PutUint32(b[payloadLengthOffset:], uint32(len(payload)))
	return append(b, payload...)
}

// compressor makes a writer that compresses.
type compressor func(w io.Writer) (io.WriteCloser, error)

func compress(t testing.TB, c compressor, content []byte, trailer bool) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := c(&b)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if !trailer {
		return b.Bytes()
	}
	return binary.LittleEndian.AppendUint32(b.Bytes(), uint32(len(content)))
}

func newLZ4(w io.Writer) (io.WriteCloser, error) {
	z := lz4.NewWriter(w)
	return z, z.Apply(lz4.LegacyOption(true))
}
func newZstd(w io.Writer) (io.WriteCloser, error) { return zstd.NewWriter(w) }
func newXZ(w io.Writer) (io.WriteCloser, error)   { return xz.NewWriter(w) }
func newGzip(w io.Writer) (io.WriteCloser, error) { return gzip.NewWriter(w), nil }

func TestDecompressKernel(t *testing.T) {
	content := bytes.Repeat([]byte("a kernel "), 2_000_000) // more than one block of lz4
	for _, tt := range []struct {
		name    string
		c       compressor
		trailer bool
	}{
		{"lz4", newLZ4, true}, {"zstd", newZstd, true}, {"xz", newXZ, true}, {"gzip", newGzip, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, err := bzImagePayload(bzImage(compress(t, tt.c, content, tt.trailer)))
			if err != nil {
				t.Fatal(err)
			}
			got, err := decompressKernel(p, maxVmlinuxBytes)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, content) {
				t.Errorf("got %d other bytes", len(got))
			}
			if _, err := decompressKernel(p, 1000); err == nil {
				t.Error("a limit of 1000 bytes was not kept")
			}
		})
	}
}

func TestBzImageErrors(t *testing.T) {
	good := bzImage(compress(t, newLZ4, []byte("not an ELF file at all"), true))
	edit := func(f func(b []byte)) []byte {
		b := bytes.Clone(good)
		f(b)
		return b
	}
	for _, tt := range []struct {
		name string
		b    []byte
		want string
	}{
		{"empty", nil, "no bzImage"},
		{"short", good[:100], "no bzImage"},
		{"magic", edit(func(b []byte) { b[magicOffset] = 'X' }), "HdrS"},
		{"old", edit(func(b []byte) { b[protocolOffset] = 7; b[protocolOffset+1] = 2 }), "2.07"},
		{"offset", edit(func(b []byte) { b[payloadOffset+3] = 0xff }), "cut short"},
		{"length", edit(func(b []byte) { b[payloadLengthOffset+3] = 0xff }), "cut short"},
		{"no payload", edit(func(b []byte) { clear(b[payloadLengthOffset : payloadLengthOffset+4]) }), "0 bytes"},
		{"format", edit(func(b []byte) { b[2*sectorSize] = 'X' }), "unknown way"},
		{"damaged", edit(func(b []byte) { b[len(b)-8] ^= 0xff }), "ELF"},
		{"size", edit(func(b []byte) { b[len(b)-1] = 0xff }), "claims"},
		{"wrong size", edit(func(b []byte) { b[len(b)-4]++ }), "and not"},
		{"no ELF", good, "ELF"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := vmlinux(tt.b)
			if tt.name == "damaged" {
				return // lz4 legacy has no checksum: any outcome but a crash
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v does not say %q", err, tt.want)
			}
		})
	}
}

func FuzzVmlinux(f *testing.F) {
	for _, c := range []compressor{newLZ4, newZstd, newXZ} {
		f.Add(bzImage(compress(f, c, []byte("\x7fELF and so on"), true)))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := bzImagePayload(b)
		if err != nil {
			return
		}
		out, err := decompressKernel(p, 1<<20)
		if err != nil {
			return
		}
		if len(out) > 1<<20 {
			t.Fatalf("%d bytes are over the limit", len(out))
		}
		_ = checkPVH(out)
	})
}

func TestRelease(t *testing.T) {
	for _, tt := range []struct{ name, text, want, err string }{
		{"bookworm", "ID=debian\nVERSION_ID=\"12\"\nVERSION_CODENAME=bookworm\n", "bookworm", ""},
		{"testing", "ID=debian\nVERSION_CODENAME=forky\n", "forky", ""},
		{"old", "PRETTY_NAME=\"Debian 11\"\nID=debian\nVERSION_ID=\"11\"\nVERSION_CODENAME=bullseye\n", "", "runs Debian 11: use Debian 12"},
		{"other", "PRETTY_NAME=Fedora\nID=fedora\n", "", "Fedora"},
		{"empty", "", "", "use Debian"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := release(tt.text)
			if got != tt.want && err == nil || (err != nil) != (tt.err != "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}

func TestDebianSources(t *testing.T) {
	const deb822 = `Types: deb
# a comment
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By:
 -----BEGIN
 .

Types: deb
URIs: https://other.example/linux
Suites: bookworm
Components: stable

Enabled: no
Types: deb
URIs: http://mirror.example/debian
Suites: bookworm
Components: main`
	stanzas := debianStanzas(deb822, "bookworm")
	if len(stanzas) != 1 || !strings.Contains(stanzas[0], "bookworm-updates") || !strings.Contains(stanzas[0], "-----BEGIN") {
		t.Errorf("stanzas: %q", stanzas)
	}
	if got := debianStanzas(deb822, "trixie"); got != nil {
		t.Errorf("stanzas of another release: %q", got)
	}
	const lines = `
deb http://mirror.example/debian bookworm main # comment
deb [arch=amd64 signed-by=/k.gpg] http://mirror.example/debian-security bookworm-security main
deb-src http://mirror.example/debian bookworm main
deb http://pg.example/apt bookworm-pgdg main
deb http://broken
deb http://other.example/linux bookworm stable
# deb http://mirror.example/debian bookworm main`
	got := debianLines(lines, "bookworm")
	want := []string{
		"deb http://mirror.example/debian bookworm main",
		"deb [arch=amd64 signed-by=/k.gpg] http://mirror.example/debian-security bookworm-security main",
	}
	if !slices.Equal(got, want) {
		t.Errorf("lines: %q", got)
	}
}

func TestPickOptions(t *testing.T) {
	got := pickOptions("Acquire \"\";\nAcquire::Check-Valid-Until \"false\";\nAcquire::http::Proxy \"http://p:3128/\";\n" +
		"Acquire::http \"\";\nAcquire::IndexTargets::deb::DEP-11::MetaKey \"x\";\nAcquire::Languages \"none\";\nDir \"/\";\n")
	want := []string{`Acquire::Check-Valid-Until "false";`, `Acquire::http::Proxy "http://p:3128/";`}
	if !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

func TestParseURI(t *testing.T) {
	hash := strings.Repeat("0a", 32)
	got, err := parseURI("Reading...\n'http://mirror.example/p/linux-image-6_1.deb' linux-image-6_1%3a2.deb 123 SHA256:" + hash + "\n")
	if want := (deb{"linux-image-6_1%3a2.deb", 123, hash}); err != nil || got != want {
		t.Errorf("got %v, %v", got, err)
	}
	for _, bad := range []string{"", "'u' ../x.deb 1 SHA256:" + hash, "'u' x.deb 1 MD5Sum:00"} {
		if got, err := parseURI(bad); err == nil {
			t.Errorf("%q gave %v", bad, got)
		}
	}
}

func TestParseName(t *testing.T) {
	s := &Store{dir: "/x"}
	k := key("a")
	for _, kind := range []string{kindKernel, kindInitramfs, kindRoot, kindCode, kindPython, kindNode, kindDebian, kindTools, kindDependencies} {
		name := strings.TrimPrefix(s.path(kind, k), "/x/")
		if gotKind, gotKey, ok := parseName(name); !ok || gotKind != kind || gotKey != k {
			t.Errorf("%s gave %s, %s, %v", name, gotKind, gotKey, ok)
		}
	}
	for _, bad := range []string{"kernel", "tmp-1", "cache", "code-" + k, "code-" + k[1:] + ".erofs", "code-" + k + ".erofs.x"} {
		if _, _, ok := parseName(bad); ok {
			t.Errorf("%s counts as an image", bad)
		}
	}
}

func TestLineWriter(t *testing.T) {
	var lines []string
	w := lineWriter{line: func(s string) { lines = append(lines, s) }}
	for _, p := range []string{"a", "b\nc\r", "\n\n", strings.Repeat("x", 3*maxLine), "\nlast"} {
		if n, err := w.Write([]byte(p)); n != len(p) || err != nil {
			t.Fatalf("Write = %d, %v", n, err)
		}
	}
	end := w.end()
	want := []string{"ab", "c", strings.Repeat("x", maxLine), "last"}
	if !slices.Equal(lines, want) || !strings.HasSuffix(end, "; last") {
		t.Errorf("lines %.50q, end %.50q", lines, end)
	}
}
