package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/google/renameio/v2"

	"thaw"
	"thaw/bench"
	"thaw/bench/report"
	"thaw/client"
)

// checkOutput refuses an output file that could not be written, before hours of
// measuring: it writes beside it, as writeAside does. "" is no file.
func checkOutput(name string) error {
	if name == "" {
		return nil
	}
	if info, err := os.Stat(name); err == nil && info.IsDir() {
		return thaw.Errorf(thaw.CodeInvalid, "cannot write %s: it is a folder", name)
	}
	if info, err := os.Stat(filepath.Dir(name)); err != nil || !info.IsDir() {
		return thaw.Errorf(thaw.CodeInvalid, "cannot write %s: its folder does not exist", name)
	}
	f, err := renameio.NewPendingFile(name)
	if err != nil {
		return thaw.Errorf(thaw.CodeInvalid, "cannot write %s: %w", name, err)
	}
	return written(f.Cleanup())
}

// writeAside writes a file that is there whole or not at all.
func writeAside(name string, write func(io.Writer) error) error {
	f, err := renameio.NewPendingFile(name, renameio.WithPermissions(0o644))
	if err != nil {
		return written(err)
	}
	defer f.Cleanup()
	if err := write(f); err != nil {
		return err
	}
	return written(f.CloseAtomicallyReplace())
}

func writePage(name string, d report.Data) error {
	return writeAside(name, func(w io.Writer) error { return report.Write(w, d) })
}

// memoryMaps are those that a page of r draws: of the policies that bring in sets of
// their own. What cannot be had is left out and said, since the rest took long to
// measure.
func (a *app) memoryMaps(ctx context.Context, c *client.Client, r bench.Report) (maps []thaw.MemoryMap) {
	for _, f := range r.Functions {
		for _, p := range []thaw.Policy{thaw.PolicyReap, thaw.PolicyFaaSnap, thaw.PolicyThaw} {
			if of := f.Kinds(); !slices.Contains(of, bench.Of(p, false)) && !slices.Contains(of, bench.Of(p, true)) {
				continue
			}
			m, err := c.Memory(ctx, f.Name, p)
			if err != nil {
				fmt.Fprintf(a.stderr, "thaw: no picture of the memory of %s by %s: %s\n", f.Name, p, printableLines(err.Error()))
				continue
			}
			maps = append(maps, m)
		}
	}
	return maps
}
