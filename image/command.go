package image

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"thaw"
)

// command is one child process.
type command struct {
	name string
	args []string
	dir  string
	env  []string
	// only, if there is any, is the whole environment.
	only []string
	// abrupt says to kill it at once, with no chance to clean up after itself.
	abrupt bool
	// line receives each line of output, bounded in length. Nil drops it.
	line func(string)
}

// packageOf says which Debian package brings a tool.
func packageOf(tool string) string {
	switch tool {
	case "mkfs.erofs":
		return "erofs-utils"
	case "dpkg-deb":
		return "dpkg"
	case "apt-get", "apt-cache", "apt-config":
		return "apt"
	case "unshare":
		return "util-linux"
	}
	return tool
}

// needTools returns a [thaw.CodeUnavailable] error that says how to install the
// first tool that is missing.
func needTools(tools ...string) error {
	for _, t := range tools {
		if _, err := exec.LookPath(t); err != nil {
			return thaw.Errorf(thaw.CodeUnavailable, "%s is not installed: run `apt-get install --no-install-recommends %s`: %w", t, packageOf(t), err)
		}
	}
	return nil
}

func needRoot() error {
	if os.Geteuid() != 0 {
		return thaw.Errorf(thaw.CodeUnavailable, "building images needs root (file owners, chroot): run the daemon as root")
	}
	return nil
}

// run runs the command to its end. Its processes die with ctx and with this
// process. The error carries the end of the output.
func (c command) run(ctx context.Context) error {
	if err := needTools(c.name); err != nil {
		return err
	}
	// The death signal comes when the thread that made the child ends
	// (prctl(2), PR_SET_PDEATHSIG), so that thread must not end before.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	out := &lineWriter{line: c.line}
	cmd := exec.CommandContext(ctx, c.name, c.args...)
	cmd.Dir = c.dir
	cmd.Env = append(append(os.Environ(), "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive"), c.env...)
	if len(c.only) > 0 {
		cmd.Env = c.only
	}
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true, Pdeathsig: unix.SIGKILL}
	cmd.Cancel = func() error { return endGroup(cmd.Process.Pid, c.abrupt) }
	cmd.WaitDelay = 5 * time.Second
	err := cmd.Run()
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return c.failure(err, out.end())
}

// endGroup ends the processes of a group. Unless it is to be abrupt they are
// asked first, for apt then notes how far a download has come.
func endGroup(pgid int, abrupt bool) error {
	if !abrupt {
		if err := unix.Kill(-pgid, unix.SIGTERM); err != nil {
			return os.ErrProcessDone
		}
		time.Sleep(200 * time.Millisecond)
	}
	if err := unix.Kill(-pgid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
		return err
	}
	return nil
}

func (c command) failure(err error, output string) error {
	if strings.Contains(output, "No space left on device") {
		err = errors.Join(err, unix.ENOSPC)
	}
	if output == "" {
		return fmt.Errorf("run %s: %w", c.name, err)
	}
	return fmt.Errorf("run %s: %w: %s", c.name, err, output)
}

// output runs the command and returns its output, at most maxOutput bytes.
func (c command) output(ctx context.Context) (string, error) {
	var b strings.Builder
	c.line = func(s string) {
		if b.Len() < maxOutput {
			b.WriteString(s + "\n")
		}
	}
	err := c.run(ctx)
	return b.String(), err
}

const (
	maxOutput = 1 << 20
	maxLine   = 4 << 10
	// endLines is how many lines of output an error carries.
	endLines = 8
)

// lineWriter cuts what is written to it into lines and keeps the last ones.
type lineWriter struct {
	line func(string)

	mu   sync.Mutex
	part []byte
	last []string
}

var _ io.Writer = (*lineWriter)(nil)

// Write never fails, so that a child never dies of it.
func (w *lineWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := len(p)
	for len(p) > 0 {
		i := bytes.IndexAny(p, "\r\n")
		if i < 0 {
			w.keep(p)
			break
		}
		w.keep(p[:i])
		w.flush()
		p = p[i+1:]
	}
	return n, nil
}

func (w *lineWriter) keep(p []byte) {
	w.part = append(w.part, p[:min(len(p), maxLine-len(w.part))]...)
}

func (w *lineWriter) flush() {
	if len(w.part) == 0 {
		return
	}
	s := string(w.part)
	w.part = w.part[:0]
	w.last = append(w.last, s)
	w.last = w.last[max(0, len(w.last)-endLines):]
	if w.line != nil {
		w.line(s)
	}
}

// end returns the last lines written.
func (w *lineWriter) end() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.flush()
	return strings.Join(w.last, "; ")
}
