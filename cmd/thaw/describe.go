package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"thaw"
	"thaw/client"
)

func newDescribeCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "describe NAME",
		Short: "Show everything about a function",
		Long: `Show the version of a function that serves, or the one that NAME:QUALIFIER names:
its settings, its snapshot with what that occupies, its VMs, and its last starts, those
that found no idle VM or failed. Without a qualifier these are the VMs and starts of
every version. A terminal that is narrow gets fewer columns.`,
		Example: `  thaw describe hello
  thaw describe hello:2
  thaw describe hello -o json | jq .snapshot_info.working_set_pages`,
		Args:              arguments("NAME"),
		ValidArgsFunction: a.completeRefs(),
		RunE:              a.onFunction(a.describe),
	}
}

func (a *app) describe(ctx context.Context, c *client.Client, name string) error {
	d, err := c.Describe(ctx, name)
	if err != nil {
		return err
	}
	if a.asValues() {
		return a.value(d)
	}
	a.warnOfBoots(d.Version)
	return writeDescription(a.stdout, d)
}

func writeDescription(w io.Writer, d thaw.Description) error {
	rows := append(versionFields(d), settingFields(d.Version)...)
	if d.Deploy != nil {
		rows = append(rows, [2]string{"last deploy", deployLine(*d.Deploy)})
	}
	rows = append(rows, snapshotFields(d)...)
	for _, disk := range d.Disks {
		rows = append(rows, [2]string{"disk", disk})
	}
	if len(d.Invocations) > 0 {
		rows = append(rows, warmField(d.Invocations))
	}
	if err := writeFields(w, rows); err != nil {
		return err
	}
	if len(d.Instances) > 0 {
		fmt.Fprintln(w)
		head, rows := fit(terminalWidth(w), instanceHead(), instanceRows(d.Instances), "FUNCTION", "PID", "OWN", "CREATED", "SERVED")
		if err := writeTable(w, head, rows); err != nil {
			return err
		}
	}
	starts := lastStarts(d.Invocations)
	if len(starts) == 0 {
		return nil
	}
	fmt.Fprintln(w)
	return writeStarts(w, starts)
}

// versionFields say which version it is, and what points at it.
func versionFields(d thaw.Description) [][2]string {
	serves := "serves"
	if d.Serving != d.Number {
		serves = fmt.Sprintf("version %d serves", d.Serving)
	}
	rows := [][2]string{
		{"function", d.Function},
		{"version", fmt.Sprintf("%d, %s", d.Number, serves)},
	}
	for _, a := range d.Aliases {
		rows = append(rows, [2]string{"alias", a.Name + ", " + routing(a)})
	}
	return append(rows, [2]string{"created", d.Created.Local().Format("2006-01-02 15:04:05") + ", " + ago(d.Created)})
}

func settingFields(v thaw.Version) [][2]string {
	rows := [][2]string{{"runtime", string(v.Runtime)}}
	if v.Description != "" {
		rows = append(rows, [2]string{"description", printable(v.Description)})
	}
	if v.Handler != "" {
		rows = append(rows, [2]string{"handler", v.Handler})
	}
	rows = append(rows,
		[2]string{"memory", size(v.MemoryBytes)},
		[2]string{"timeout", v.Timeout.String()},
		[2]string{"policy", string(cmp.Or(v.Policy, thaw.DefaultPolicy))},
		[2]string{"scale", scaleField(v.Settings)},
		[2]string{"code", size(v.CodeBytes) + ", " + orDash(v.Images.Code)})
	rows = append(rows, containerFields(v)...)
	if len(v.Secrets) > 0 {
		rows = append(rows, [2]string{"secrets", strings.Join(v.Secrets, " ")})
	}
	if len(v.Packages) > 0 {
		rows = append(rows, [2]string{"packages", strings.Join(v.Packages, " ")})
	}
	if len(v.Prime) > 0 {
		rows = append(rows, [2]string{"prime", fmt.Sprintf("%d sample events before the snapshot", len(v.Prime))})
	}
	if len(v.Env) > 0 {
		// Values may be secrets: -o json shows them to who asks.
		rows = append(rows, [2]string{"env", strings.Join(slices.Sorted(maps.Keys(v.Env)), " ")})
	}
	return rows
}

func snapshotFields(d thaw.Description) [][2]string {
	if d.SnapshotInfo == nil {
		reason := d.Problem
		if reason == "" {
			reason = "no reason is known"
		}
		return [][2]string{{"snapshot", "none, every start is a boot: " + oneLine(reason)}}
	}
	s := d.SnapshotInfo
	loading := "none made yet"
	if n := s.LoadingBytes(); n > 0 {
		loading = size(n)
	}
	return [][2]string{
		{"snapshot", s.ID},
		{"  folder", s.Folder},
		{"  made with", fmt.Sprintf("%s %s, accelerator %s", s.Machine.VMM, s.Machine.VMMVersion, s.Machine.Accelerator)},
		{"  logical", fmt.Sprintf("%s of memory, %s of it (%s pages) not zero", size(s.MemoryBytes), size(s.NonZeroPages*thaw.PageSize), count(s.NonZeroPages))},
		{"  on disk", size(s.DiskBytes)},
		{"  working set", recordedPages(s.WorkingSetPages)},
		{"  loading sets", loading},
	}
}
