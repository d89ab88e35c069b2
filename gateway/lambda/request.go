package lambda

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"reflect"
	"strings"
	"time"

	"thaw"
)

// The kinds of deployment package.
const (
	packageZip   = "Zip"
	packageImage = "Image"
)

// architecture is the one there is.
const architecture = "x86_64"

// scratchMB is what Lambda gives /tmp unless told otherwise. Here /tmp is memory of
// the guest.
const scratchMB = 512

// Environment holds a function's variables.
type Environment struct {
	Variables map[string]string `json:"Variables"`
}

// EphemeralStorage is the size of /tmp in MiB.
type EphemeralStorage struct {
	Size int `json:"Size"`
}

// ImageConfig replaces what an image says of how it is run.
type ImageConfig struct {
	EntryPoint       []string `json:"EntryPoint,omitempty"`
	Command          []string `json:"Command,omitempty"`
	WorkingDirectory string   `json:"WorkingDirectory,omitempty"`
}

// configuration is what CreateFunction and UpdateFunctionConfiguration have in
// common. A field that is not sent is nil.
type configuration struct {
	Runtime          *string           `json:"Runtime"`
	Role             *string           `json:"Role"`
	Handler          *string           `json:"Handler"`
	Description      *string           `json:"Description"`
	Timeout          *int              `json:"Timeout"`    // seconds
	MemorySize       *int              `json:"MemorySize"` // MiB
	Environment      *Environment      `json:"Environment"`
	EphemeralStorage *EphemeralStorage `json:"EphemeralStorage"`
	ImageConfig      *ImageConfig      `json:"ImageConfig"`
	// Every version is served from a snapshot, whatever this says.
	SnapStart json.RawMessage `json:"SnapStart"`
	// These are without effect: traces and logs go the same way for all functions.
	TracingConfig json.RawMessage `json:"TracingConfig"`
	LoggingConfig json.RawMessage `json:"LoggingConfig"`
	foreign
}

// foreign is what would change how a function runs and is not there: only an empty
// value of it is taken.
type foreign struct {
	VpcConfig              json.RawMessage `json:"VpcConfig"`
	DeadLetterConfig       json.RawMessage `json:"DeadLetterConfig"`
	KMSKeyArn              json.RawMessage `json:"KMSKeyArn"`
	Layers                 json.RawMessage `json:"Layers"`
	FileSystemConfigs      json.RawMessage `json:"FileSystemConfigs"`
	CodeSigningConfigArn   json.RawMessage `json:"CodeSigningConfigArn"`
	TenancyConfig          json.RawMessage `json:"TenancyConfig"`
	CapacityProviderConfig json.RawMessage `json:"CapacityProviderConfig"`
	DurableConfig          json.RawMessage `json:"DurableConfig"`
	RuntimeConfig          json.RawMessage `json:"RuntimeConfig"`
	AcceleratorConfig      json.RawMessage `json:"AcceleratorConfig"`
	PublishTo              json.RawMessage `json:"PublishTo"`
}

// check refuses the first of them that is not empty.
func (f foreign) check() error {
	v := reflect.ValueOf(f)
	for i := range v.NumField() {
		if raw := v.Field(i).Bytes(); !isEmpty(raw) {
			return thaw.Errorf(thaw.CodeInvalid, "%s is not supported: leave it out", v.Type().Field(i).Name)
		}
	}
	return nil
}

// isEmpty says that raw, JSON, holds no value: nothing, "", 0, false, or lists and
// objects of these.
func isEmpty(raw json.RawMessage) bool {
	var v any
	return len(raw) == 0 || json.Unmarshal(raw, &v) == nil && empty(v)
}

func empty(v any) bool {
	switch v := v.(type) {
	case map[string]any:
		for _, x := range v {
			if !empty(x) {
				return false
			}
		}
		return true
	case []any:
		return len(v) == 0
	}
	return v == nil || v == "" || v == 0.0 || v == false
}

// source is where a function's files are.
type source struct {
	ZipFile             []byte          `json:"ZipFile"`
	S3Bucket            json.RawMessage `json:"S3Bucket"`
	S3Key               json.RawMessage `json:"S3Key"`
	S3ObjectVersion     json.RawMessage `json:"S3ObjectVersion"`
	S3ObjectStorageMode json.RawMessage `json:"S3ObjectStorageMode"`
	SourceKMSKeyArn     json.RawMessage `json:"SourceKMSKeyArn"`
	// ImageURI is the reference of an OCI image, which the daemon pulls.
	ImageURI string `json:"ImageUri"`
}

// check says whether c is code of the kind that packageType is.
func (c source) check(packageType string) error {
	switch {
	case !isEmpty(c.S3Bucket) || !isEmpty(c.S3Key):
		return thaw.Errorf(thaw.CodeInvalid, "code in S3 is not supported: send the archive itself as ZipFile")
	case packageType == packageImage && (c.ImageURI == "" || len(c.ZipFile) > 0):
		return thaw.Errorf(thaw.CodeInvalid, "an image is wanted: send its reference as ImageUri, and no archive")
	case packageType == packageZip && (c.ImageURI != "" || len(c.ZipFile) == 0):
		return thaw.Errorf(thaw.CodeInvalid, "an archive is wanted: send a zip archive of the function's files in base64 as ZipFile, and no image")
	case len(c.ZipFile) > MaxArchive:
		return thaw.Errorf(thaw.CodeTooLarge, "the archive is larger than %d MiB: leave out what the function does not need", MaxArchive>>20)
	}
	return nil
}

// Digest is the CodeSha256 of an archive.
func Digest(archive []byte) string {
	sum := sha256.Sum256(archive)
	return base64.StdEncoding.EncodeToString(sum[:])
}

// CreateFunction is a request to make a function.
type CreateFunction struct {
	FunctionName  string            `json:"FunctionName"`
	Code          source            `json:"Code"`
	PackageType   string            `json:"PackageType"`
	Architectures []string          `json:"Architectures"`
	Publish       bool              `json:"Publish"`
	Tags          map[string]string `json:"Tags"`
	configuration
}

// Read reads one JSON object into v, a pointer to a request, and nothing else. What
// cannot be read is a [thaw.CodeInvalid] error, as is a field that is not known: it
// would change what nobody sees.
func Read(raw []byte, v any) error {
	if len(bytes.TrimSpace(raw)) == 0 {
		raw = []byte("{}")
	}
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(v); err != nil {
		return thaw.Errorf(thaw.CodeInvalid, "the request cannot be read: %w", err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return thaw.Errorf(thaw.CodeInvalid, "something follows the request: send one JSON object")
	}
	return nil
}

// Request checks c and returns the deploy that it asks for. Of an archive, which is
// nil of an image, the files are the code.
func (c CreateFunction) Request() (r thaw.PublishRequest, archive []byte, err error) {
	ref, err := ParseName(c.FunctionName, "")
	if err != nil {
		return r, nil, err
	}
	if ref.Qualifier != "" {
		return r, nil, thaw.Errorf(thaw.CodeInvalid, "FunctionName %s has a qualifier: versions get their numbers by themselves", ref)
	}
	kind := cmp.Or(c.PackageType, packageZip)
	if kind != packageZip && kind != packageImage {
		return r, nil, thaw.Errorf(thaw.CodeInvalid, "PackageType %.100q is not valid: choose %s or %s", kind, packageZip, packageImage)
	}
	if err := errors.Join(c.Code.check(kind), checkArchitectures(c.Architectures)); err != nil {
		return r, nil, err
	}
	if kind == packageZip && c.Runtime == nil {
		return r, nil, thaw.Errorf(thaw.CodeInvalid, "Runtime is missing: choose one such as python3.11 or provided.al2023")
	}
	r = thaw.PublishRequest{Function: ref.Function, New: true}
	r.Settings.Lambda = &thaw.LambdaInfo{Tags: c.Tags}
	r = c.Code.into(r)
	r.Settings, err = c.apply(r.Settings)
	return r, c.Code.ZipFile, err
}

// into returns r with the code that c is: a reference of an image, or the digest of
// an archive, whose files are still to be read.
func (c source) into(r thaw.PublishRequest) thaw.PublishRequest {
	if c.ImageURI == "" {
		r.Settings = withArchive(r.Settings, c.ZipFile)
		return r
	}
	im := thaw.ContainerImage{}
	if r.Settings.Image != nil {
		im = *r.Settings.Image
	}
	im.Reference, im.Uploaded = c.ImageURI, false
	r.Settings.Image, r.Code = &im, strings.NewReader("")
	return r
}

func checkArchitectures(list []string) error {
	if len(list) == 0 || len(list) == 1 && list[0] == architecture {
		return nil
	}
	return thaw.Errorf(thaw.CodeInvalid, "architectures %.100q are not supported: choose %s", list, architecture)
}

// withArchive notes what the code came in.
func withArchive(s thaw.Settings, archive []byte) thaw.Settings {
	info := thaw.LambdaInfo{}
	if s.Lambda != nil {
		info = *s.Lambda
	}
	info.CodeSHA256, info.CodeBytes = Digest(archive), int64(len(archive))
	s.Lambda = &info
	return s
}

// apply returns s with what c says, with defaults and checked.
func (c configuration) apply(s thaw.Settings) (thaw.Settings, error) {
	if err := c.check(); err != nil {
		return s, err
	}
	if c.EphemeralStorage != nil && c.EphemeralStorage.Size != scratchMB {
		return s, thaw.Errorf(thaw.CodeInvalid, "EphemeralStorage of %d MB is not supported: /tmp is in the function's memory, leave it out or set it to %d", c.EphemeralStorage.Size, scratchMB)
	}
	info := thaw.LambdaInfo{}
	if s.Lambda != nil {
		info = *s.Lambda
	}
	if s.Image != nil && (c.Runtime != nil || c.Handler != nil) {
		return s, thaw.Errorf(thaw.CodeInvalid, "an image has neither Runtime nor Handler: what it says is run, or what ImageConfig says")
	}
	if c.Runtime != nil {
		runtime, err := runtimeOf(*c.Runtime)
		if err != nil {
			return s, err
		}
		s.Runtime, info.Runtime = runtime, *c.Runtime
	}
	set(&info.Role, c.Role)
	set(&s.Handler, c.Handler)
	set(&s.Description, c.Description)
	if c.Timeout != nil {
		s.Timeout = time.Duration(*c.Timeout) * time.Second
	}
	if c.MemorySize != nil {
		s.MemoryBytes = int64(*c.MemorySize) << 20
	}
	if c.ImageConfig != nil {
		if s.Image == nil {
			return s, thaw.Errorf(thaw.CodeInvalid, "ImageConfig is for functions that are made of an image")
		}
		im := *s.Image
		im.EntryPoint, im.Command, im.WorkingDirectory = c.ImageConfig.EntryPoint, c.ImageConfig.Command, c.ImageConfig.WorkingDirectory
		s.Image = &im
	}
	if c.Environment != nil {
		s.Env = c.Environment.Variables
	}
	if s.Lambda != nil || info.Runtime != "" || info.Role != "" {
		s.Lambda = &info
	}
	return c.bounded(s)
}

// bounded checks s. A zero that was written out is no default.
func (c configuration) bounded(s thaw.Settings) (thaw.Settings, error) {
	if c.Timeout != nil && (*c.Timeout < 1 || *c.Timeout > int(thaw.MaxTimeout/time.Second)) {
		return s, thaw.Errorf(thaw.CodeInvalid, "Timeout of %d s is out of range: choose 1 to %d", *c.Timeout, thaw.MaxTimeout/time.Second)
	}
	if c.MemorySize != nil && (*c.MemorySize < thaw.MinMemory>>20 || *c.MemorySize > thaw.MaxMemory>>20) {
		return s, thaw.Errorf(thaw.CodeInvalid, "MemorySize of %d MB is out of range: choose %d to %d", *c.MemorySize, thaw.MinMemory>>20, thaw.MaxMemory>>20)
	}
	s = s.WithDefaults()
	return s, s.Validate()
}

func set[T any](to, from *T) {
	if from != nil {
		*to = *from
	}
}

// runtimeOf returns what runs functions of Lambda's runtime called name. Versions
// are not told apart: there is one Python, and one Node.js.
func runtimeOf(name string) (thaw.Runtime, error) {
	switch {
	case strings.HasPrefix(name, "python3."):
		return thaw.RuntimePython, nil
	case strings.HasPrefix(name, "nodejs"):
		return thaw.RuntimeNode, nil
	case name == "provided" || strings.HasPrefix(name, "provided."):
		return thaw.RuntimeProvided, nil
	}
	return "", thaw.Errorf(thaw.CodeInvalid, "runtime %.100q is not supported: choose one of Python 3 or Node.js, or provided.al2023 for an executable called bootstrap", name)
}

// UpdateFunctionCode is a request for a version with other code.
type UpdateFunctionCode struct {
	Architectures []string        `json:"Architectures"`
	Publish       bool            `json:"Publish"`
	DryRun        bool            `json:"DryRun"`
	RevisionID    string          `json:"RevisionId"`
	FunctionName  string          `json:"FunctionName"` // of clients that send the path's again
	PublishTo     json.RawMessage `json:"PublishTo"`
	source
}

// Request checks u and returns the deploy that it asks for of a function whose
// version that serves is v, as [CreateFunction.Request] does.
func (u UpdateFunctionCode) Request(v thaw.Version) (r thaw.PublishRequest, archive []byte, err error) {
	r = u.into(thaw.PublishRequest{Function: v.Function, Settings: v.Settings})
	return r, u.ZipFile, errors.Join(u.source.check(packageType(v.Settings)), checkArchitectures(u.Architectures), foreign{PublishTo: u.PublishTo}.check())
}

// packageType is the kind of a function's code.
func packageType(s thaw.Settings) string {
	if s.Image != nil {
		return packageImage
	}
	return packageZip
}

// UpdateFunctionConfiguration is a request for a version with other settings.
type UpdateFunctionConfiguration struct {
	RevisionID   string `json:"RevisionId"`
	FunctionName string `json:"FunctionName"`
	configuration
}

// Request checks u and returns the deploy that it asks for of a function whose
// version that serves is v.
func (u UpdateFunctionConfiguration) Request(v thaw.Version) (r thaw.PublishRequest, err error) {
	r = thaw.PublishRequest{Function: v.Function, From: thaw.RefTo(v.Function, v.Number).String()}
	r.Settings, err = u.apply(v.Settings)
	return r, err
}

// Unchanged says that r would make again what v is. An image may have changed under
// its name.
func Unchanged(v thaw.Version, r thaw.PublishRequest) bool {
	x, _ := json.Marshal(v.Settings) // settings always marshal
	y, _ := json.Marshal(r.Settings)
	return bytes.Equal(x, y) && (v.Image == nil || r.From != "")
}

// PublishVersion is a request for the number of the newest version.
type PublishVersion struct {
	CodeSHA256   string          `json:"CodeSha256"`
	Description  *string         `json:"Description"`
	RevisionID   string          `json:"RevisionId"`
	FunctionName string          `json:"FunctionName"`
	PublishTo    json.RawMessage `json:"PublishTo"`
}

// Check compares p with the newest version.
func (p PublishVersion) Check(v thaw.Version) error {
	if got := codeDigest(v); p.CodeSHA256 != "" && p.CodeSHA256 != got {
		return thaw.Errorf(thaw.CodeInvalid, "CodeSha256 (%.100s) is not that of the newest version (%s): the code has changed since", p.CodeSHA256, got)
	}
	return foreign{PublishTo: p.PublishTo}.check()
}
