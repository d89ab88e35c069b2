package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"thaw"
	"thaw/client"
)

// ownDaemon starts a daemon on a free port and with a state folder in folder, "" for
// where temporary files are, and returns a client of it. stop ends it and throws the
// folder away.
func (a *app) ownDaemon(ctx context.Context, folder string, args ...string) (c *client.Client, stop func() error, err error) {
	state, err := newOwnState(folder)
	if err != nil {
		return nil, nil, err
	}
	fmt.Fprintln(a.stderr, "starting a daemon with a state folder of its own")
	addr, end, err := a.startDaemon(ctx, append([]string{"--state", state.path}, args...))
	if err != nil {
		return nil, nil, errors.Join(err, state.remove())
	}
	if c, err = client.New(addr); err != nil {
		return nil, nil, errors.Join(err, end(), state.remove())
	}
	return c, func() error {
		c.Close()
		return errors.Join(end(), state.remove())
	}, nil
}

// startDaemon runs this program as a daemon and waits until it serves. stop
// ends it and waits for that.
func (a *app) startDaemon(ctx context.Context, args []string) (addr string, stop func() error, err error) {
	self, err := os.Executable()
	if err != nil {
		return "", nil, thaw.Errorf(thaw.CodeUnavailable, "find this program: %w", err)
	}
	cmd := exec.Command(self, append([]string{"serve", "--listen", "127.0.0.1:0"}, args...)...)
	// A Ctrl-C is ours to pass on. The signal comes when the thread that starts it
	// ends, which in Go is at the end of the process unless it is locked.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	log := &tail{out: a.stderr}
	cmd.Stderr = log
	out, err := cmd.StdoutPipe()
	if err != nil {
		return "", nil, thaw.Errorf(thaw.CodeUnavailable, "start a daemon: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return "", nil, thaw.Errorf(thaw.CodeUnavailable, "start a daemon: %w", err)
	}
	stop = func() error { return stopDaemon(cmd) }
	unwatch := context.AfterFunc(ctx, func() { _ = cmd.Process.Signal(syscall.SIGTERM) })
	line, err := bufio.NewReader(out).ReadString('\n')
	unwatch()
	_, rest, found := strings.Cut(line, "http://")
	if err != nil || !found {
		_ = stop()
		return "", nil, thaw.Errorf(thaw.CodeUnavailable, "the daemon did not start: %s", log.last())
	}
	addr, _, _ = strings.Cut(rest, ";")
	return addr, stop, nil
}

// stopDaemon lets the daemon end its VMs, and insists if it takes too long.
func stopDaemon(cmd *exec.Cmd) error {
	_ = cmd.Process.Signal(syscall.SIGTERM)
	insist := time.AfterFunc(drainTime+closeTime, func() { _ = cmd.Process.Kill() })
	defer insist.Stop()
	if err := cmd.Wait(); err != nil {
		return thaw.Errorf(thaw.CodeInternal, "the daemon did not end well: %w", err)
	}
	return nil
}

// tail passes on what a daemon says while it prepares, in short, and keeps its
// last line.
type tail struct {
	out  io.Writer
	line string
}

func (t *tail) Write(b []byte) (int, error) {
	for line := range strings.Lines(string(b)) {
		t.line = strings.TrimSpace(line)
		if _, msg, ok := strings.Cut(t.line, "msg="); ok && strings.Contains(t.line, "level=INFO") && !strings.Contains(t.line, "path=") {
			fmt.Fprintln(t.out, "  "+oneLine(msg))
		}
	}
	return len(b), nil
}

func (t *tail) last() string { return strings.TrimPrefix(t.line, "thaw: ") }
