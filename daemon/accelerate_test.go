package daemon

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"thaw"
	"thaw/vmm/qemu"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestAccelerationIsRemembered(t *testing.T) {
	for _, accel := range []qemu.Accelerator{qemu.KVM, qemu.TCG} {
		file := filepath.Join(t.TempDir(), "accelerator.json")
		want := Acceleration{BootID: "boot", Accelerator: accel, Reason: "a reason", Time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
		for range 2 { // the second time over a file
			if err := want.remember(file); err != nil {
				t.Fatal(err)
			}
		}
		got, ok := remembered(file)
		if d := cmp.Diff(want, got); d != "" || !ok {
			t.Errorf("remembered = %v: %s", ok, d)
		}
		if entries, err := os.ReadDir(filepath.Dir(file)); err != nil || len(entries) != 1 {
			t.Errorf("%d files are left, %v", len(entries), err)
		}
	}
}

func TestAccelerationOfGarbage(t *testing.T) {
	dir := t.TempDir()
	if _, ok := remembered(filepath.Join(dir, "missing")); ok {
		t.Error("a missing file is believed")
	}
	if _, ok := remembered(dir); ok {
		t.Error("a folder is believed")
	}
	for _, text := range []string{
		"", "\x00\xff", "null", "{}", "[]", "7", `{"accelerator": 7}`, `{"accelerator": "hvf", "boot_id": "b"}`, `{"accelerator": "KVM"}`,
		`{"accelerator": "kvm"`, `{"accelerator": "kvm"} {}`, `{"accelerator": "kvm", "time": "yesterday"}`,
	} {
		file := filepath.Join(dir, "accelerator.json")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if a, ok := remembered(file); ok {
			t.Errorf("%q is believed: %+v", text, a)
		}
	}
}

func TestRememberWhereItCannot(t *testing.T) {
	err := Acceleration{Accelerator: qemu.TCG}.remember(filepath.Join(t.TempDir(), "missing", "accelerator.json"))
	if err == nil || !strings.HasPrefix(err.Error(), "remember the accelerator: ") {
		t.Errorf("remember = %v", err)
	}
}

func TestAccelerate(t *testing.T) {
	file := filepath.Join(t.TempDir(), "accelerator.json")
	known := Acceleration{BootID: bootID(), Accelerator: qemu.KVM, Reason: "the guest kernel boots in 600 ms"}
	if err := known.remember(file); err != nil {
		t.Fatal(err)
	}
	var d Daemon // none of what is asked for here needs more
	for want, c := range map[string]struct {
		accelerator qemu.Accelerator
		reason      string
	}{
		"auto": {qemu.KVM, known.Reason},
		"":     {qemu.KVM, known.Reason},
		"kvm":  {qemu.KVM, "asked for"},
		"tcg":  {qemu.TCG, "asked for"},
	} {
		a, err := d.accelerate(t.Context(), file, want)
		if err != nil || a.Accelerator != c.accelerator || !strings.Contains(a.Reason, c.reason) {
			t.Errorf("accelerate(%q) = %+v, %v", want, a, err)
		}
	}
	if got, ok := remembered(file); !ok || got.Accelerator != qemu.KVM {
		t.Errorf("what was asked for is remembered as what is best: %+v", got)
	}
	if _, err := d.accelerate(t.Context(), file, "hvf"); thaw.CodeOf(err) != thaw.CodeInvalid {
		t.Errorf("accelerate(hvf) = %v, want %s", err, thaw.CodeInvalid)
	}
}
