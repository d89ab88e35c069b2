package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"thaw"
	"thaw/client"
	"thaw/project"
)

// deployment is what a deploy is to do.
type deployment struct {
	dir, name string
	settings  thaw.Settings
	// detach leaves the deploy to the daemon, once that has the code.
	detach bool
	// build is a shell command to run in dir first, "" for none.
	build string
	// declared says that schedules are all that the function is to have.
	declared  bool
	schedules []thaw.Schedule
}

// withProject returns d with what the project file alone says.
func (d deployment) withProject(p project.Project) deployment {
	d.build = p.Build
	d.declared = p.Set("schedules") != ""
	for _, s := range p.Schedules {
		s.Function = d.name
		if s.ID == "" {
			s.ID = d.name
		}
		d.schedules = append(d.schedules, s)
	}
	return d
}

// buildOutput bounds what is kept of a build command's output, which ends with what
// went wrong.
const buildOutput = 16 << 10

// runBuild runs the build command as a step of the deploy.
func (d deployment) runBuild(ctx context.Context, report reporter) error {
	if d.build == "" {
		return nil
	}
	start := time.Now()
	report.event(thaw.DeployEvent{Step: "build", Message: oneLine(d.build)})
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", d.build)
	cmd.Dir = d.dir
	// What it leaves behind ends with it, and may not hold up its output meanwhile.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	if cmd.Process != nil {
		_ = cmd.Cancel() // there is nothing left, mostly
	}
	if err != nil && !errors.Is(err, exec.ErrWaitDelay) {
		text := strings.TrimSpace(string(out[max(0, len(out)-buildOutput):]))
		return thaw.Errorf(thaw.CodeInvalid, "build %q: %w\n%s", d.build, err, text)
	}
	report.event(thaw.DeployEvent{Step: "build", Message: oneLine(d.build), DurationMS: float64(time.Since(start).Microseconds()) / 1e3})
	return nil
}

// checkSchedules fails if a schedule that is declared is there for another function.
func (d deployment) checkSchedules(ctx context.Context, c *client.Client) error {
	if !d.declared {
		return nil
	}
	all, err := c.Schedules(ctx)
	if err != nil {
		return err
	}
	for _, s := range all {
		if s.Function != d.name && d.declares(s.ID) {
			return thaw.Errorf(thaw.CodeConflict, "schedule %s is there already and invokes %s: give that of %s another name", s.ID, s.Ref(), d.name)
		}
	}
	return nil
}

func (d deployment) declares(id string) bool {
	return slices.ContainsFunc(d.schedules, func(s thaw.Schedule) bool { return s.ID == id })
}

// applySchedules has the function have the schedules that are declared, and no
// others. One that is there as declared stays as it is. It returns what it changed,
// in words.
func (d deployment) applySchedules(ctx context.Context, c *client.Client) (changes []string, err error) {
	if !d.declared {
		return nil, nil
	}
	all, err := c.Schedules(ctx)
	if err != nil {
		return nil, err
	}
	for _, s := range all {
		if s.Function == d.name && !d.declares(s.ID) {
			if err := c.RemoveSchedule(ctx, s.ID); err != nil {
				return changes, err
			}
			changes = append(changes, s.ID+" removed")
		}
	}
	for _, s := range d.schedules {
		if slices.ContainsFunc(all, func(there thaw.Schedule) bool { return sameSchedule(there, s) }) {
			continue
		}
		set, err := c.SetSchedule(ctx, s)
		if err != nil {
			return changes, fmt.Errorf("set schedule %s: %w", s.ID, err)
		}
		changes = append(changes, fmt.Sprintf("%s invokes %s next at %s", s.ID, s.Ref(), set.Next.Format(time.RFC3339)))
	}
	return changes, nil
}

func sameSchedule(a, b thaw.Schedule) bool {
	return a.ID == b.ID && a.Ref() == b.Ref() && a.Spec == b.Spec && bytes.Equal(compact(a.Data), compact(b.Data))
}

func compact(data json.RawMessage) []byte {
	var b bytes.Buffer
	if json.Compact(&b, data) != nil {
		return data
	}
	return b.Bytes()
}
