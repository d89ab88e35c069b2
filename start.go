package thaw

import (
	"encoding/json"
	"fmt"
	"time"
)

// The phases of a start in the order they begin. Prefetch runs beside VMM,
// Layout and State, so phases may add up to more than the total.
const (
	// PhaseQueue is the wait for room, or for an instance to be free, while nothing
	// was done for the request.
	PhaseQueue = "queue"
	// PhasePlan reads and verifies the snapshot's small files.
	PhasePlan = "plan"
	// PhaseVMM is from the exec of the VMM to its control socket answering.
	PhaseVMM = "vmm"
	// PhaseLayout arranges guest memory in the VMM by remote control.
	PhaseLayout = "layout"
	// PhasePrefetch reads the working set and installs it.
	PhasePrefetch = "prefetch"
	// PhaseState loads device state and starts the virtual CPU.
	PhaseState = "state"
	// PhaseBoot is from the start of the virtual CPU to the agent answering.
	PhaseBoot = "boot"
	// PhaseResume fixes clock, entropy and identity in the guest.
	PhaseResume = "resume"
	// PhaseInit starts the function's runtime until it asks for work.
	PhaseInit = "init"
	// PhaseInvoke is the function's own work plus the way there and back.
	PhaseInvoke = "invoke"
)

// PhaseNames returns every phase in the order they begin.
func PhaseNames() []string {
	return []string{PhaseQueue, PhasePlan, PhaseVMM, PhaseLayout, PhasePrefetch, PhaseState, PhaseBoot, PhaseResume, PhaseInit, PhaseInvoke}
}

// Faults counts the page faults of one invocation's VM, from the moment its
// virtual CPU ran to the reply.
type Faults struct {
	// Trapped were served by thaw through userfaultfd.
	Trapped int64 `json:"trapped"`
	// Major waited for the disk (proc(5), majflt).
	Major int64 `json:"major"`
	// Minor were served by the kernel from memory (proc(5), minflt).
	Minor int64 `json:"minor"`
}

// BytesRead is what was read from the disk, by who read it.
type BytesRead struct {
	// Prefetch read ahead of the guest, Server at a trapped fault, and the VMM, or
	// the kernel for it, at other faults and for the guest's disks.
	Prefetch int64 `json:"prefetch"`
	Server   int64 `json:"server"`
	VMM      int64 `json:"vmm"`
}

// Total is the sum.
func (b BytesRead) Total() int64 { return b.Prefetch + b.Server + b.VMM }

// Layout is a plan as it was carried out.
type Layout struct {
	// Mappings is how many regions guest memory was mapped as.
	Mappings int `json:"mappings"`
	// MergedPages were swallowed between others, to have fewer mappings.
	MergedPages int64 `json:"merged_pages"`
	// Recording says what the start recorded, if it did: trace or host pages.
	Recording string `json:"recording,omitempty"`
}

// Quality is how well the pages that were brought in ahead of a guest fit those
// that it needed. All counts are pages.
type Quality struct {
	// Brought were brought in ahead of the guest, Hits of them it used.
	Brought int64 `json:"brought"`
	Hits    int64 `json:"hits"`
	// Unwatched of the hits were put in place after the guest began to run: whether it
	// used them cannot be told.
	Unwatched int64 `json:"unwatched,omitempty"`
	// Misses were needed and had not been brought in: the rest of the memory file.
	// What was zero in the snapshot is in none of the counts.
	Misses int64 `json:"misses"`
	// MissedPages are the first of those that userfaultfd trapped, in order.
	MissedPages []Miss `json:"missed_pages,omitempty"`
}

// Miss is a page that had to be served while the guest waited.
type Miss struct {
	Page uint32 `json:"page"`
	// AfterUS is the time since the guest's memory was laid out, in microseconds.
	AfterUS int64 `json:"after_us"`
}

// Recall is the share of the needed pages that was brought in, 1 of none.
func (q Quality) Recall() float64 { return share(q.Hits, q.Hits+q.Misses) }

// Precision is the share of the pages brought in that was needed, 1 of none; at most, if
// some are unwatched.
func (q Quality) Precision() float64 { return share(q.Hits, q.Brought) }

// BytesWasted were brought in for nothing.
func (q Quality) BytesWasted() int64 { return (q.Brought - q.Hits) * PageSize }

func share(part, whole int64) float64 {
	if whole == 0 {
		return 1
	}
	return float64(part) / float64(whole)
}

// MemoryUse is what the memory of one guest occupies, in bytes (proc(5), smaps).
type MemoryUse struct {
	// Resident is mapped, Private of that belongs to this guest alone.
	Resident int64 `json:"resident"`
	Private  int64 `json:"private"`
}

// Span is a stretch of a phase, in microseconds since the request arrived.
type Span struct {
	Phase      string `json:"phase"`
	StartUS    int64  `json:"start_us"`
	DurationUS int64  `json:"duration_us"`
}

// Invocation is the record of one invocation and of the start it needed.
type Invocation struct {
	ID       string `json:"id"`
	Function string `json:"function"`
	Version  int    `json:"version"`
	// Qualifier is as it was asked for: an alias, a number, [Latest], or "" for the
	// version that served.
	Qualifier  string             `json:"qualifier,omitempty"`
	Instance   string             `json:"instance"`
	Start      Start              `json:"start"`
	Policy     Policy             `json:"policy"`
	Reason     string             `json:"reason,omitempty"`
	Time       time.Time          `json:"time"`
	DurationMS float64            `json:"duration_ms"`
	PhasesMS   map[string]float64 `json:"phases_ms"`
	// Spans are the phases on the time line of the invocation.
	Spans  []Span `json:"spans,omitempty"`
	Faults Faults `json:"faults"`
	// Prestarted says that the VMM of a new instance had been started before.
	Prestarted bool `json:"prestarted,omitempty"`
	// Layout says how a restored guest's memory was arranged.
	Layout *Layout `json:"layout,omitempty"`
	// Quality says how good the prefetch of a cold start was. It is measured right
	// after the reply.
	Quality *Quality `json:"quality,omitempty"`
	// Memory is what the guest's memory occupied after the reply.
	Memory *MemoryUse `json:"memory,omitempty"`
	// PagesPrefetched were brought in before the guest asked for them.
	PagesPrefetched int64 `json:"pages_prefetched"`
	// PagesRecorded is the size of the working set this invocation recorded.
	PagesRecorded int64 `json:"pages_recorded,omitempty"`
	// BytesRead came from the disk for this invocation (proc(5), read_bytes).
	BytesRead int64 `json:"bytes_read"`
	// BytesBySource is the same by who read it.
	BytesBySource BytesRead `json:"bytes_by_source"`
	// FunctionError is the error type when the function itself failed.
	FunctionError string `json:"function_error,omitempty"`
	// Error is why there was no reply, when there was none, and ErrorCode its code.
	Error     string `json:"error,omitempty"`
	ErrorCode Code   `json:"error_code,omitempty"`
	// Trace is the distributed trace that the request was part of.
	Trace TraceContext `json:"trace,omitzero"`
}

// Asked says which version was invoked, and by which alias: "hello version 2 (live)".
func (i Invocation) Asked() string {
	s := fmt.Sprintf("%s version %d", i.Function, i.Version)
	if i.Qualifier == "" || i.Ref().Qualifier == i.Qualifier {
		return s
	}
	return s + " (" + i.Qualifier + ")"
}

// Ref names the version that was invoked.
func (i Invocation) Ref() Ref { return RefTo(i.Function, i.Version) }

// Reply is what an invocation returns.
type Reply struct {
	// Payload is the function's reply, or its error object when
	// Invocation.FunctionError is set.
	Payload []byte
	// LogTail is the end of what the function wrote, at most [MaxLogTail] bytes, when
	// it was asked for.
	LogTail []byte
	Invocation
}

// InvokeRequest asks for one invocation.
type InvokeRequest struct {
	// Function is NAME[:QUALIFIER], see [Ref].
	Function string
	Payload  []byte
	// ID is the request id; "" is a new one. An invocation that is tried again
	// keeps its own.
	ID    string
	Trace TraceContext
	// ClientContext is Lambda's, a JSON object that reaches the function as it is; ""
	// is the one that [TraceContext.ClientContext] makes of Trace.
	ClientContext string
	// LogTail asks for the end of what the function writes.
	LogTail bool
	// Policy is the policy of a new instance; "" is the default.
	Policy Policy
	// Cold forbids reusing an idle instance.
	Cold bool
	// OnDemand has the VMM of a new instance started for it, though one may be
	// waiting: the published form of the policies.
	OnDemand bool
	// Discard ends the instance after the invocation instead of keeping it.
	Discard bool
	// Frozen keeps the platform from learning of this invocation: no working set
	// is recorded, replaced or judged by it. Measurements ask for it.
	Frozen bool
	// Record makes a new instance and has what it touches recorded in place of the
	// recording before, by the policy's way. The reply comes when that is published.
	Record bool
}

// FunctionError is a function's own failure in the shape Lambda gives it.
type FunctionError struct {
	Type    string   `json:"errorType"`
	Message string   `json:"errorMessage"`
	Trace   []string `json:"stackTrace,omitempty"`
}

// UnmarshalJSON takes the shapes of Lambda's runtimes: a trace of texts, which is
// called stackTrace or trace, or of objects, whose JSON are the lines then.
func (e *FunctionError) UnmarshalJSON(b []byte) error {
	var shape struct {
		Type    string          `json:"errorType"`
		Message string          `json:"errorMessage"`
		Stack   json.RawMessage `json:"stackTrace"`
		Trace   json.RawMessage `json:"trace"`
	}
	if err := json.Unmarshal(b, &shape); err != nil {
		return err
	}
	*e = FunctionError{Type: shape.Type, Message: shape.Message}
	for _, list := range []json.RawMessage{shape.Stack, shape.Trace} {
		var lines []json.RawMessage
		if json.Unmarshal(list, &lines) != nil {
			continue // of no shape that is known
		}
		for _, l := range lines {
			text := string(l)
			_ = json.Unmarshal(l, &text) // stays what it is unless it is a text
			e.Trace = append(e.Trace, text)
		}
	}
	return nil
}

// JSON returns e as the object that is sent to callers.
func (e FunctionError) JSON() []byte {
	b, err := json.Marshal(e)
	if err != nil {
		panic(err) // strings always marshal
	}
	return b
}

// The types of function errors that the platform itself reports.
const (
	ErrorTypeTimeout = "Sandbox.Timedout"
	ErrorTypeExit    = "Runtime.ExitError"
	ErrorTypeTooBig  = "Function.ResponseSizeTooLarge"
	// ErrorTypeBadReply is of an HTTP server that closed the connection before the end
	// of its reply, or did not speak HTTP.
	ErrorTypeBadReply = "Runtime.BadReply"
)
