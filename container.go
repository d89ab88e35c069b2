package thaw

import (
	"cmp"
	"path"
	"slices"
	"strings"
)

// ContainerImage says which OCI image a function is made of, and what of the
// image's own configuration it replaces, as the ImageConfig of Lambda's
// CreateFunction does.
type ContainerImage struct {
	// Reference names the image: [REGISTRY/]REPOSITORY[:TAG][@DIGEST], which the
	// daemon pulls, or where the client had it when Uploaded is set.
	Reference string `json:"reference"`
	// Uploaded says that the image comes as the code of the deploy: a tar stream
	// of an OCI image layout.
	Uploaded bool `json:"uploaded,omitempty"`
	// Insecure lets the registry be spoken to without TLS. One on a loopback or a
	// private address may be in any case.
	Insecure bool `json:"insecure,omitempty"`
	// EntryPoint, Command and WorkingDirectory replace ENTRYPOINT, CMD and WORKDIR
	// of the image, each by itself, unless they are empty.
	EntryPoint       []string `json:"entry_point,omitempty"`
	Command          []string `json:"command,omitempty"`
	WorkingDirectory string   `json:"working_directory,omitempty"`
}

// Container is what came of an image: which one it is, and how it wants to be run.
type Container struct {
	// Digest is that of the image's manifest, sha256:HEX. It is of one platform,
	// also where the reference names several.
	Digest string `json:"digest"`
	// Layers are the digests of its layers as they were fetched, lowest first.
	Layers []string `json:"layers"`
	// EntryPoint and Command are its ENTRYPOINT and CMD.
	EntryPoint []string `json:"entry_point,omitempty"`
	Command    []string `json:"command,omitempty"`
	// Env is the environment that the image asks for. The function's goes over it.
	Env map[string]string `json:"env,omitempty"`
	// WorkingDirectory is absolute.
	WorkingDirectory string `json:"working_directory"`
	// User is whom the image wants to be run as, as its USER says it: a user or
	// USER:GROUP, by number or by name in the image; "" if it does not say.
	User string `json:"user,omitempty"`
}

// Argv is what is executed, by words: the entry point, then the command, with what
// want replaces.
func (c Container) Argv(want ContainerImage) []string {
	return slices.Concat(either(want.EntryPoint, c.EntryPoint), either(want.Command, c.Command))
}

func either(first, second []string) []string {
	if len(first) > 0 {
		return first
	}
	return second
}

// Directory is where it is executed, with what want replaces.
func (c Container) Directory(want ContainerImage) string {
	return path.Clean("/" + cmp.Or(want.WorkingDirectory, c.WorkingDirectory))
}

// Check returns a [CodeInvalid] error unless there is something to execute.
func (c Container) Check(want ContainerImage) error {
	argv := c.Argv(want)
	if len(argv) == 0 || argv[0] == "" {
		return Errorf(CodeInvalid, "the image has neither ENTRYPOINT nor CMD: say what to run with --entrypoint and --cmd")
	}
	return checkArgv(argv)
}

// The bounds of a [ContainerImage] and a [Container].
const (
	// MaxReferenceLen is the longest reference in bytes; that of a registry has at
	// most 255 in its name and 128 in its tag (OCI distribution specification).
	MaxReferenceLen = 4096
	// MaxArgv bounds a command in words, MaxArgvBytes in bytes.
	MaxArgv      = 256
	MaxArgvBytes = 16 << 10
	// MaxContainerEnvBytes bounds the names and values of an image's environment.
	MaxContainerEnvBytes = 64 << 10
)

// validateImage checks what functions made of an image have in place of a handler.
func (s Settings) validateImage() error {
	if s.Runtime != RuntimeProvided && s.Runtime != RuntimeHTTP {
		return Errorf(CodeInvalid, "runtime %s is not for images: choose %s when the image's command asks for its work by the Lambda Runtime API, %s when it is an HTTP server", s.Runtime, RuntimeProvided, RuntimeHTTP)
	}
	if s.Handler != "" {
		return Errorf(CodeInvalid, "a handler is not for images: what an image calls is in its command, which --cmd replaces")
	}
	return s.Image.validate()
}

func (c ContainerImage) validate() error {
	if c.Reference == "" || len(c.Reference) > MaxReferenceLen || strings.ContainsFunc(c.Reference, isControl) {
		return Errorf(CodeInvalid, "image reference %.100q is not valid: write it as REGISTRY/REPOSITORY:TAG", c.Reference)
	}
	if d := c.WorkingDirectory; d != "" && (!path.IsAbs(d) || strings.ContainsRune(d, 0)) {
		return Errorf(CodeInvalid, "working directory %.100q is not valid: write it as an absolute path in the image", d)
	}
	return checkArgv(slices.Concat(c.EntryPoint, c.Command))
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f }

// checkArgv returns a [CodeInvalid] error unless argv is within bounds.
func checkArgv(argv []string) error {
	total := 0
	for _, word := range argv {
		if strings.ContainsRune(word, 0) {
			return Errorf(CodeInvalid, "the command holds a NUL byte")
		}
		total += len(word) + 1
	}
	if len(argv) > MaxArgv || total > MaxArgvBytes {
		return Errorf(CodeInvalid, "the command has %d words and %d bytes: at most %d and %d are allowed", len(argv), total, MaxArgv, MaxArgvBytes)
	}
	return nil
}
