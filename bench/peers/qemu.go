package peers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"thaw"
	"thaw/agent"
	"thaw/image"
	"thaw/vmm"
	"thaw/vmm/qemu"
)

// plain restores a guest of thaw's from QEMU's own migration stream.
type plain struct {
	driver  *qemu.Driver
	guest   vmm.Guest
	stream  string
	timeout time.Duration
}

// newPlain boots the function of d and has QEMU write its stream into w.
func newPlain(ctx context.Context, w *work, d thaw.Description) (_ *plain, err error) {
	f, err := image.Locate(filepath.Dir(d.Disks[0]), d.Images)
	if err != nil {
		return nil, err
	}
	q := &plain{stream: w.path("qemu-stream"), timeout: d.Timeout, guest: vmm.Guest{
		Kernel: f.Kernel, Initramfs: f.Initramfs, MemoryBytes: d.MemoryBytes, Disks: []string{f.Root, f.Code},
	}}
	if q.driver, err = qemu.New(ctx, qemu.Accelerator(d.SnapshotInfo.Machine.Accelerator)); err != nil {
		return nil, err
	}
	if err := q.save(ctx, d); err != nil {
		return nil, fmt.Errorf("save a migration stream: %w", err)
	}
	return q, nil
}

// save boots the function, until it is initialised, and saves it.
func (q *plain) save(ctx context.Context, d thaw.Description) error {
	vm, err := q.driver.Boot(ctx, q.guest, nil)
	if err != nil {
		return err
	}
	defer vm.Close()
	c := agent.NewConn(vm.Channel(), nil)
	defer c.Close()
	if err := vm.Cont(ctx); err != nil {
		return err
	}
	if err := initialise(ctx, c, d); err != nil {
		return err
	}
	f, err := os.OpenFile(q.stream, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(vm.SaveStream(ctx, f), f.Close())
}

func initialise(ctx context.Context, c *agent.Conn, d thaw.Description) error {
	if err := c.Sync(ctx); err != nil {
		return err
	}
	if _, err := c.Resume(ctx, "i-peer"); err != nil {
		return err
	}
	err := c.Init(ctx, agent.Function{Name: d.Function, Version: d.Number, Settings: d.Settings, SnapStart: true})
	if err != nil {
		return err
	}
	return c.Quiesce(ctx)
}

func (q *plain) files() []string { return append([]string{q.stream}, q.guest.Disks...) }

func (q *plain) restore(ctx context.Context, event []byte) (*answer, error) {
	vm, err := q.driver.Incoming(ctx, q.guest)
	if err != nil {
		return nil, err
	}
	c := agent.NewConn(vm.Channel(), nil)
	end := func() error {
		vm.Close()
		return c.Close()
	}
	reply, err := q.answer(ctx, vm, c, event)
	if err != nil {
		return nil, errors.Join(err, end())
	}
	return &answer{reply: reply, end: end}, nil
}

func (q *plain) answer(ctx context.Context, vm *qemu.VM, c *agent.Conn, event []byte) ([]byte, error) {
	stream, err := os.Open(q.stream)
	if err != nil {
		return nil, err
	}
	defer stream.Close()
	if err := vm.LoadStream(ctx, stream); err != nil {
		return nil, err
	}
	if err := vm.Cont(ctx); err != nil {
		return nil, err
	}
	if err := c.Sync(ctx); err != nil {
		return nil, err
	}
	r, err := c.Invoke(ctx, agent.Invocation{RequestID: "peer", Deadline: time.Now().Add(q.timeout), Payload: event})
	if err == nil && r.FunctionError != "" {
		err = fmt.Errorf("the function failed: %s: %s", r.FunctionError, r.Payload)
	}
	return r.Payload, err
}
