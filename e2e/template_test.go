package e2e

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
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
		runtime := template.Name()
		t.Run(runtime, func(t *testing.T) {
			name := "new-" + runtime
			cli(t, folder, "new", name, "--runtime", runtime)
			dir := filepath.Join(folder, name)
			cli(t, dir, "deploy")
			reply := cli(t, dir, "invoke", name, "--cold", "-d", `{"name": "Ada"}`)
			if got := decode[map[string]string](t, []byte(reply)); len(got) != 1 || got["message"] != "Hello, Ada!" {
				t.Errorf("reply %s", reply)
			}
		})
	}
}
