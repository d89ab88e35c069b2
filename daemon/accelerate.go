package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/google/renameio/v2"

	"thaw"
	"thaw/agent"
	"thaw/vmm"
	"thaw/vmm/qemu"
)

// Acceleration is the accelerator in use and how it was chosen. It is
// remembered, as JSON in the state folder, until the host boots again.
type Acceleration struct {
	BootID      string           `json:"boot_id"`
	Accelerator qemu.Accelerator `json:"accelerator"`
	Reason      string           `json:"reason"`
	Time        time.Time        `json:"time"`
}

// String is one line for people.
func (a Acceleration) String() string {
	if a.Accelerator == qemu.TCG {
		return "TCG, which translates every instruction and is 10 to 20 times slower than KVM: " + a.Reason
	}
	return "KVM: " + a.Reason
}

// probeTimeout is how long the guest kernel may take to boot under KVM, where
// a second is usual.
const probeTimeout = 15 * time.Second

// accelerate returns the accelerator that was asked for, or the better one of
// those that boot the real guest kernel: that the device exists proves nothing.
func (d *Daemon) accelerate(ctx context.Context, file, want string) (Acceleration, error) {
	a := Acceleration{BootID: bootID(), Time: time.Now().UTC(), Reason: "asked for with --accel"}
	switch want {
	case string(qemu.KVM), string(qemu.TCG):
		a.Accelerator = qemu.Accelerator(want)
		return a, nil
	case "", "auto":
	default:
		return a, thaw.Errorf(thaw.CodeInvalid, "unknown accelerator %q: choose auto, kvm or tcg", want)
	}
	if known, ok := remembered(file); ok && known.BootID == a.BootID {
		return known, nil
	}
	var err error
	if a.Accelerator, a.Reason, err = d.choose(ctx); err != nil {
		return a, err
	}
	return a, a.remember(file)
}

func (d *Daemon) choose(ctx context.Context) (qemu.Accelerator, string, error) {
	kvm, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		return qemu.TCG, fmt.Sprintf("this machine has no usable KVM (%v)", err), nil
	}
	if err := kvm.Close(); err != nil {
		return "", "", err
	}
	d.log.Info("trying KVM with the guest kernel", "at_most", probeTimeout)
	took, err := d.probe(ctx)
	if ctx.Err() != nil || thaw.CodeOf(err) == thaw.CodeUnavailable {
		return "", "", err
	}
	if err != nil {
		d.log.Info("KVM does not work here", "error", err)
		first, _, _ := strings.Cut(err.Error(), ";") // the console follows
		return qemu.TCG, "the guest kernel does not boot under this machine's KVM: " + first, nil
	}
	return qemu.KVM, fmt.Sprintf("the guest kernel boots in %d ms", took.Milliseconds()), nil
}

// probe boots the guest kernel under KVM until the agent answers.
func (d *Daemon) probe(ctx context.Context) (time.Duration, error) {
	base, err := d.images.Base(ctx, thaw.Settings{Runtime: thaw.RuntimeProvided}, func(line string) { d.log.Info("making an image", "message", line) })
	if err != nil {
		return 0, err
	}
	driver, err := qemu.New(ctx, qemu.KVM)
	if err != nil {
		return 0, err
	}
	start := time.Now()
	ctx, cancel := context.WithTimeoutCause(ctx, probeTimeout, fmt.Errorf("no answer in %s", probeTimeout))
	defer cancel()
	vm, err := driver.Boot(ctx, vmm.Guest{
		Kernel: base.Kernel.Path, Initramfs: base.Initramfs.Path, MemoryBytes: thaw.MinMemory,
		Disks: []string{base.Root.Path, base.Root.Path}, // any code disk will do
	}, nil)
	if err != nil {
		return 0, err
	}
	defer vm.Close()
	conn := agent.NewConn(vm.Channel(), nil)
	defer conn.Close()
	if err := vm.Cont(ctx); err != nil {
		return 0, err
	}
	err = conn.Sync(ctx)
	if errors.Is(err, agent.ErrGone) {
		err = vm.Exited()
	}
	return time.Since(start), err
}

func remembered(file string) (a Acceleration, ok bool) {
	b, err := os.ReadFile(file)
	if err != nil || json.Unmarshal(b, &a) != nil {
		return a, false // it is found out again
	}
	return a, a.Accelerator == qemu.KVM || a.Accelerator == qemu.TCG
}

func (a Acceleration) remember(file string) error {
	b, err := json.MarshalIndent(a, "", "  ")
	if err != nil {
		return err
	}
	if err := renameio.WriteFile(file, append(b, '\n'), 0o600); err != nil {
		return fmt.Errorf("remember the accelerator: %w", err)
	}
	return nil
}

// bootID changes with every boot of the host (random(4)).
func bootID() string {
	b, _ := os.ReadFile("/proc/sys/kernel/random/boot_id") // "" never matches for long
	return strings.TrimSpace(string(b))
}
