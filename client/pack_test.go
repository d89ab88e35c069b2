package client

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"thaw"
)

// tree makes a folder from lines such as "name content", "name/" and
// "name -> target".
func tree(t *testing.T, lines ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, line := range lines {
		name, content, _ := strings.Cut(line, " ")
		path := filepath.Join(dir, name)
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		switch target, isLink := strings.CutPrefix(content, "-> "); {
		case strings.HasSuffix(name, "/"):
			err = errors.Join(err, os.MkdirAll(path, 0o755))
		case isLink:
			err = errors.Join(err, os.Symlink(target, path))
		default:
			err = errors.Join(err, os.WriteFile(path, []byte(content), 0o644))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func listing(t *testing.T, stream io.Reader) []string {
	t.Helper()
	var all []string
	for r := tar.NewReader(stream); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, fmt.Sprintf("%s %o %d:%d %s%s", h.Name, h.Mode, h.Uid, h.Gid, h.Linkname, body))
	}
}

func TestPack(t *testing.T) {
	dir := tree(t, "app.py code", "lib/b.py b", "lib/a.py a", "lib/link -> ../app.py", "empty/", ".git/HEAD x", "lib/__pycache__/a.pyc x", "run #!/bin/sh")
	if err := os.Chmod(filepath.Join(dir, "run"), 0o755); err != nil {
		t.Fatal(err)
	}
	var first, second bytes.Buffer
	if err := Pack(&first, dir); err != nil {
		t.Fatal(err)
	}
	later := time.Now().Add(time.Hour)
	if err := os.Chtimes(filepath.Join(dir, "app.py"), later, later); err != nil {
		t.Fatal(err)
	}
	if err := Pack(&second, dir); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Error("the same content gave different streams")
	}
	want := []string{
		"app.py 644 0:0 code",
		"empty/ 755 0:0 ",
		"lib/ 755 0:0 ",
		"lib/a.py 644 0:0 a",
		"lib/b.py 644 0:0 b",
		"lib/link 777 0:0 ../app.py",
		"run 755 0:0 #!/bin/sh",
	}
	if diff := cmp.Diff(want, listing(t, &first)); diff != "" {
		t.Error(diff)
	}
}

func TestPackRefusals(t *testing.T) {
	socket := tree(t, "app.py x")
	if err := syscall.Mkfifo(filepath.Join(socket, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	for dir, text := range map[string]string{
		tree(t, "a -> /etc/passwd"):              "leads out",
		tree(t, "lib/a -> ../../x"):              "leads out",
		socket:                                   "neither a file nor a folder",
		filepath.Join(t.TempDir(), "no"):         "no such file",
		filepath.Join(tree(t, "file x"), "file"): "not a directory",
	} {
		err := Pack(io.Discard, dir)
		if thaw.CodeOf(err) != thaw.CodeInvalid || !strings.Contains(err.Error(), text) {
			t.Errorf("%v, want %q", err, text)
		}
	}
}
