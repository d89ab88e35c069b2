package main

import (
	"cmp"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"thaw"
	"thaw/procstat"
)

// scaleFlags are those of how many instances a function has and for how long.
type scaleFlags struct {
	concurrency, min, max int
	idle                  time.Duration
	keepAlive             string
}

func (f *scaleFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.IntVar(&f.concurrency, "concurrency", 1, "invocations that a VM serves at once")
	flags.IntVar(&f.min, "min-scale", 0, "VMs kept warm while the version serves")
	flags.IntVar(&f.max, "max-scale", 0, "most VMs at once (default: as thaw serve --max-per-function has it)")
	flags.DurationVar(&f.idle, "idle-timeout", 0, "how long a VM waits for the next invocation (default: as thaw serve has it)")
	flags.StringVar(&f.keepAlive, "keep-alive", string(thaw.KeepAliveFixed), "how that is decided: fixed, or histogram for what idle times were seen")
	completeWords(cmd, "keep-alive", keepAliveNames()...)
}

func keepAliveNames() (names []string) {
	for _, k := range thaw.KeepAlives() {
		names = append(names, string(k))
	}
	return names
}

// override puts into s what the flags say.
func (f scaleFlags) override(cmd *cobra.Command, s *thaw.Settings) error {
	given := cmd.Flags().Changed
	switch {
	case given("concurrency") && f.concurrency == 0:
		return thaw.Errorf(thaw.CodeInvalid, "concurrency of 0 is out of range: choose 1 to %d", thaw.MaxConcurrency)
	case given("max-scale") && f.max == 0:
		return thaw.Errorf(thaw.CodeInvalid, "max scale of 0 is out of range: choose 1 to %d", thaw.MaxScale)
	case given("idle-timeout") && f.idle == 0:
		return thaw.Errorf(thaw.CodeInvalid, "idle timeout 0 is out of range: choose %s to %s", thaw.MinIdleTimeout, thaw.MaxIdleTimeout)
	}
	overrideIf(given("concurrency"), &s.Concurrency, f.concurrency)
	overrideIf(given("min-scale"), &s.MinScale, f.min)
	overrideIf(given("max-scale"), &s.MaxScale, f.max)
	overrideIf(given("idle-timeout"), &s.IdleTimeout, f.idle)
	overrideIf(given("keep-alive"), &s.KeepAlive, thaw.KeepAlive(f.keepAlive))
	return nil
}

// scaleField says in a line how a function scales.
func scaleField(s thaw.Settings) string {
	limit, idle := "the daemon's", "the daemon's timeout"
	if s.MaxScale > 0 {
		limit = fmt.Sprint(s.MaxScale)
	}
	if s.IdleTimeout > 0 {
		idle = s.IdleTimeout.String()
	}
	return fmt.Sprintf("%d VMs at least, at most %s, %d at once in each; idle for %s (%s)",
		s.MinScale, limit, max(s.Concurrency, 1), idle, cmp.Or(s.KeepAlive, thaw.KeepAliveFixed))
}

// memoryShare is the part of the machine's memory that VMs may have unless said
// otherwise, in percent.
const memoryShare = 80

// defaultMemoryBudget is that share, 0 on a machine that does not tell what it has.
func defaultMemoryBudget() bytesFlag {
	limit, err := procstat.MemoryLimit(os.DirFS("/"))
	if err != nil {
		return 0
	}
	return bytesFlag(limit / 100 * memoryShare)
}
