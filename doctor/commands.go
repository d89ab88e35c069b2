package doctor

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// commandTimeout bounds how long a command may take to say its version.
const commandTimeout = 5 * time.Second

// minQEMU is the major version of QEMU that thaw's machine type, microvm with
// PCI, and x-ignore-shared migration are tried with.
const minQEMU = 7

var versionRule = regexp.MustCompile(`(\d+)\.(\d+)(\.\d+)*`)

func qemu(ctx context.Context, h Host) Result {
	const fix = "install it: apt-get install qemu-system-x86"
	path, version, err := h.version(ctx, "qemu-system-x86_64", "--version")
	if err != nil {
		return fail(err.Error(), fix)
	}
	major, _, _ := strings.Cut(version, ".")
	if n, err := strconv.Atoi(major); err == nil && n < minQEMU {
		return warn(path+" "+version+" is older than what thaw is tested with", fmt.Sprintf("install QEMU %d or newer", minQEMU))
	}
	return ok(path + " " + version)
}

func mmdebstrap(ctx context.Context, h Host) Result {
	return h.builder(ctx, "mmdebstrap", "mmdebstrap", "--version")
}

func erofs(ctx context.Context, h Host) Result {
	return h.builder(ctx, "mkfs.erofs", "erofs-utils", "-V")
}

// builder checks a command that is needed to build disks.
func (h Host) builder(ctx context.Context, name, pkg, arg string) Result {
	path, version, err := h.version(ctx, name, arg)
	if err != nil {
		return fail(err.Error(), "needed to build disk images: apt-get install "+pkg)
	}
	return ok(path + " " + version)
}

// version finds a command and asks it for its version.
func (h Host) version(ctx context.Context, name, arg string) (path, version string, err error) {
	path = h.look(name)
	if path == "" {
		return "", "", fmt.Errorf("%s is not in PATH", name)
	}
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, arg)
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	version = versionRule.FindString(string(out))
	// mkfs.erofs ends with 1 after it has said its version.
	if _, exited := errors.AsType[*exec.ExitError](err); err != nil && (!exited || version == "") {
		return "", "", fmt.Errorf("%s %s fails: %w", path, arg, err)
	}
	if version == "" {
		version = "of unknown version"
	}
	return path, version, nil
}

// look returns the path of a command, "" when there is none.
func (h Host) look(name string) string {
	for _, dir := range filepath.SplitList(h.Path) {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil && filepath.IsAbs(path) {
			return path
		}
	}
	return ""
}
