package peers

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"

	"thaw/vmm"
)

// piped is a process in which serve.py serves, now or after a restore: events go to
// its standard input, replies come from its standard output. Close ends it and
// whatever depends on it.
type piped struct {
	*vmm.Process
	in      *os.File
	out     *os.File
	replies *bufio.Reader
}

// startPiped starts cmd.
func startPiped(cmd *exec.Cmd) (_ *piped, err error) {
	childIn, in, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make a pipe: %w", err)
	}
	defer childIn.Close()
	out, childOut, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make a pipe: %w", err), in.Close())
	}
	defer childOut.Close()
	cmd.Stdin, cmd.Stdout = childIn, childOut
	p := &piped{in: in, out: out, replies: bufio.NewReader(out)}
	if p.Process, err = vmm.StartProcess(cmd); err != nil {
		return nil, errors.Join(err, in.Close(), out.Close())
	}
	return p, nil
}

// Close ends the process.
func (p *piped) Close() error {
	p.Kill()
	return errors.Join(p.in.Close(), p.out.Close())
}

// ready waits until the function is initialised.
func (p *piped) ready(ctx context.Context) error {
	line, err := p.line(ctx)
	if err == nil && string(line) != "ready" {
		err = fmt.Errorf("it says %.100q", line)
	}
	if err != nil {
		return fmt.Errorf("wait for the function to initialise: %w", err)
	}
	return nil
}

// ask has the function answer event, which is one line.
func (p *piped) ask(ctx context.Context, event []byte) ([]byte, error) {
	if _, err := p.in.Write(append(event[:len(event):len(event)], '\n')); err != nil {
		return nil, p.explain(ctx, err)
	}
	return p.line(ctx)
}

func (p *piped) line(ctx context.Context) ([]byte, error) {
	defer context.AfterFunc(ctx, func() { _ = p.out.SetReadDeadline(time.Unix(1, 0)) })()
	line, err := p.replies.ReadBytes('\n')
	if err != nil {
		return nil, p.explain(ctx, err)
	}
	return line[:len(line)-1], nil
}

// explain says why there was no reply: it was given up, or the process ended.
func (p *piped) explain(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if !errors.Is(err, io.EOF) && !errors.Is(err, os.ErrClosed) {
		return fmt.Errorf("%w%s", err, vmm.Quote(p.Console().Tail(consoleLines)))
	}
	p.Kill() // it has ended, or closed its output
	return fmt.Errorf("no reply: the process ended%s", vmm.Quote(p.Console().Tail(consoleLines)))
}

// consoleLines is how much of what a program printed an error quotes.
const consoleLines = 12
