package procstat

import (
	"os"
	"os/exec"
	"testing"
	"testing/fstest"
)

func TestMemoryLimit(t *testing.T) {
	const gib = 1 << 30
	files := func(pairs ...string) fstest.MapFS {
		all := fstest.MapFS{"proc/meminfo": {Data: []byte("MemTotal:        8388608 kB\nMemFree: 1 kB\n")}}
		for i := 0; i < len(pairs); i += 2 {
			all[pairs[i]] = &fstest.MapFile{Data: []byte(pairs[i+1])}
		}
		return all
	}
	for name, c := range map[string]struct {
		root fstest.MapFS
		want int64
	}{
		"NoGroups":  {files(), 8 * gib},
		"NoLimit":   {files("proc/self/cgroup", "0::/a/b\n", "sys/fs/cgroup/a/b/memory.max", "max\n"), 8 * gib},
		"Version2":  {files("proc/self/cgroup", "0::/a/b\n", "sys/fs/cgroup/a/b/memory.max", "max\n", "sys/fs/cgroup/a/memory.max", "1073741824\n"), gib},
		"Version1":  {files("proc/self/cgroup", "9:cpu:/x\n4:hugetlb,memory:/x/y\n0::/\n", "sys/fs/cgroup/memory/x/memory.limit_in_bytes", "2147483648\n"), 2 * gib},
		"Unlimited": {files("proc/self/cgroup", "4:memory:/\n", "sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"), 8 * gib},
		"Namespace": {files("proc/self/cgroup", "0::/../../a\n", "sys/fs/cgroup/memory.max", "1073741824\n"), gib},
		"Broken":    {files("proc/self/cgroup", "what\n\n0\n"), 8 * gib},
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := MemoryLimit(c.root); err != nil || got != c.want {
				t.Errorf("%d, %v; want %d", got, err, c.want)
			}
		})
	}
	if _, err := MemoryLimit(fstest.MapFS{}); err == nil {
		t.Error("a machine without /proc has memory")
	}
	if here, err := MemoryLimit(os.DirFS("/")); err != nil || here < 64<<20 {
		t.Errorf("this machine: %d, %v", here, err)
	}
}

func TestParseRollup(t *testing.T) {
	n, err := parseRollup([]byte("1-2 ---p 00000000 00:00 0 [rollup]\nRss: 900 kB\nPss_Anon:  12 kB\nPss_File: 7 kB\nPss_Shmem:   4 kB\n"))
	if err != nil || n != 16<<10 {
		t.Errorf("%d, %v", n, err)
	}
	for _, bad := range []string{"", "Rss: 1 kB\nPss_Anon: 1 kB\n", "Pss_Anon: x kB\nPss_Shmem: 1 kB\n"} {
		if n, err := parseRollup([]byte(bad)); err == nil {
			t.Errorf("%q: %d", bad, n)
		}
	}
}

// TestOwn: what a process has written to is its own.
func TestOwn(t *testing.T) {
	before, err := Own(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	big := make([]byte, 64<<20)
	for i := range big {
		big[i] = 1
	}
	after, err := Own(os.Getpid())
	if err != nil || after-before < 60<<20 || big[0] != 1 {
		t.Errorf("%d MiB before and %d MiB after 64 MiB were written to, %v", before>>20, after>>20, err)
	}
	cmd := exec.Command("true")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	if n, err := Own(cmd.Process.Pid); err == nil {
		t.Errorf("a process that has ended occupies %d", n)
	}
}
