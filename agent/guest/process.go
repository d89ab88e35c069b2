package guest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"thaw"
	"thaw/agent/wire"
)

// errorTypeEntrypoint is Lambda's type for a runtime that cannot be executed.
const errorTypeEntrypoint = "Runtime.InvalidEntrypoint"

// process is the function's runtime. Its descendants share its process group,
// unless they leave it.
type process struct {
	pid  int
	pid1 bool
	// credential is whom it runs as, nil for the agent's own user.
	credential *syscall.Credential

	mu     sync.Mutex
	exited bool
}

// startProcess executes the runtime with the given environment, stdout and stderr.
func startProcess(cfg Config, m wire.Init, env []string, output []*os.File) (*process, error) {
	dir, credential, err := surroundings(cfg, m.Container)
	if err != nil {
		return nil, err
	}
	if err := handOver(cfg, credential); err != nil {
		return nil, err
	}
	argv, err := command(cfg, m, dir, variable(env, "PATH"))
	if err != nil {
		return nil, err
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, fmt.Errorf("open runtime's standard input: %w", err)
	}
	defer null.Close()
	pid, err := syscall.ForkExec(argv[0], argv, &syscall.ProcAttr{
		Dir:   dir,
		Env:   env,
		Files: []uintptr{null.Fd(), output[0].Fd(), output[1].Fd()},
		Sys:   &syscall.SysProcAttr{Setsid: true, Credential: credential},
	})
	if err != nil {
		return nil, fmt.Errorf("Error: fork/exec %s: %w", argv[0], err) // Lambda's words
	}
	return &process{pid: pid, pid1: cfg.PID1, credential: credential}, nil
}

// command returns what to execute: m's command, or the program of its runtime.
func command(cfg Config, m wire.Init, dir, searchPath string) ([]string, error) {
	if len(m.Command) > 0 {
		program, err := lookPath(dir, searchPath, m.Command[0])
		return append([]string{program}, m.Command[1:]...), err
	}
	switch m.Runtime {
	case thaw.RuntimePython:
		return []string{cfg.Python, filepath.Join(cfg.RuntimeDir, "bootstrap.py")}, nil
	case thaw.RuntimeNode:
		return nodeCommand(cfg, m), nil
	case thaw.RuntimeProvided:
		paths := []string{filepath.Join(cfg.TaskRoot, "bootstrap"), filepath.Join(cfg.RuntimeDir, "bootstrap")}
		for _, p := range paths {
			if info, err := os.Stat(p); err == nil && info.Mode().IsRegular() {
				return []string{p}, nil
			}
		}
		return nil, fmt.Errorf("Error: Couldn't find valid bootstrap(s): %v", paths) // Lambda's words
	}
	return nil, fmt.Errorf("Error: runtime %q is not known to this guest", m.Runtime)
}

// lookPath finds the program that a command begins with: a path from the folder
// that it is executed in, or a name in the folders of searchPath.
func lookPath(dir, searchPath, name string) (string, error) {
	if strings.Contains(name, "/") {
		if !filepath.IsAbs(name) {
			name = filepath.Join(dir, name)
		}
		return name, nil
	}
	for folder := range strings.SplitSeq(searchPath, ":") {
		if !filepath.IsAbs(folder) { // "" and such mean a folder of the code's own
			folder = filepath.Join(dir, folder)
		}
		path := filepath.Join(folder, name)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return path, nil
		}
	}
	return "", fmt.Errorf("Error: Couldn't find %q in %s", name, searchPath)
}

// nodeCommand gives V8's heap three quarters of the memory, as most of the rest of
// the guest is Node.js itself.
func nodeCommand(cfg Config, m wire.Init) []string {
	heap := "--max-old-space-size=" + strconv.Itoa(m.MemoryMiB*3/4)
	return []string{cfg.Node, heap, filepath.Join(cfg.RuntimeDir, "bootstrap.js")}
}

// kill ends the runtime and all it started. It does nothing once wait has seen
// the runtime's end, when its number may belong to another process.
func (p *process) kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.exited {
		p.killAll()
	}
}

// killAll fails only when nobody is left to kill.
func (p *process) killAll() {
	if p.pid1 {
		_ = unix.Kill(-1, unix.SIGKILL) // everyone but ourselves, kill(2)
		return
	}
	_ = unix.Kill(-p.pid, unix.SIGKILL)
}

// wait returns how the runtime ended, when everything it started has been
// killed. As PID 1 it waits for any child, so orphans are reaped at once, by
// the only goroutine that waits, and the runtime's status cannot be lost.
func (p *process) wait() (unix.WaitStatus, error) {
	status, err := p.waitFor(p.pid)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.exited = true
	p.killAll()
	if p.pid1 {
		_, _ = p.waitFor(0) // until no child is left
	}
	return status, err
}

func (p *process) waitFor(pid int) (unix.WaitStatus, error) {
	target := p.pid
	if p.pid1 {
		target = -1
	}
	for {
		var status unix.WaitStatus
		got, err := unix.Wait4(target, &status, 0, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return 0, fmt.Errorf("wait for runtime: %w", err)
		}
		if got == pid {
			return status, nil
		}
	}
}

// describeExit words an exit as Lambda does.
func describeExit(status unix.WaitStatus, err error) string {
	switch {
	case err != nil:
		return "Error: Runtime exited with error: " + err.Error()
	case status.Signaled():
		return "Error: Runtime exited with error: signal: " + status.Signal().String()
	case status.ExitStatus() != 0:
		return fmt.Sprintf("Error: Runtime exited with error: exit status %d", status.ExitStatus())
	}
	return "Error: Runtime exited without providing a reason"
}
