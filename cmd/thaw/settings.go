package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"thaw"
	"thaw/oci"
	"thaw/project"
)

// deployFlags override what thaw.yaml says.
type deployFlags struct {
	runtime, handler string
	policy           string
	memory           bytesFlag
	timeout          time.Duration
	env, packages    []string
	image            imageFlags
	prime            primeFlags
	scale            scaleFlags
	installScripts   bool
	secrets          []string
}

func (f *deployFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.runtime, "runtime", string(thaw.RuntimePython), "`runtime`: "+strings.Join(runtimeNames(), " or "))
	flags.StringVar(&f.handler, "handler", "", "what python3 or node calls, as `module.function` (default app.handler or index.handler)")
	flags.Var(&f.memory, "memory", "memory of each VM")
	flags.DurationVar(&f.timeout, "timeout", thaw.DefaultTimeout, "most an invocation may take")
	flags.StringArrayVar(&f.env, "env", nil, "environment variable as `NAME=VALUE`, in addition to those of thaw.yaml, may be repeated")
	flags.StringSliceVar(&f.secrets, "secret", nil, "`name` of a secret that it finds in /run/thaw/secrets, instead of those of thaw.yaml, may be repeated")
	flags.StringSliceVar(&f.packages, "package", nil, "Debian `package` that the code needs, instead of those of thaw.yaml, may be repeated")
	flags.BoolVar(&f.installScripts, "install-scripts", false, "let packages of requirements.txt or package.json execute code of theirs while they are installed")
	flags.StringVar(&f.policy, settingPolicy, string(thaw.DefaultPolicy), "how VMs get their memory when an invocation does not say: `policy`, as in thaw invoke, also THAW_POLICY")
	f.image.add(cmd)
	f.prime.add(cmd)
	f.scale.add(cmd)
	completeWords(cmd, "runtime", runtimeNames()...)
	completeWords(cmd, "policy", policyNames()...)
}

// deployArguments wants at most NAME and DIR.
func deployArguments(_ *cobra.Command, args []string) error {
	if len(args) > 2 {
		return fmt.Errorf("unexpected argument %q", args[2])
	}
	return nil
}

// isFolder tells a DIR that stands alone from a NAME.
func isFolder(arg string) bool {
	return arg == "." || arg == ".." || strings.ContainsRune(arg, filepath.Separator)
}

// deployedFolder is DIR of a deploy's arguments.
func deployedFolder(args []string) string {
	if len(args) == 2 || len(args) == 1 && isFolder(args[0]) {
		return args[len(args)-1]
	}
	return "."
}

// deployment returns what to deploy: what thaw.yaml says, where no argument or flag
// says otherwise.
func (f deployFlags) deployment(cmd *cobra.Command, args []string) (d deployment, err error) {
	d.dir = deployedFolder(args)
	if len(args) == 2 || len(args) == 1 && !isFolder(args[0]) {
		d.name = args[0]
		if err := thaw.CheckName(d.name); err != nil {
			return d, err
		}
	}
	if err := f.checkFolder(args, d.dir); err != nil {
		return d, err
	}
	var p project.Project
	if f.image.reference == "" || len(args) == 2 || d.name == "" { // an image needs no folder
		if p, err = readProject(d.dir); err != nil {
			return d, err
		}
	}
	d.name = cmp.Or(d.name, p.Name)
	if d.name == "" {
		return d, thaw.Errorf(thaw.CodeInvalid, "the function has no name: write one as thaw deploy NAME, or as name: NAME in %s", filepath.Join(d.dir, project.FileName))
	}
	if p.Settings.Image != nil {
		p.Settings.Image.Reference = oci.From(d.dir, p.Settings.Image.Reference)
	}
	if d.settings, err = f.override(cmd, p.Settings); err != nil {
		return d, err
	}
	if d.settings.Policy, err = deployedPolicy(cmd, p); err != nil {
		return d, err
	}
	return d.withProject(p), d.settings.Validate()
}

// checkFolder finds a DIR that is none, and a NAME that was meant to be one.
func (f deployFlags) checkFolder(args []string, dir string) error {
	if len(args) == 1 && !isFolder(args[0]) && f.image.reference == "" {
		_, err := os.Stat(project.FileName)
		if info, e := os.Stat(args[0]); err != nil && e == nil && info.IsDir() {
			return thaw.Errorf(thaw.CodeInvalid, "%s is a folder here: deploy it as ./%s, or this folder as %s .", args[0], args[0], args[0])
		}
	}
	info, err := os.Stat(dir)
	if err != nil {
		return thaw.Errorf(thaw.CodeInvalid, "read the function's folder: %w", err)
	}
	if !info.IsDir() {
		return thaw.Errorf(thaw.CodeInvalid, "%s is not a folder: name the one that holds the function's files", dir)
	}
	return nil
}

// readProject reads the project file in a folder. Without one it says nothing.
func readProject(dir string) (project.Project, error) {
	path := filepath.Join(dir, project.FileName)
	content, err := readIfThere(path)
	if err != nil {
		return project.Project{}, thaw.Errorf(thaw.CodeInvalid, "read the project file: %w", err)
	}
	return project.Parse(path, content)
}

// override returns s with what the flags say, and its defaults, checked. A zero,
// which means the default to the daemon, is an error when it was written out.
func (f deployFlags) override(cmd *cobra.Command, s thaw.Settings) (thaw.Settings, error) {
	given := cmd.Flags().Changed
	if f.runtime == "" || f.policy == "" || given("handler") && f.handler == "" {
		return s, thaw.Errorf(thaw.CodeInvalid, "runtime, policy and handler cannot be empty: leave the flag out for the default")
	}
	if f.memory == 0 {
		return s, thaw.Errorf(thaw.CodeInvalid, "memory of 0 is out of range: choose %s to %s", size(thaw.MinMemory), size(thaw.MaxMemory))
	}
	if f.timeout == 0 {
		return s, thaw.Errorf(thaw.CodeInvalid, "timeout 0 is out of range: choose %s to %s", thaw.MinTimeout, thaw.MaxTimeout)
	}
	overrideIf(given("runtime"), &s.Runtime, thaw.Runtime(f.runtime))
	overrideIf(given("handler"), &s.Handler, f.handler)
	overrideIf(given("memory"), &s.MemoryBytes, int64(f.memory))
	overrideIf(given("timeout"), &s.Timeout, f.timeout)
	overrideIf(given("package"), &s.Packages, f.packages)
	overrideIf(given("install-scripts"), &s.InstallScripts, f.installScripts)
	overrideIf(given("secret"), &s.Secrets, f.secrets)
	if err := errors.Join(f.image.override(given, &s), f.prime.override(given, &s), f.scale.override(cmd, &s), f.overrideEnv(&s)); err != nil {
		return s, err
	}
	return s.WithDefaults(), nil
}

// deployedPolicy is the policy of a deploy: it alone can be a setting of the user's, too.
func deployedPolicy(cmd *cobra.Command, p project.Project) (thaw.Policy, error) {
	s, err := findSetting(settingPolicy)
	if err != nil {
		return "", err
	}
	u, err := readUserFile()
	if err != nil {
		return "", err
	}
	o, err := s.resolve(cmd.Flags(), fromProject(p, settingPolicy), u)
	if err != nil || o.from == fromDefault { // which may be another one some day
		return "", err
	}
	return thaw.Policy(o.value), nil
}

func overrideIf[T any](given bool, setting *T, value T) {
	if given {
		*setting = value
	}
}

func (f deployFlags) overrideEnv(s *thaw.Settings) error {
	env, err := parseEnv(f.env)
	if err != nil {
		return err
	}
	for name, value := range env {
		if s.Env == nil {
			s.Env = map[string]string{}
		}
		s.Env[name] = value
	}
	return nil
}
