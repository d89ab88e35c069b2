package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"thaw"
)

// TestDependencies deploys functions that ask for packages, in Python by hash and in
// JavaScript by lock, uses what was installed in clones, and deploys again, which
// downloads nothing.
func TestDependencies(t *testing.T) {
	s := open(t, t.TempDir(), nil)
	for _, r := range []thaw.Runtime{thaw.RuntimePython, thaw.RuntimeNode} {
		t.Run(string(r), func(t *testing.T) {
			code := filepath.Join(t.TempDir(), "code")
			if err := os.CopyFS(code, os.DirFS("testdata/needs-"+string(r))); err != nil {
				t.Fatal(err)
			}
			unlike(t, code)
			name := "needs-" + string(r)
			said := s.deployTelling(t, name, code, thaw.Settings{Runtime: r})
			if !strings.Contains(said, ": installed ") {
				t.Errorf("the first deploy said:\n%s", said)
			}
			testInstalled(t, s, name)
			said = s.deployTelling(t, name, code, thaw.Settings{Runtime: r, Timeout: time.Minute})
			if !strings.Contains(said, "an earlier deploy") || strings.Contains(said, ": installed ") {
				t.Errorf("the second deploy said:\n%s", said)
			}
			testInstalled(t, s, name)
		})
	}
	t.Run("Failure", func(t *testing.T) {
		code := t.TempDir()
		for name, text := range map[string]string{"app.py": "def handler(event, context): pass\n", "requirements.txt": "six==0.0.0.1\n"} {
			if err := os.WriteFile(filepath.Join(code, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		_, err := s.tryDeploy(t.Context(), "needs-python3", code, thaw.Settings{})
		if thaw.CodeOf(err) != thaw.CodeInvalid || !strings.Contains(err.Error(), "No matching distribution found for six==0.0.0.1") {
			t.Errorf("deploy = %v, want what pip says", err)
		}
		testInstalled(t, s, "needs-python3") // the version before
	})
}

// unlike makes the lists others than those of an earlier run, whose packages are kept.
func unlike(t *testing.T, code string) {
	t.Helper()
	now := time.Now().String()
	for name, change := range map[string]func(string) string{
		"requirements.txt": func(s string) string { return "# " + now + "\n" + s },
		"package.json":     func(s string) string { return strings.Replace(s, "{", fmt.Sprintf(`{"description": %q,`, now), 1) },
	} {
		path := filepath.Join(code, name)
		b, err := os.ReadFile(path)
		if os.IsNotExist(err) {
			continue
		}
		if err == nil {
			err = os.WriteFile(path, []byte(change(string(b))), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// testInstalled restores two clones, which draw other numbers, and uses one again.
func testInstalled(t *testing.T, s *site, name string) {
	t.Helper()
	drawn := map[string]bool{}
	for _, policy := range []thaw.Policy{thaw.PolicyVanilla, thaw.PolicyThaw} {
		r := s.cold(t, name, policy, `"2 days"`)
		got := decode[struct{ Version, Drawn string }](t, r.Payload)
		if got.Version != "1.17.0" && got.Version != "172800000" || drawn[got.Drawn] || r.Start != thaw.StartCold {
			t.Errorf("%s start by %s (%s): %s", r.Start, policy, r.Reason, r.Payload)
		}
		drawn[got.Drawn] = true
	}
	if r := s.warm(t, name, `"2 days"`); r.Start != thaw.StartWarm || r.FunctionError != "" {
		t.Errorf("%s start: %s", r.Start, r.Payload)
	}
}
