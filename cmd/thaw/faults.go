package main

import (
	"os"
	"os/exec"

	"github.com/spf13/cobra"

	"thaw"
	"thaw/bench/faults"
)

type faultsFlags struct {
	n, pages    int
	dir, goFile string
}

func newFaultsCommand(a *app) *cobra.Command {
	var f faultsFlags
	cmd := &cobra.Command{
		Use:   "faults",
		Short: "Measure what one page fault costs, by class, and the bulk ways in",
		Long: `Measure what one page fault costs on this machine, by what is behind the page:
anonymous memory, the page cache, a file in memory, a userfaultfd served from
another process, or the disk; by read, by write, and by a write to a page that was
read before; 4 KiB and 2 MiB where the kernel gives those. And what it costs to
bring pages in many at a time. No VM and no daemon are needed, but root is.

A process touches pages in random order, 64 KiB apart, and times each touch; the
kernel's counts and the page map tell what the fault was. Everything takes turns, -n
times. The scratch file in --dir is as large as 64 KiB for each of --pages, and has
no name: nothing of it is left. With -o json every sample is printed; --go writes the
medians of the rounds in the Go benchmark format, for benchstat.`,
		Example: `  thaw bench faults
  thaw bench faults -n 50 --dir /var/tmp --go faults.txt
  thaw bench faults --pages 128 -o json`,
		Args:              arguments(),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(cmd *cobra.Command, _ []string) error { return a.faults(cmd, f) },
	}
	flags := cmd.Flags()
	flags.IntVarP(&f.n, "rounds", "n", 20, "how many rounds")
	flags.IntVar(&f.pages, "pages", 512, "how many pages of each class are touched in a round")
	flags.StringVar(&f.dir, "dir", "", "`folder` of a disk, for the scratch file (default the daemon's state folder, or else that of temporary files)")
	flags.StringVar(&f.goFile, "go", "", "`file` for the medians of the rounds in the Go benchmark format")
	return cmd
}

func (f faultsFlags) options(state string) (o faults.Options, err error) {
	switch {
	case f.n < 1 || f.n > 1000:
		return o, thaw.Errorf(thaw.CodeInvalid, "-n %d is out of range: choose 1 to 1000", f.n)
	case f.pages < 16 || f.pages > 4096:
		return o, thaw.Errorf(thaw.CodeInvalid, "--pages %d is out of range: choose 16 to 4096", f.pages)
	}
	if err := checkOutput(f.goFile); err != nil {
		return o, err
	}
	self, err := os.Executable()
	if err != nil {
		return o, thaw.Errorf(thaw.CodeUnavailable, "find this program: %w", err)
	}
	return faults.Options{
		N: f.n, Pages: f.pages, Folder: f.folder(state), Version: buildVersion(),
		Command: func() *exec.Cmd { return exec.Command(self, standInName) },
	}, nil
}

// folder is where the scratch file goes. state is the daemon's folder.
func (f faultsFlags) folder(state string) string {
	if f.dir != "" {
		return f.dir
	}
	if info, err := os.Stat(state); err == nil && info.IsDir() {
		return state
	}
	return os.TempDir()
}

func (a *app) faults(cmd *cobra.Command, f faultsFlags) error {
	state, err := a.setting(settingState)
	if err != nil {
		return err
	}
	o, err := f.options(state)
	if err != nil {
		return err
	}
	meter := a.meter()
	report, err := faults.Run(cmd.Context(), o, meter.show)
	meter.close()
	if err != nil {
		return err
	}
	if f.goFile != "" {
		if err := writeAside(f.goFile, report.WriteGo); err != nil {
			return err
		}
	}
	if a.asValues() {
		return a.value(report)
	}
	return written(report.WriteText(a.stdout))
}
