package thaw

// PageClass says what a page of a snapshot's memory is to invocations.
type PageClass string

const (
	// PageZero is zero in the snapshot and costs nothing.
	PageZero PageClass = "zero"
	// PageUntouched holds something that no recording saw in use.
	PageUntouched PageClass = "untouched"
	// PageRead was used by a recorded invocation, and only read.
	PageRead PageClass = "read"
	// PageWritten was written to by a recorded invocation.
	PageWritten PageClass = "written"
)

// MemoryRun is a stretch of contiguous pages that are alike.
type MemoryRun struct {
	Page  uint32    `json:"page"`
	Pages uint32    `json:"pages"`
	Class PageClass `json:"class"`
	// Prefetched says that the policy brings them in ahead of the guest.
	Prefetched bool `json:"prefetched,omitempty"`
}

// FirstTouch is a page of the newest recording and when that saw it first.
type FirstTouch struct {
	Page uint32 `json:"page"`
	// AfterUS is the time since guest memory was laid out, in microseconds.
	AfterUS int64 `json:"after_us"`
	Written bool  `json:"written,omitempty"`
}

// MemoryMap is what a snapshot's memory is made of, as a policy sees it.
type MemoryMap struct {
	Function string `json:"function"`
	Version  int    `json:"version"`
	Snapshot string `json:"snapshot"`
	Policy   Policy `json:"policy"`
	// Pages is the size of guest memory.
	Pages int64 `json:"pages"`
	// Runs cover guest memory, ascending.
	Runs []MemoryRun `json:"runs"`
	// Trace is the recording of first touches, in order; empty without one.
	Trace []FirstTouch `json:"trace"`
}

// Count returns how many pages are of a class.
func (m MemoryMap) Count(c PageClass) (n int64) {
	for _, r := range m.Runs {
		if r.Class == c {
			n += int64(r.Pages)
		}
	}
	return n
}
