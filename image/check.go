package image

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"thaw"
)

// CheckHandler returns a [thaw.CodeInvalid] error unless the code has the file
// that its settings name: the handler's module for python3 and node, a program
// called bootstrap for provided, what the command begins with for http. Without Debian
// packages a program must be static and for x86-64. The settings must have their
// defaults.
func CheckHandler(code fs.FS, s thaw.Settings) error {
	if s.Image != nil {
		return nil // which has it all, and nothing but a guest can tell
	}
	switch s.Runtime {
	case thaw.RuntimePython:
		return checkModule(code, s.Handler)
	case thaw.RuntimeNode:
		return checkNodeModule(code, s.Handler)
	case thaw.RuntimeProvided:
		return checkProgram(code, s, bootstrapName)
	case thaw.RuntimeHTTP:
		return checkCommand(code, s)
	}
	return thaw.Errorf(thaw.CodeInvalid, "unknown runtime %q", s.Runtime)
}

// checkCommand looks for the program that a command begins with, or for the script
// that it gives the interpreter.
func checkCommand(code fs.FS, s thaw.Settings) error {
	words := s.Command()
	if s.Root() == thaw.RuntimeProvided {
		switch outside := path.IsAbs(words[0]) || !strings.Contains(words[0], "/"); {
		case outside && len(s.Packages) > 0:
			return nil // of one of them: only a guest can tell
		case outside:
			return thaw.Errorf(thaw.CodeInvalid, "the command %q begins with %.60q, which is not on the root disk: begin it with a program of the code, such as %s, or with python3, or name the Debian package that has it", s.Handler, words[0], thaw.DefaultCommand)
		}
		return checkProgram(code, s, path.Clean(words[0]))
	}
	if len(words) < 2 || strings.HasPrefix(words[1], "-") || path.IsAbs(words[1]) || isFile(code, path.Clean(words[1])) {
		return nil // an option: the interpreter knows
	}
	return thaw.Errorf(thaw.CodeInvalid, "no file %.60q in the code for the command %q; the code has %s", words[1], s.Handler, topNames(code))
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

// nodeEndings are those of the files that a handler's module can be, in the order
// in which bootstrap.js looks for them.
func nodeEndings() []string { return []string{".js", ".mjs", ".cjs"} }

// checkNodeModule takes dir/mod.func and mod.nested.func, as AWS Lambda does.
func checkNodeModule(code fs.FS, handler string) error {
	dir, name := path.Split(handler)
	module, function, _ := strings.Cut(name, ".")
	if module == "" || function == "" {
		return thaw.Errorf(thaw.CodeInvalid, "handler %q is not valid: write it as module.function, such as index.handler", handler)
	}
	for _, ending := range nodeEndings() {
		if isFile(code, dir+module+ending) {
			return nil
		}
	}
	return thaw.Errorf(thaw.CodeInvalid, "no file %s%s with the ending %s in the code for handler %s: add it or choose another handler; the code has %s",
		dir, module, strings.Join(nodeEndings(), ", "), handler, topNames(code))
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

func checkProgram(code fs.FS, s thaw.Settings, name string) (err error) {
	f, err := code.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return thaw.Errorf(thaw.CodeInvalid, "no file %.60s in the code: the runtime starts a program of that name; the code has %s", name, topNames(code))
	}
	if err != nil {
		return thaw.Errorf(thaw.CodeInvalid, "%.60s cannot be read: %w", name, err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("look at %.60s: %w", name, err)
	}
	if !info.Mode().IsRegular() {
		return thaw.Errorf(thaw.CodeInvalid, "%.60s is not a file", name)
	}
	if info.Mode()&0o111 == 0 {
		return thaw.Errorf(thaw.CodeInvalid, "%.60s is not executable: run `chmod +x %[1]s`", name)
	}
	if len(s.Packages) > 0 {
		return nil // they may have the interpreter or the libraries that it needs
	}
	return checkStatic(f, name)
}

// maxHeaderBytes is how much of a program is looked at: the headers of what
// compilers make are in its first page.
const maxHeaderBytes = 64 << 10

// checkStatic accepts what runs with nothing else on the disk.
func checkStatic(r io.Reader, name string) error {
	head, err := io.ReadAll(io.LimitReader(r, maxHeaderBytes))
	if err != nil {
		return fmt.Errorf("read %.60s: %w", name, err)
	}
	if bytes.HasPrefix(head, []byte("#!")) {
		return thaw.Errorf(thaw.CodeInvalid, "%.60s is a script, and its root disk has no interpreters: name Debian packages that it needs, such as curl, and there is a shell too; or use the runtime python3, or for http the handler `python3 %[1]s`", name)
	}
	progs, err := programHeaders(head)
	if err != nil {
		return thaw.Errorf(thaw.CodeInvalid, "%.60s is not a Linux x86-64 program: build it with GOOS=linux GOARCH=amd64: %w", name, err)
	}
	for _, p := range progs {
		if p == elf.PT_INTERP {
			return thaw.Errorf(thaw.CodeInvalid, "%.60s is dynamically linked, and its root disk has no libraries: build it with CGO_ENABLED=0, link it with -static, or name the Debian packages that have them", name)
		}
	}
	return nil
}
