package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"thaw/scale/simulate"
)

func TestSimulate(t *testing.T) {
	dir := t.TempDir()
	page, picture, broken := filepath.Join(dir, "p.html"), filepath.Join(dir, "p.svg"), filepath.Join(dir, "d01.csv")
	if err := os.WriteFile(broken, []byte("HashOwner,HashApp\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	got := simulated(t, "simulate", "--apps", "30", "--days", "1", "--html", page, "--svg", picture)
	if got.exit != 0 || !strings.HasPrefix(got.stdout, "SYNTHETIC trace, which nobody made: synthetic, seed 1: 30 applications, 1 days\n") || !strings.Contains(got.stdout, "\nhistogram, else 240m  ") {
		t.Errorf("%+v", got)
	}
	for _, name := range []string{page, picture} {
		if b, err := os.ReadFile(name); err != nil || !strings.Contains(string(b), "<svg") {
			t.Errorf("%s: %v", name, err)
		}
	}
	var result simulation
	got = simulated(t, "simulate", "--apps", "30", "--days", "1", "-o", "json")
	if err := json.Unmarshal([]byte(got.stdout), &result); err != nil || !result.Synthetic || len(result.Results) != len(simulate.Policies()) {
		t.Errorf("%v: %+v", err, result)
	}
	for want, args := range map[string][]string{
		"d01.csv:1: 2 fields, 1444 are due": {broken},
		"no such file":                      {filepath.Join(dir, "nothing.csv")},
		"--seed is for a synthetic trace":   {broken, "--seed", "2"},
		"name these, too":                   {"--memory", broken},
		"--apps must be 1 to":               {"--apps", "0"},
		"its folder does not exist":         {"--svg", filepath.Join(dir, "no", "x")},
	} {
		if got := simulated(t, append([]string{"simulate"}, args...)...); got.exit != 2 || !strings.Contains(got.stderr, want) {
			t.Errorf("%v: exit %d, %s; want %q", args, got.exit, got.stderr, want)
		}
	}
}

func simulated(t *testing.T, args ...string) outcome {
	t.Helper()
	var out, failed bytes.Buffer
	exit := run(t.Context(), args, strings.NewReader(""), &out, &failed)
	return outcome{exit, out.String(), failed.String()}
}
