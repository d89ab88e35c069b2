package explain

import (
	"fmt"
	"strings"

	"thaw"
)

// What is worth a word.
const (
	// lowRecall and lowPrecision of a prefetch.
	lowRecall, lowPrecision = 0.9, 0.7
	// manyMajor faults that waited for the disk.
	manyMajor = 50
	// slowVMM is a start of a VMM, in milliseconds.
	slowVMM = 15
	// longQueue is a wait in the queue, in milliseconds.
	longQueue = 5
	// mostly is a share of the whole time.
	mostly = 0.5
)

// Advice says what would make such an invocation faster, the most important
// first; it is never empty.
func (s Subject) Advice() (lines []string) {
	for _, advice := range []func() string{s.queued, s.booted, s.onDemand, s.unplanned, s.missed, s.wasted, s.emulated, s.itself} {
		if line := advice(); line != "" {
			lines = append(lines, line)
		}
	}
	if len(lines) == 0 {
		lines = []string{"Nothing stands out."}
	}
	return lines
}

func (s Subject) queued() string {
	wait := s.Invocation.PhasesMS[thaw.PhaseQueue]
	if wait < longQueue {
		return ""
	}
	return fmt.Sprintf("It waited %.0f ms in line, for room or for a VM to be free: raise what is reached, the function's max scale, --max-instances or --memory-budget of `thaw serve`.", wait)
}

func (s Subject) booted() string {
	if s.Invocation.Start != thaw.StartBoot {
		return ""
	}
	if s.Invocation.Reason == "" {
		return "It booted, as was asked for: any other policy restores the snapshot."
	}
	return "It booted because its snapshot could not be used; a new one is made in the background. Look at `thaw describe " + s.Invocation.Ref().String() + "`."
}

func (s Subject) onDemand() string {
	vmm := s.Invocation.PhasesMS[thaw.PhaseVMM]
	if s.Invocation.Start == thaw.StartWarm || s.Invocation.Prestarted || vmm < slowVMM {
		return ""
	}
	return fmt.Sprintf("Starting a VMM took %.0f ms, as none was waiting: `thaw serve --prestarted N` keeps N of them.", vmm)
}

// unplanned is about policies that bring nothing in.
func (s Subject) unplanned() string {
	i := s.Invocation
	if i.Start != thaw.StartCold || i.Faults.Major < manyMajor || i.PagesPrefetched > 0 {
		return ""
	}
	if i.Layout != nil && i.Layout.Recording != "" {
		return "This start recorded what is needed: the next one will bring it in ahead."
	}
	return fmt.Sprintf("%s page faults waited for the disk: leave the policy to auto, which brings in what is needed.", comma(i.Faults.Major))
}

func (s Subject) missed() string {
	q := s.Invocation.Quality
	if q == nil || q.Brought == 0 || q.Recall() >= lowRecall {
		return ""
	}
	return fmt.Sprintf("%s pages that were needed had not been recorded. Such invocations get recorded by themselves, or now: `thaw invoke %s --record -d EVENT`.", comma(q.Misses), s.Invocation.Ref())
}

func (s Subject) wasted() string {
	q := s.Invocation.Quality
	if q == nil || q.Brought == 0 || q.Precision() >= lowPrecision {
		return ""
	}
	return fmt.Sprintf("%s were brought in for nothing. If events have changed, record anew: `thaw invoke %s --record -d EVENT`.", bytes(q.BytesWasted()), s.Invocation.Ref())
}

func (s Subject) emulated() string {
	if !strings.HasPrefix(s.Accelerator, "TCG") {
		return ""
	}
	return "Guests are emulated here, 10 to 20 times slower than by KVM: see `thaw doctor`."
}

// itself is about the function's own time.
func (s Subject) itself() string {
	i := s.Invocation
	share := i.PhasesMS[thaw.PhaseInvoke] / max(i.DurationMS, 1e-3)
	if share < mostly {
		return ""
	}
	text := fmt.Sprintf("%.0f %% of the time is the invocation itself", 100*share)
	if s.WarmMS > 0 && i.Start != thaw.StartWarm {
		text += fmt.Sprintf("; warm it takes %.1f ms", s.WarmMS)
	}
	return text + "."
}
