package thaw

import (
	"encoding/json"
	"time"
)

// The phases of a start in the order they begin. Prefetch runs beside VMM,
// Layout and State, so phases may add up to more than the total.
const (
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
	return []string{PhasePlan, PhaseVMM, PhaseLayout, PhasePrefetch, PhaseState, PhaseBoot, PhaseResume, PhaseInit, PhaseInvoke}
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

// Invocation is the record of one invocation and of the start it needed.
type Invocation struct {
	ID         string             `json:"id"`
	Function   string             `json:"function"`
	Version    int                `json:"version"`
	Instance   string             `json:"instance"`
	Start      Start              `json:"start"`
	Policy     Policy             `json:"policy"`
	Reason     string             `json:"reason,omitempty"`
	Time       time.Time          `json:"time"`
	DurationMS float64            `json:"duration_ms"`
	PhasesMS   map[string]float64 `json:"phases_ms"`
	Faults     Faults             `json:"faults"`
	// Prestarted says that the VMM of a new instance had been started before.
	Prestarted bool `json:"prestarted,omitempty"`
	// PagesPrefetched were installed before the guest asked for them.
	PagesPrefetched int64 `json:"pages_prefetched"`
	// PagesRecorded is the size of the working set this invocation recorded.
	PagesRecorded int64 `json:"pages_recorded,omitempty"`
	// BytesRead came from the disk for this invocation (proc(5), read_bytes).
	BytesRead int64 `json:"bytes_read"`
	// FunctionError is the error type when the function itself failed.
	FunctionError string `json:"function_error,omitempty"`
	// Error is why there was no reply, when there was none.
	Error string `json:"error,omitempty"`
}

// Reply is what an invocation returns.
type Reply struct {
	// Payload is the function's reply, or its error object when
	// Invocation.FunctionError is set.
	Payload []byte
	Invocation
}

// InvokeRequest asks for one invocation.
type InvokeRequest struct {
	Function string
	Payload  []byte
	// Policy is the policy of a new instance; "" is the default.
	Policy Policy
	// Cold forbids reusing an idle instance.
	Cold bool
	// OnDemand has the VMM of a new instance started for it, though one may be
	// waiting: the published form of the policies.
	OnDemand bool
	// Discard ends the instance after the invocation instead of keeping it.
	Discard bool
}

// FunctionError is a function's own failure in the shape Lambda gives it.
type FunctionError struct {
	Type    string   `json:"errorType"`
	Message string   `json:"errorMessage"`
	Trace   []string `json:"stackTrace,omitempty"`
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
)
