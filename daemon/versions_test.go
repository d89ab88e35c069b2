package daemon

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"thaw"
	"thaw/image"
	"thaw/instance"
)

// stocked is a shelf with a pool and with n versions of hello.
func stocked(t *testing.T, n int) *Daemon {
	t.Helper()
	d := shelf(t)
	d.pool = d.newPool(Config{IdleTimeout: time.Hour, MaxInstances: 9, MaxPerFunction: 9})
	d.vmms = instance.NewPrestarted(nil, instance.PrestartLimits{})
	images, err := image.Open(image.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = images.Close() })
	d.images = images
	d.history, d.logs, d.keep = newHistory(), newTestLogs(t), DefaultKeepVersions
	t.Cleanup(func() { d.pool.Close(); d.vmms.Close() })
	for i := range n {
		d.serve(t, "hello", d.snapshotOf(t, "hello", i+1))
	}
	return d
}

// noVM makes an instance without one.
func noVM(context.Context) (instance.Made, error) {
	return instance.Made{Instance: &instance.Instance{}}, nil
}

// numbers lists what Versions says, in words.
func numbers(t *testing.T, d *Daemon) (list []string) {
	t.Helper()
	all, err := d.Versions(t.Context(), "hello")
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range all {
		text := keyOf(v.Version) + " " + string(v.SnapshotState)
		if v.Serves {
			text += " serves"
		}
		list = append(list, strings.Join(append([]string{text}, v.Aliases...), " "))
	}
	return list
}

func TestVersionsInform(t *testing.T) {
	d := stocked(t, 3)
	if err := d.SetAlias(t.Context(), "hello", thaw.Alias{Name: "live", Version: 1, Weights: map[int]float64{2: 0.5}}); err != nil {
		t.Fatal(err)
	}
	for number, problem := range map[int]string{1: "stale", 2: "stale"} {
		if err := d.registry.Update("hello", number, func(v *thaw.Version) error { v.Snapshot, v.Problem = "", problem; return nil }); err != nil {
			t.Fatal(err)
		}
	}
	d.rebuilds.tryLock("hello:2")
	want := []string{"hello:3 ready serves", "hello:2 rebuilding live", "hello:1 none live"}
	if diff := cmp.Diff(want, numbers(t, d)); diff != "" {
		t.Error(diff)
	}
	// The rollback would have its snapshot made again, if that were not under way.
	if v, err := d.Rollback(t.Context(), "hello", 0); err != nil || v.Number != 2 {
		t.Errorf("Rollback = %d, %v", v.Number, err)
	}
	if got := numbers(t, d); got[1] != "hello:2 rebuilding serves live" {
		t.Errorf("%q after the rollback", got)
	}
}

func TestPruneVersions(t *testing.T) {
	d := stocked(t, 4)
	d.keep = 1
	d.nameBySchedule("hello:3")
	if err := d.SetAlias(t.Context(), "hello", thaw.Alias{Name: "live", Version: 2}); err != nil {
		t.Fatal(err)
	}
	if err := d.pruneVersions("hello"); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"hello:4 ready serves", "hello:3 ready", "hello:2 ready live"}, numbers(t, d)); diff != "" {
		t.Error(diff)
	}
	d.nameBySchedule("")
	if err := d.pruneVersions("hello"); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"hello:4 ready serves", "hello:2 ready live"}, numbers(t, d)); diff != "" {
		t.Error(diff)
	}
	if ids, err := d.snapshots.IDs(); err != nil || len(ids) != 2 {
		t.Errorf("%d snapshots are left, %v", len(ids), err)
	}
	if _, err := d.pool.Acquire(t.Context(), thaw.Version{Function: "hello", Number: 1}, true, noVM); thaw.CodeOf(err) != thaw.CodeNotFound {
		t.Errorf("Acquire of a pruned version = %v", err)
	}
	if err := d.sweep(nil); err != nil {
		t.Fatal(err)
	}
	if ids, err := d.snapshots.IDs(); err != nil || len(ids) != 2 {
		t.Errorf("%d snapshots are left by a sweep, %v: every version needs its own", len(ids), err)
	}
}

// nameBySchedule has a schedule name ref.
func (d *Daemon) nameBySchedule(ref string) {
	d.namedBy = func(r thaw.Ref) string {
		if r.String() != ref {
			return ""
		}
		return "schedule nightly"
	}
}

func TestRemoveVersion(t *testing.T) {
	d := stocked(t, 3)
	refused := func(name, text string, code thaw.Code) {
		t.Helper()
		if err := d.Remove(t.Context(), name); thaw.CodeOf(err) != code || !strings.Contains(err.Error(), text) {
			t.Errorf("Remove of %s = %v, want %s with %q", name, err, code, text)
		}
	}
	if err := d.SetAlias(t.Context(), "hello", thaw.Alias{Name: "live", Version: 1, Weights: map[int]float64{2: 0}}); err != nil {
		t.Fatal(err)
	}
	refused("hello:3", "thaw rollback hello VERSION", thaw.CodeConflict)
	refused("hello:2", "thaw alias rm hello live", thaw.CodeConflict)
	refused("hello:live", "thaw alias rm", thaw.CodeInvalid)
	refused("hello:4", "thaw versions hello", thaw.CodeNotFound)
	refused("hello:", "nothing follows the colon", thaw.CodeInvalid)
	d.nameBySchedule("hello:live")
	if err := d.RemoveAlias(t.Context(), "hello", "live"); thaw.CodeOf(err) != thaw.CodeConflict || !strings.Contains(err.Error(), "schedule nightly names hello:live") {
		t.Errorf("RemoveAlias = %v", err)
	}
	d.nameBySchedule("hello:2")
	if err := d.RemoveAlias(t.Context(), "hello", "live"); err != nil {
		t.Fatal(err)
	}
	refused("hello:2", "schedule nightly names hello:2", thaw.CodeConflict)
	d.nameBySchedule("")
	lease, err := d.pool.Acquire(t.Context(), thaw.Version{Function: "hello", Number: 2}, true, noVM)
	if err != nil {
		t.Fatal(err)
	}
	refused("hello:2", "in use by invocations (1)", thaw.CodeConflict)
	d.pool.Release(lease, false)
	if err := d.Remove(t.Context(), "hello:2"); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]string{"hello:3 ready serves", "hello:1 ready"}, numbers(t, d)); diff != "" {
		t.Error(diff)
	}
	if ids, err := d.snapshots.IDs(); err != nil || len(ids) != 2 {
		t.Errorf("%d snapshots are left, %v", len(ids), err)
	}
}

// TestDescribeOneVersion: what is told of a version is its own.
func TestDescribeOneVersion(t *testing.T) {
	d := stocked(t, 2)
	for n := range 4 {
		i := invocation("hello", n%2+1)
		i.ID = strconv.Itoa(n) // records of one id replace each other
		d.history.add(i)
		d.logs.add(thaw.LogLine{Function: "hello", Version: n%2 + 1, Text: "line"})
	}
	d.logs.add(thaw.LogLine{Function: "hello", Text: "of before versions were noted"})
	if err := d.SetAlias(t.Context(), "hello", thaw.Alias{Name: "both", Version: 1, Weights: map[int]float64{2: 0.1}}); err != nil {
		t.Fatal(err)
	}
	if err := d.SetAlias(t.Context(), "hello", thaw.Alias{Name: "one", Version: 1}); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]struct{ number, invocations, lines int }{
		"hello": {2, 4, 5}, "hello:1": {1, 2, 2}, "hello:one": {1, 2, 2}, "hello:both": {1, 4, 4}, "hello:$LATEST": {2, 2, 2},
	} {
		desc, err := d.Describe(t.Context(), name)
		if err != nil || desc.Number != want.number || len(desc.Invocations) != want.invocations || desc.Serving != 2 {
			t.Errorf("%s is version %d with %d invocations, %v", name, desc.Number, len(desc.Invocations), err)
		}
		if lines, err := d.Logs(name, thaw.LogQuery{Limit: 10}); err != nil || len(lines) != want.lines {
			t.Errorf("%s has %d lines, %v", name, len(lines), err)
		}
	}
	if _, err := d.Logs("hello:3", thaw.LogQuery{Limit: 10}); thaw.CodeOf(err) != thaw.CodeNotFound {
		t.Errorf("Logs of no version = %v", err)
	}
}

func TestFollowVersion(t *testing.T) {
	d := stocked(t, 2)
	for n := range 4 {
		d.logs.add(thaw.LogLine{Function: "hello", Version: n%2 + 1, RequestID: fmt.Sprint("r", n/2), Text: fmt.Sprint("line ", n)})
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var got []string
	err := d.FollowLogs(ctx, "hello:1", thaw.LogQuery{Limit: 10, RequestID: "r1"}, func(line thaw.LogLine) error {
		got = append(got, line.Text)
		switch line.Text {
		case "line 2":
			d.logs.add(thaw.LogLine{Function: "hello", Version: 2, RequestID: "r1", Text: "another version"})
			d.logs.add(thaw.LogLine{Function: "hello", Version: 1, RequestID: "r2", Text: "another request"})
			d.logs.add(thaw.LogLine{Function: "hello", Version: 1, RequestID: "r1", Text: "live"})
		case "live":
			cancel()
		}
		return nil
	})
	if diff := cmp.Diff([]string{"line 2", "live"}, got); diff != "" || err != nil {
		t.Errorf("%v %s", err, diff)
	}
	if err := d.FollowLogs(t.Context(), "hello:3", thaw.LogQuery{}, nil); thaw.CodeOf(err) != thaw.CodeNotFound {
		t.Errorf("FollowLogs of no version = %v", err)
	}
}
