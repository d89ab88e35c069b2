package oci_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/klauspost/compress/zstd"

	"thaw"
	"thaw/oci"
)

// needRoot skips where nobody can give files away.
func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("owners of files are set as root: run the tests with sudo")
	}
}

// entry is one of a layer: a name that ends with a slash is a folder, "a -> b" a
// symbolic link, "a = b" a hard link.
type entry struct {
	name, text string
	mode       int64
	uid        int
}

func (e entry) header() *tar.Header {
	h := &tar.Header{Name: e.name, Mode: 0o644, Uid: e.uid, Gid: e.uid, Typeflag: tar.TypeReg}
	if e.mode != 0 {
		h.Mode = e.mode
	}
	if name, target, ok := strings.Cut(e.name, " -> "); ok {
		h.Name, h.Linkname, h.Typeflag = name, target, tar.TypeSymlink
	} else if name, target, ok := strings.Cut(e.name, " = "); ok {
		h.Name, h.Linkname, h.Typeflag = name, target, tar.TypeLink
	} else if strings.HasSuffix(e.name, "/") {
		h.Typeflag = tar.TypeDir
		if e.mode == 0 {
			h.Mode = 0o755
		}
	} else {
		h.Size = int64(len(e.text))
	}
	return h
}

// pack makes a layer.
func pack(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		h := e.header()
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			if _, err := w.Write([]byte(e.text)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// files makes entries of names, each of which is also the content.
func files(names ...string) []entry {
	var all []entry
	for _, n := range names {
		all = append(all, entry{name: n, text: n})
	}
	return all
}

func idOf(b []byte) v1.Hash {
	sum := sha256.Sum256(b)
	return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum[:])}
}

// flatten applies layers to a new folder and returns it.
func flatten(t testing.TB, layers ...[]byte) (dir string, err error) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "root")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	u, err := oci.NewUnpacker(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	for _, l := range layers {
		if err := u.Apply(t.Context(), bytes.NewReader(l), idOf(l)); err != nil {
			return dir, err
		}
	}
	return dir, nil
}

// list shows what is below a folder, a line each: folders with a slash, links with
// their target, files with their content.
func list(t testing.TB, dir string) []string {
	t.Helper()
	all := []string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		switch d.Type() {
		case fs.ModeDir:
			name += "/"
		case fs.ModeSymlink:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			name += " -> " + target
		case 0:
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			name += ": " + string(b)
		default:
			name += " is " + d.Type().String()
		}
		all = append(all, name)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestFlatten(t *testing.T) {
	needRoot(t)
	for name, c := range map[string]struct {
		layers [][]entry
		want   []string
	}{
		"OneLayer":     {[][]entry{files("a/", "a/b", "c -> a/b")}, []string{"a/", "a/b: a/b", "c -> a/b"}},
		"NoFolders":    {[][]entry{files("a/b/c")}, []string{"a/", "a/b/", "a/b/c: a/b/c"}},
		"DotSlash":     {[][]entry{files("./", "./a/", "./a/b")}, []string{"a/", "a/b: ./a/b"}},
		"Absolute":     {[][]entry{files("/a/b")}, []string{"a/", "a/b: /a/b"}},
		"Replaced":     {[][]entry{files("a", "b"), {{name: "a", text: "new"}}}, []string{"a: new", "b: b"}},
		"Whiteout":     {[][]entry{files("a/", "a/b", "a/c"), files("a/.wh.b")}, []string{"a/", "a/c: a/c"}},
		"WhiteoutTree": {[][]entry{files("a/b/c", "d"), files(".wh.a")}, []string{"d: d"}},
		"WhiteoutThenNew": {
			[][]entry{files("a/b/c"), files(".wh.a", "a/", "a/new")}, []string{"a/", "a/new: a/new"},
		},
		"NewThenWhiteout": { // of the layer below, whatever the order
			[][]entry{files("a/b/c"), files("a/", "a/new", ".wh.a")}, []string{"a/", "a/new: a/new"},
		},
		"WhiteoutOfOwnFile":  {[][]entry{files("a"), {{name: "a", text: "new"}, {name: ".wh.a"}}}, []string{"a: new"}},
		"WhiteoutOfNothing":  {[][]entry{files("a"), files("b/.wh.c", ".wh.d", "a/.wh.x")}, []string{"a: a"}},
		"WhiteoutOfLink":     {[][]entry{files("d/f", "l -> d"), files(".wh.l")}, []string{"d/", "d/f: d/f"}},
		"WhiteoutByLink":     {[][]entry{files("d/f", "d/g", "l -> d"), files("l/.wh.f")}, []string{"d/", "d/g: d/g", "l -> d"}},
		"Opaque":             {[][]entry{files("a/b", "a/c/d", "e"), files("a/", "a/.wh..wh..opq", "a/new")}, []string{"a/", "a/new: a/new", "e: e"}},
		"OpaqueAfter":        {[][]entry{files("a/b", "a/c/d"), files("a/", "a/new", "a/c/keep", "a/.wh..wh..opq")}, []string{"a/", "a/c/", "a/c/keep: a/c/keep", "a/new: a/new"}},
		"OpaqueRoot":         {[][]entry{files("a", "b/c"), files(".wh..wh..opq", "d")}, []string{"d: d"}},
		"OpaqueTwice":        {[][]entry{files("a/b"), files("a/.wh..wh..opq"), files("a/c")}, []string{"a/", "a/c: a/c"}},
		"AUFS":               {[][]entry{files("a", ".wh..wh.plnk/", ".wh..wh.aufs")}, []string{"a: a"}},
		"FileOverFolder":     {[][]entry{files("a/b/c"), files("a")}, []string{"a: a"}},
		"FolderOverFile":     {[][]entry{files("a"), files("a/", "a/b")}, []string{"a/", "a/b: a/b"}},
		"FolderOverFolder":   {[][]entry{files("a/b"), files("a/", "a/c")}, []string{"a/", "a/b: a/b", "a/c: a/c"}},
		"FolderOverLink":     {[][]entry{files("d/f", "l -> d"), files("l/", "l/g")}, []string{"d/", "d/f: d/f", "l/", "l/g: l/g"}},
		"LinkOverFolder":     {[][]entry{files("a/b", "d/"), files("a -> d")}, []string{"a -> d", "d/"}},
		"FileOverLink":       {[][]entry{files("d", "l -> d"), files("l")}, []string{"d: d", "l: l"}},
		"ThroughLink":        {[][]entry{files("usr/lib/", "lib -> usr/lib"), files("lib/x")}, []string{"lib -> usr/lib", "usr/", "usr/lib/", "usr/lib/x: lib/x"}},
		"ThroughRootLink":    {[][]entry{files("run/", "var/run -> /run"), files("var/run/x")}, []string{"run/", "run/x: var/run/x", "var/", "var/run -> /run"}},
		"ThroughDotDotLink":  {[][]entry{files("a/", "a/up -> ../../../.."), files("a/up/x")}, []string{"a/", "a/up -> ../../../..", "x: a/up/x"}},
		"HardLink":           {[][]entry{files("a", "b = a")}, []string{"a: a", "b: a"}},
		"HardLinkBelow":      {[][]entry{files("a"), files("b = /a", ".wh.a")}, []string{"b: a"}},
		"HardLinkOfItself":   {[][]entry{files("a", "a = a")}, []string{"a: a"}},
		"HardLinkOfLink":     {[][]entry{files("a -> /etc/passwd", "b = a")}, []string{"a -> /etc/passwd", "b -> /etc/passwd"}},
		"HardLinkIsReplaced": {[][]entry{files("a", "b = a"), {{name: "a", text: "new"}}}, []string{"a: new", "b: a"}},
		"LinksToAnywhere":    {[][]entry{files("a -> /../../x", "b -> ../../../y")}, []string{"a -> /../../x", "b -> ../../../y"}},
		"Empty":              {[][]entry{{}}, []string{}},
	} {
		t.Run(name, func(t *testing.T) {
			var layers [][]byte
			for _, l := range c.layers {
				layers = append(layers, pack(t, l...))
			}
			dir, err := flatten(t, layers...)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, list(t, dir)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// TestHostileLayers are refused, and nothing is made outside of the folder.
func TestHostileLayers(t *testing.T) {
	needRoot(t)
	for name, entries := range map[string][]entry{
		"Up":                 files("../x"),
		"UpInside":           files("a/../../x"),
		"HiddenUp":           files("a/.wh..."),
		"HiddenSelf":         files("a/", "a/.wh.."),
		"HiddenNothing":      files(".wh."),
		"LongName":           files(strings.Repeat("n", 300)),
		"LongPath":           files(strings.Repeat("long/", 1000) + "x"),
		"BelowFile":          files("a", "a/b"),
		"BelowDanglingLink":  files("a -> /nowhere", "a/b"),
		"BelowLoop":          files("a -> b", "b -> a", "a/c"),
		"HardLinkUp":         files("a = ../../../etc/passwd"),
		"HardLinkNowhere":    files("a = b"),
		"HardLinkToFolder":   files("a/", "b = a"),
		"HardLinkOutByLink":  files("l -> /etc", "a = l/passwd"),
		"LinkToNothing":      files("a -> "),
		"NobodysFile":        {{name: "a", uid: 1<<32 - 1}},
		"NobodysFolder":      {{name: "a/", uid: 1 << 40}},
		"LinkThenFileBelow":  files("l -> ../..", "l/../x"),
		"MagicLink":          files("l -> /proc/self/root", "l/x"),
		"FolderOverLinkHack": files("l -> /tmp", "l/../l/x"),
	} {
		t.Run(name, func(t *testing.T) {
			u, outside, _ := unpacker(t)
			layer := pack(t, entries...)
			if err := u.Apply(t.Context(), bytes.NewReader(layer), idOf(layer)); thaw.CodeOf(err) != thaw.CodeInvalid {
				t.Errorf("error %v, want one of code %s", err, thaw.CodeInvalid)
			}
			if left, _ := os.ReadDir(outside); len(left) != 1 {
				t.Errorf("outside of the folder: %v", left)
			}
		})
	}
}

func TestOwnersAndModes(t *testing.T) {
	needRoot(t)
	layer := pack(t,
		entry{name: "setuid", mode: 0o4755, uid: 70_000}, entry{name: "folder/", mode: 0o3770, uid: 1000},
		entry{name: "tmp/", mode: 0o1777}, entry{name: "link -> setuid", uid: 5}, entry{name: "secret", mode: 0o600, uid: 33})
	dir, err := flatten(t, layer)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"setuid": "-rwxr-xr-x 70000:70000", "folder": "dtrwxrwx--- 1000:1000", "tmp": "dtrwxrwxrwx 0:0", "secret": "-rw------- 33:33", "link": "Lrwxrwxrwx 5:5",
	} {
		info, err := os.Lstat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		st := info.Sys().(*syscall.Stat_t)
		if got := fmt.Sprintf("%s %d:%d", info.Mode(), st.Uid, st.Gid); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

func TestDevicesAreLeftOut(t *testing.T) {
	needRoot(t)
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for name, kind := range map[string]byte{"null": tar.TypeChar, "disk": tar.TypeBlock, "pipe": tar.TypeFifo} {
		if err := w.WriteHeader(&tar.Header{Name: name, Typeflag: kind, Devmajor: 1, Devminor: 3, Mode: 0o666}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	dir, err := flatten(t, pack(t, files("null", "keep")...), b.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"keep: keep"}, list(t, dir)); diff != "" { // what a device replaces is gone
		t.Error(diff)
	}
}

func TestCompressedLayers(t *testing.T) {
	needRoot(t)
	layer := pack(t, files("a")...)
	var zipped, zstandard bytes.Buffer
	g := gzip.NewWriter(&zipped)
	z, err := zstd.NewWriter(&zstandard)
	if err != nil {
		t.Fatal(err)
	}
	_, err1 := g.Write(layer)
	_, err2 := z.Write(layer)
	if err := errors.Join(err1, err2, g.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		layer []byte
		good  bool
	}{
		"Plain": {layer, true}, "Gzip": {zipped.Bytes(), true}, "Zstd": {zstandard.Bytes(), true},
		"GzipCut": {zipped.Bytes()[:zipped.Len()-3], false}, "ZstdCut": {zstandard.Bytes()[:zstandard.Len()-3], false},
		"PlainCut": {layer[:700], false}, "Nothing": {nil, false}, "Garbage": {bytes.Repeat([]byte("thaw"), 300), false},
		"Another": {pack(t, files("b")...), false},
	} {
		t.Run(name, func(t *testing.T) {
			u, err := oci.NewUnpacker(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			defer u.Close()
			err = u.Apply(t.Context(), bytes.NewReader(c.layer), idOf(layer))
			if c.good && err != nil || !c.good && thaw.CodeOf(err) != thaw.CodeInvalid {
				t.Errorf("error %v", err)
			}
		})
	}
}

// TestHoles: a file of nothing but a hole costs its length all the same.
func TestHoles(t *testing.T) {
	needRoot(t)
	b := pack(t, entry{name: "a", text: "x"})
	copy(b[124:136], "\x80\x00\x00\x00\x00\x00\x00\x04\x00\x00\x00\x00") // 16 GiB, in binary
	copy(b[148:156], "        ")
	sum := 0
	for _, c := range b[:512] {
		sum += int(c)
	}
	copy(b[148:156], fmt.Sprintf("%06o\x00 ", sum))
	if _, err := flatten(t, b); thaw.CodeOf(err) != thaw.CodeTooLarge {
		t.Errorf("error %v", err)
	}
}

func TestUnpackIsCancelled(t *testing.T) {
	needRoot(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	u, err := oci.NewUnpacker(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	layer := pack(t, files("a")...)
	if err := u.Apply(ctx, bytes.NewReader(layer), idOf(layer)); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

// TestPlace makes what a guest needs, in whatever way the image tries to prevent it.
func TestPlace(t *testing.T) {
	needRoot(t)
	u, outside, dir := unpacker(t)
	layer := pack(t, files("dev -> "+outside, "proc", "etc -> usr/etc", "usr/etc/", "usr/etc/machine-id -> "+outside+"/x", "usr/etc/hosts")...)
	if err := u.Apply(t.Context(), bytes.NewReader(layer), idOf(layer)); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(u.MakeFolder("/dev", 0o755), u.MakeFolder("/proc", 0o755), u.MakeFile("/etc/machine-id", "id"), u.EnsureFolder("/var/task")); err != nil {
		t.Fatal(err)
	}
	want := []string{"dev/", "etc -> usr/etc", "proc/", "usr/", "usr/etc/", "usr/etc/hosts: usr/etc/hosts", "usr/etc/machine-id: id", "var/", "var/task/"}
	if diff := cmp.Diff(want, list(t, dir)); diff != "" {
		t.Error(diff)
	}
	if left, _ := os.ReadDir(outside); len(left) != 1 {
		t.Errorf("outside of the folder: %v", left)
	}
	for name, want := range map[string]bool{"/etc/hosts": false, "/etc/nothing": true, "/nowhere/x": true} {
		if got, err := u.IsEmpty(name); err != nil || got != want {
			t.Errorf("IsEmpty(%s) = %v, %v", name, got, err)
		}
	}
}

// FuzzFlatten applies two layers of anything, an entry a line: nothing may appear
// outside of the folder, and nothing in it that a guest or the host must fear.
func FuzzFlatten(f *testing.F) {
	f.Add("a/\na/b\nl -> a\nh = a/b", "a/.wh..wh..opq\n.wh.l\na")
	f.Add("l -> /\nm -> ..\nn -> /proc/self/root", "l/x\nm/y\nn/z\nl/.wh.m")
	f.Add("l -> ../outside\nk -> /", "l/x\nh = l/canary\nl/.wh.canary\nl/.wh..wh..opq\nk/../../x\nk/a\nk/")
	f.Fuzz(func(t *testing.T, first, second string) {
		needRoot(t)
		top := t.TempDir()
		for _, d := range []string{"root", "outside"} {
			if err := os.Mkdir(filepath.Join(top, d), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(filepath.Join(top, "outside", "canary"), []byte("alive"), 0o600); err != nil {
			t.Fatal(err)
		}
		u, err := oci.NewUnpacker(filepath.Join(top, "root"))
		if err != nil {
			t.Fatal(err)
		}
		defer u.Close()
		for _, text := range []string{first, second} {
			l := packLines(text)
			if err := u.Apply(t.Context(), bytes.NewReader(l), idOf(l)); err != nil {
				break
			}
		}
		checkContained(t, top)
	})
}

// packLines makes a layer of lines, leaving out what no tar file can have.
func packLines(text string) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for line := range strings.Lines(text) {
		e := entry{name: strings.TrimSuffix(line, "\n"), text: "x", mode: 0o7777}
		h := e.header()
		if w.WriteHeader(h) == nil && h.Typeflag == tar.TypeReg {
			_, _ = w.Write([]byte("x")) // into memory
		}
	}
	_ = w.Close()
	return b.Bytes()
}

func checkContained(t *testing.T, top string) {
	t.Helper()
	if diff := cmp.Diff([]string{"canary: alive"}, list(t, filepath.Join(top, "outside"))); diff != "" {
		t.Errorf("outside: %s", diff)
	}
	if left, _ := os.ReadDir(top); len(left) != 2 {
		t.Errorf("beside the folder: %v", left)
	}
	err := filepath.WalkDir(filepath.Join(top, "root"), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		m := info.Mode()
		if m&(fs.ModeSetuid|fs.ModeSetgid|fs.ModeDevice|fs.ModeNamedPipe|fs.ModeSocket) != 0 {
			t.Errorf("%s is %s", path, m)
		}
		if st := info.Sys().(*syscall.Stat_t); m.IsRegular() && st.Nlink > 1 {
			outside, err := os.Stat(filepath.Join(top, "outside", "canary"))
			if err != nil || os.SameFile(outside, info) {
				t.Errorf("%s is a file outside", path)
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// unpacker unpacks into dir, a folder within outside.
func unpacker(t *testing.T) (u *oci.Unpacker, outside, dir string) {
	t.Helper()
	outside = t.TempDir()
	dir = filepath.Join(outside, "root")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	u, err := oci.NewUnpacker(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := u.Close(); err != nil {
			t.Error(err)
		}
	})
	return u, outside, dir
}
