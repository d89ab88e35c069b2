package publish

import (
	"fmt"

	"thaw"
)

// Found is what a daemon that starts sees of what a record speaks of.
type Found struct {
	// Code says that the code disk of the version is there, Images that all disks are.
	Code, Images bool
	// Snapshot says that the snapshot that the record names is there, whole.
	Snapshot bool
	// Serving says that the registry has the version.
	Serving bool
}

// Action is what to make of a record.
type Action string

const (
	// Leave it as it is.
	Leave Action = "leave"
	// Resume at the step of the decision.
	Resume Action = "resume"
	// Undo it: nothing of it stays, and its record says failed.
	Undo Action = "undo"
)

// Decision is what [Decide] returns.
type Decision struct {
	Action
	// From is the step to resume at.
	From string
	// Drop says that the snapshot that the record names is of no use, if there is one.
	Drop bool
	// Reason is for people.
	Reason string
}

// Decide says what a daemon does with a record that it finds at its start. What else a
// version boots from is built anew, but the code was with the client. Virtual machines have ended with the daemon before: what was under way between boot and
// snapshot begins again with boot. A snapshot that can be seen is whole, and goes on
// to be verified. What was verified is not verified again, and a version that has to
// do without a snapshot only begins to serve.
func Decide(r Record, f Found) Decision {
	p := r.Publish
	switch {
	case p.State != thaw.PublishRunning:
		return Decision{Action: Leave}
	case f.Serving:
		return Decision{Action: Leave, Reason: "its version is there"}
	case p.Number == 0:
		return Decision{Action: Undo, Reason: "the daemon ended while the code was on its way: deploy again"}
	case p.Resumed >= MaxResumes:
		return Decision{Action: Undo, Drop: true, Reason: fmt.Sprintf("%d daemons have ended during it: deploy again, and see their logs", p.Resumed+1)}
	case !f.Code:
		return Decision{Action: Undo, Drop: true, Reason: "its code disk is gone: deploy again"}
	}
	step := from(r, f)
	return Decision{Action: Resume, From: step, Drop: !After(step, thaw.StepVerify), Reason: "the daemon ended during step " + p.Step}
}

// from is the step to go on with.
func from(r Record, f Found) string {
	step := r.Publish.Step
	proven := r.Version.Snapshot == "" && r.Version.Problem != "" // to be of no use
	switch {
	case step == thaw.StepBuild, !f.Images:
		return thaw.StepBuild
	case step == thaw.StepActivate && proven:
		return step
	case !f.Snapshot:
		return thaw.StepBoot
	case After(step, thaw.StepVerify):
		return step
	}
	return thaw.StepVerify
}
