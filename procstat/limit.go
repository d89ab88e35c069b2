package procstat

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path"
	"strconv"
	"strings"
)

// MemoryLimit is how much memory this process can have in bytes: what the machine
// has, or less where a control group says so, of either version (cgroups(7)). root is
// the file system's: os.DirFS("/").
func MemoryLimit(root fs.FS) (int64, error) {
	limit, err := memTotal(root)
	if err != nil {
		return 0, err
	}
	groups, err := fs.ReadFile(root, "proc/self/cgroup")
	if errors.Is(err, fs.ErrNotExist) {
		return limit, nil // a kernel without control groups
	}
	if err != nil {
		return 0, fmt.Errorf("read the memory limit: %w", err)
	}
	for line := range strings.Lines(string(groups)) {
		limit = min(limit, groupLimit(root, strings.TrimSpace(line)))
	}
	return limit, nil
}

func memTotal(root fs.FS) (int64, error) {
	b, err := fs.ReadFile(root, "proc/meminfo")
	if err != nil {
		return 0, fmt.Errorf("read the machine's memory: %w", err)
	}
	for line := range bytes.Lines(b) {
		if fields := strings.Fields(string(line)); len(fields) > 1 && fields[0] == "MemTotal:" {
			kib, err := strconv.ParseInt(fields[1], 10, 64)
			return kib << 10, err
		}
	}
	return 0, errors.New("read the machine's memory: /proc/meminfo has no MemTotal")
}

// groupLimit is the lowest limit of a control group and of those that it is in,
// given its line in /proc/self/cgroup.
func groupLimit(root fs.FS, line string) int64 {
	fields := strings.SplitN(line, ":", 3)
	if len(fields) < 3 {
		return math.MaxInt64
	}
	base, file := "sys/fs/cgroup", "memory.max"
	if fields[0] != "0" {
		base, file = "sys/fs/cgroup/memory", "memory.limit_in_bytes"
	}
	if controllers := "," + fields[1] + ","; fields[0] != "0" && !strings.Contains(controllers, ",memory,") {
		return math.MaxInt64
	}
	limit := int64(math.MaxInt64)
	for dir := path.Clean("/" + fields[2]); ; dir = path.Dir(dir) {
		if b, err := fs.ReadFile(root, path.Join(base, dir, file)); err == nil {
			if n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64); err == nil && n > 0 { // else "max"
				limit = min(limit, n)
			}
		}
		if dir == "/" {
			return limit
		}
	}
}
