package thaw

import "time"

// PublishState is how a publish stands.
type PublishState string

const (
	// PublishRunning is under way, or was when a daemon ended.
	PublishRunning PublishState = "running"
	// PublishDone made the version that serves.
	PublishDone PublishState = "done"
	// PublishFailed changed nothing: Error says why.
	PublishFailed PublishState = "failed"
)

// Publish is the way of a deploy to a version that serves, as told to people.
type Publish struct {
	Function string `json:"function"`
	// Number is that of the version, 0 until its code has been taken.
	Number int          `json:"version,omitempty"`
	State  PublishState `json:"state"`
	// Step is the one under way, or the last.
	Step  string    `json:"step"`
	Began time.Time `json:"began"`
	// Ended is when it was done or failed.
	Ended time.Time `json:"ended,omitzero"`
	// Steps are those that have ended. Of a publish that was resumed, a step that was
	// done again is told once.
	Steps []PublishStep `json:"steps,omitempty"`
	// Detached says that nobody waits for it.
	Detached bool `json:"detached,omitempty"`
	// Resumed counts the daemons that went on with it after the one before had ended.
	Resumed int `json:"resumed,omitempty"`
	// Error is why it failed, and Code the kind of that.
	Error string `json:"error,omitempty"`
	Code  Code   `json:"code,omitempty"`
}

// PublishStep is a step that has ended.
type PublishStep struct {
	Step       string  `json:"step"`
	Message    string  `json:"message,omitempty"`
	DurationMS float64 `json:"duration_ms"`
}

// The steps of a publish, in order.
const (
	// StepBuild makes the disks. Until it has ended there is nothing to resume: the
	// code is with the client.
	StepBuild = "build"
	// StepBoot boots the guest, StepInit starts the function in it.
	StepBoot = "boot"
	StepInit = "init"
	// StepPrime runs the sample events, if there are any.
	StepPrime = "prime"
	// StepQuiesce runs the function's hooks and has the guest fall silent.
	StepQuiesce = "quiesce"
	// StepSnapshot writes the snapshot and makes it visible.
	StepSnapshot = "snapshot"
	// StepVerify restores it and, if there are sample events, invokes that.
	StepVerify = "verify"
	// StepRecord restores it once more and records the working set.
	StepRecord = "record"
	// StepActivate has the version serve, in one transaction.
	StepActivate = "activate"
)

// PublishSteps returns every step in order.
func PublishSteps() []string {
	return []string{StepBuild, StepBoot, StepInit, StepPrime, StepQuiesce, StepSnapshot, StepVerify, StepRecord, StepActivate}
}
