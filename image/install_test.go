package image_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"thaw"
	"thaw/image"
)

const (
	six = "six==1.17.0 --hash=sha256:4721f391ed90541fddacab5acf947aa0d3dc7d27b2e1e8eda2be8970586c3274\n"

	nodePackage = `{"dependencies": {"ms": "^2.1.0"}}`
	nodeLock    = `{"lockfileVersion": 3, "packages": {"": {"dependencies": {"ms": "^2.1.0"}}, "node_modules/ms": {"version": "2.1.3",
		"integrity": "sha512-6FlzubTLZG3J2a/NVCAleEhjzq5oxgHyaCU9yYXvcLsvoVaHJq/s5xXI6/XXP6tz7R9xAOtHnSO/tXtF3WRTlA=="}}}`
)

func folder(files map[string]string) fstest.MapFS {
	code := fstest.MapFS{}
	for name, text := range files {
		code[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return code
}

// deployed makes a code disk, and returns what was said meanwhile.
func deployed(t *testing.T, s *image.Store, r thaw.Runtime, files map[string]string) (image.Disk, string, error) {
	t.Helper()
	return deployedAs(t, s, thaw.Settings{Runtime: r}, files)
}

func deployedAs(t *testing.T, s *image.Store, settings thaw.Settings, files map[string]string) (image.Disk, string, error) {
	t.Helper()
	var tarball bytes.Buffer
	if err := image.PackFS(folder(files), &tarball); err != nil {
		return image.Disk{}, "", err
	}
	var said strings.Builder
	d, err := s.Code(context.Background(), &tarball, settings.WithDefaults(), func(msg string) { fmt.Fprintln(&said, msg) })
	t.Logf("%v\n%s", err, &said)
	return d, said.String(), err
}

// TestInstallPython installs a package by its hash, and finds it there the next time.
func TestInstallPython(t *testing.T) {
	s := openReal(t)
	files := map[string]string{"app.py": "# " + time.Now().String(), "requirements.txt": "# " + time.Now().String() + "\n" + six}
	d, said, err := deployed(t, s, thaw.RuntimePython, files)
	if err != nil || !strings.Contains(said, "pip: Collecting six==1.17.0") || !strings.Contains(said, "pip: installed ") {
		t.Fatal(err)
	}
	dir := filepath.Join(extract(t, d), image.PythonPackages)
	compiled, _ := filepath.Glob(filepath.Join(dir, "__pycache__", "six.*.pyc"))
	if text := string(read(t, filepath.Join(dir, "six.py"))); !strings.Contains(text, `__version__ = "1.17.0"`) || len(compiled) != 1 {
		t.Errorf("six.py is %d bytes, compiled as %q", len(text), compiled)
	} else if b := read(t, compiled[0]); !bytes.Contains(b, []byte("/var/task/.packages/six.py")) || b[4]&1 == 0 {
		t.Errorf("%s does not say where its source will be, or is checked against it by time", compiled[0])
	}
	files["app.py"] += "# another version"
	again, said, err := deployed(t, s, thaw.RuntimePython, files)
	if err != nil || again.Key == d.Key || !strings.Contains(said, "an earlier deploy") || strings.Contains(said, "Collecting") {
		t.Errorf("the second time: %v", err)
	}
}

func TestInstallPythonFails(t *testing.T) {
	s := openReal(t)
	for what, c := range map[string]struct{ requirements, want string }{
		"version": {"six==0.0.0.1", "No matching distribution found for six==0.0.0.1"},
		"hash":    {strings.Replace(six, "4721f391", "4721f392", 1), "THESE PACKAGES DO NOT MATCH THE HASHES"},
		"mixed":   {six + "attrs\n", "all requirements must have their versions pinned"},
	} {
		t.Run(what, func(t *testing.T) {
			_, _, err := deployed(t, s, thaw.RuntimePython, map[string]string{"app.py": "", "requirements.txt": c.requirements})
			if thaw.CodeOf(err) != thaw.CodeInvalid || !strings.Contains(strings.ToLower(err.Error()), strings.ToLower(c.want)) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
	if _, _, err := deployed(t, s, thaw.RuntimePython, map[string]string{"app.py": "", "requirements.txt": six, ".packages/x.py": ""}); thaw.CodeOf(err) != thaw.CodeInvalid {
		t.Errorf("a folder of the same name: %v", err)
	}
}

// TestInstallScripts asks for a package that has to be built by code of its own.
func TestInstallScripts(t *testing.T) {
	s := openReal(t)
	files := map[string]string{"app.py": "", "requirements.txt": "# " + time.Now().String() + "\ndocopt==0.6.2\n"}
	if _, _, err := deployed(t, s, thaw.RuntimePython, files); thaw.CodeOf(err) != thaw.CodeInvalid || !strings.Contains(err.Error(), "--install-scripts") {
		t.Errorf("without leave to: %v", err)
	}
	d, _, err := deployedAs(t, s, thaw.Settings{InstallScripts: true}, files)
	if err != nil {
		t.Fatal(err)
	}
	read(t, filepath.Join(extract(t, d), image.PythonPackages, "docopt.py"))
}

// TestInstallNode installs by a lock, and leaves out a node_modules that came along.
func TestInstallNode(t *testing.T) {
	s := openReal(t)
	files := map[string]string{"index.js": "", "package.json": strings.Replace(nodePackage, "{", fmt.Sprintf(`{"description": %q, `, time.Now()), 1), "package-lock.json": nodeLock, "node_modules/mine/index.js": ""}
	d, said, err := deployed(t, s, thaw.RuntimeNode, files)
	if err != nil || !strings.Contains(said, "npm: installed ") {
		t.Fatal(err)
	}
	dir := filepath.Join(extract(t, d), "node_modules")
	if text := string(read(t, filepath.Join(dir, "ms", "package.json"))); !strings.Contains(text, `"version": "2.1.3"`) {
		t.Errorf("ms is %s", text)
	}
	if _, err := os.Stat(filepath.Join(dir, "mine")); !os.IsNotExist(err) {
		t.Errorf("what came along: %v", err)
	}
	files["index.js"] = "// another version"
	if _, said, err := deployed(t, s, thaw.RuntimeNode, files); err != nil || !strings.Contains(said, "an earlier deploy") || strings.Contains(said, "installing") {
		t.Errorf("the second time: %v", err)
	}
	files["package.json"] = `{"dependencies": {"ms": "^1.0.0"}}`
	if _, _, err := deployed(t, s, thaw.RuntimeNode, files); thaw.CodeOf(err) != thaw.CodeInvalid || !strings.Contains(err.Error(), "in sync") {
		t.Errorf("another package than in the lock: %v", err)
	}
}
