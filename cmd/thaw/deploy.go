package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"thaw"
	"thaw/client"
	"thaw/image"
)

func newDeployCommand(a *app) *cobra.Command {
	f, detach := deployFlags{memory: thaw.DefaultMemory}, false
	cmd := &cobra.Command{
		Use:   "deploy [NAME] [DIR]",
		Short: "Make a new version of a function from a folder or an image",
		Long: `Make a new version of a function from the files in a folder, the current one unless
DIR is another. thaw.yaml in the folder has its settings, and its name unless NAME
gives it; flags override that (docs/project-file.md). A DIR without NAME has a slash
in it, or is "." or "..".

What requirements.txt or package.json in the folder asks for is installed by the daemon
and kept, so that the next deploy downloads nothing (docs/runtimes.md).

With --image the function is an OCI image (docs/runtimes.md): REGISTRY/REPOSITORY:TAG,
pulled by the daemon, or one on this disk, which is sent to it: oci:FOLDER[:TAG],
oci-archive:FILE, docker-archive:FILE, or a path to any of these. No DIR is needed.

The version serves once it has booted, its code has initialised and served the sample
events of --prime, and a snapshot of that has been taken, verified, and restored once
more to record its working set; until then the one before it does, and after an error.
A sample event at which the function fails is one. A daemon that is killed meanwhile
leaves the rest to the next one, once it has the code (docs/publish.md). Earlier
versions stay, up to a number (thaw serve --keep-versions): see thaw versions, rollback
and alias. Steps go to standard error, the result to standard output; with -o json every step is a
value of its own there. thaw.yaml and folders called .git and __pycache__ stay behind.`,
		Example: `  thaw deploy
  thaw deploy ./hello
  thaw deploy hello ./hello --env MODE=fast --env LEVEL=3
  thaw deploy resize ./resize --handler image.resize --memory 512MiB --timeout 10s
  thaw deploy thumbnail ./thumbnail --package python3-numpy --package python3-pil
  thaw deploy thumbnail ./thumbnail --prime '{"width": 64}' --prime large.json
  thaw deploy web ./web --runtime provided
  thaw deploy web --image registry.example/web:1.2 --memory 512MiB
  docker save web -o web.tar && thaw deploy web --image ./web.tar --cmd app.handler`,
		Args:              deployArguments,
		ValidArgsFunction: a.completeDeploy,
		RunE: func(cmd *cobra.Command, args []string) error {
			d, err := f.deployment(cmd, args)
			if err != nil {
				return err
			}
			d.detach = detach
			return a.deploy(cmd.Context(), d)
		},
	}
	f.add(cmd)
	cmd.Flags().BoolVar(&detach, "detach", false, "return when the code has been taken and leave the rest to the daemon: see thaw deploys")
	return a.quietFlag(cmd, "print NAME:VERSION alone")
}

func (a *app) deploy(ctx context.Context, d deployment) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	defer c.Close()
	if d.detach {
		return a.deployDetached(ctx, c, d)
	}
	var version thaw.Version
	err = a.makeVersion(ctx, c, d, func(code io.Reader, events func(thaw.DeployEvent)) (err error) {
		version, err = c.Deploy(ctx, d.name, d.settings, code, events)
		return err
	})
	if err != nil {
		return err
	}
	changes, err := d.applySchedules(ctx, c)
	if err != nil {
		return fmt.Errorf("%s version %d serves, but its schedules are not as thaw.yaml has them: %w", version.Function, version.Number, err)
	}
	if a.asValues() {
		return nil
	}
	if !a.quiet {
		for _, change := range changes {
			fmt.Fprintln(a.stderr, stepLine("schedule", "", change))
		}
	}
	return a.deployed(version)
}

// deployedCode is what goes to the daemon: the image, or the files in the folder.
func deployedCode(ctx context.Context, dir string, s thaw.Settings) (io.ReadCloser, error) {
	if s.Image != nil {
		return imageCode(ctx, *s.Image)
	}
	if err := checkCode(dir, s); err != nil {
		return nil, err
	}
	return pack(dir), nil
}

// makeVersion builds and checks the code, and has deploy send it.
func (a *app) makeVersion(ctx context.Context, c *client.Client, d deployment, deploy func(io.Reader, func(thaw.DeployEvent)) error) error {
	report := a.reporter()
	defer report.close()
	if err := d.runBuild(ctx, report); err != nil {
		return err
	}
	code, err := deployedCode(ctx, d.dir, d.settings)
	if err != nil {
		return err
	}
	defer code.Close()
	if err := d.checkSchedules(ctx, c); err != nil {
		return err
	}
	return deploy(code, report.event)
}

// deployDetached leaves what comes after the code to the daemon.
func (a *app) deployDetached(ctx context.Context, c *client.Client, d deployment) error {
	if d.declared {
		return thaw.Errorf(thaw.CodeInvalid, "thaw.yaml has schedules, which are set when the version serves: deploy without --detach")
	}
	var p thaw.Publish
	err := a.makeVersion(ctx, c, d, func(code io.Reader, _ func(thaw.DeployEvent)) (err error) {
		p, err = c.DeployDetached(ctx, d.name, d.settings, code)
		return err
	})
	switch {
	case err != nil:
		return err
	case a.quiet:
		return a.names(thaw.RefTo(p.Function, p.Number).String())
	case a.asValues():
		return a.nextValue(p)
	}
	_, err = fmt.Fprintf(a.stdout, "%s version %d is being published: `thaw deploys` shows how far it is\n", p.Function, p.Number)
	return written(err)
}

// pack streams a folder; closing the stream ends the goroutine that writes it.
func pack(dir string) io.ReadCloser {
	r, w := io.Pipe()
	go func() { w.CloseWithError(image.Pack(dir, w)) }() // always returns nil
	return r
}

func (a *app) deployed(v thaw.Version) error {
	a.warnOfBoots(v)
	if a.quiet {
		return a.names(thaw.RefTo(v.Function, v.Number).String())
	}
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
		fmt.Fprintf(a.stderr, paletteOf(a.stderr).yellow("thaw: warning:")+" no snapshot, every start of %s is a boot: %s\n", v.Function, oneLine(v.Problem))
	}
}

// warnOfAllBoots warns of those of all that have to boot, in a line.
func (a *app) warnOfAllBoots(all []thaw.Version) {
	const most = 5
	boot := slices.DeleteFunc(slices.Clone(all), func(v thaw.Version) bool { return v.Problem == "" })
	if len(boot) == 0 {
		return
	}
	if len(boot) == 1 {
		a.warnOfBoots(boot[0])
		return
	}
	var names []string
	for _, v := range boot[:min(len(boot), most)] {
		names = append(names, v.Function)
	}
	if len(boot) > most {
		names = append(names, "…")
	}
	fmt.Fprintf(a.stderr, paletteOf(a.stderr).yellow("thaw: warning:")+" %d functions have no snapshot, every start of them is a boot: %s; `thaw describe NAME` says why\n", len(boot), strings.Join(names, ", "))
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
