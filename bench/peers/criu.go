package peers

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"thaw"
)

// criu restores a process that CRIU dumped.
type criu struct {
	program string
	images  string
	tree    *tree
	names   []string
	// pipes are what standard input, output and error were at the dump.
	pipes [3]string
}

// findCriu returns the program that was named, or the installed one, if it works
// with this kernel.
func findCriu(ctx context.Context, program string) (string, error) {
	code := thaw.CodeInvalid
	if program == "" {
		program, code = "criu", thaw.CodeUnavailable
	}
	path, err := exec.LookPath(program)
	if err != nil {
		return "", thaw.Errorf(code, "there is no criu: install the package criu, or name one with --criu: %w", err)
	}
	if err := run(ctx, exec.Command(path, "check")); err != nil {
		return "", thaw.Errorf(thaw.CodeUnavailable, "criu does not work with this kernel: name a newer one with --criu: %w", err)
	}
	return filepath.Abs(path)
}

// newCRIU has CRIU dump the function of t.
func newCRIU(ctx context.Context, program string, w *work, t *tree) (*criu, error) {
	images, err := w.folder("criu-images")
	if err != nil {
		return nil, err
	}
	c := &criu{program: program, images: images, tree: t}
	if err := c.dump(ctx); err != nil {
		return nil, thaw.Errorf(thaw.CodeUnavailable, "criu cannot dump the function on this machine: %w", err)
	}
	c.names, err = filesBelow(images)
	return c, err
}

// dump runs the function once, until it is initialised, with the tree as its root and
// without capabilities. CRIU wants the leader of a session, a /proc, in a mount
// namespace that it is in as well, and, where it may not look at the limits of others
// (CAP_SYS_RESOURCE), its own user.
func (c *criu) dump(ctx context.Context) (err error) {
	cmd := exec.Command("unshare", "--mount", "--root="+c.tree.root, "--mount-proc", "--",
		"/usr/bin/setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs", python, servePath)
	cmd.Env, cmd.Dir = c.tree.env, "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	// What our parent left open would be the function's, too. Our own are like that.
	if err := unix.CloseRange(3, math.MaxInt32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return fmt.Errorf("keep descriptors to ourselves: %w", err)
	}
	p, err := startPiped(cmd)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	if err := p.ready(ctx); err != nil {
		return err
	}
	for fd := range c.pipes {
		if c.pipes[fd], err = os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", p.PID(), fd)); err != nil {
			return fmt.Errorf("look at the function's pipes: %w", err)
		}
	}
	pid := fmt.Sprint(p.PID())
	return run(ctx, exec.Command("nsenter", "--target", pid, "--mount", "--", c.program, "dump", "--tree", pid, "--images-dir", c.images))
}

func (c *criu) files() []string { return append(c.names[:len(c.names):len(c.names)], c.tree.names...) }

func (c *criu) restore(ctx context.Context, event []byte) (*answer, error) {
	// In a PID namespace of its own, where the number that the function had is free,
	// and that ends with us.
	args := []string{"--pid", "--fork", "--mount-proc", "--kill-child", c.program, "restore", "--images-dir", c.images}
	for fd, pipe := range c.pipes {
		args = append(args, "--inherit-fd", fmt.Sprintf("fd[%d]:%s", fd, pipe))
	}
	p, err := startPiped(exec.Command("unshare", args...))
	if err != nil {
		return nil, err
	}
	reply, err := p.ask(ctx, event)
	if err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return &answer{reply: reply, end: p.Close}, nil
}
