package e2e

import (
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"thaw"
	"thaw/project"
)

// thumbnail is the reply of the example of that name.
type thumbnail struct {
	Picture   [2]int `json:"picture"`
	Thumbnail [2]int `json:"thumbnail"`
	SHA256    string `json:"sha256"`
}

// TestPackages deploys a function that imports Debian packages, and looks at
// what they compute. The sums are those of the pixels that these versions of
// NumPy and Pillow make on any machine.
func TestPackages(t *testing.T) {
	s := open(t, t.TempDir(), nil)
	text, err := os.ReadFile("../examples/thumbnail/thaw.yaml")
	if err != nil {
		t.Fatal(err)
	}
	p, err := project.Parse("thaw.yaml", text)
	if err != nil {
		t.Fatal(err)
	}
	s.deploy(t, p.Name, "../examples/thumbnail", p.Settings)
	if got, want := s.describe(t, "thumbnail").Packages, []string{"python3-numpy", "python3-pil"}; !cmp.Equal(got, want) {
		t.Errorf("packages %q, want %q", got, want)
	}
	for event, want := range map[string]thumbnail{
		`{}`: {[2]int{320, 240}, [2]int{128, 118}, "44b05dacf9eef6b3590ebf840318c82fba15efbfc6c4663198b4e3ecf6d2ceb0"},
		`{"width": 256, "height": 300, "angle": 120, "seed": 2}`: {[2]int{256, 300}, [2]int{128, 123}, "2db85ce9623c582b8756833d9a781037b8fca4e728950227f8e6ccbfbd6b8170"},
	} {
		r := s.cold(t, "thumbnail", thaw.PolicyVanilla, event)
		if d := cmp.Diff(want, decode[thumbnail](t, r.Payload)); d != "" {
			t.Errorf("%s: %s", event, d)
		}
	}
}
