package image

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"thaw"
)

func TestTreeKeys(t *testing.T) {
	plain := treePlan{runtime: thaw.RuntimePython, codename: "bookworm"}
	for name, c := range map[string]struct {
		plan treePlan
		same bool
	}{
		"Empty":    {treePlan{runtime: thaw.RuntimePython, codename: "bookworm", added: []string{}}, true},
		"Runtime":  {treePlan{runtime: thaw.RuntimeNode, codename: "bookworm"}, false},
		"Release":  {treePlan{runtime: thaw.RuntimePython, codename: "trixie"}, false},
		"Added":    {treePlan{runtime: thaw.RuntimePython, codename: "bookworm", added: []string{"python3-pil"}}, false},
		"Together": {treePlan{runtime: thaw.RuntimePython, codename: "bookworm", added: []string{"python3-numpy", "python3-pil"}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := c.plan.key() == plain.key(); got != c.same {
				t.Errorf("same key as without packages: %v", got)
			}
		})
	}
	one, two := treePlan{runtime: thaw.RuntimePython, codename: "bookworm", added: []string{"a1", "b1"}}, treePlan{runtime: thaw.RuntimePython, codename: "bookworm", added: []string{"a1b1"}}
	if one.key() == two.key() {
		t.Error("two lists of packages have the same key")
	}
}

// TestPruneTrees checks that a Debian tree stays while a version may need it or
// a deploy may come back for it.
func TestPruneTrees(t *testing.T) {
	s := &Store{dir: t.TempDir()}
	version := thaw.Version{Settings: thaw.Settings{Runtime: thaw.RuntimePython, Packages: []string{"python3-pil"}}}
	plan, err := planTree(thaw.RuntimePython, version.Packages)
	if err != nil {
		t.Skipf("there are no trees here: %v", err)
	}
	inUse, last, gone := s.path(kindPython, plan.key()), s.path(kindPython, key("last")), s.path(kindPython, key("gone"))
	for _, dir := range []string{inUse, last, gone} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	s.noteTree(key("last"))
	prune := func(versions ...thaw.Version) (left []string) {
		var keep []string
		for _, v := range versions {
			keep = append(keep, Keys(v)...)
		}
		if _, err := s.Prune(func(key string) bool { return slices.Contains(keep, key) }); err != nil {
			t.Fatal(err)
		}
		left, _ = filepath.Glob(filepath.Join(s.dir, "*")) // the pattern is good
		return left
	}
	want := []string{inUse, last}
	slices.Sort(want)
	if left := prune(version); !slices.Equal(left, want) {
		t.Errorf("left with the version: %q, want %q", left, want)
	}
	if left := prune(); !slices.Equal(left, []string{last}) {
		t.Errorf("left without: %q, want %q", left, last)
	}
}
