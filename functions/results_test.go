package functions_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"thaw"
	"thaw/functions"
	"thaw/image"
	"thaw/internal/testcache"
)

// runEvents is given a folder and prints its function's reply to each event that
// it reads, or the type of the exception as JSON.
const runEvents = `
import json, sys
sys.path[0] = sys.argv[1]
import app
for event in json.load(sys.stdin):
    try:
        print(json.dumps(app.handler(event, None)))
    except Exception as e:
        print(json.dumps(type(e).__name__))
`

// oldProcessor makes NumPy and OpenBLAS, which have code for every generation of
// processors that rounds in its own way, do what they do in an emulated guest.
func oldProcessor() []string {
	return []string{
		"OPENBLAS_CORETYPE=Nehalem",
		"NPY_DISABLE_CPU_FEATURES=AVX F16C FMA3 AVX2 AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL",
	}
}

// TestResults runs every function on each of its inputs, in the file system that
// guests have but natively: as fast as this processor can, and as an old one would.
func TestResults(t *testing.T) {
	all := load(t)
	root := rootFolder(t, all)
	for _, w := range all {
		t.Run(w.Name, func(t *testing.T) {
			checkResults(t, root, w)
			if slices.Contains(w.Packages, "python3-numpy") {
				checkResults(t, root, w, oldProcessor()...)
			}
		})
	}
}

func checkResults(t *testing.T, root string, w functions.Workload, env ...string) {
	t.Helper()
	inputs := append([]functions.Input{w.A, w.B}, w.Sizes...)
	events := []json.RawMessage{}
	for _, in := range inputs {
		events = append(events, in.Event)
	}
	// What is no event of the function's must be an error of its own.
	events = append(events, json.RawMessage(`{}`), json.RawMessage(`{"name": 1, "size": 0, "seed": true, "rows": "1", "language": "en"}`))
	replies := run(t, root, w.Name, events, env...)
	if len(replies) != len(events) {
		t.Fatalf("%d replies, want %d", len(replies), len(events))
	}
	for i, in := range inputs {
		if err := in.Check(replies[i]); err != nil {
			t.Error(err)
		}
	}
	for i := len(inputs); i < len(events); i++ {
		if string(replies[i]) != `"ValueError"` {
			t.Errorf("reply %s to %s, want a ValueError", replies[i], events[i])
		}
	}
}

// run returns the replies of a function to events.
func run(t *testing.T, root, name string, events []json.RawMessage, env ...string) [][]byte {
	t.Helper()
	in, err := json.Marshal(events)
	if err != nil {
		t.Fatal(err)
	}
	var out, problems bytes.Buffer
	cmd := exec.CommandContext(t.Context(), "/usr/bin/python3", "-B", "-c", runEvents, "/var/task/"+name)
	cmd.Dir, cmd.Env = "/", append(env, "PATH=/usr/bin:/bin", "HOME=/tmp", "LANG=C.UTF-8", "TZ=:UTC")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(in), &out, &problems
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Chroot: root, Credential: &syscall.Credential{Uid: image.SandboxID, Gid: image.SandboxID}, Pdeathsig: syscall.SIGKILL,
	}
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %s", err, problems.Bytes()[max(0, problems.Len()-4000):])
	}
	return bytes.Split(bytes.TrimSpace(out.Bytes()), []byte("\n"))
}

// rootFolder unpacks a root disk that has the packages of all workloads, with
// the code of all of them.
func rootFolder(t *testing.T, all []functions.Workload) string {
	t.Helper()
	var packages []string
	for _, w := range all {
		packages = append(packages, w.Packages...)
	}
	disk := rootDisk(t, thaw.Settings{Packages: packages}.WithDefaults())
	root := t.TempDir()
	if b, err := exec.Command("fsck.erofs", "--extract="+root, "--overwrite", disk).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, b)
	}
	task, tmp := filepath.Join(root, "var/task"), filepath.Join(root, "tmp")
	err := errors.Join(
		os.MkdirAll(tmp, 0o777), os.Chmod(tmp, 0o777|fs.ModeSticky), os.MkdirAll(filepath.Join(root, "dev"), 0o755),
		unix.Mknod(filepath.Join(root, "dev/null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))), os.Chmod(filepath.Join(root, "dev/null"), 0o666),
		os.RemoveAll(task), os.CopyFS(task, functions.Files()),
		os.Chmod(root, 0o755), // TempDir keeps others out
	)
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// rootDisk returns the path of a root disk, which is kept between test runs
// because making it takes minutes.
func rootDisk(t *testing.T, settings thaw.Settings) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("building images needs root: run the tests as root")
	}
	for _, tool := range []string{"mmdebstrap", "mkfs.erofs", "fsck.erofs"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed: run scripts/deps.sh", tool)
		}
	}
	store, err := image.Open(image.Config{Dir: filepath.Join(testcache.Dir(t), "images-functions"), Agent: []byte("an agent"), Runtimes: map[thaw.Runtime]map[string][]byte{thaw.RuntimePython: {"bootstrap.py": []byte("pass\n")}}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	}()
	base, err := store.Base(t.Context(), settings, func(msg string) { t.Log(msg) })
	if err != nil {
		t.Fatal(err)
	}
	return base.Root.Path
}
