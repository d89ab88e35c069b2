package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"thaw"
)

// TestLambdaGo runs a program written for AWS Lambda, with its own library, as it is.
func TestLambdaGo(t *testing.T) {
	s := open(t, t.TempDir(), nil)
	code := t.TempDir()
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-o", filepath.Join(code, "bootstrap"), ".")
	cmd.Dir, cmd.Env = "testdata/lambda-go", append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=", "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	s.deploy(t, "lambda", code, thaw.Settings{Runtime: thaw.RuntimeProvided, MemoryBytes: thaw.MinMemory, Timeout: 3 * time.Second})
	t.Run("About", func(t *testing.T) { testLambdaAbout(t, s) })
	t.Run("Failures", func(t *testing.T) { testLambdaFailures(t, s) })
	t.Run("Stream", func(t *testing.T) {
		r := s.warm(t, "lambda", `{"do": "stream"}`)
		if text := string(r.Payload); r.FunctionError != "" || strings.Count(text, "piece") != 5 || len(text) != 5*10_010 {
			t.Errorf("%d bytes, error %q: %.100s", len(text), r.FunctionError, text)
		}
	})
}

func testLambdaAbout(t *testing.T, s *site) {
	for _, policy := range []thaw.Policy{thaw.PolicyBoot, thaw.PolicyVanilla, thaw.PolicyThaw} {
		r := s.cold(t, "lambda", policy, `{"do": "about"}`)
		got := decode[struct {
			Request, ARN, Function, Version string
			Memory, LeftMS                  int
		}](t, r.Payload)
		if got.Request != r.ID || got.ARN != "arn:aws:lambda:local:000000000000:function:lambda:1" || got.Function != "lambda" || got.Version != "1" || got.Memory != 128 {
			t.Errorf("%s: context %s", policy, r.Payload)
		}
		if got.LeftMS <= 0 || got.LeftMS > 3000 {
			t.Errorf("%s: %d ms are left of 3000", policy, got.LeftMS)
		}
	}
	if r := s.warm(t, "lambda", `{"do": "this"}`); string(r.Payload) != `"did this"` || r.Start != thaw.StartWarm {
		t.Errorf("%s start: %s", r.Start, r.Payload)
	}
}

// testLambdaFailures has the function fail in its own ways; it serves on after each.
func testLambdaFailures(t *testing.T, s *site) {
	for do, want := range map[string]struct{ kind, message string }{
		"error": {"badInput", "bad input: nothing"},
		"panic": {"plainError", "assignment to entry in nil map"},
		"wait":  {thaw.ErrorTypeTimeout, "Task timed out after 3.00 seconds"},
	} {
		r := s.cold(t, "lambda", thaw.PolicyVanilla, `{"do": "`+do+`"}`)
		fe := decode[thaw.FunctionError](t, r.Payload)
		if r.FunctionError == "" || do == "panic" && len(fe.Trace) == 0 || fe.Type != want.kind || !strings.Contains(fe.Message, want.message) {
			t.Errorf("%s: error %q: %.300s", do, r.FunctionError, r.Payload)
		}
		// The library ends the program after a panic, a little after its reply: whether
		// the instance is already known to be of no use or not, another one serves.
		if r := s.warm(t, "lambda", `{"do": "this"}`); string(r.Payload) != `"did this"` || r.FunctionError != "" {
			t.Errorf("after %s: %.300s", do, r.Payload)
		}
	}
}
