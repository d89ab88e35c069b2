package plan_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"thaw"
	"thaw/plan"
	"thaw/workingset"
)

func TestClasses(t *testing.T) {
	nonZero := []workingset.Run{{Page: 2, Pages: 6}}
	trace := &workingset.Set{Touches: []workingset.Touch{{Page: 5, Written: true}, {Page: 3}, {Page: 4}, {Page: 0}}}
	p := plan.Plan{Extents: []workingset.Extent{{Run: workingset.Run{Page: 3, Pages: 2}}, {Run: workingset.Run{Page: 8, Pages: 1}}}}
	got := plan.Classes(10, nonZero, trace, p)
	want := []thaw.MemoryRun{
		{Page: 0, Pages: 1, Class: thaw.PageRead}, {Page: 1, Pages: 1, Class: thaw.PageZero}, {Page: 2, Pages: 1, Class: thaw.PageUntouched},
		{Page: 3, Pages: 2, Class: thaw.PageRead, Prefetched: true}, {Page: 5, Pages: 1, Class: thaw.PageWritten},
		{Page: 6, Pages: 2, Class: thaw.PageUntouched}, {Page: 8, Pages: 1, Class: thaw.PageZero, Prefetched: true}, {Page: 9, Pages: 1, Class: thaw.PageZero},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if got := plan.Classes(3, nil, nil, plan.Plan{}); len(got) != 1 || got[0].Pages != 3 || got[0].Class != thaw.PageZero {
		t.Errorf("memory of which nothing is known: %+v", got)
	}
}
