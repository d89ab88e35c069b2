package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"thaw"
	"thaw/client"
)

func newDiffCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "diff NAME VERSION VERSION",
		Short: "Compare two versions of a function",
		Long: `Compare two versions of a function line by line: settings, digests of the code and
of what they boot from, and the sizes of their snapshots and working sets. VERSION is
a number, an alias or $LATEST. A * marks what differs; values of environment
variables, which may be secrets, are shown by -o json only.`,
		Example: `  thaw diff hello 1 2
  thaw diff hello live '$LATEST'
  thaw diff hello 1 2 -o json | jq '.[] | select(.differs)'`,
		Args:              arguments("NAME", "VERSION", "VERSION"),
		ValidArgsFunction: a.complete(false, functionNames, qualifiers, qualifiers),
		RunE: func(cmd *cobra.Command, args []string) error {
			refs := []string{args[0] + ":" + args[1], args[0] + ":" + args[2]}
			for _, ref := range refs {
				if _, err := thaw.ParseRef(ref); err != nil {
					return err
				}
			}
			return a.onWholeFunction(func(ctx context.Context, c *client.Client, _ string) error {
				return a.diff(ctx, c, refs)
			})(cmd, args)
		},
	}
}

func (a *app) diff(ctx context.Context, c *client.Client, refs []string) error {
	var sides [2]thaw.Description
	for i, ref := range refs {
		var err error
		if sides[i], err = c.Describe(ctx, ref); err != nil {
			return err
		}
	}
	lines := compare(sides[0], sides[1])
	if a.asValues() {
		return a.value(lines)
	}
	return writeDiff(a.stdout, sides, lines)
}

// difference is a line of a comparison: something of two versions.
type difference struct {
	Name string `json:"name"`
	// Values are what JSON has for it, nil where there is none.
	Values  [2]any `json:"values"`
	Differs bool   `json:"differs"`
}

// compare compares two versions: first their settings, whatever those are.
func compare(a, b thaw.Description) []difference {
	var lines []difference
	add := func(name string, x, y any) {
		lines = append(lines, difference{name, [2]any{x, y}, !reflect.DeepEqual(x, y)})
	}
	x, y := flatten(a.Settings), flatten(b.Settings)
	both := maps.Clone(x)
	maps.Copy(both, y)
	for _, name := range slices.Sorted(maps.Keys(both)) {
		add(name, x[name], y[name])
	}
	if c, d := digestOf(a.Version), digestOf(b.Version); c != nil || d != nil {
		add("image_digest", c, d)
	}
	add("code", a.Images.Code, b.Images.Code)
	add("code_bytes", a.CodeBytes, b.CodeBytes)
	add("root", a.Images.Root, b.Images.Root)
	add("initramfs", a.Images.Initramfs, b.Images.Initramfs)
	add("kernel", a.Images.Kernel, b.Images.Kernel)
	s, t := sizes(a.SnapshotInfo), sizes(b.SnapshotInfo)
	for i := range s {
		add(s[i].name, s[i].bytes, t[i].bytes)
	}
	return lines
}

// digestOf is nil for a version that is no image.
func digestOf(v thaw.Version) any {
	if v.Container == nil {
		return nil
	}
	return v.Container.Digest
}

// flatten makes a value per setting of what JSON has for them: an environment
// variable is one by itself.
func flatten(s thaw.Settings) map[string]any {
	raw, err := json.Marshal(s)
	var fields map[string]any
	if err == nil {
		err = json.Unmarshal(raw, &fields)
	}
	if err != nil {
		panic(err) // settings are plain data
	}
	for name, value := range fields {
		inner, ok := value.(map[string]any)
		if !ok {
			continue
		}
		delete(fields, name)
		for k, v := range inner {
			fields[name+"."+k] = v
		}
	}
	return fields
}

// namedSize is a size of a snapshot in bytes, or nil without one.
type namedSize struct {
	name  string
	bytes any
}

func sizes(s *thaw.SnapshotInfo) []namedSize {
	all := []namedSize{{name: "snapshot_disk_bytes"}, {name: "non_zero_bytes"}, {name: "working_set_bytes"}, {name: "host_pages_bytes"}, {name: "loading_set_bytes"}}
	if s == nil {
		return all
	}
	for i, n := range []int64{s.DiskBytes, s.NonZeroPages * thaw.PageSize, s.WorkingSetPages * thaw.PageSize, s.HostPages * thaw.PageSize, s.LoadingBytes()} {
		all[i].bytes = n
	}
	return all
}

func writeDiff(w io.Writer, sides [2]thaw.Description, lines []difference) error {
	rows := make([][]string, 0, len(lines))
	for _, l := range lines {
		mark, x, y := "", show(l.Name, l.Values[0]), show(l.Name, l.Values[1])
		if l.Differs {
			mark = "*"
		}
		if m, ok := l.Values[0].(int64); ok && l.Differs && x == y { // to three figures
			n, _ := l.Values[1].(int64)
			x, y = count(m), count(n)
		}
		rows = append(rows, []string{mark, l.Name, x, y})
	}
	return writeTable(w, []string{"", cmp.Or(sides[0].Function, "-"), fmt.Sprintf("VERSION %d", sides[0].Number), fmt.Sprintf("VERSION %d", sides[1].Number)}, rows)
}

// show renders a value for people, by the ending of its name.
func show(name string, v any) string {
	const digest = 16
	switch v := v.(type) {
	case nil:
		return "-"
	case int64:
		return size(v)
	case float64:
		if strings.HasSuffix(name, "_bytes") {
			return size(int64(v))
		}
		if strings.HasSuffix(name, "_ns") {
			return time.Duration(v).String()
		}
	case string:
		if strings.HasPrefix(name, "env.") {
			return "set"
		}
		if len(v) == 64 { // SHA-256
			return v[:digest]
		}
		return v
	case []any:
		words := make([]string, 0, len(v))
		for _, word := range v {
			words = append(words, fmt.Sprint(word))
		}
		return strings.Join(words, " ")
	}
	return fmt.Sprint(v)
}
