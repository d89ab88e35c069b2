package qemu

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"thaw/remote"
)

// warmBytes is how much of the buffer for translated code a restore and a first
// invocation fill: about 17,000 blocks of 600 bytes each.
const warmBytes = 12 << 20

// warm has the kernel put memory behind the buffer that an emulated guest's
// translated code goes to, which else happens in the course of the restore. A
// kernel that cannot, or a QEMU that keeps no such buffer, is no error.
func (vm *VM) warm() error {
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", vm.PID()))
	if err != nil {
		return fmt.Errorf("warm the VMM up: %w", err)
	}
	buffer, ok := codeBuffer(string(maps))
	if !ok {
		return nil
	}
	call := remote.Call{Nr: unix.SYS_MADVISE, Args: [6]uintptr{buffer, warmBytes, unix.MADV_POPULATE_WRITE}}
	_, err = remote.Run(vm.PID(), []remote.Call{call})
	if refused, ok := errors.AsType[*remote.CallError](err); ok && refused.Errno == unix.EINVAL {
		return nil // before Linux 5.14
	}
	if err != nil {
		return fmt.Errorf("warm the VMM up: %w", err)
	}
	return nil
}

// codeBuffer finds it in the text of /proc/pid/maps (proc(5)): it is the largest
// thing that may be written and executed.
func codeBuffer(maps string) (address uintptr, ok bool) {
	for line := range strings.Lines(maps) {
		var start, end uintptr
		var mode string
		if _, err := fmt.Sscanf(line, "%x-%x %s", &start, &end, &mode); err == nil && mode == "rwxp" && end-start >= warmBytes {
			return start, true
		}
	}
	return 0, false
}
