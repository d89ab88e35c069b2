package thaw

import (
	"io"
	"time"
)

// PublishRequest asks for a deploy that goes on after its request has been
// answered.
type PublishRequest struct {
	// Function is its name, without a qualifier.
	Function string
	// New wants the function not to exist yet.
	New bool
	// Settings are those of the new version, with their defaults and checked.
	Settings Settings
	// Code is a tar stream, which is read at most once and before Publish returns;
	// nil is the code of the version that From names.
	Code io.Reader
	// From is NAME[:QUALIFIER] of the version whose code is used again.
	From string
}

// Deployment is a deploy that is under way, or the last one of its function when
// that failed. One that worked is the version it made.
type Deployment struct {
	// Version is what is being made; its number is 0 until the code has been taken.
	Version
	// First says that the function has no version yet.
	First bool `json:"first,omitempty"`
	// Step is where it is, or was when it failed.
	Step  string    `json:"step,omitempty"`
	Began time.Time `json:"began"`
	// Reason says why it failed, and ReasonCode its code: both are "" while it runs.
	Reason     string `json:"reason,omitempty"`
	ReasonCode Code   `json:"reason_code,omitempty"`
}

// Failed says that the deploy has ended without a version.
func (d Deployment) Failed() bool { return d.ReasonCode != "" }

// Complete says that the code came in an archive of the Lambda API, which brings what
// it needs: nothing is installed beside it.
func (s Settings) Complete() bool { return s.Lambda != nil && s.Lambda.CodeSHA256 != "" }

// LambdaInfo is what a client of the Lambda API said of a function that means
// nothing here, kept to be told again.
type LambdaInfo struct {
	// Runtime is Lambda's name of it, such as python3.12.
	Runtime string `json:"runtime,omitempty"`
	// Role is the ARN of an execution role.
	Role string `json:"role,omitempty"`
	// CodeSHA256 is the digest of the archive in base64, CodeBytes its length.
	CodeSHA256 string `json:"code_sha256,omitempty"`
	CodeBytes  int64  `json:"code_bytes,omitempty"`
	// Tags are those of its creation.
	Tags map[string]string `json:"tags,omitempty"`
}
