package boot_test

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/u-root/u-root/pkg/cpio"
	"golang.org/x/sys/unix"

	"thaw"
	"thaw/agent"
	"thaw/image"
	"thaw/internal/testcache"
)

// vm is a guest under TCG, on images made for the test.
type vm struct {
	dir     string
	console string
	conn    *agent.Conn
	logs    chan agent.Log
	first   map[string]string // what the function saw first
}

// tool returns the path of a program, or skips the test.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is not installed: run scripts/deps.sh", name)
	}
	return path
}

// kernel returns a guest kernel and the folder of its modules.
func kernel(t *testing.T) (vmlinux, modules string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("building images needs root: run the tests with sudo")
	}
	store, err := image.Open(image.Config{Dir: filepath.Join(testcache.Dir(t), "images-boot"), Agent: []byte("made below")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	base, err := store.Base(t.Context(), thaw.Settings{Runtime: thaw.RuntimeProvided}, func(line string) { t.Log(line) })
	if err != nil {
		t.Fatal(err)
	}
	return base.Kernel.Path, filepath.Join(filepath.Dir(base.Kernel.Path), "modules")
}

func run(t *testing.T, env []string, name string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Env = append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
}

// buildImages makes initramfs, root.erofs and code.erofs in dir.
func buildImages(t *testing.T, dir, modules string) {
	t.Helper()
	static := []string{"CGO_ENABLED=0"}
	run(t, static, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", filepath.Join(dir, "init"), "thaw/cmd/thaw-agent")
	for _, d := range []string{"root/var/task", "root/var/runtime", "root/proc", "root/sys", "root/dev", "root/run", "root/tmp", "code"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	run(t, static, "go", "build", "-o", filepath.Join(dir, "code/bootstrap"), "../testdata/bootstrap")
	run(t, nil, tool(t, "mkfs.erofs"), filepath.Join(dir, "root.erofs"), filepath.Join(dir, "root"))
	run(t, nil, tool(t, "mkfs.erofs"), filepath.Join(dir, "code.erofs"), filepath.Join(dir, "code"))
	writeInitramfs(t, dir, modules)
}

func writeInitramfs(t *testing.T, dir, modules string) {
	t.Helper()
	init, err := os.ReadFile(filepath.Join(dir, "init"))
	if err != nil {
		t.Fatal(err)
	}
	records := []cpio.Record{
		cpio.Directory("dev", 0o755), cpio.CharDev("dev/console", 0o600, 5, 1), cpio.CharDev("dev/null", 0o666, 1, 3),
		cpio.Directory("modules", 0o755), cpio.StaticFile("init", string(init), 0o755),
	}
	files, err := filepath.Glob(filepath.Join(modules, "*.ko"))
	if err != nil || len(files) == 0 {
		t.Fatalf("modules in %s: %d, %v", modules, len(files), err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		records = append(records, cpio.StaticFile("modules/"+filepath.Base(f), string(b), 0o644))
	}
	var buf bytes.Buffer
	w := cpio.Newc.Writer(&buf)
	for i, r := range records {
		r.Ino = uint64(i + 1)
		if err := w.WriteRecord(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := cpio.WriteTrailer(w); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "initramfs"), buf.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

var mhz = regexp.MustCompile(`cpu MHz\s*: (\d+)\.(\d{3})`)

func startVM(t *testing.T) *vm {
	t.Helper()
	kernel, modules := kernel(t)
	qemu := tool(t, "qemu-system-x86_64")
	v := &vm{dir: t.TempDir(), logs: make(chan agent.Log, 10000)}
	v.console = filepath.Join(v.dir, "console")
	buildImages(t, v.dir, modules)
	host, guest := socketpair(t)
	defer guest.Close()
	cpuinfo, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		t.Fatal(err)
	}
	cmdline := "console=ttyS0 quiet panic=-1"
	if m := mhz.FindSubmatch(cpuinfo); m != nil {
		cmdline += " tsc_early_khz=" + string(m[1]) + string(m[2])
	}
	cmd := exec.Command(qemu, "-M", "microvm,acpi=on,pcie=on", "-accel", "tcg", "-cpu", "max", "-m", "256", "-smp", "1",
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-serial", "file:"+v.console,
		"-kernel", kernel, "-initrd", filepath.Join(v.dir, "initramfs"), "-append", cmdline,
		"-drive", "if=none,id=root,format=raw,readonly=on,file="+filepath.Join(v.dir, "root.erofs"), "-device", "virtio-blk-pci,drive=root",
		"-drive", "if=none,id=code,format=raw,readonly=on,file="+filepath.Join(v.dir, "code.erofs"), "-device", "virtio-blk-pci,drive=code",
		"-device", "virtio-serial-pci",
		"-chardev", "socket,id=agent,fd=3", "-device", "virtserialport,chardev=agent,name=thaw")
	cmd.ExtraFiles = []*os.File{guest}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	v.conn = agent.NewConn(host, func(l agent.Log) { v.logs <- l })
	t.Cleanup(func() { v.conn.Close() })
	return v
}

func socketpair(t *testing.T) (net.Conn, *os.File) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fds[0]), "host")
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		t.Fatal(err)
	}
	return c, os.NewFile(uintptr(fds[1]), "guest")
}

func (v *vm) fatal(t *testing.T, err error) {
	t.Helper()
	console, _ := os.ReadFile(v.console)
	t.Fatalf("%v\nconsole:\n%s", err, console)
}

func TestRealMachine(t *testing.T) {
	v := startVM(t)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	began := time.Now()
	if err := v.conn.Sync(ctx); err != nil {
		v.fatal(t, err)
	}
	t.Logf("boot to agent: %s", time.Since(began))
	resumed, err := v.conn.Resume(ctx, "i-first")
	if err != nil {
		v.fatal(t, err)
	}
	t.Logf("resumed: %+v", resumed)
	began = time.Now()
	if err := v.conn.Init(ctx, agent.Function{Name: "look", Version: 1, Settings: thaw.Settings{Runtime: thaw.RuntimeProvided, Timeout: 20 * time.Second}}); err != nil {
		v.fatal(t, err)
	}
	t.Logf("init: %s", time.Since(began))
	v.checkWorld(ctx, t)
	v.checkBig(ctx, t)
	v.checkQuiesce(ctx, t)
	v.checkIdentity(ctx, t)
	v.checkEnd(ctx, t)
}

func (v *vm) invoke(ctx context.Context, t *testing.T, id, event string, timeout time.Duration) agent.Result {
	t.Helper()
	began := time.Now()
	r, err := v.conn.Invoke(ctx, agent.Invocation{RequestID: id, Deadline: began.Add(timeout), Payload: []byte(event)})
	if err != nil {
		v.fatal(t, err)
	}
	t.Logf("invoke %s: %s", id, time.Since(began))
	return r
}

// look returns what a function sees of the guest.
func (v *vm) look(ctx context.Context, t *testing.T) (got map[string]string) {
	t.Helper()
	r := v.invoke(ctx, t, "look", `{"op": "look"}`, 20*time.Second)
	if err := json.Unmarshal(r.Payload, &got); err != nil {
		t.Fatalf("%s: %v", r.Payload, err)
	}
	return got
}

func (v *vm) checkWorld(ctx context.Context, t *testing.T) {
	got := v.look(ctx, t)
	v.first = got
	for k, want := range map[string]string{
		"user": "993:993", "hostname": "i-first", "instance": "i-first", "cwd": "/var/task", "write tmp": "ok", "write shm": "ok",
		"write task": "read-only file system", "write root": "permission denied", "open port": "permission denied",
		"dial closed": "connection refused", "init": "no such file", "oom": "0",
	} {
		if !strings.Contains(got[k], want) {
			t.Errorf("%s: got %q, want %q", k, got[k], want)
		}
	}
	for _, k := range []string{"mounts", "limits", "env", "mem"} {
		t.Logf("%s:\n%s", k, got[k])
	}
}

func (v *vm) checkBig(ctx context.Context, t *testing.T) {
	event := `{"op": "echo", "text": "` + strings.Repeat("a", thaw.MaxPayload-30) + `"}`
	if r := v.invoke(ctx, t, "big", event, 20*time.Second); string(r.Payload) != event {
		t.Errorf("6 MiB came back as %d bytes, %q", len(r.Payload), r.FunctionError)
	}
	for range 3 {
		v.invoke(ctx, t, "small", `{"op": "echo"}`, 20*time.Second)
	}
	v.invoke(ctx, t, "lines", `{"op": "log", "text": "line", "size": 1000}`, 20*time.Second)
	if n := len(v.logs); n != 1000 {
		t.Errorf("%d lines came before the result, not 1000", n)
	}
}

// checkQuiesce also measures how quiet the guest is.
func (v *vm) checkQuiesce(ctx context.Context, t *testing.T) {
	began := time.Now()
	if err := v.conn.Quiesce(ctx); err != nil {
		v.fatal(t, err)
	}
	t.Logf("quiesce: %s", time.Since(began))
	if err := v.conn.Sync(ctx); err != nil { // the same session may begin again
		v.fatal(t, err)
	}
	before := time.Now()
	r, err := v.conn.Resume(ctx, "i-second")
	if err != nil {
		v.fatal(t, err)
	}
	t.Logf("resume: %s, clock within %s", time.Since(before), r.ClockError)
}

// checkIdentity wants the identity of the second resume, and none of the first.
func (v *vm) checkIdentity(ctx context.Context, t *testing.T) {
	got := v.look(ctx, t)
	if got["hostname"] != "i-second" || got["instance"] != "i-second" {
		t.Errorf("hostname %s, instance %s", got["hostname"], got["instance"])
	}
	for what, form := range map[string]string{
		"machine": `^[0-9a-f]{12}4[0-9a-f]{3}[89ab][0-9a-f]{15}$`,
		"boot":    `^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`,
	} {
		if !regexp.MustCompile(form).MatchString(got[what]) || got[what] == v.first[what] {
			t.Errorf("%s id is %q, and was %q before", what, got[what], v.first[what])
		}
	}
}

func (v *vm) checkEnd(ctx context.Context, t *testing.T) {
	v.invoke(ctx, t, "orphans", `{"op": "orphans"}`, 20*time.Second)
	r := v.invoke(ctx, t, "hang", `{"op": "hang"}`, 500*time.Millisecond)
	if r.FunctionError != thaw.ErrorTypeTimeout || !r.Finished {
		t.Errorf("hang: %+v %s", r, r.Payload)
	}
	if err := v.conn.Ping(ctx); err != nil {
		v.fatal(t, err)
	}
}
