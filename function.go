package thaw

import (
	"encoding/json"
	"errors"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Runtime names what executes a function inside the guest.
type Runtime string

const (
	// RuntimePython runs `def handler(event, context)` under CPython.
	RuntimePython Runtime = "python3"
	// RuntimeNode runs `exports.handler = async (event, context) => …` under Node.js.
	RuntimeNode Runtime = "node"
	// RuntimeProvided runs an executable file called bootstrap that speaks the
	// AWS Lambda Runtime API.
	RuntimeProvided Runtime = "provided"
	// RuntimeHTTP runs a command that is an HTTP server on 127.0.0.1:$PORT.
	RuntimeHTTP Runtime = "http"
)

// Runtimes returns every runtime.
func Runtimes() []Runtime { return []Runtime{RuntimePython, RuntimeNode, RuntimeProvided, RuntimeHTTP} }

// runtimeList names every runtime for a message.
func runtimeList() string {
	var names []string
	for _, r := range Runtimes() {
		names = append(names, string(r))
	}
	return strings.Join(names, ", ")
}

// The bounds and defaults of [Settings].
const (
	DefaultMemory  = 256 << 20
	MinMemory      = 128 << 20
	MaxMemory      = 4 << 30
	DefaultTimeout = 30 * time.Second
	MinTimeout     = 100 * time.Millisecond
	MaxTimeout     = 15 * time.Minute
	// MaxEnvBytes bounds all names and values of an environment, as Lambda does.
	MaxEnvBytes = 4 << 10
	// MaxNameLen is the longest function name in bytes.
	MaxNameLen = 64
	// MaxHandlerLen is the longest handler in bytes, as in Lambda's CreateFunction.
	MaxHandlerLen = 128
	// MaxDescription is the longest description in bytes, as in Lambda's CreateFunction.
	MaxDescription = 256
	// MaxPackages is the most packages that a function can ask for.
	MaxPackages = 32
	// MaxPackageLen is the longest package name in bytes. Debian's own longest is
	// below 100.
	MaxPackageLen = 128
)

// Settings is what a user chooses for a function. The zero value of each field
// means its default.
type Settings struct {
	Runtime Runtime `json:"runtime"`
	// Handler is module.function for python3 and node, the command for http, see
	// [Settings.Command], ignored by provided.
	Handler     string            `json:"handler,omitempty"`
	MemoryBytes int64             `json:"memory_bytes"`
	Timeout     time.Duration     `json:"timeout_ns"`
	Env         map[string]string `json:"env,omitempty"`
	// Packages are the Debian packages that the root disk holds in addition to its
	// own, sorted and each once. That of provided is empty without them, and with
	// them Debian's essential packages, a shell among them.
	Packages []string `json:"packages,omitempty"`
	// InstallScripts has packages execute code of theirs while they are installed
	// from requirements.txt or package.json, where nothing of them is executed
	// otherwise.
	InstallScripts bool `json:"install_scripts,omitempty"`
	// Policy is how its instances get their memory where an invocation names no
	// policy, "" for [DefaultPolicy].
	Policy Policy `json:"policy,omitempty"`
	// Concurrency is how many invocations an instance serves at once; 0 is one.
	Concurrency int `json:"concurrency,omitempty"`
	// MinScale is how many instances are kept while the version serves, MaxScale how
	// many there are at most; 0 is the daemon's limit, which bounds both.
	MinScale int `json:"min_scale,omitempty"`
	MaxScale int `json:"max_scale,omitempty"`
	// IdleTimeout is for how long an instance without work is kept; 0 is the daemon's.
	IdleTimeout time.Duration `json:"idle_timeout_ns,omitempty"`
	// KeepAlive is how that is decided; "" is [KeepAliveFixed].
	KeepAlive KeepAlive `json:"keep_alive,omitempty"`
	// Description is for people.
	Description string `json:"description,omitempty"`
	// Lambda is kept for clients of the Lambda API; nil when none made the version.
	Lambda *LambdaInfo `json:"lambda,omitempty"`
	// Image is the OCI image that the function is made of, nil for one that is made
	// of files and a runtime's root disk.
	Image *ContainerImage `json:"image,omitempty"`
	// Secrets are the names of those that its instances are given as files, sorted
	// and each once.
	Secrets []string `json:"secrets,omitempty"`
	// Prime are sample events that the function serves before its snapshot is taken,
	// so that clones find done what the first event of a process has to do.
	Prime []json.RawMessage `json:"prime,omitempty"`
	// SkipRecord leaves the first working set to the first cold start.
	SkipRecord bool `json:"skip_record,omitempty"`
}

// WithDefaults returns s with every unset field set, and its lists in order.
func (s Settings) WithDefaults() Settings {
	if s.Runtime == "" && s.Image != nil {
		s.Runtime = RuntimeProvided
	}
	if s.Runtime == "" {
		s.Runtime = RuntimePython
	}
	if s.Handler == "" && s.Image == nil {
		s.Handler = defaultHandler(s.Runtime)
	}
	if s.MemoryBytes == 0 {
		s.MemoryBytes = DefaultMemory
	}
	if s.Timeout == 0 {
		s.Timeout = DefaultTimeout
	}
	s.Packages = slices.Compact(slices.Sorted(slices.Values(s.Packages)))
	s.Secrets = slices.Compact(slices.Sorted(slices.Values(s.Secrets)))
	return s
}

var (
	nameRule = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9_-]*[A-Za-z0-9])?$`)
	envRule  = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	// packageRule is that of the Debian Policy Manual, section 5.6.7, without the
	// endings that apt takes for something else: name- removes a package.
	packageRule = regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]*[a-z0-9+]$`)
)

// CheckName returns a [CodeInvalid] error unless name can be a function's.
func CheckName(name string) error {
	if len(name) > MaxNameLen {
		return Errorf(CodeInvalid, "function name is %d bytes long: use at most %d", len(name), MaxNameLen)
	}
	if !nameRule.MatchString(name) {
		return Errorf(CodeInvalid, "function name %q is not valid: use a to z, A to Z, digits, - and _, beginning and ending with a letter or digit", name)
	}
	return nil
}

// Validate returns a [CodeInvalid] error that names the first bad field of s,
// which must have its defaults set.
func (s Settings) Validate() error {
	if !slices.Contains(Runtimes(), s.Runtime) {
		return Errorf(CodeInvalid, "unknown runtime %q: choose one of %s", s.Runtime, runtimeList())
	}
	if err := s.validateHandler(); err != nil {
		return err
	}
	if _, err := ParsePolicy(string(s.Policy)); err != nil {
		return err
	}
	if len(s.Description) > MaxDescription {
		return Errorf(CodeInvalid, "description is %d bytes long: use at most %d", len(s.Description), MaxDescription)
	}
	if err := s.validateSizes(); err != nil {
		return err
	}
	if err := s.validatePackages(); err != nil {
		return err
	}
	if err := errors.Join(s.validateScaling(), s.validateSecrets()); err != nil {
		return err
	}
	if err := s.validatePrime(); err != nil {
		return err
	}
	return s.validateEnv()
}

func (s Settings) validateSizes() error {
	if s.MemoryBytes < MinMemory || s.MemoryBytes > MaxMemory {
		return Errorf(CodeInvalid, "memory of %d MiB is out of range: choose 128MiB to 4GiB", s.MemoryBytes>>20)
	}
	if s.MemoryBytes%(1<<20) != 0 {
		return Errorf(CodeInvalid, "memory of %d bytes is not a whole number of MiB", s.MemoryBytes)
	}
	if s.Timeout < MinTimeout || s.Timeout > MaxTimeout {
		return Errorf(CodeInvalid, "timeout %s is out of range: choose %s to %s", s.Timeout, MinTimeout, MaxTimeout)
	}
	return nil
}

func (s Settings) validatePackages() error {
	if len(s.Packages) > 0 && s.Image != nil {
		return Errorf(CodeInvalid, "packages are not for an image, which brings its own root disk: install them in the image")
	}
	if len(s.Packages) > MaxPackages {
		return Errorf(CodeInvalid, "%d packages are too many: name at most %d, what they depend on comes with them", len(s.Packages), MaxPackages)
	}
	for _, p := range s.Packages {
		if len(p) > MaxPackageLen {
			return Errorf(CodeInvalid, "package name is %d bytes long: use at most %d", len(p), MaxPackageLen)
		}
		if !packageRule.MatchString(p) {
			return Errorf(CodeInvalid, "package name %q is not valid: write it as Debian does, such as python3-numpy, with a to z, digits, +, - and . only", p)
		}
	}
	return nil
}

func (s Settings) validateEnv() error {
	total := 0
	for _, k := range slices.Sorted(maps.Keys(s.Env)) {
		if !envRule.MatchString(k) {
			return Errorf(CodeInvalid, "environment variable name %q is not valid: use letters, digits and _", k)
		}
		if reservedEnv(k) || s.Protocol() == ProtocolHTTP && reservedHTTP(k) {
			return Errorf(CodeInvalid, "environment variable %s is reserved for the runtime: choose another name", k)
		}
		if strings.ContainsRune(s.Env[k], 0) {
			return Errorf(CodeInvalid, "environment variable %s holds a NUL byte", k)
		}
		total += len(k) + len(s.Env[k])
	}
	if total > MaxEnvBytes {
		return Errorf(CodeInvalid, "environment is %d bytes: at most %d are allowed", total, MaxEnvBytes)
	}
	return nil
}

// reservedEnv reports the names the Lambda Runtime API gives a meaning to.
func reservedEnv(name string) bool {
	return name == "_HANDLER" || name == "LAMBDA_TASK_ROOT" || name == "LAMBDA_RUNTIME_DIR" || strings.HasPrefix(name, "AWS_LAMBDA_") || strings.HasPrefix(name, "THAW_")
}

// Version is one immutable deploy of a function. A new deploy makes the next
// number, and the version that serves.
type Version struct {
	Function string `json:"function"`
	Number   int    `json:"version"`
	Settings
	// Images are what it boots from.
	Images Images `json:"images"`
	// Container is what came of the image that the settings name, nil without one.
	Container *Container `json:"container,omitempty"`
	// CodeBytes is the size of the code disk, or of the root disk where an image is
	// the code.
	CodeBytes int64 `json:"code_bytes"`
	// Snapshot is the id of the version's snapshot, "" when it has none, in
	// which case Problem says why and every start is a boot.
	Snapshot string    `json:"snapshot,omitempty"`
	Problem  string    `json:"problem,omitempty"`
	Created  time.Time `json:"created"`
}
