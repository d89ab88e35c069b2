package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"thaw"
	"thaw/image"
)

type deployFlags struct {
	runtime, handler string
	memory           bytesFlag
	timeout          time.Duration
	env, packages    []string
}

func newDeployCommand(a *app) *cobra.Command {
	f := deployFlags{memory: thaw.DefaultMemory}
	cmd := &cobra.Command{
		Use:   "deploy NAME DIR",
		Short: "Make a new version of a function from a folder",
		Long: `Make a new version of a function from the files in a folder.

The version serves once it has booted, its code has initialised, and a snapshot
of that has been taken and verified; until then the one before it does. Earlier
versions stay, up to a number (thaw serve --keep-versions): see thaw versions, rollback
and alias. Steps go to standard error, the result to standard output; with -o json every step is a
line of JSON on standard output. Folders called .git and __pycache__ stay behind.`,
		Example: `  thaw deploy hello ./hello
  thaw deploy resize ./resize --handler image.resize --memory 512MiB --timeout 10s
  thaw deploy thumbnail ./thumbnail --package python3-numpy --package python3-pil
  thaw deploy web ./web --runtime provided --env MODE=fast --env LEVEL=3`,
		Args:              arguments("NAME", "DIR"),
		ValidArgsFunction: a.completeNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			settings, err := f.settings(cmd)
			if err != nil {
				return err
			}
			return a.deploy(cmd, args[0], args[1], settings)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.runtime, "runtime", string(thaw.RuntimePython), "`runtime`: python3 or provided")
	flags.StringVar(&f.handler, "handler", "", "what python3 calls, as `module.function` (default app.handler)")
	flags.Var(&f.memory, "memory", "memory of each VM")
	flags.DurationVar(&f.timeout, "timeout", thaw.DefaultTimeout, "most an invocation may take")
	flags.StringArrayVar(&f.env, "env", nil, "environment variable as `NAME=VALUE`, may be repeated")
	flags.StringSliceVar(&f.packages, "package", nil, "Debian `package` that the code imports, may be repeated")
	completeWords(cmd, "runtime", runtimeNames()...)
	return cmd
}

// settings checks the flags. A zero, which means the default to the daemon, is
// an error when it was written out.
func (f deployFlags) settings(cmd *cobra.Command) (thaw.Settings, error) {
	env, err := parseEnv(f.env)
	if err != nil {
		return thaw.Settings{}, err
	}
	s := thaw.Settings{
		Runtime:     thaw.Runtime(f.runtime),
		Handler:     f.handler,
		MemoryBytes: int64(f.memory),
		Timeout:     f.timeout,
		Env:         env,
		Packages:    f.packages,
	}
	if s.MemoryBytes == 0 {
		return s, thaw.Errorf(thaw.CodeInvalid, "memory of 0 is out of range: choose %s to %s", size(thaw.MinMemory), size(thaw.MaxMemory))
	}
	if s.Timeout == 0 {
		return s, thaw.Errorf(thaw.CodeInvalid, "timeout 0 is out of range: choose %s to %s", thaw.MinTimeout, thaw.MaxTimeout)
	}
	if s.Runtime == "" || cmd.Flags().Changed("handler") && s.Handler == "" {
		return s, thaw.Errorf(thaw.CodeInvalid, "runtime and handler cannot be empty: leave the flag out for the default")
	}
	s = s.WithDefaults()
	return s, s.Validate()
}

func (a *app) deploy(cmd *cobra.Command, name, dir string, settings thaw.Settings) error {
	if err := thaw.CheckName(name); err != nil {
		return err
	}
	if err := checkCode(dir, settings); err != nil {
		return err
	}
	c, err := a.client()
	if err != nil {
		return err
	}
	defer c.Close()
	code := pack(dir)
	defer code.Close()
	report := a.reporter()
	version, err := c.Deploy(cmd.Context(), name, settings, code, report.event)
	report.close()
	if err != nil || a.format == formatJSON {
		return err
	}
	return a.deployed(version)
}

// pack streams a folder; closing the stream ends the goroutine that writes it.
func pack(dir string) io.ReadCloser {
	r, w := io.Pipe()
	go func() { w.CloseWithError(image.Pack(dir, w)) }() // always returns nil
	return r
}

func (a *app) deployed(v thaw.Version) error {
	a.warnOfBoots(v)
	_, err := fmt.Fprintf(a.stdout, "%s version %d: %s, %s memory, code %s\n", v.Function, v.Number, v.Runtime, size(v.MemoryBytes), size(v.CodeBytes))
	return written(err)
}

// serves tells of a version that serves again.
func (a *app) serves(v thaw.Version) error {
	a.warnOfBoots(v)
	_, err := fmt.Fprintf(a.stdout, "%s version %d serves\n", v.Function, v.Number)
	return written(err)
}

func (a *app) warnOfBoots(v thaw.Version) {
	if v.Problem != "" {
		fmt.Fprintf(a.stderr, "thaw: warning: no snapshot, every start of %s is a boot: %s\n", v.Function, oneLine(v.Problem))
	}
}

// checkCode finds the mistakes in a folder that need no daemon to be seen.
func checkCode(dir string, s thaw.Settings) error {
	info, err := os.Stat(dir)
	if err != nil {
		return thaw.Errorf(thaw.CodeInvalid, "read the function's folder: %w", err)
	}
	if !info.IsDir() {
		return thaw.Errorf(thaw.CodeInvalid, "%s is not a folder: name the one that holds the function's files", dir)
	}
	return image.CheckHandler(os.DirFS(dir), s)
}
