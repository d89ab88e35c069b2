package image_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"testing/iotest"

	"thaw"
	"thaw/image"
)

// python are settings for which a code folder needs an app.py.
func python() thaw.Settings { return thaw.Settings{}.WithDefaults() }

type entry struct {
	tar.Header
	content string
}

func file(name, content string, mode int64) entry {
	return entry{tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: int64(len(content))}, content}
}

func link(name, target string) entry {
	return entry{tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target}, ""}
}

func special(flag byte, name string) entry {
	return entry{tar.Header{Typeflag: flag, Name: name, Linkname: "app.py"}, ""}
}

func tarOf(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		if err := w.WriteHeader(&e.Header); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e.content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func needErofs(t testing.TB) {
	t.Helper()
	if _, err := exec.LookPath("mkfs.erofs"); err != nil {
		t.Skip("mkfs.erofs is not installed: run scripts/deps.sh")
	}
}

func empty(t *testing.T, s string) {
	t.Helper()
	left, err := filepath.Glob(filepath.Join(s, "tmp-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestCodeRefuses(t *testing.T) {
	needErofs(t)
	app := file("app.py", "", 0o644)
	huge := entry{tar.Header{Typeflag: tar.TypeReg, Name: "huge", Size: image.MaxCodeBytes + 1}, ""}
	for _, tt := range []struct {
		name    string
		entries []entry
		code    thaw.Code
		want    string
	}{
		{"absolute", []entry{file("/etc/x", "", 0o644)}, thaw.CodeInvalid, `"/etc/x"`},
		{"dots", []entry{file("a/../../x", "", 0o644)}, thaw.CodeInvalid, `"a/../../x"`},
		{"link out", []entry{link("l", "../x")}, thaw.CodeInvalid, `"l"`},
		{"link absolute", []entry{link("l", "/etc")}, thaw.CodeInvalid, "copy the file"},
		{"through link", []entry{file("a/b", "", 0o644), link("l", "a"), link("a/m", ".."), file("l/m/../../x", "", 0o644)}, thaw.CodeInvalid, `"l/m/../../x"`},
		{"hard link", []entry{app, special(tar.TypeLink, "h")}, thaw.CodeInvalid, "hard link"},
		{"device", []entry{app, special(tar.TypeChar, "d")}, thaw.CodeInvalid, `"d" is a device`},
		{"pipe", []entry{app, special(tar.TypeFifo, "p")}, thaw.CodeInvalid, "named pipe"},
		{"twice", []entry{app, app}, thaw.CodeInvalid, "twice"},
		{"below a file", []entry{app, file("app.py/x", "", 0o644)}, thaw.CodeInvalid, "cannot be made"},
		{"long name", []entry{file(strings.Repeat("x", 300), "", 0o644)}, thaw.CodeInvalid, "255 bytes"},
		{"no handler", []entry{file("main.py", "", 0o644)}, thaw.CodeInvalid, "no file app.py"},
		{"no files", nil, thaw.CodeInvalid, "no files"},
		{"too large", []entry{app, file("x", "", 0o644), huge}, thaw.CodeTooLarge, "250 MiB"},
		{"too many", manyDirs(image.MaxCodeEntries + 1), thaw.CodeTooLarge, "20000 files"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, dir)
			var stream []byte
			if tt.name == "too large" {
				stream = cutTar(t, tt.entries)
			} else {
				stream = tarOf(t, tt.entries...)
			}
			_, err := s.Code(context.Background(), bytes.NewReader(stream), python(), nil)
			if thaw.CodeOf(err) != tt.code || !strings.Contains(fmt.Sprint(err), tt.want) {
				t.Errorf("got %s: %v", thaw.CodeOf(err), err)
			}
			empty(t, dir)
		})
	}
}

func manyDirs(n int) []entry {
	entries := make([]entry, n)
	for i := range entries {
		entries[i] = entry{tar.Header{Typeflag: tar.TypeDir, Name: fmt.Sprintf("d%d/", i)}, ""}
	}
	return entries
}

// cutTar ends after the header of the last entry.
func cutTar(t *testing.T, entries []entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		if err := w.WriteHeader(&e.Header); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

func TestCodeBrokenStream(t *testing.T) {
	needErofs(t)
	whole := tarOf(t, file("app.py", strings.Repeat("x", 5000), 0o644))
	for name, r := range map[string]io.Reader{
		"cut":     bytes.NewReader(whole[:3000]),
		"garbage": strings.NewReader(strings.Repeat("garbage ", 1000)),
		"reset":   io.MultiReader(bytes.NewReader(whole[:3000]), iotest.ErrReader(net.ErrClosed)),
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if d, err := open(t, dir).Code(context.Background(), r, python(), nil); err == nil {
				t.Errorf("made %v", d)
			}
			empty(t, dir)
		})
	}
	t.Run("cancelled", func(t *testing.T) {
		dir := t.TempDir()
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if _, err := open(t, dir).Code(ctx, bytes.NewReader(whole), python(), nil); err == nil {
			t.Error("no error")
		}
		empty(t, dir)
	})
}

// TestCodeKey checks that the key and the disk come from what the files are and
// not from how they were sent.
func TestCodeKey(t *testing.T) {
	needErofs(t)
	one := tarOf(t, file("app.py", "x", 0o644), file("lib/a.py", "a", 0o600), file("lib/run", "r", 0o700), link("l", "lib/a.py"))
	same := tarOf(t, link("./l", "lib/a.py"), special(tar.TypeDir, "lib/"), file("./lib/run", "r", 0o111), file("lib/a.py", "a", 0o444), file("app.py", "x", 0o6644))
	s := open(t, t.TempDir())
	a, b := code(t, s, one), code(t, open(t, t.TempDir()), same)
	if a.Key != b.Key {
		t.Error("the same files have two keys")
	}
	if !bytes.Equal(read(t, a.Path), read(t, b.Path)) {
		t.Error("the same files give two disks")
	}
	for name, other := range map[string][]byte{
		"content": tarOf(t, file("app.py", "y", 0o644), file("lib/a.py", "a", 0o644), file("lib/run", "r", 0o755), link("l", "lib/a.py")),
		"mode":    tarOf(t, file("app.py", "x", 0o644), file("lib/a.py", "a", 0o755), file("lib/run", "r", 0o755), link("l", "lib/a.py")),
		"link":    tarOf(t, file("app.py", "x", 0o644), file("lib/a.py", "a", 0o644), file("lib/run", "r", 0o755), link("l", "lib/run")),
		"name":    tarOf(t, file("app.py", "x", 0o644), file("lib/b.py", "a", 0o644), file("lib/run", "r", 0o755), link("l", "lib/a.py")),
	} {
		if d := code(t, s, other); d.Key == a.Key {
			t.Errorf("another %s has the same key", name)
		}
	}
}

func code(t *testing.T, s *image.Store, stream []byte) image.Disk {
	t.Helper()
	d, err := s.Code(context.Background(), bytes.NewReader(stream), python(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestPackRoundTrip(t *testing.T) {
	needErofs(t)
	dir := t.TempDir()
	write(t, dir, "app.py", "def handler(e, c): pass\n", 0o600)
	write(t, dir, "pkg/tool", "#!/bin/sh\n", 0o755)
	write(t, dir, ".git/config", "secret", 0o644)
	write(t, dir, "pkg/__pycache__/x.pyc", "x", 0o644)
	if err := os.Symlink("pkg/tool", filepath.Join(dir, "tool")); err != nil {
		t.Fatal(err)
	}
	var first, second bytes.Buffer
	if err := image.Pack(dir, &first); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(filepath.Join(dir, "app.py"), thaw.Version{}.Created, thaw.Version{}.Created); err != nil {
		t.Fatal(err)
	}
	if err := image.Pack(dir, &second); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Error("the same folder gives two tar streams")
	}
	if strings.Contains(first.String(), "secret") || strings.Contains(first.String(), "pycache") {
		t.Error("something was packed that should be left out")
	}
	d := code(t, open(t, t.TempDir()), first.Bytes())
	out := t.TempDir()
	if b, err := exec.Command("fsck.erofs", "--extract="+out, "--overwrite", d.Path).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, b)
	}
	if got := string(read(t, filepath.Join(out, "tool"))); got != "#!/bin/sh\n" {
		t.Errorf("tool is %q on the disk", got)
	}
}

func TestPackFS(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "app.py", "def handler(e, c): pass\n", 0o644)
	write(t, dir, "pkg/tool", "#!/bin/sh\n", 0o755)
	files := fstest.MapFS{
		"app.py":            {Data: []byte("def handler(e, c): pass\n"), Mode: 0o444},
		"pkg/tool":          {Data: []byte("#!/bin/sh\n"), Mode: 0o555},
		"pkg/.git/config":   {Data: []byte("secret")},
		"__pycache__/x.pyc": {Data: []byte("x")},
	}
	var folder, other bytes.Buffer
	if err := errors.Join(image.Pack(dir, &folder), image.PackFS(files, &other)); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(folder.Bytes(), other.Bytes()) {
		t.Errorf("the same files give %q from a folder and %q from elsewhere", folder.Bytes(), other.Bytes())
	}
}

func write(t *testing.T, dir, name, content string, mode os.FileMode) {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
}

func TestPackRefuses(t *testing.T) {
	for name, tt := range map[string]struct {
		make func(dir string) error
		want string
	}{
		"socket": {func(dir string) error {
			l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, "s")})
			if err == nil {
				l.SetUnlinkOnClose(false)
				err = l.Close()
			}
			return err
		}, "s is a socket"},
		"link out": {func(dir string) error { return os.Symlink("../../etc/passwd", filepath.Join(dir, "l")) }, "copy the file"},
		"large": {func(dir string) error {
			err := os.WriteFile(filepath.Join(dir, "f"), nil, 0o644)
			if err == nil {
				err = os.Truncate(filepath.Join(dir, "f"), image.MaxCodeBytes+1)
			}
			return err
		}, "250 MiB"},
		"name":    {func(dir string) error { return os.WriteFile(filepath.Join(dir, "a\xff"), nil, 0o644) }, `"a\xff" is no valid name`},
		"missing": {os.Remove, "cannot open"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := tt.make(dir); err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			err := image.Pack(dir, &out)
			if err == nil || !strings.Contains(err.Error(), tt.want) || out.Len() > 0 {
				t.Errorf("got %v after %d bytes", err, out.Len())
			}
		})
	}
}

func TestCheckHandler(t *testing.T) {
	static, dynamic := buildELF(t), elfFile(t, "/bin/true")
	exe := func(b []byte) *fstest.MapFile { return &fstest.MapFile{Data: b, Mode: 0o755} }
	for _, tt := range []struct {
		name    string
		runtime thaw.Runtime
		handler string
		code    fstest.MapFS
		want    string
	}{
		{"module", thaw.RuntimePython, "app.handler", fstest.MapFS{"app.py": {}}, ""},
		{"package", thaw.RuntimePython, "app.handler", fstest.MapFS{"app/__init__.py": {}}, ""},
		{"dotted", thaw.RuntimePython, "pkg.mod.f", fstest.MapFS{"pkg/mod.py": {}}, ""},
		{"slashed", thaw.RuntimePython, "pkg/mod.f", fstest.MapFS{"pkg/mod.py": {}}, ""},
		{"absent", thaw.RuntimePython, "pkg.mod.f", fstest.MapFS{"app.py": {}}, `no file pkg/mod.py in the code for handler pkg.mod.f: add it or choose another handler; the code has "app.py"`},
		{"folder", thaw.RuntimePython, "app.f", fstest.MapFS{"app.py/x": {}}, "no file app.py"},
		{"node", thaw.RuntimeNode, "index.handler", fstest.MapFS{"index.js": {}}, ""},
		{"node esm", thaw.RuntimeNode, "src/my-mod.api.get", fstest.MapFS{"src/my-mod.mjs": {}}, ""},
		{"node cjs", thaw.RuntimeNode, "index.handler", fstest.MapFS{"index.cjs": {}}, ""},
		{"node absent", thaw.RuntimeNode, "src/index.handler", fstest.MapFS{"index.ts": {}}, `no file src/index with the ending .js, .mjs, .cjs in the code for handler src/index.handler: add it or choose another handler; the code has "index.ts"`},
		{"node no module", thaw.RuntimeNode, "src/.handler", fstest.MapFS{"index.js": {}}, "such as index.handler"},
		{"static", thaw.RuntimeProvided, "", fstest.MapFS{"bootstrap": exe(static)}, ""},
		{"dynamic", thaw.RuntimeProvided, "", fstest.MapFS{"bootstrap": exe(dynamic)}, "CGO_ENABLED=0"},
		{"script", thaw.RuntimeProvided, "", fstest.MapFS{"bootstrap": exe([]byte("#!/bin/sh\n"))}, "is a script"},
		{"text", thaw.RuntimeProvided, "", fstest.MapFS{"bootstrap": exe([]byte("hello"))}, "not a Linux x86-64 program"},
		{"mode", thaw.RuntimeProvided, "", fstest.MapFS{"bootstrap": {Data: static, Mode: 0o644}}, "chmod +x"},
		{"none", thaw.RuntimeProvided, "", fstest.MapFS{"app.py": {}}, "no file bootstrap"},
		{"cut", thaw.RuntimeProvided, "", fstest.MapFS{"bootstrap": exe(static[:70])}, "program headers"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := image.CheckHandler(tt.code, thaw.Settings{Runtime: tt.runtime, Handler: tt.handler})
			if tt.want == "" && err != nil || tt.want != "" && (thaw.CodeOf(err) != thaw.CodeInvalid || !strings.Contains(fmt.Sprint(err), tt.want)) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func elfFile(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("no program to look at: %v", err)
	}
	return b
}

// buildELF builds the example function for the provided runtime.
func buildELF(t *testing.T) []byte {
	t.Helper()
	out := filepath.Join(t.TempDir(), "bootstrap")
	cmd := exec.Command("go", "build", "-o", out, "../examples/provided-go")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	if b, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, b)
	}
	return read(t, out)
}

func FuzzCode(f *testing.F) {
	needErofs(f)
	f.Add(tarOf(f, file("app.py", "x", 0o644), link("l", "app.py"), special(tar.TypeDir, "d/")))
	f.Add(tarOf(f, link("a", "b"), link("b", "a"), file("a/x", "x", 0o644)))
	f.Add(tarOf(f, file("app.py", "x", 0o644), special(tar.TypeLink, "h"), file("../x", "x", 0o644)))
	f.Fuzz(func(t *testing.T, stream []byte) {
		outer := t.TempDir()
		s := open(t, filepath.Join(outer, "in"))
		d, err := s.Code(context.Background(), bytes.NewReader(stream), python(), nil)
		if err != nil && thaw.CodeOf(err) == thaw.CodeInternal {
			t.Logf("no code on: %v", err)
		}
		if err == nil && d.Bytes == 0 {
			t.Error("empty disk")
		}
		empty(t, filepath.Join(outer, "in"))
		if e, err := os.ReadDir(outer); err != nil || len(e) != 1 {
			t.Errorf("the stream wrote outside of its folder: %v, %v", e, err)
		}
	})
}
