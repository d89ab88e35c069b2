package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

func newVersionCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version of thaw",
		Long:  "Print the version of this program. No daemon is needed.",
		Example: `  thaw version
  thaw version -o json`,
		Args:              arguments(),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(*cobra.Command, []string) error { return a.version() },
	}
}

func (a *app) version() error {
	v := buildVersion()
	platform := runtime.GOOS + "/" + runtime.GOARCH
	if a.asValues() {
		return a.value(map[string]string{"version": v, "go": runtime.Version(), "platform": platform})
	}
	_, err := fmt.Fprintf(a.stdout, "thaw %s %s %s\n", v, runtime.Version(), platform)
	return written(err)
}

// buildVersion returns the module version that the Go command wrote into the
// program: a tag, a revision, or (devel).
func buildVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "(devel)"
	}
	return info.Main.Version
}
