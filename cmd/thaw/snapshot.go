package main

import (
	"context"
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"thaw"
	"thaw/client"
)

func newSnapshotCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "snapshot",
		Short: "List, inspect, verify and remove snapshots",
		Long: `List, inspect, verify and remove snapshots, and what was put in quarantine because
it could not be trusted.`,
		Example: `  thaw snapshot ls
  thaw snapshot verify hello`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return fmt.Errorf("unknown command %q for %q", args[0], cmd.CommandPath())
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newSnapshotListCommand(a), newSnapshotInspectCommand(a), newSnapshotVerifyCommand(a), newSnapshotRemoveCommand(a))
	return cmd
}

func newSnapshotListCommand(a *app) *cobra.Command {
	return a.quietFlag(&cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   "List snapshots and what is in quarantine",
		Long: `List every snapshot and what is in quarantine. STATUS is serves when a version
starts from it, orphaned when none does, or quarantined. MEMORY is the guest's, and
NON-ZERO how much of it holds something; DISK is what all files occupy.`,
		Example: `  thaw snapshot ls
  thaw snapshot ls -o json | jq '.[] | select(.status == "quarantined") | .problem'`,
		Args:              arguments(),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(cmd *cobra.Command, _ []string) error { return a.listSnapshots(cmd.Context()) },
	}, "print ids alone")
}

func (a *app) listSnapshots(ctx context.Context) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	defer c.Close()
	all, err := c.Snapshots(ctx)
	if err != nil {
		return err
	}
	l := listing{values: all, head: []string{"SNAPSHOT", "FUNCTION", "VERSION", "STATUS", "CREATED", "MEMORY", "DISK", "NON-ZERO", "WORKING SET", "LOADING SETS", "PROBLEM"}}
	for _, s := range all {
		l.names = append(l.names, s.ID)
		l.rows = append(l.rows, []string{
			s.ID, orDash(s.Function), versionOf(s), string(s.Status), ago(s.Created), sizeOrDash(s.MemoryBytes), size(s.DiskBytes),
			sizeOrDash(s.NonZeroPages * thaw.PageSize), sizeOrDash(s.WorkingSetPages * thaw.PageSize), sizeOrDash(s.LoadingBytes()), orDash(cause(s.Problem)),
		})
	}
	return a.list(l)
}

// versionOf is "-" where nobody knows.
func versionOf(s thaw.Snapshot) string {
	if s.Version == 0 {
		return "-"
	}
	return strconv.Itoa(s.Version)
}

func sizeOrDash(n int64) string {
	if n == 0 {
		return "-"
	}
	return size(n)
}

// cause cuts a message to what a cell of a table can bear. Its end says most.
func cause(s string) string {
	const most = 60
	runes := []rune(oneLine(s))
	if len(runes) <= most {
		return string(runes)
	}
	return "…" + string(runes[len(runes)-most:])
}

func newSnapshotInspectCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "inspect ID|NAME",
		Short: "Show everything about a snapshot",
		Long: `Show everything about a snapshot, or about the one that a function starts from:
what it was made of and on which machine, and the length of each of its files and
what they occupy.`,
		Example: `  thaw snapshot inspect hello
  thaw snapshot inspect rb3o52xvlu6cmkq2yqfkp4fiyi -o json | jq .machine`,
		Args:              arguments("ID|NAME"),
		ValidArgsFunction: a.complete(false, refsOrSnapshots),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.inspectSnapshot(cmd.Context(), args[0])
		},
	}
}

func (a *app) inspectSnapshot(ctx context.Context, what string) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	defer c.Close()
	id, err := snapshotCalled(ctx, c, what)
	if err != nil {
		return err
	}
	s, err := c.DescribeSnapshot(ctx, id)
	if err != nil {
		return err
	}
	if a.asValues() {
		return a.value(s)
	}
	return writeSnapshot(a.stdout, s)
}

// snapshotCalled returns the id of the snapshot called what, or of the function
// that is called so.
func snapshotCalled(ctx context.Context, c *client.Client, what string) (string, error) {
	if thaw.CheckSnapshotID(what) == nil {
		_, err := c.DescribeSnapshot(ctx, what)
		if err == nil || thaw.CodeOf(err) != thaw.CodeNotFound || thaw.CheckName(what) != nil {
			return what, err
		}
	}
	ref, err := thaw.ParseRef(what)
	if err != nil {
		return "", thaw.Errorf(thaw.CodeInvalid, "%q is neither the id of a snapshot nor the name of a function: see `thaw snapshot ls`", what)
	}
	d, err := c.Describe(ctx, what)
	if thaw.CodeOf(err) == thaw.CodeNotFound && ref.Qualifier == "" {
		return "", thaw.Errorf(thaw.CodeNotFound, "no snapshot and no function is called %s: see `thaw snapshot ls`", what)
	}
	if err == nil && d.Snapshot == "" {
		return "", thaw.Errorf(thaw.CodeNotFound, "function %s has no snapshot: %s", what, orDash(d.Problem))
	}
	return d.Snapshot, err
}

func writeSnapshot(w io.Writer, s thaw.Snapshot) error {
	if err := writeFields(w, inspectFields(s)); err != nil {
		return err
	}
	sums := map[string]string{thaw.FileState: s.State.SHA256, thaw.FileMemory: s.Memory.SHA256, thaw.FileRegions: s.Regions.SHA256}
	rows := make([][]string, 0, len(s.Files))
	for _, f := range s.Files {
		rows = append(rows, []string{f.Name, count(f.Bytes), size(f.Bytes), size(f.DiskBytes), orDash(sums[f.Name])})
	}
	fmt.Fprintln(w)
	return writeTable(w, []string{"FILE", "BYTES", "LENGTH", "ON DISK", "SHA-256"}, rows)
}

func inspectFields(s thaw.Snapshot) [][2]string {
	rows := [][2]string{{"snapshot", s.ID}, {"status", inWords(s)}}
	if s.Problem != "" {
		rows = append(rows, [2]string{"problem", oneLine(s.Problem)})
	}
	rows = append(rows,
		[2]string{"folder", s.Folder},
		[2]string{"on disk", size(s.DiskBytes)})
	if s.Set != "" || s.MemoryBytes == 0 {
		return rows // there is no manifest to tell of
	}
	rows = append(rows, [][2]string{
		{"created", s.Created.Local().Format("2006-01-02 15:04:05") + ", " + ago(s.Created)},
		{"memory", fmt.Sprintf("%s, %s of %s pages hold something (%s)", size(s.MemoryBytes), count(s.NonZeroPages), count(s.MemoryBytes/thaw.PageSize), size(s.NonZeroPages*thaw.PageSize))},
		{"working set", recordedPages(s.WorkingSetPages)},
		{"host pages", recordedPages(s.HostPages)},
		{"machine", fmt.Sprintf("%s %s, accelerator %s, CPU model %s", s.Machine.VMM, s.Machine.VMMVersion, s.Machine.Accelerator, s.Machine.CPUModel)},
		{"", "on " + orDash(s.Machine.HostCPU)},
		{"kernel", s.Images.Kernel},
		{"initramfs", s.Images.Initramfs},
		{"root disk", s.Images.Root},
		{"code disk", s.Images.Code},
		{"fs-verity", yesNo(s.Verity)},
		{"format", strconv.Itoa(s.Format)},
	}...)
	return rows
}

// inWords says what a snapshot is there for, and who uses it.
func inWords(s thaw.Snapshot) string {
	text := string(s.Status)
	switch {
	case s.Set != "":
		text += ", the " + s.Set + " of a snapshot"
	case s.Status == thaw.SnapshotServes:
		text += " " + s.Function + " version " + versionOf(s)
	}
	if s.Status != thaw.SnapshotServes && s.Function != "" {
		text += ", was made for " + s.Function + " version " + versionOf(s)
	}
	switch {
	case s.Users == 1:
		text += ", in use by a VM"
	case s.Users > 1:
		text += fmt.Sprintf(", in use by %d VMs", s.Users)
	}
	return text
}

func recordedPages(n int64) string {
	if n == 0 {
		return "not recorded"
	}
	return fmt.Sprintf("%s pages, %s", count(n), size(n*thaw.PageSize))
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func newSnapshotRemoveCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "rm ID...",
		Aliases: []string{"remove"},
		Short:   "Remove snapshots that nothing needs",
		Long: `Remove snapshots that are orphaned or in quarantine. One that a function starts
from, or that a running VM was restored from, stays.`,
		Example: `  thaw snapshot rm rb3o52xvlu6cmkq2yqfkp4fiyi
  thaw snapshot rm $(thaw snapshot ls -o json | jq -r '.[] | select(.status == "quarantined") | .id')`,
		Args:              someIDs,
		ValidArgsFunction: a.complete(true, snapshotIDs(func(s thaw.Snapshot) bool { return s.Status != thaw.SnapshotServes })),
		RunE:              func(cmd *cobra.Command, args []string) error { return a.removeSnapshots(cmd.Context(), args) },
	}
}

func someIDs(_ *cobra.Command, args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("ID is missing")
	}
	return nil
}

func (a *app) removeSnapshots(ctx context.Context, ids []string) error {
	for _, id := range ids {
		if err := thaw.CheckSnapshotID(id); err != nil {
			return err
		}
	}
	c, err := a.client()
	if err != nil {
		return err
	}
	defer c.Close()
	for _, id := range ids {
		if err := c.RemoveSnapshot(ctx, id); err != nil {
			return err
		}
		if err := a.removed(id); err != nil {
			return err
		}
	}
	return nil
}
