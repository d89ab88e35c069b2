package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"thaw"
	"thaw/project"
)

// bytesFlag is a size in bytes, written as 256MiB or as a plain number.
type bytesFlag int64

// Set implements pflag.Value.
func (b *bytesFlag) Set(s string) error {
	n, err := project.ParseSize(s)
	if err != nil {
		return err
	}
	*b = bytesFlag(n)
	return nil
}

// String implements pflag.Value.
func (b *bytesFlag) String() string {
	return strings.ReplaceAll(humanize.IBytes(uint64(*b)), " ", "")
}

// Type implements pflag.Value.
func (b *bytesFlag) Type() string { return "size" }

// arguments wants exactly the arguments with these names.
func arguments(names ...string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) < len(names) {
			return fmt.Errorf("%s is missing", names[len(args)])
		}
		if len(args) > len(names) {
			return fmt.Errorf("unexpected argument %q", args[len(names)])
		}
		return nil
	}
}

// parseEnv makes an environment of arguments such as K=V.
func parseEnv(args []string) (map[string]string, error) {
	env := map[string]string{}
	for _, arg := range args {
		name, value, ok := strings.Cut(arg, "=")
		if !ok || name == "" {
			return nil, thaw.Errorf(thaw.CodeInvalid, "--env %q is not valid: write NAME=VALUE", arg)
		}
		if _, twice := env[name]; twice {
			return nil, thaw.Errorf(thaw.CodeInvalid, "--env %s is given twice", name)
		}
		env[name] = value
	}
	return env, nil
}

// defaultState returns where a daemon keeps its files unless told otherwise:
// /var/lib/thaw for root, else the user's own state folder (XDG Base Directory
// Specification).
func defaultState() string {
	if os.Geteuid() == 0 {
		return "/var/lib/thaw"
	}
	base := os.Getenv("XDG_STATE_HOME")
	if !filepath.IsAbs(base) { // the specification says to ignore others
		base = filepath.Join(os.Getenv("HOME"), ".local", "state")
	}
	return filepath.Join(base, "thaw")
}
