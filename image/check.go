package image

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"thaw"
)

// CheckHandler returns a [thaw.CodeInvalid] error unless the code has the file
// that its settings name: the handler's module for python3, a static x86-64
// program called bootstrap for provided. The settings must have their defaults.
func CheckHandler(code fs.FS, s thaw.Settings) error {
	switch s.Runtime {
	case thaw.RuntimePython:
		return checkModule(code, s.Handler)
	case thaw.RuntimeProvided:
		return checkBootstrap(code)
	}
	return thaw.Errorf(thaw.CodeInvalid, "unknown runtime %q", s.Runtime)
}

// checkModule takes pkg.mod.func and pkg/mod.func, as AWS Lambda does.
func checkModule(code fs.FS, handler string) error {
	i := strings.LastIndexByte(handler, '.')
	if i <= 0 {
		return thaw.Errorf(thaw.CodeInvalid, "handler %q is not valid: write it as module.function, such as app.handler", handler)
	}
	file := strings.ReplaceAll(handler[:i], ".", "/")
	for _, name := range []string{file + ".py", file + "/__init__.py"} {
		if isFile(code, name) {
			return nil
		}
	}
	return thaw.Errorf(thaw.CodeInvalid, "no file %s.py in the code for handler %s: add it or choose another handler; the code has %s", file, handler, topNames(code))
}

func isFile(code fs.FS, name string) bool {
	info, err := fs.Stat(code, name)
	return err == nil && info.Mode().IsRegular()
}

// maxNames is how many names an error lists.
const maxNames = 5

// topNames lists the first names of a folder for an error.
func topNames(code fs.FS) string {
	entries, err := fs.ReadDir(code, ".")
	if err != nil || len(entries) == 0 {
		return "no files"
	}
	var names []string
	for _, e := range entries[:min(len(entries), maxNames)] {
		names = append(names, fmt.Sprintf("%.60q", e.Name()))
	}
	if n := len(entries) - maxNames; n > 0 {
		names = append(names, fmt.Sprintf("and %d more", n))
	}
	return strings.Join(names, ", ")
}

// bootstrapName is what AWS Lambda calls the program of a custom runtime.
const bootstrapName = "bootstrap"

func checkBootstrap(code fs.FS) (err error) {
	f, err := code.Open(bootstrapName)
	if errors.Is(err, fs.ErrNotExist) {
		return thaw.Errorf(thaw.CodeInvalid, "no file bootstrap in the code: the provided runtime starts a program of that name; the code has %s", topNames(code))
	}
	if err != nil {
		return thaw.Errorf(thaw.CodeInvalid, "bootstrap cannot be read: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("look at bootstrap: %w", err)
	}
	if !info.Mode().IsRegular() {
		return thaw.Errorf(thaw.CodeInvalid, "bootstrap is not a file")
	}
	if info.Mode()&0o111 == 0 {
		return thaw.Errorf(thaw.CodeInvalid, "bootstrap is not executable: run `chmod +x bootstrap`")
	}
	return checkStatic(f)
}

// maxHeaderBytes is how much of a program is looked at: the headers of what
// compilers make are in its first page.
const maxHeaderBytes = 64 << 10

// checkStatic accepts what runs with nothing else on the disk.
func checkStatic(r io.Reader) error {
	head, err := io.ReadAll(io.LimitReader(r, maxHeaderBytes))
	if err != nil {
		return fmt.Errorf("read bootstrap: %w", err)
	}
	if bytes.HasPrefix(head, []byte("#!")) {
		return thaw.Errorf(thaw.CodeInvalid, "bootstrap is a script, and the provided runtime has no interpreters: compile it to a static program, or use the runtime python3")
	}
	progs, err := programHeaders(head)
	if err != nil {
		return thaw.Errorf(thaw.CodeInvalid, "bootstrap is not a Linux x86-64 program: build it with GOOS=linux GOARCH=amd64: %w", err)
	}
	for _, p := range progs {
		if p == elf.PT_INTERP {
			return thaw.Errorf(thaw.CodeInvalid, "bootstrap is dynamically linked, and the provided runtime has no libraries: build it with CGO_ENABLED=0, or link it with -static")
		}
	}
	return nil
}
