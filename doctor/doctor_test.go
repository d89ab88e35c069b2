package doctor

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// fixture makes a host whose files are those given, by their absolute names.
// Those in /bin are commands, and the state folder is /state.
func fixture(t *testing.T, files map[string]string) Host {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		mode := os.FileMode(0o644)
		if strings.HasPrefix(name, "/bin/") {
			mode = 0o755
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	return Host{Root: root, Path: filepath.Join(root, "bin"), StateDir: filepath.Join(root, "state")}
}

func TestChecks(t *testing.T) {
	const meminfo = "MemTotal:       24000000 kB\nMemAvailable:   20000000 kB\nSwapTotal:             0 kB\nHugePages_Total:       0\n"
	tests := []struct {
		name   string
		check  func(context.Context, Host) Result
		files  map[string]string
		status Status
		detail string
	}{
		{"kernel", kernel, map[string]string{"/proc/sys/kernel/osrelease": "6.1.0-13-cloud-amd64\n"}, OK, "6.1.0-13-cloud-amd64"},
		{"old kernel", kernel, map[string]string{"/proc/sys/kernel/osrelease": "5.5.19\n"}, Fail, "5.5.19"},
		{"strange kernel", kernel, map[string]string{"/proc/sys/kernel/osrelease": "mine\n"}, Warn, "mine"},
		{"no proc", kernel, nil, Warn, "no such file"},

		{"qemu", qemu, map[string]string{"/bin/qemu-system-x86_64": "#!/bin/sh\necho 'QEMU emulator version 7.2.22 (Debian)'\n"}, OK, "7.2.22"},
		{"old qemu", qemu, map[string]string{"/bin/qemu-system-x86_64": "#!/bin/sh\necho 'QEMU emulator version 4.2.1'\n"}, Warn, "4.2.1 is older"},
		{"no qemu", qemu, nil, Fail, "qemu-system-x86_64 is not in PATH"},
		{"broken qemu", qemu, map[string]string{"/bin/qemu-system-x86_64": "#!/bin/sh\necho 'cannot load libpixman'; exit 127\n"}, Fail, "exit status 127"},
		{"mkfs.erofs ends with 1", erofs, map[string]string{"/bin/mkfs.erofs": "#!/bin/sh\necho 'mkfs.erofs 1.5'; exit 1\n"}, OK, "1.5"},
		{"no mkfs.erofs", erofs, nil, Fail, "not in PATH"},
		{"mmdebstrap", mmdebstrap, map[string]string{"/bin/mmdebstrap": "#!/bin/sh\necho 'mmdebstrap 1.3.5'\n"}, OK, "1.3.5"},
		{"no version", mmdebstrap, map[string]string{"/bin/mmdebstrap": "#!/bin/sh\n"}, OK, "unknown version"},

		{"kvm", kvm, map[string]string{"/dev/kvm": ""}, OK, "proves nothing yet"},
		{"no kvm", kvm, nil, Warn, "no such file"},
		{"kvm was tried", kvm, map[string]string{
			"/dev/kvm": "", "/proc/sys/kernel/random/boot_id": "b1\n",
			"/state/accelerator.json": `{"boot_id":"b1","accelerator":"tcg","reason":"the guest did not boot","time":"2026-01-01T00:00:00Z"}`,
		}, Warn, "chose tcg since this machine started: the guest did not boot"},
		{"kvm works", kvm, map[string]string{
			"/proc/sys/kernel/random/boot_id": "b1\n", "/state/accelerator.json": `{"boot_id":"b1","accelerator":"kvm","reason":"booted in 1 s"}`,
		}, OK, "chose kvm"},
		{"kvm was tried before a restart", kvm, map[string]string{
			"/dev/kvm": "", "/proc/sys/kernel/random/boot_id": "b2\n", "/state/accelerator.json": `{"boot_id":"b1","accelerator":"tcg"}`,
		}, OK, "proves nothing yet"},
		{"damaged decision", kvm, map[string]string{"/dev/kvm": "", "/proc/sys/kernel/random/boot_id": "", "/state/accelerator.json": `{`}, OK, "proves nothing yet"},

		{"no yama", ptrace, nil, OK, "no Yama"},
		{"yama 1", ptrace, map[string]string{"/proc/sys/kernel/yama/ptrace_scope": "1\n"}, OK, "is 1"},
		{"yama 3", ptrace, map[string]string{"/proc/sys/kernel/yama/ptrace_scope": "3\n"}, Fail, "nobody may trace"},

		{"cgroup v2", cgroup, map[string]string{"/sys/fs/cgroup/cgroup.controllers": "cpu memory\n"}, OK, "v2 with cpu, memory"},
		{"cgroup hybrid", cgroup, map[string]string{"/sys/fs/cgroup/unified/cgroup.controllers": "", "/sys/fs/cgroup/memory/x": ""}, Warn, "hybrid"},
		{"cgroup v1", cgroup, map[string]string{"/sys/fs/cgroup/memory/x": ""}, Warn, "v1 only"},
		{"no cgroup", cgroup, nil, Warn, "none"},

		{"maps", maxMapCount, map[string]string{"/proc/sys/vm/max_map_count": "65530\n"}, OK, "65530"},
		{"few maps", maxMapCount, map[string]string{"/proc/sys/vm/max_map_count": "1000\n"}, Warn, "1000"},
		{"no number", maxMapCount, map[string]string{"/proc/sys/vm/max_map_count": "many\n"}, Warn, "no number"},

		{"memory", memory, map[string]string{"/proc/meminfo": meminfo}, OK, "19 GiB available of 23 GiB"},
		{"little memory", memory, map[string]string{"/proc/meminfo": "MemAvailable: 1000 kB\n"}, Warn, "1000 KiB"},
		{"no swap", swap, map[string]string{"/proc/meminfo": meminfo}, OK, "none"},
		{"swap", swap, map[string]string{"/proc/meminfo": "SwapTotal: 1048576 kB\n"}, Warn, "1.0 GiB"},
		{"no meminfo", swap, nil, Warn, "no such file"},

		{"huge pages", hugePages, map[string]string{"/sys/kernel/mm/transparent_hugepage/enabled": "always [madvise] never\n"}, OK, "madvise"},
		{"huge pages always", hugePages, map[string]string{"/sys/kernel/mm/transparent_hugepage/enabled": "[always] madvise never\n"}, Warn, "always"},
		{"no huge pages", hugePages, nil, OK, "none"},
		{"shared huge pages", sharedHugePages, map[string]string{"/sys/kernel/mm/transparent_hugepage/shmem_enabled": "always within_size advise [never] deny force\n"}, OK, "never"},
		{"shared huge pages within size", sharedHugePages, map[string]string{"/sys/kernel/mm/transparent_hugepage/shmem_enabled": "always [within_size] advise never deny force\n"}, Warn, "within_size"},
		{"no shared huge pages", sharedHugePages, nil, OK, "none"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := test.check(t.Context(), fixture(t, test.files))
			if got.Status != test.status || !strings.Contains(got.Detail, test.detail) {
				t.Errorf("%+v, want %s with %q", got, test.status, test.detail)
			}
			if got.Status == Fail && got.Fix == "" {
				t.Error("a failure without a fix")
			}
		})
	}
}

func TestRootCheck(t *testing.T) {
	if got := root(t.Context(), Host{UID: 0}); got.Status != OK {
		t.Error(got)
	}
	if got := root(t.Context(), Host{UID: 1000}); got.Status != Fail {
		t.Error(got)
	}
}

func TestReadahead(t *testing.T) {
	h := fixture(t, map[string]string{
		"/sys/class/bdi/8:1/read_ahead_kb": "128\n",
		"/sys/class/bdi/8:2/read_ahead_kb": "8192\n",
	})
	for device, want := range map[string]Status{"8:1": OK, "8:2": Warn, "0:30": OK} {
		if got := h.readaheadOf(device); got.Status != want {
			t.Errorf("%s: %+v", device, got)
		}
	}
}

func TestNearest(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for state, want := range map[string]string{
		dir:                                 dir,
		filepath.Join(dir, "a", "b"):        dir,
		filepath.Join(dir, "file", "state"): dir,
		"/no/such/folder":                   "/",
	} {
		if got := (Host{StateDir: state}).nearest(); got != want {
			t.Errorf("nearest to %s: %s, want %s", state, got, want)
		}
	}
}

// TestMachine makes every check on the machine of the test: none may hang,
// panic or stay silent, whatever it finds.
func TestMachine(t *testing.T) {
	results := Run(t.Context(), Machine(filepath.Join(t.TempDir(), "state")))
	var names []string
	for _, r := range results {
		if r.Name == "" || r.Detail == "" || !slices.Contains([]Status{OK, Warn, Fail}, r.Status) {
			t.Errorf("%+v", r)
		}
		names = append(names, r.Name)
		t.Logf("%-13s %-4s %s", r.Name, r.Status, r.Detail)
	}
	slices.Sort(names)
	if len(slices.Compact(names)) != len(results) {
		t.Errorf("names are not unique: %v", names)
	}
}
