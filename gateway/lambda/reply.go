package lambda

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"thaw"
)

// The values of State and LastUpdateStatus.
const (
	statePending    = "Pending"
	stateActive     = "Active"
	stateFailed     = "Failed"
	updateDone      = "Successful"
	updateUnderWay  = "InProgress"
	updateFailed    = "Failed"
	reasonCreating  = "Creating"
	timeFormat      = "2006-01-02T15:04:05.000-0700"
	placeholderRole = "arn:aws:iam::" + Account + ":role/thaw"
)

// SnapStart says how a version is served.
type SnapStart struct {
	ApplyOn            string `json:"ApplyOn"`
	OptimizationStatus string `json:"OptimizationStatus"`
}

// ImageResponse holds how an image is run.
type ImageResponse struct {
	ImageConfig ImageConfig `json:"ImageConfig"`
}

// Configuration is a version of a function as clients are told of it.
type Configuration struct {
	FunctionName               string            `json:"FunctionName"`
	FunctionArn                string            `json:"FunctionArn"`
	Runtime                    string            `json:"Runtime,omitempty"`
	Role                       string            `json:"Role"`
	Handler                    string            `json:"Handler,omitempty"`
	CodeSize                   int64             `json:"CodeSize"`
	Description                string            `json:"Description"`
	Timeout                    int               `json:"Timeout"`
	MemorySize                 int               `json:"MemorySize"`
	LastModified               string            `json:"LastModified"`
	CodeSHA256                 string            `json:"CodeSha256"`
	Version                    string            `json:"Version"`
	Environment                *Environment      `json:"Environment,omitempty"`
	RevisionID                 string            `json:"RevisionId"`
	State                      string            `json:"State"`
	StateReason                string            `json:"StateReason,omitempty"`
	StateReasonCode            string            `json:"StateReasonCode,omitempty"`
	LastUpdateStatus           string            `json:"LastUpdateStatus"`
	LastUpdateStatusReason     string            `json:"LastUpdateStatusReason,omitempty"`
	LastUpdateStatusReasonCode string            `json:"LastUpdateStatusReasonCode,omitempty"`
	PackageType                string            `json:"PackageType"`
	ImageConfigResponse        *ImageResponse    `json:"ImageConfigResponse,omitempty"`
	Architectures              []string          `json:"Architectures"`
	EphemeralStorage           *EphemeralStorage `json:"EphemeralStorage"`
	SnapStart                  SnapStart         `json:"SnapStart"`
}

// Configure tells of v. ref is what it was asked for by: a version that was not named
// by its number is told as $LATEST.
func Configure(ref thaw.Ref, v thaw.Version) Configuration {
	c := Configuration{
		FunctionName: v.Function, FunctionArn: ARN(ref), Runtime: runtimeName(v.Settings), Role: placeholderRole, Handler: v.Handler,
		CodeSize: v.CodeBytes, Description: v.Description, Timeout: int((v.Timeout + time.Second - 1) / time.Second), MemorySize: int(v.MemoryBytes >> 20),
		LastModified: v.Created.UTC().Format(timeFormat), CodeSHA256: codeDigest(v), Version: thaw.Latest, RevisionID: RevisionOf(v),
		State: stateActive, LastUpdateStatus: updateDone,
		PackageType: packageType(v.Settings), Architectures: []string{architecture}, EphemeralStorage: &EphemeralStorage{scratchMB},
		SnapStart: SnapStart{ApplyOn: "PublishedVersions", OptimizationStatus: "Off"},
	}
	if ref.Qualifier != "" && ref.Qualifier != thaw.Latest {
		c.Version = fmt.Sprint(v.Number)
	}
	if v.Snapshot != "" {
		c.SnapStart.OptimizationStatus = "On"
	}
	if im := v.Image; im != nil && (len(im.EntryPoint) > 0 || len(im.Command) > 0 || im.WorkingDirectory != "") {
		c.ImageConfigResponse = &ImageResponse{ImageConfig{im.EntryPoint, im.Command, im.WorkingDirectory}}
	}
	if len(v.Env) > 0 {
		c.Environment = &Environment{v.Env}
	}
	if v.Lambda != nil {
		c.Role = cmp.Or(v.Lambda.Role, c.Role)
		c.CodeSize = cmp.Or(v.Lambda.CodeBytes, c.CodeSize)
	}
	return c
}

// Numbered returns c named by the number of v.
func (c Configuration) Numbered(v thaw.Version) Configuration {
	ref := thaw.RefTo(v.Function, v.Number)
	c.FunctionArn, c.Version = ARN(ref), ref.Qualifier
	return c
}

// SortKey puts functions in the order of their names, and the versions of each in
// that of their numbers, after [thaw.Latest].
func (c Configuration) SortKey() string {
	return fmt.Sprintf("%s %10s", c.FunctionName, strings.TrimPrefix(c.Version, thaw.Latest))
}

// ConfigureDeployment tells of what a deploy makes: of a function's first one that it
// is pending, or why it failed, of others that an update is in progress.
func ConfigureDeployment(d thaw.Deployment) Configuration {
	c := Configure(thaw.Ref{Function: d.Function}, d.Version)
	switch {
	case d.First && d.Failed():
		c.State, c.StateReason, c.StateReasonCode = stateFailed, d.Reason, reasonOf(d.ReasonCode)
		c.LastUpdateStatus, c.LastUpdateStatusReason, c.LastUpdateStatusReasonCode = updateFailed, d.Reason, reasonOf(d.ReasonCode)
	case d.First:
		c.State, c.StateReason, c.StateReasonCode = statePending, "The function is being created: "+cmp.Or(d.Step, "image"), reasonCreating
	}
	if !d.Failed() && !d.First {
		return c.updating(d)
	}
	return c
}

// Updated returns c, of a version that serves, with how its function's deploy goes.
func (c Configuration) Updated(d thaw.Deployment) Configuration {
	if !d.Failed() {
		return c.updating(d)
	}
	c.LastUpdateStatus, c.LastUpdateStatusReason, c.LastUpdateStatusReasonCode = updateFailed, d.Reason, reasonOf(d.ReasonCode)
	return c
}

func (c Configuration) updating(d thaw.Deployment) Configuration {
	c.LastUpdateStatus = updateUnderWay
	c.LastUpdateStatusReason = "The function is being updated: " + cmp.Or(d.Step, "image")
	return c
}

// reasonOf is Lambda's code for why a deploy failed.
func reasonOf(code thaw.Code) string {
	switch code {
	case thaw.CodeFunction:
		return "FunctionError"
	case thaw.CodeInvalid, thaw.CodeTooLarge:
		return "InvalidConfiguration"
	case thaw.CodeThrottled:
		return "InsufficientCapacity"
	}
	return "InternalError"
}

// runtimeName is Lambda's name of a runtime: what a client called it, or the version
// that Debian 12 has.
func runtimeName(s thaw.Settings) string {
	if s.Lambda != nil && s.Lambda.Runtime != "" {
		return s.Lambda.Runtime
	}
	if s.Image != nil {
		return ""
	}
	switch s.Runtime {
	case thaw.RuntimePython:
		return "python3.11"
	case thaw.RuntimeNode:
		return "nodejs18.x"
	}
	return "provided.al2023"
}

// codeDigest is the CodeSha256 of v: that of its image, of its archive, or of its code
// disk.
func codeDigest(v thaw.Version) string {
	if v.Container != nil {
		return strings.TrimPrefix(v.Container.Digest, "sha256:")
	}
	if v.Lambda != nil && v.Lambda.CodeSHA256 != "" {
		return v.Lambda.CodeSHA256
	}
	raw, err := hex.DecodeString(v.Images.Code)
	if err != nil || len(raw) != sha256.Size {
		sum := sha256.Sum256([]byte(v.Images.Code))
		raw = sum[:]
	}
	return base64.StdEncoding.EncodeToString(raw)
}

// RevisionOf is the RevisionId of v. What changes by itself, such as its snapshot, is
// not in it.
func RevisionOf(v thaw.Version) string {
	return revision([]any{v.Function, v.Number, v.Created, v.Settings})
}

// revision tells whether something has changed, as a UUID does.
func revision(v any) string {
	raw, _ := json.Marshal(v) // versions and aliases always marshal
	sum := sha256.Sum256(raw)
	s := hex.EncodeToString(sum[:16])
	return s[:8] + "-" + s[8:12] + "-" + s[12:16] + "-" + s[16:20] + "-" + s[20:]
}

// Code says where a function's code is. There is no address to fetch it from.
type Code struct {
	RepositoryType   string `json:"RepositoryType"`
	ImageURI         string `json:"ImageUri,omitempty"`
	ResolvedImageURI string `json:"ResolvedImageUri,omitempty"`
}

// Function is the reply to GetFunction.
type Function struct {
	Configuration Configuration     `json:"Configuration"`
	Code          Code              `json:"Code"`
	Tags          map[string]string `json:"Tags,omitempty"`
	Concurrency   *Concurrency      `json:"Concurrency,omitempty"`
}

// Describe makes the reply to GetFunction.
func Describe(c Configuration, v thaw.Version) Function {
	f := Function{Configuration: c, Code: Code{RepositoryType: "thaw"}}
	if v.Image != nil && v.Container != nil {
		f.Code.ImageURI, f.Code.ResolvedImageURI = v.Image.Reference, resolved(v.Image.Reference, v.Container.Digest)
	}
	if v.Lambda != nil {
		f.Tags = v.Lambda.Tags
	}
	if c := ConcurrencyOf(v.Settings); c.Reserved > 0 {
		f.Concurrency = &c
	}
	return f
}

// resolved names the image that reference led to by its digest.
func resolved(reference, digest string) string {
	reference, _, _ = strings.Cut(reference, "@")
	if i := strings.LastIndexByte(reference, ':'); i > strings.LastIndexByte(reference, '/') {
		reference = reference[:i]
	}
	return reference + "@" + digest
}

// Functions is the reply to ListFunctions.
type Functions struct {
	Functions  []Configuration `json:"Functions"`
	NextMarker string          `json:"NextMarker,omitempty"`
}

// Versions is the reply to ListVersionsByFunction.
type Versions struct {
	Versions   []Configuration `json:"Versions"`
	NextMarker string          `json:"NextMarker,omitempty"`
}
