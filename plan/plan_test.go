package plan_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"thaw"
	"thaw/plan"
	"thaw/workingset"
)

func TestNew(t *testing.T) {
	m := thaw.Manifest{MemoryBytes: 256 << 20}
	set := []workingset.Run{{Page: 3, Pages: 2}, {Page: 9, Pages: 1}}
	for name, c := range map[string]struct {
		policy thaw.Policy
		set    []workingset.Run
		want   string
	}{
		"Vanilla": {thaw.PolicyVanilla, set, `policy vanilla: 1 region(s)
  map     0x000000000000 + 262144 KiB  memory file
`},
		"ReapRecords": {thaw.PolicyReap, nil, `policy reap: 1 region(s)
  map     0x000000000000 + 262144 KiB  anonymous
  trap    first touches of anonymous regions
  record  the working set
`},
		"ReapPrefetches": {thaw.PolicyReap, set, `policy reap: 1 region(s)
  map     0x000000000000 + 262144 KiB  anonymous
  trap    first touches of anonymous regions
  install 3 pages in 2 runs
`},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := plan.New(c.policy, m, c.set)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(c.want, p.String()); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestNewWithoutASnapshot(t *testing.T) {
	_, err := plan.New(thaw.PolicyBoot, thaw.Manifest{}, nil)
	if thaw.CodeOf(err) != thaw.CodeInvalid {
		t.Errorf("New(boot) = %v, want an invalid request", err)
	}
}
