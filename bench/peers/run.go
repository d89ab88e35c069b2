package peers

import (
	"context"
	"fmt"
	"os/exec"

	"thaw/vmm"
)

// run runs a command to its end. Ending ctx early kills it.
func run(ctx context.Context, cmd *exec.Cmd) error {
	p, err := vmm.StartProcess(cmd)
	if err != nil {
		return err
	}
	defer p.Kill()
	select {
	case <-p.Done():
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if cmd.ProcessState.Success() {
		return nil
	}
	return fmt.Errorf("%s: %v%s", cmd.Args[0], cmd.ProcessState, vmm.Quote(p.Console().Tail(consoleLines)))
}
