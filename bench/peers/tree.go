package peers

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"thaw"
	"thaw/image"
)

//go:embed serve.py
var serve []byte

// tree is the content of a function's disks as a folder, for those who do not start
// from disks, and how to run the function there.
type tree struct {
	root  string
	names []string // the files
	env   []string
}

// Where the function and what serves it are in a tree.
const (
	taskRoot  = "/var/task"
	servePath = "/var/runtime/serve.py"
	python    = "/usr/bin/python3"
)

// newTree extracts the disks of d into w.
func newTree(ctx context.Context, w *work, d thaw.Description) (*tree, error) {
	t := &tree{root: w.path("root"), env: environment(d)}
	for i, to := range []string{"", taskRoot} {
		if err := extract(ctx, d.Disks[i], t.root+to); err != nil {
			return nil, err
		}
	}
	if err := os.WriteFile(t.root+servePath, serve, 0o644); err != nil {
		return nil, fmt.Errorf("write the server: %w", err)
	}
	if err := makeDevices(t.root + "/dev"); err != nil {
		return nil, err
	}
	var err error
	t.names, err = filesBelow(t.root)
	return t, err
}

// extract writes the content of a disk image into a folder, which may be there.
func extract(ctx context.Context, disk, to string) error {
	if _, err := exec.LookPath("fsck.erofs"); err != nil {
		return thaw.Errorf(thaw.CodeUnavailable, "fsck.erofs is not installed: run `apt-get install erofs-utils`")
	}
	out, err := exec.CommandContext(ctx, "fsck.erofs", "--extract="+to, "--overwrite", disk).CombinedOutput()
	if err != nil {
		return thaw.Errorf(thaw.CodeUnavailable, "extract %s: %w: %s", filepath.Base(disk), err, lastLine(out))
	}
	return nil
}

// makeDevices makes those that every program may expect.
func makeDevices(dir string) error {
	for name, minor := range map[string]uint32{"null": 3, "zero": 5, "random": 8, "urandom": 9} {
		path := filepath.Join(dir, name)
		if err := unix.Mknod(path, unix.S_IFCHR|0o666, int(unix.Mkdev(1, minor))); err != nil {
			return fmt.Errorf("make device %s: %w", name, err)
		}
		if err := os.Chmod(path, 0o666); err != nil { // whatever the umask
			return fmt.Errorf("make device %s: %w", name, err)
		}
	}
	return nil
}

// environment is that of the function, as far as it can matter to one.
func environment(d thaw.Description) []string {
	env := []string{
		"PATH=/usr/local/bin:/usr/bin:/bin", "LANG=C.UTF-8", "HOME=/tmp", "TZ=:UTC", "PYTHONDONTWRITEBYTECODE=1",
		"_HANDLER=" + d.Handler, "LAMBDA_TASK_ROOT=" + taskRoot, "AWS_LAMBDA_FUNCTION_NAME=" + d.Function,
	}
	for name, value := range d.Env {
		env = append(env, name+"="+value)
	}
	return env
}

// user is who functions run as.
const user = image.SandboxID

func lastLine(b []byte) string {
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return lines[len(lines)-1]
}
