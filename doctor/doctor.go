// Package doctor looks at a machine and says what keeps thaw from running on it
// or from running well. Every check is a function of a [Host] that reads and
// changes nothing.
package doctor

import (
	"context"
	"os"
	"path/filepath"
	"strings"
)

// Status is the outcome of a check.
type Status string

const (
	// OK needs nothing.
	OK Status = "ok"
	// Warn works, but slower, less safely or not everywhere.
	Warn Status = "warn"
	// Fail keeps thaw from working.
	Fail Status = "fail"
)

// Result is what one check found.
type Result struct {
	Name   string `json:"name"`
	Status Status `json:"status"`
	// Detail is what was seen.
	Detail string `json:"detail"`
	// Fix is what to do about it, "" when nothing is needed.
	Fix string `json:"fix,omitempty"`
}

// Host is where the checks look.
type Host struct {
	// Root is the folder that holds dev, proc and sys.
	Root string
	// Path is the list of folders that hold commands, as in $PATH.
	Path string
	// StateDir is where the daemon keeps its files. It need not exist.
	StateDir string
	// UID is the effective user the daemon would run as.
	UID int
}

// Machine returns the host this process runs on.
func Machine(stateDir string) Host {
	return Host{Root: "/", Path: os.Getenv("PATH"), StateDir: stateDir, UID: os.Geteuid()}
}

type check struct {
	name string
	run  func(context.Context, Host) Result
}

// checks returns all checks in the order they are shown: what must be there,
// then what thaw can do here, then what makes figures differ between machines.
func checks() []check {
	return []check{
		{"root", root},
		{"kernel", kernel},
		{"qemu", qemu},
		{"mmdebstrap", mmdebstrap},
		{"mkfs.erofs", erofs},
		{"kvm", kvm},
		{"userfaultfd", userfaultfd},
		{"ptrace", ptrace},
		{"cgroup", cgroup},
		{"max_map_count", maxMapCount},
		{"state dir", stateSpace},
		{"fs-verity", verity},
		{"readahead", readahead},
		{"memory", memory},
		{"swap", swap},
		{"huge pages", hugePages},
		{"shared huge pages", sharedHugePages},
	}
}

// Run makes every check and returns the results in a fixed order. It blocks for
// as long as the commands it asks for their version, at most 5 seconds each.
func Run(ctx context.Context, h Host) []Result {
	return run(ctx, h, checks())
}

// Preflight makes only the checks without whose success a daemon cannot start.
func Preflight(ctx context.Context, h Host) []Result {
	return run(ctx, h, []check{{"root", root}, {"qemu", qemu}})
}

func run(ctx context.Context, h Host, checks []check) []Result {
	results := make([]Result, 0, len(checks))
	for _, c := range checks {
		r := c.run(ctx, h)
		r.Name = c.name
		results = append(results, r)
	}
	return results
}

// Failed returns the results that failed.
func Failed(results []Result) []Result {
	var failed []Result
	for _, r := range results {
		if r.Status == Fail {
			failed = append(failed, r)
		}
	}
	return failed
}

func ok(detail string) Result        { return Result{Status: OK, Detail: detail} }
func warn(detail, fix string) Result { return Result{Status: Warn, Detail: detail, Fix: fix} }
func fail(detail, fix string) Result { return Result{Status: Fail, Detail: detail, Fix: fix} }

// file returns where the host's file called name, such as /proc/meminfo, is.
func (h Host) file(name string) string { return filepath.Join(h.Root, name) }

// read returns the content of a small file without the white space around it.
func (h Host) read(name string) (string, error) {
	raw, err := os.ReadFile(h.file(name))
	return strings.TrimSpace(string(raw)), err
}

// exists reports whether the host has a file called name.
func (h Host) exists(name string) bool {
	_, err := os.Stat(h.file(name))
	return err == nil
}

// nearest returns the state folder, or the closest folder above it that exists:
// the file system it would be made on.
func (h Host) nearest() string {
	dir, err := filepath.Abs(h.StateDir)
	if err != nil {
		dir = h.StateDir
	}
	for {
		if info, err := os.Stat(dir); err == nil && info.IsDir() || dir == filepath.Dir(dir) {
			return dir
		}
		dir = filepath.Dir(dir)
	}
}
