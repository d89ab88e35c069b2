package image

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"thaw"
)

// TestPruneLayers checks that a layer stays as long as a version has it.
func TestPruneLayers(t *testing.T) {
	s := &Store{dir: t.TempDir()}
	used, gone := s.path(kindLayer, key("used")), s.path(kindLayer, key("gone"))
	for _, f := range []string{used, gone} {
		if err := os.WriteFile(f, []byte("layer"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	v := thaw.Version{Container: &thaw.Container{Layers: []string{"sha256:" + key("used")}}}
	keep := Keys(v)
	freed, err := s.Prune(func(key string) bool { return slices.Contains(keep, key) })
	if err != nil || freed != int64(len("layer")) {
		t.Errorf("%d bytes freed, %v", freed, err)
	}
	if left, _ := filepath.Glob(filepath.Join(s.dir, kindLayer+"-*")); !slices.Equal(left, []string{used}) {
		t.Errorf("left: %q, want %s", strings.Join(left, " "), used)
	}
}
