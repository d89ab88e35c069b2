package image_test

import (
	"bytes"
	"context"
	"debug/elf"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/u-root/u-root/pkg/cpio"
	"github.com/u-root/uio/uio"

	"thaw"
	"thaw/image"
	"thaw/internal/testcache"
)

const (
	agent     = "an agent"
	bootstrap = "print('bootstrap')\n"

	nodeBootstrap = "console.log('bootstrap')\n"
)

// openReal opens a store that test runs share, because its downloads are large.
// It skips on a machine that cannot build images.
func openReal(t *testing.T) *image.Store {
	t.Helper()
	needReal(t)
	return open(t, filepath.Join(testcache.Dir(t), "images-test"))
}

func needReal(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("building images needs root: run the tests as root")
	}
	for _, tool := range []string{"mmdebstrap", "mkfs.erofs", "dpkg-deb", "apt-get", "unshare"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed: run scripts/deps.sh", tool)
		}
	}
}

func open(t testing.TB, dir string) *image.Store {
	t.Helper()
	s, err := image.Open(config(dir))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeStore(t, s) })
	return s
}

// closeStore lets another store have the folder; it may be called again.
func closeStore(t testing.TB, s *image.Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func config(dir string) image.Config {
	return image.Config{Dir: dir, Agent: []byte(agent), Runtimes: map[thaw.Runtime]map[string][]byte{
		thaw.RuntimePython: {"bootstrap.py": []byte(bootstrap)}, thaw.RuntimeNode: {"bootstrap.js": []byte(nodeBootstrap)},
	}}
}

func base(t *testing.T, s *image.Store, rt thaw.Runtime, packages ...string) image.Base {
	t.Helper()
	b, err := s.Base(context.Background(), thaw.Settings{Runtime: rt, Packages: packages}, func(msg string) { t.Log(msg) })
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// extract unpacks a disk and returns the folder.
func extract(t *testing.T, d image.Disk) string {
	t.Helper()
	dir := t.TempDir()
	if b, err := exec.Command("fsck.erofs", "--extract="+dir, "--overwrite", d.Path).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, b)
	}
	return dir
}

func TestKernelAndInitramfs(t *testing.T) {
	s := openReal(t)
	b := base(t, s, thaw.RuntimeProvided)
	if again := base(t, s, thaw.RuntimeProvided); again != b {
		t.Errorf("second call gave %+v and not %+v", again, b)
	}
	f, err := elf.Open(b.Kernel.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()

	initramfs := bytes.NewReader(read(t, b.Initramfs.Path))
	records, err := cpio.ReadAllRecords(cpio.Newc.Reader(initramfs))
	if err != nil {
		t.Fatal(err)
	}
	var loaded []string
	for _, r := range records {
		if r.Name == "init" {
			if content, err := uio.ReadAll(r); err != nil || string(content) != agent || r.Mode != cpio.S_IFREG|0o755 {
				t.Errorf("/init is %q with mode %o: %v", content, r.Mode, err)
			}
		}
		name, ok := strings.CutPrefix(r.Name, "modules/")
		if !ok {
			continue
		}
		content, err := uio.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		checkModule(t, fmt.Sprintf("%02d-", len(loaded)), name, content, loaded)
		loaded = append(loaded, strings.TrimSuffix(name[3:], ".ko"))
	}
	for _, want := range []string{"virtio_blk", "virtio_pci", "virtio_console", "erofs", "overlay"} {
		if !slices.Contains(loaded, want) {
			t.Errorf("no module %s in %q", want, loaded)
		}
	}
}

// checkModule checks that a module is numbered and comes after what it needs.
func checkModule(t *testing.T, prefix, name string, content []byte, loaded []string) {
	t.Helper()
	if !strings.HasPrefix(name, prefix) || !strings.HasSuffix(name, ".ko") {
		t.Errorf("module file is called %s", name)
	}
	_, info, found := bytes.Cut(content, []byte("\x00depends="))
	if !found {
		t.Errorf("%s is no module", name)
	}
	deps, _, _ := strings.Cut(string(info), "\x00")
	for d := range strings.SplitSeq(deps, ",") {
		if d != "" && !slices.Contains(loaded, d) {
			t.Errorf("%s comes before %s", name, d)
		}
	}
}

func TestProvidedRoot(t *testing.T) {
	dir := extract(t, base(t, openReal(t), thaw.RuntimeProvided).Root)
	checkRoot(t, dir)
	if files, err := filepath.Glob(filepath.Join(dir, "*/bin/*")); err != nil || len(files) > 0 {
		t.Errorf("programs on the disk: %v, %v", files, err)
	}
}

// checkRoot checks what every root disk has.
func checkRoot(t *testing.T, dir string) {
	t.Helper()
	for name, want := range map[string]string{
		"etc/passwd": "sandbox:x:993:993:", "etc/group": "sandbox:x:993:", "etc/hosts": "127.0.0.1 localhost",
	} {
		if got := string(read(t, filepath.Join(dir, name))); !strings.Contains(got, want) {
			t.Errorf("%s is %q", name, got)
		}
	}
	for _, name := range []string{"etc/machine-id", "etc/resolv.conf"} {
		if got := read(t, filepath.Join(dir, name)); len(got) > 0 {
			t.Errorf("%s is not empty: %q", name, got)
		}
	}
	for _, name := range []string{"dev", "proc", "sys", "run", "opt", "tmp", "var/task", "var/runtime"} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || !info.IsDir() {
			t.Errorf("%s is no folder: %v", name, err)
		}
	}
	if info, err := os.Stat(filepath.Join(dir, "tmp")); err != nil || info.Mode() != os.ModeDir|os.ModeSticky|0o777 {
		t.Errorf("/tmp: %v, %v", info.Mode(), err)
	}
}

// imports are parts of the standard library that need a shared library, a data
// file or both.
const imports = `
import ctypes, curses, decimal, email, hashlib, json, lzma, readline, sqlite3, ssl, sys, urllib.request, uuid, xml.etree.ElementTree, zlib, zoneinfo
hashlib.sha256(b"x"), sqlite3.connect(":memory:"), zoneinfo.ZoneInfo("Europe/Berlin"), "x".encode("shift_jis")
assert ssl.create_default_context().get_ca_certs(), "no certificates"
ctypes.CDLL("libc.so.6")
stale = [n for n, m in sys.modules.items() if getattr(m, "__cached__", None) and not __import__("os").path.exists(m.__cached__)]
assert not stale, stale
`

func TestPythonRoot(t *testing.T) {
	s := openReal(t)
	dir := extract(t, base(t, s, thaw.RuntimePython).Root)
	checkRoot(t, dir)
	if got := string(read(t, filepath.Join(dir, image.RuntimeDir, "bootstrap.py"))); got != bootstrap {
		t.Errorf("bootstrap is %q", got)
	}
	// -v says where each module comes from: from a .pyc, or from its source when
	// the .pyc is missing or counts as stale, which would cost every start.
	out, err := exec.Command("chroot", dir, "/usr/bin/python3", "-v", "-c", imports).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out[max(0, len(out)-2000):])
	}
	if n := bytes.Count(out, []byte(".pyc matches ")); n < 50 {
		t.Errorf("only %d modules came from a .pyc", n)
	}
	for line := range strings.Lines(string(out)) {
		if strings.HasPrefix(line, "# code object from '/usr/lib/") && strings.HasSuffix(line, ".py'\n") {
			t.Errorf("compiled again: %s", line)
		}
	}
	setuid, err := exec.Command("find", dir, "-perm", "/6000").CombinedOutput()
	if err != nil || len(setuid) > 0 {
		t.Errorf("programs that change users: %s %v", setuid, err)
	}
}

// importAdded imports a package that was added, with the shared library it needs.
const importAdded = `
import os, yaml
assert yaml.__with_libyaml__ and yaml.safe_load("a: [1, 2]") == {"a": [1, 2]}
assert os.path.exists(yaml.__cached__), yaml.__cached__
`

func TestAddedPackages(t *testing.T) {
	s := openReal(t)
	b := base(t, s, thaw.RuntimePython, "python3-yaml")
	if plain := base(t, s, thaw.RuntimePython); plain.Root.Key == b.Root.Key || plain.Kernel != b.Kernel || plain.Initramfs != b.Initramfs {
		t.Errorf("with the package %+v, without %+v", b, plain)
	}
	dir := extract(t, b.Root)
	checkRoot(t, dir)
	out, err := exec.Command("chroot", dir, "/usr/bin/python3", "-v", "-c", importAdded).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out[max(0, len(out)-2000):])
	}
	if bytes.Contains(out, []byte("# code object from '/usr/lib/python3/dist-packages/yaml/__init__.py'")) {
		t.Error("yaml was compiled again")
	}
	again, err := s.Base(context.Background(), thaw.Settings{Runtime: thaw.RuntimePython, Packages: []string{"python3-yaml"}}, func(msg string) {
		t.Errorf("it is built again: %s", msg)
	})
	if err != nil || again != b {
		t.Errorf("second call gave %+v, %v", again, err)
	}
}

// TestUnknownPackage asks for names that apt takes for patterns or virtual
// packages: to install something else than was said would be worse than nothing.
func TestUnknownPackage(t *testing.T) {
	s := openReal(t)
	dir := filepath.Dir(base(t, s, thaw.RuntimeProvided).Root.Path)
	before := list(t, dir)
	unknown := []string{"awk", "no-such-package", "python3.yaml"}
	_, err := s.Base(context.Background(), thaw.Settings{Runtime: thaw.RuntimePython, Packages: append(unknown, "python3-yaml")}, nil)
	if want := "has no package awk, no-such-package, python3.yaml: "; thaw.CodeOf(err) != thaw.CodeInvalid || !strings.Contains(fmt.Sprint(err), want) {
		t.Errorf("got %s: %v, want %q", thaw.CodeOf(err), err, want)
	}
	if after := list(t, dir); !slices.Equal(after, before) {
		t.Errorf("left behind: %q, before %q", after, before)
	}
}

func list(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// nodeImports uses what Debian's Node.js keeps in files of their own, and looks for
// the symbol that reseed.so names.
const nodeImports = `
const crypto = require("node:crypto");
for (const m of require("node:module").builtinModules) if (!/^(_|node:|inspector|trace_events|wasi|repl)/.test(m)) require(m);
if (typeof fetch !== "function") throw new Error("no fetch");
if (!require("node:tls").rootCertificates.length) throw new Error("no certificates");
if (new Date(0).toLocaleString("de-DE", { timeZone: "Europe/Berlin" }) !== "1.1.1970, 01:00:00") throw new Error("no locales");
console.log(crypto.randomUUID());
`

func TestNodeRoot(t *testing.T) {
	s := openReal(t)
	d := base(t, s, thaw.RuntimeNode).Root
	dir := extract(t, d)
	checkRoot(t, dir)
	if got := string(read(t, filepath.Join(dir, image.RuntimeDir, "bootstrap.js"))); got != nodeBootstrap {
		t.Errorf("bootstrap is %q", got)
	}
	out, err := exec.Command("chroot", dir, "/usr/bin/node", "-e", nodeImports).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out[max(0, len(out)-2000):])
	}
	t.Logf("%.1f MB", float64(d.Bytes)/1e6)
}

// TestBootstrapChange checks that another bootstrap gives another disk, and
// quickly.
func TestBootstrapChange(t *testing.T) {
	s := openReal(t)
	old := base(t, s, thaw.RuntimePython)
	c := config(filepath.Dir(old.Root.Path))
	c.Runtimes[thaw.RuntimePython] = map[string][]byte{"bootstrap.py": []byte("print('another')\n")}
	closeStore(t, s)
	s, err := image.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	defer closeStore(t, s)
	b, err := s.Base(context.Background(), python(), func(msg string) {
		if strings.Contains(msg, "Debian") {
			t.Errorf("it starts from nothing: %s", msg)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if b.Root.Key == old.Root.Key {
		t.Error("another bootstrap has the same root key")
	}
	if b.Kernel != old.Kernel || b.Initramfs != old.Initramfs {
		t.Error("another bootstrap gave another kernel or initramfs")
	}
	if got, err := s.Files(b.Images(b.Root.Key)); thaw.CodeOf(err) != thaw.CodeUnavailable || !strings.Contains(fmt.Sprint(err), "code disk") {
		t.Errorf("Files without a code disk: %+v, %v", got, err)
	}
}
