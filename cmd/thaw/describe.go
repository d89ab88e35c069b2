package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
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
its settings, its snapshot and what that occupies, its VMs and its latest invocations.
Without a qualifier these are the VMs and invocations of every version.`,
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
	return writeDescription(a.stdout, d)
}

func writeDescription(w io.Writer, d thaw.Description) error {
	rows := append(versionFields(d.Version), pointerFields(d)...)
	rows = append(rows, snapshotFields(d)...)
	for _, disk := range d.Disks {
		rows = append(rows, [2]string{"disk", disk})
	}
	if err := writeFields(w, rows); err != nil {
		return err
	}
	if len(d.Instances) > 0 {
		fmt.Fprintln(w)
		if err := writeTable(w, instanceHead(), instanceRows(d.Instances)); err != nil {
			return err
		}
	}
	if len(d.Invocations) == 0 {
		return nil
	}
	fmt.Fprintln(w)
	return writeTable(w, invocationHead(), invocationRows(d.Invocations))
}

func versionFields(v thaw.Version) [][2]string {
	rows := [][2]string{
		{"function", v.Function},
		{"version", strconv.Itoa(v.Number)},
		{"created", v.Created.Local().Format("2006-01-02 15:04:05") + ", " + ago(v.Created)},
		{"runtime", string(v.Runtime)},
	}
	if v.Handler != "" {
		rows = append(rows, [2]string{"handler", v.Handler})
	}
	rows = append(rows,
		[2]string{"memory", size(v.MemoryBytes)},
		[2]string{"timeout", v.Timeout.String()},
		[2]string{"policy", string(cmp.Or(v.Policy, thaw.DefaultPolicy))},
		[2]string{"code", size(v.CodeBytes) + ", " + orDash(v.Images.Code)})
	if len(v.Packages) > 0 {
		rows = append(rows, [2]string{"packages", strings.Join(v.Packages, " ")})
	}
	if len(v.Env) > 0 {
		// Values may be secrets: -o json shows them to who asks.
		rows = append(rows, [2]string{"env", strings.Join(slices.Sorted(maps.Keys(v.Env)), " ")})
	}
	return rows
}

// pointerFields say what points at a version.
func pointerFields(d thaw.Description) [][2]string {
	text := "yes"
	if d.Serving != d.Number {
		text = fmt.Sprintf("no, version %d does", d.Serving)
	}
	rows := [][2]string{{"serves", text}}
	for _, a := range d.Aliases {
		rows = append(rows, [2]string{"alias", a.Name + ", " + routing(a)})
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
	rows := [][2]string{
		{"snapshot", s.ID + ", " + size(s.DiskBytes) + " on disk"},
		{"", "in " + s.Folder},
		{"", fmt.Sprintf("%s of %s pages of memory hold something", count(s.NonZeroPages), count(s.MemoryBytes/thaw.PageSize))},
		{"", fmt.Sprintf("made with %s %s, accelerator %s", s.Machine.VMM, s.Machine.VMMVersion, s.Machine.Accelerator)},
	}
	if s.WorkingSetPages == 0 {
		return append(rows, [2]string{"working set", "not recorded yet"})
	}
	return append(rows, [2]string{"working set", fmt.Sprintf("%s pages, %s", count(s.WorkingSetPages), size(s.WorkingSetPages*thaw.PageSize))})
}

func invocationHead() []string {
	return []string{"INVOCATION", "TIME", "VERSION", "START", "POLICY", "DURATION", "TRAPPED", "MAJOR", "PREFETCHED", "READ", "ERROR"}
}

func invocationRows(all []thaw.Invocation) [][]string {
	rows := make([][]string, 0, len(all))
	for _, i := range all {
		rows = append(rows, []string{
			i.ID, ago(i.Time), strconv.Itoa(i.Version), string(i.Start), string(i.Policy), duration(i.DurationMS),
			count(i.Faults.Trapped), count(i.Faults.Major), count(i.PagesPrefetched), size(i.BytesRead), orDash(failure(i)),
		})
	}
	return rows
}

// failure says in a few words why an invocation had no good reply.
func failure(i thaw.Invocation) string {
	const most = 40
	if short := []rune(i.Error); len(short) > most {
		return string(short[:most]) + "…"
	}
	return i.FunctionError + i.Error
}
