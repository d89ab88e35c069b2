package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"thaw"
	"thaw/client"
)

func newSnapshotVerifyCommand(a *app) *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "verify ID|NAME",
		Short: "Compare the files of a snapshot with their checksums",
		Long: `Compare every file of a snapshot, or of the one that a function starts from, with
its checksum: device state, memory, regions, working sets, loading sets. All of it
is read from the disk, and nothing is changed: a line per file says what was found
and how long it took, and in the end what to do. --all verifies every snapshot
that is not in quarantine. The exit code is 4 when anything is bad.`,
		Example: `  thaw snapshot verify hello
  thaw snapshot verify --all
  thaw snapshot verify rb3o52xvlu6cmkq2yqfkp4fiyi -o json`,
		Args: func(cmd *cobra.Command, args []string) error {
			if all && len(args) == 0 {
				return nil
			}
			if all {
				return fmt.Errorf("unexpected argument %q: --all verifies every snapshot", args[0])
			}
			return arguments("ID|NAME")(cmd, args)
		},
		ValidArgsFunction: a.complete(false, refsOrSnapshots),
		RunE:              func(cmd *cobra.Command, args []string) error { return a.verify(cmd.Context(), args) },
	}
	cmd.Flags().BoolVar(&all, "all", false, "verify every snapshot that is not in quarantine")
	return cmd
}

// verify verifies the snapshots called args, or all without any.
func (a *app) verify(ctx context.Context, args []string) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	defer c.Close()
	ids, err := toVerify(ctx, c, args)
	if err != nil {
		return err
	}
	var bad []string
	for _, id := range ids {
		v, err := a.verifyOne(ctx, c, id)
		if err != nil {
			return err
		}
		if !v.Good {
			bad = append(bad, complaint(v))
		}
	}
	if len(bad) > 0 {
		return thaw.Errorf(thaw.CodeUnavailable, "%s", strings.Join(bad, "\n"))
	}
	return nil
}

func toVerify(ctx context.Context, c *client.Client, args []string) (ids []string, err error) {
	if len(args) > 0 {
		id, err := snapshotCalled(ctx, c, args[0])
		return []string{id}, err
	}
	all, err := c.Snapshots(ctx)
	for _, s := range all {
		if s.Status != thaw.SnapshotQuarantined {
			ids = append(ids, s.ID)
		}
	}
	return ids, err
}

func (a *app) verifyOne(ctx context.Context, c *client.Client, id string) (thaw.Verification, error) {
	if a.asValues() {
		v, err := c.VerifySnapshot(ctx, id, nil)
		if err != nil {
			return v, err
		}
		return v, a.nextValue(v)
	}
	lines := &checkLines{out: a.stdout, progress: a.stderr, live: isTerminal(a.stderr)}
	v, err := c.VerifySnapshot(ctx, id, lines.event)
	lines.erase()
	if err != nil {
		return v, err
	}
	_, err = fmt.Fprintln(a.stdout, summary(v))
	return v, written(err)
}

// checkLines writes a line for each file that was checked and, on a terminal, how
// far the one is that takes long.
type checkLines struct {
	out, progress io.Writer
	live          bool // progress is a terminal
	began         time.Time
	drawn         bool // a line without an end is on the terminal
}

// patience is how long a file may take before its progress is drawn.
const patience = time.Second

func (l *checkLines) event(f thaw.FileCheck) {
	if l.began.IsZero() {
		l.began = time.Now()
	}
	if f.Status == "" {
		l.draw(f)
		return
	}
	l.erase()
	// A reader that has gone away ends the process by SIGPIPE.
	_, _ = fmt.Fprintln(l.out, checkLine(f))
	l.began = time.Now()
}

func (l *checkLines) draw(f thaw.FileCheck) {
	if !l.live || time.Since(l.began) < patience {
		return
	}
	fmt.Fprintf(l.progress, "\r\x1b[K  %-19s  %s of %s read", printable(f.Name), size(f.ReadBytes), size(f.Bytes))
	l.drawn = true
}

func (l *checkLines) erase() {
	if l.drawn {
		fmt.Fprint(l.progress, "\r\x1b[K")
		l.drawn = false
	}
}

func checkLine(f thaw.FileCheck) string {
	line := fmt.Sprintf("  %-19s  %-7s  %9s  %9s  %s", printable(f.Name), f.Status, size(f.Bytes), duration(f.DurationMS), oneLine(f.Problem))
	return strings.TrimRight(line, " ")
}

// summary is the line after the files of a snapshot.
func summary(v thaw.Verification) string {
	var read int64
	for _, f := range v.Files {
		read += f.ReadBytes
	}
	verdict := "good"
	if !v.Good {
		verdict = "BAD"
	}
	return fmt.Sprintf("%s%s: %s, %s of %d files read in %s", v.ID, of(v), verdict, size(read), len(v.Files), duration(v.DurationMS))
}

// of says whose v's snapshot is, as far as anybody knows.
func of(v thaw.Verification) string {
	if v.Function == "" {
		return ""
	}
	return fmt.Sprintf(" of %s version %d", v.Function, v.Version)
}

// complaint says what is bad about a snapshot and what to do.
func complaint(v thaw.Verification) string {
	var bad []thaw.FileCheck
	var names []string
	for _, f := range v.Files {
		if f.Status != thaw.CheckOK {
			bad = append(bad, f)
			names = append(names, fmt.Sprintf("%s is %s", f.Name, f.Status))
		}
	}
	return fmt.Sprintf("snapshot %s%s is bad, %s: %s", v.ID, of(v), strings.Join(names, ", "), remedy(v, bad))
}

// remedy says what to do about a snapshot some files of which are bad.
func remedy(v thaw.Verification, bad []thaw.FileCheck) string {
	switch {
	case v.Status == thaw.SnapshotQuarantined:
		return "it is in quarantine and nothing uses it, `thaw snapshot rm " + v.ID + "` gives its space back"
	case v.Status == thaw.SnapshotOrphaned:
		return "no function starts from it, `thaw snapshot rm " + v.ID + "` gives its space back"
	case slices.ContainsFunc(bad, func(f thaw.FileCheck) bool { return !f.Optional }):
		return "deploy " + v.Function + " again for another one, or start the daemon again, which puts this one in quarantine and makes another"
	}
	return "it is good without, and the next start that needs this records it again; to have that now: " + recordAgain(v, bad)
}

// recordAgain is how to replace bad sets: there are two kinds of recording.
func recordAgain(v thaw.Verification, bad []thaw.FileCheck) string {
	commands, ref := map[string]bool{}, thaw.RefTo(v.Function, v.Version)
	for _, f := range bad {
		command := "`thaw invoke " + ref.String() + " --record -d EVENT`"
		if f.Name == thaw.FileHostPages || f.Name == thaw.FileLoadingSetFaaSnap {
			command = "`thaw invoke " + ref.String() + " --record --policy faasnap -d EVENT`"
		}
		commands[command] = true
	}
	return strings.Join(slices.Sorted(maps.Keys(commands)), " and ")
}
