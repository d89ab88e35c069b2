package peers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"thaw"
)

const (
	// runscVersion is the newest of gvisor.dev/gvisor in September 2026, by
	// `go list -m gvisor.dev/gvisor@latest`. It makes no others: that of its branch
	// called go, which needs no Bazel, has no tags.
	runscVersion = "v0.0.0-20260905035102-160fafc42237"
	runscModule  = "gvisor.dev/gvisor"
)

// RunscPath is where a runsc that was built is kept in a cache folder.
func RunscPath(cache string) string { return filepath.Join(cache, "runsc-"+runscVersion) }

// findRunsc returns a runsc: the one that was named, one built before, or a new one.
func findRunsc(ctx context.Context, o Options) (string, error) {
	if o.Runsc != "" {
		path, err := exec.LookPath(o.Runsc)
		if err != nil {
			return "", thaw.Errorf(thaw.CodeInvalid, "find runsc: %w", err)
		}
		return filepath.Abs(path)
	}
	path := RunscPath(o.Cache)
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	golang, err := exec.LookPath("go")
	if err != nil {
		return "", thaw.Errorf(thaw.CodeUnavailable, "there is no runsc, and no Go to build one with: install Go, or name a runsc with --runsc")
	}
	o.Say("building runsc " + runscVersion + " of gVisor, once, in about two minutes")
	if err := buildRunsc(ctx, golang, path, fetchPatience); err != nil {
		return "", thaw.Errorf(thaw.CodeUnavailable, "runsc cannot be built, for which Go needs a module proxy: name one with --runsc: %w", err)
	}
	return path, nil
}

// buildRunsc builds runsc with the Go called program, in a module of its own, which is
// thrown away.
func buildRunsc(ctx context.Context, program, path string, patience time.Duration) (err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("make the cache folder: %w", err)
	}
	dir, err := os.MkdirTemp(filepath.Dir(path), "tmp-runsc-")
	if err != nil {
		return fmt.Errorf("make a folder: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	module := "module runsc\n\nrequire " + runscModule + " " + runscVersion + "\n"
	if err := os.WriteFile(filepath.Join(dir, "go.mod"), []byte(module), 0o644); err != nil {
		return fmt.Errorf("write a module: %w", err)
	}
	built := filepath.Join(dir, "built")
	golang := func(arg ...string) *exec.Cmd {
		cmd := exec.Command(program, arg...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=-mod=mod")
		return cmd
	}
	if err := fetchRunsc(ctx, patience, golang); err != nil {
		return err
	}
	cmd := golang("build", "-trimpath", "-ldflags=-s -w -X "+runscModule+"/runsc/version.version="+runscVersion, "-o", built, runscModule+"/runsc")
	if err := run(ctx, cmd); err != nil {
		return err
	}
	return os.Rename(built, path)
}

const (
	fetchAttempts = 3
	fetchPatience = 2 * time.Minute // 40 MB
)

// fetchRunsc has Go fetch the modules that runsc needs. Go waits for ever for a proxy
// that stalls; another attempt goes on from what was fetched.
func fetchRunsc(ctx context.Context, patience time.Duration, golang func(arg ...string) *exec.Cmd) (err error) {
	for range fetchAttempts {
		attempt, end := context.WithTimeoutCause(ctx, patience, fmt.Errorf("its modules were not there after %v", patience))
		err = run(attempt, golang("list", "-deps", runscModule+"/runsc"))
		end()
		if err == nil || ctx.Err() != nil {
			return err
		}
	}
	return err
}

// versionOf returns the first line that a program says of its version.
func versionOf(ctx context.Context, program string) (string, error) {
	out, err := exec.CommandContext(ctx, program, "--version").Output()
	if err != nil {
		return "", thaw.Errorf(thaw.CodeUnavailable, "ask %s for its version: %w", program, err)
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return line, nil
}
