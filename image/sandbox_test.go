package image

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"thaw"
)

// lookAround says what a program in the sandbox can do.
const lookAround = `
import json, os, socket, sys
def allowed(f):
    try: f()
    except OSError: return False
    return True
status = dict(l.split(":\t", 1) for l in open("/proc/self/status").read().splitlines() if ":\t" in l)
print(json.dumps({
    "uid": os.getuid(), "gid": os.getgid(), "groups": os.getgroups(),
    "capabilities": [status[n].strip("0") for n in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")], "no_new_privs": status["NoNewPrivs"],
    "others": sum(n.isdigit() and int(n) != os.getpid() for n in os.listdir("/proc")),
    "env": sorted(os.environ), "devices": sorted(os.listdir("/dev")), "host": os.path.exists(sys.argv[1]),
    "written": [p for p in ("/x", "/etc/x", "/dev/x", "/usr/lib/x", "/build/out/x") if allowed(lambda: open(p, "w"))],
    "mknod": allowed(lambda: os.mknod("/build/out/d", 0o60600, 0x800)), "chroot": allowed(lambda: os.chroot("/build")),
    "setuid": os.path.exists("/usr/bin/su") and os.system("su -c true </dev/null >/dev/null 2>&1") == 0,
    "resolv": open("/etc/resolv.conf").read(),
}), file=open("/build/out/report", "w"))
`

// TestSandbox executes a program of a stranger where packages are installed.
func TestSandbox(t *testing.T) {
	s := openShared(t)
	plan, err := planTools(thaw.RuntimePython)
	if err != nil {
		t.Fatal(err)
	}
	tools, err := s.toolsTree(t.Context(), plan, func(msg string) { t.Log(msg) })
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	d := wanted{runtime: thaw.RuntimePython, lists: map[string][]byte{"look.py": []byte(lookAround)}}
	if err := prepare(dir, d, registries{}); err != nil {
		t.Fatal(err)
	}
	t.Setenv("A_SECRET_OF_THE_DAEMON", "x")
	if err := sandboxed(tools, dir, "exec python3 "+installApp+"/look.py "+dir, []string{"PIP_INDEX_URL=x"}).run(t.Context()); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(inWork(dir, installOut), "report"))
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	resolv, err := os.ReadFile("/etc/resolv.conf")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"uid": 993.0, "gid": 993.0, "groups": []any{}, "capabilities": []any{"", "", "", "", ""}, "no_new_privs": "1", "others": 0.0, "host": false,
		"env":     strs("HOME", "LC_ALL", "PATH", "PIP_INDEX_URL", "PWD", "TMPDIR"),
		"devices": strs("full", "null", "random", "urandom", "zero"), "written": strs("/build/out/x"),
		"mknod": false, "chroot": false, "setuid": false, "resolv": string(resolv),
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if mounts, err := os.ReadFile("/proc/self/mounts"); err != nil || strings.Contains(string(mounts), dir) {
		t.Errorf("mounts are left in %s: %v", dir, err)
	}
}

func strs(s ...string) (list []any) {
	for _, v := range s {
		list = append(list, v)
	}
	return list
}
