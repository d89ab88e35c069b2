package restore

import (
	"context"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"thaw/plan"
	"thaw/remote"
	"thaw/uffd"
)

// layOut maps the plan's regions in the target, in one batch of system calls, and
// creates a userfaultfd there if the plan traps anything.
func (m *Memory) layOut(ctx context.Context, target Target) (remoteFD int, err error) {
	calls, err := m.layoutCalls(ctx, target)
	if err != nil {
		return -1, err
	}
	fault := len(calls)
	if m.plan.Traps() {
		calls = append(calls, faultCall(target.FaultDevice()))
	}
	if device := target.FaultDevice(); device >= 0 {
		// A guest that breaks into the VMM must not find it there.
		calls = append(calls, remote.Call{Nr: unix.SYS_CLOSE, Args: [6]uintptr{uintptr(device)}})
	}
	results, err := remote.Run(target.PID(), calls)
	if err != nil {
		return -1, fmt.Errorf("lay out guest memory by remote control: %w", err)
	}
	if !m.plan.Traps() {
		return -1, nil
	}
	return int(results[fault]), nil
}

// layoutCalls maps each region over what was there before.
func (m *Memory) layoutCalls(ctx context.Context, target Target) ([]remote.Call, error) {
	given := map[plan.Backing]int{plan.Anonymous: -1, plan.Trapped: -1}
	calls := make([]remote.Call, 0, len(m.plan.Regions)+2)
	for _, r := range m.plan.Regions {
		if _, ok := given[r.Backing]; !ok {
			fd, err := target.GiveFD(ctx, m.backing(r.Backing))
			if err != nil {
				return nil, fmt.Errorf("pass the %s: %w", r.Backing, err)
			}
			given[r.Backing] = fd
		}
		calls = append(calls, mapCall(m.base, r, given[r.Backing]))
	}
	return calls, nil
}

// backing is the file behind regions of a backing.
func (m *Memory) backing(b plan.Backing) *os.File {
	switch b {
	case plan.LoadingSet:
		return m.prefetch.loading
	case plan.Image:
		return m.prefetch.contents.Image.File()
	}
	return m.file
}

func mapCall(base uint64, r plan.Region, fd int) remote.Call {
	const prot = unix.PROT_READ | unix.PROT_WRITE
	flags, offset := unix.MAP_PRIVATE|unix.MAP_FIXED|unix.MAP_NORESERVE, r.Offset
	switch r.Backing {
	case plan.Anonymous, plan.Trapped:
		flags, offset = flags|unix.MAP_ANONYMOUS, 0
	case plan.LoadingSet:
		offset = r.At
	}
	at := uintptr(base) + uintptr(r.Offset)
	return remote.Call{Nr: unix.SYS_MMAP, Args: [6]uintptr{at, uintptr(r.Len), prot, uintptr(flags), uintptr(fd), uintptr(offset)}}
}

// faultCall creates a userfaultfd in the target. It goes through the device
// where there is one: whoever has it open needs no privilege, and the target
// has none. Faults of the kernel on the target's behalf must be served as well.
func faultCall(device int) remote.Call {
	const flags = unix.O_CLOEXEC | unix.O_NONBLOCK
	if device < 0 {
		return remote.Call{Nr: unix.SYS_USERFAULTFD, Args: [6]uintptr{flags}}
	}
	return remote.Call{Nr: unix.SYS_IOCTL, Args: [6]uintptr{uintptr(device), uffd.IoctlNew, flags}}
}

// trap takes the target's userfaultfd and registers what the plan traps, where
// there is a trace to record with the first writes if the kernel can tell them.
func (m *Memory) trap(target Target, remoteFD int) error {
	fd, err := target.TakeFD(remoteFD)
	if err != nil {
		return err
	}
	optional := m.optional()
	u, has, err := uffd.NewWith(fd, uffd.FeatureEventRemove|uffd.FeatureEventUnmap, optional)
	if err != nil {
		return err
	}
	m.server = &uffd.Server{FD: u, Memory: m.file, OnFault: m.misses.add}
	if m.plan.MapsImage() {
		m.server.Fill = m.fill
	}
	register := u.Register
	if has && optional != 0 {
		register, m.exact = u.RegisterWrites, true
	}
	if m.exact && m.plan.Record == plan.RecordTrace {
		m.server.OnWrite = m.onWrite
	}
	return m.register(register)
}

// optional are the features that the plan is better off with: to tell which pages
// of a recording are written; and for an image, to keep the kernel from mapping a
// page's neighbours with it, which would then look used.
func (m *Memory) optional() uint64 {
	switch {
	case m.plan.Record == plan.RecordTrace:
		return uffd.FeatureWriteProtect
	case m.plan.MapsImage():
		return uffd.FeatureWriteProtect | uffd.FeatureWriteProtectFile
	}
	return 0
}

func (m *Memory) register(register func(addr, length uint64) error) error {
	for _, r := range m.plan.Mappings() {
		if r.Backing != plan.Trapped && r.Backing != plan.Image {
			continue
		}
		region := uffd.Region{Addr: m.base + uint64(r.Offset), Len: uint64(r.Len), Offset: r.Offset}
		if err := register(region.Addr, region.Len); err != nil {
			_ = m.server.FD.Close() // the process goes with it
			return err
		}
		m.server.Regions = append(m.server.Regions, region)
	}
	return nil
}
