package e2e

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"thaw"
)

// TestTemplates has every function that `thaw new` writes deployed as it is, by
// what its thaw.yaml says, and invoked.
func TestTemplates(t *testing.T) {
	bin := build(t)
	p := serve(t, bin, t.TempDir())
	folder := t.TempDir()
	cli := func(t *testing.T, dir string, args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), bin, args...)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "THAW_ADDR="+p.Addr())
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("thaw %q: %v\n%s%s", args, err, stderr.String(), p.err)
		}
		return string(out)
	}
	templates, err := os.ReadDir("../cmd/thaw/template")
	if err != nil {
		t.Fatal(err)
	}
	for _, template := range templates {
		t.Run(template.Name(), func(t *testing.T) {
			name := "new-" + template.Name()
			runtime, language, _ := strings.Cut(template.Name(), "-")
			cli(t, folder, "new", name, "--runtime", runtime, "--language", language)
			dir := filepath.Join(folder, name)
			if got, want := cli(t, dir, "deploy", "-q", "--policy", "vanilla"), name+":1\n"; got != want {
				t.Errorf("deployed %q, want %q", got, want)
			}
			reply := decode[struct {
				Response map[string]string
				Policy   thaw.Policy
				Start    thaw.Start
			}](t, []byte(cli(t, dir, "invoke", name, "--cold", "-d", `{"name": "Ada"}`, "-o", "json")))
			if len(reply.Response) != 1 || reply.Response["message"] != "Hello, Ada!" {
				t.Errorf("reply %v", reply.Response)
			}
			if reply.Start != thaw.StartCold || reply.Policy != thaw.PolicyVanilla {
				t.Errorf("%s start by %s, want a cold one by the version's policy, vanilla", reply.Start, reply.Policy)
			}
		})
	}
}
